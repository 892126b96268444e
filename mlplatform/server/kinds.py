"""What a file is, by its name, its artifact's type and its first bytes. Pure."""

from __future__ import annotations

import json
import math
from typing import Any, Final, cast

#: By suffix: (kind, media type). Only these media types are ever shown inside a page.
_BY_SUFFIX: Final = {
    "png": ("image", "image/png"),
    "jpg": ("image", "image/jpeg"),
    "jpeg": ("image", "image/jpeg"),
    "gif": ("image", "image/gif"),
    "webp": ("image", "image/webp"),
    "svg": ("image", "image/svg+xml"),
    "html": ("html", "text/html; charset=utf-8"),
    "htm": ("html", "text/html; charset=utf-8"),
    "css": ("text", "text/css; charset=utf-8"),
    "js": ("text", "text/javascript; charset=utf-8"),
    "md": ("markdown", "text/plain; charset=utf-8"),
    "json": ("json", "text/plain; charset=utf-8"),
    "ipynb": ("notebook", "text/plain; charset=utf-8"),
    "csv": ("csv", "text/plain; charset=utf-8"),
    "tsv": ("csv", "text/plain; charset=utf-8"),
    "parquet": ("parquet", "application/octet-stream"),
}
_BY_TYPE: Final = {"system.HTML": "html", "system.Markdown": "md"}
_BY_START: Final = (
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"\xff\xd8\xff", "jpg"),
    (b"GIF8", "gif"),
    (b"PAR1", "parquet"),
)
BINARY: Final = ("binary", "application/octet-stream")
TEXT: Final = ("text", "text/plain; charset=utf-8")


def kind_of(name: str, type_: str, head: bytes) -> tuple[str, str]:
    """(kind, media type): kind is image, html, markdown, json, notebook, csv, parquet, text or binary."""
    stem, dot, suffix = name.rpartition(".")
    known = _BY_SUFFIX.get(suffix.lower()) if dot and stem else None
    if known is None and type_ in _BY_TYPE:
        known = _BY_SUFFIX[_BY_TYPE[type_]]
    if known is None:
        known = next((_BY_SUFFIX[kind] for start, kind in _BY_START if head.startswith(start)), None)
    if known is None and head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        known = _BY_SUFFIX["webp"]
    return known or _by_text(head)


def _by_text(head: bytes) -> tuple[str, str]:
    if b"\0" in head or not _is_text(head):
        return BINARY
    start = head.lstrip()[:200].lower()
    if start.startswith((b"<!doctype html", b"<html")):
        return _BY_SUFFIX["html"]
    if start.startswith(b"<svg"):
        return _BY_SUFFIX["svg"]
    if start[:1] in (b"{", b"["):
        return _BY_SUFFIX["ipynb" if b'"nbformat"' in head else "json"]
    return _BY_SUFFIX["csv"] if delimiter_of(head) else TEXT


def delimiter_of(head: bytes) -> str:
    """What parts the cells of a text that looks like a table (several columns, as many in each line); else empty."""
    lines = head.decode("utf-8", "replace").splitlines()[:21]
    whole = [line for line in (lines[:-1] if len(lines) > 20 else lines) if line]
    for delimiter in ("\t", ",", ";"):
        counts = {line.count(delimiter) for line in whole if '"' not in line}
        if len(whole) > 1 and len(counts) == 1 and counts.pop() > 0:
            return delimiter
    return ""


def _is_text(head: bytes) -> bool:
    try:
        head.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.start >= len(head) - 4  # only cut inside its last character
    return True


# ------------------------------------------------------------------ KFP's metrics
def metrics_of(metadata: dict[str, Any]) -> dict[str, Any]:
    """What ``dsl.Metrics`` logged."""
    return {name: value for name, value in metadata.items() if isinstance(value, (int, float, str, bool))}


def confusion_matrix(metadata: dict[str, Any]) -> tuple[list[str], list[list[float]]]:
    """Labels and rows of ``dsl.ClassificationMetrics.log_confusion_matrix``; empty if there is none."""
    found = _object(_unwrapped(metadata.get("confusionMatrix")))
    labels = [str(one.get("displayName", "")) for one in _objects(found.get("annotationSpecs"))]
    return labels, [_numbers(row.get("row")) for row in _objects(found.get("rows"))]


def roc_curve(metadata: dict[str, Any]) -> list[list[float]]:
    """(false positive rate, true positive rate, threshold) of ``log_roc_curve``; empty if there is none."""
    fields = ("falsePositiveRate", "recall", "confidenceThreshold")
    points = _objects(_unwrapped(metadata.get("confidenceMetrics")))
    return [_numbers([point.get(field) for field in fields]) for point in points]


def _unwrapped(value: Any) -> Any:
    """kfp writes some values behind ``struct`` or ``list``, and some as JSON text."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return None
    inner = _object(value)
    return next((_unwrapped(inner[wrapper]) for wrapper in ("struct", "list") if wrapper in inner), value)


def _object(value: Any) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _objects(value: Any) -> list[dict[str, Any]]:
    items = cast("list[Any]", value) if isinstance(value, list) else []
    return [_object(item) for item in items if isinstance(item, dict)]


def _numbers(values: Any) -> list[float]:
    return [float(one) if isinstance(one, (int, float)) and math.isfinite(one) else 0.0 for one in values or ()]
