"""What to show of an artifact: ``models.Preview``. Reads at most the beginning of a file."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any, Final

from mlplatform.core.model import Artifact
from mlplatform.server import kinds
from mlplatform.server.contents import address, entries, inside, opened, place_of
from mlplatform.server.context import Context

_HEAD: Final = 256 * 1024
_ROWS: Final = 100
_COLUMNS: Final = 200
_CELL: Final = 500


def preview(here: Context, artifact: Artifact, path: str = "") -> dict[str, Any]:
    """Of an artifact, or of the file ``path`` in it where it is a folder. Raises NotFound, ArtifactError."""
    metadata = dict(artifact.metadata)
    if artifact.type == "system.Metrics" and not path:
        return {"kind": "metrics", "metrics": kinds.metrics_of(metadata)}
    if artifact.type in ("system.ClassificationMetrics", "system.SlicedClassificationMetrics") and not path:
        labels, matrix = kinds.confusion_matrix(metadata)
        curve = kinds.roc_curve(metadata)
        if matrix or curve:
            kind = "confusion_matrix" if matrix else "roc"
            return {"kind": kind, "labels": labels, "matrix": matrix, "curve": curve}
    place = place_of(here, artifact.uri)
    if place.is_dir() and not path:
        found, more = entries(place)
        return {
            "kind": "tree",
            "truncated": more,
            "entries": [
                {"path": name, "size": size, "url": address(here, artifact.uri, "", name)} for name, size in found
            ],
        }
    file = inside(place, path)
    return _of_file(here, artifact, path, file)


def _of_file(here: Context, artifact: Artifact, path: str, file: Path) -> dict[str, Any]:
    with opened(file) as stream:
        head = stream.read(_HEAD + 1)
    type_ = "" if path else artifact.type
    kind, _ = kinds.kind_of(path or file.name, type_, head)
    truncated = len(head) > _HEAD
    match kind:
        case "image" | "html" | "notebook":
            return {"kind": kind, "url": address(here, artifact.uri, type_, path)}
        case "csv":
            return _table(head[:_HEAD], "\t" if (path or file.name).endswith("tsv") else ",", truncated)
        case "parquet":
            return _parquet(file)
        case "json":
            return _json(head[:_HEAD], truncated)
        case "binary":
            note = f"{file.stat().st_size:,} bytes that are no text" if head else "the file is empty"
            return {"kind": "binary" if head else "none", "note": note}
        case _:
            text = head[:_HEAD].decode("utf-8", "replace")
            return {"kind": "markdown" if kind == "markdown" else "text", "text": text, "truncated": truncated}


def _json(data: bytes, truncated: bool) -> dict[str, Any]:
    text = data.decode("utf-8", "replace")
    if not truncated:
        try:
            text = json.dumps(json.loads(text), indent=2, ensure_ascii=False)
        except (ValueError, RecursionError):
            pass
    return {"kind": "json", "text": text, "truncated": truncated}


def _table(data: bytes, delimiter: str, truncated: bool) -> dict[str, Any]:
    text = data.decode("utf-8-sig", "replace")
    delimiter = kinds.delimiter_of(data) or delimiter
    if truncated:
        text = text[: text.rfind("\n") + 1]
    rows: list[list[str]] = []
    try:
        for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter):
            rows.append([cell[:_CELL] for cell in row[:_COLUMNS]])
            if len(rows) > _ROWS:
                break
    except csv.Error as error:
        return {"kind": "text", "text": text, "truncated": truncated, "note": f"no table: {error}"}
    more = truncated or len(rows) > _ROWS
    return {
        "kind": "table",
        "columns": rows[0] if rows else [],
        "rows": rows[1 : _ROWS + 1],
        "total": None if more else max(0, len(rows) - 1),
        "truncated": more,
    }


def _parquet(file: Path) -> dict[str, Any]:
    try:
        from pyarrow import parquet  # pyright: ignore[reportMissingTypeStubs, reportUnknownVariableType]
    except ImportError:
        return {"kind": "none", "note": "to see Parquet files here: pip install pyarrow"}
    try:
        source: Any = parquet.ParquetFile(file)
        total = int(source.metadata.num_rows)
        batch: Any = next(source.iter_batches(batch_size=_ROWS), None)
    except (ValueError, OSError) as error:
        return {"kind": "binary", "note": f"it cannot be read as Parquet: {error}"}
    names = [str(name) for name in source.schema_arrow.names][:_COLUMNS]
    columns: list[list[Any]] = [batch.column(at).to_pylist() for at in range(len(names))] if batch is not None else []
    rows = [[_cell(value) for value in row] for row in zip(*columns, strict=True)]
    return {"kind": "table", "columns": names, "rows": rows, "total": total, "truncated": total > len(rows)}


def _cell(value: Any) -> str:
    return "" if value is None else str(value)[:_CELL]
