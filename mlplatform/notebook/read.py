"""Reading notebooks: ``.ipynb`` of any nbformat 3 or 4, and Python scripts in jupytext's percent format.

What is no notebook is refused with every finding and its place in the file.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, cast

from mlplatform.core.errors import Finding, InvalidPipeline, NotFound, Unsupported
from mlplatform.notebook import percent
from mlplatform.notebook.model import Cell, Notebook

#: Bytes; a notebook beyond this holds data that does not belong into one.
MAX_BYTES: Final = 256 * 1024 * 1024
_KINDS: Final = ("code", "markdown", "raw")


def is_notebook(path: str) -> bool:
    """Whether a file is to be read as a notebook: ``.ipynb``, or a ``.py`` with percent cells and no pipeline."""
    if path.endswith(".ipynb"):
        return True
    if not path.endswith(".py"):
        return False
    try:
        text = Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return percent.is_script(text)


def read_notebook(path: str) -> Notebook:
    """Read the notebook in file ``path``.

    Raises:
        InvalidPipeline: the file is no notebook, with every finding.
        NotFound: there is no such file, or it cannot be read.
        Unsupported: its kernel runs another language than Python.
    """
    try:
        if os.path.getsize(path) > MAX_BYTES:
            raise InvalidPipeline(
                f"{path} is larger than {MAX_BYTES >> 20} MiB.", hint="Clear its outputs: they can be made again."
            )
        data = Path(path).read_bytes()
    except OSError as error:
        raise NotFound(
            f"The notebook {path!r} cannot be read: {error.strerror or error}.", hint="Check the path."
        ) from None
    if path.endswith(".py"):
        return percent.read(data.decode("utf-8", "replace"), os.path.abspath(path))
    return loads(data, path)


def loads(data: bytes | str, path: str = "") -> Notebook:
    """Read a notebook from the text of an ``.ipynb`` file; ``path`` is what it is called. Raises as read_notebook."""
    origin = path or "the notebook"
    document = _parse(data, origin)
    document = _as_version_4(document, data, origin)
    findings = _findings(document)
    if findings:
        raise InvalidPipeline(
            f"{origin} is not a valid notebook.",
            findings=findings,
            hint="Open it in Jupyter and save it again, or repair it with: jupyter nbconvert --to notebook",
        )
    language = _language(document)
    if language != "python":
        raise Unsupported(
            f"{origin} is written in {language}: notebooks run as pipelines in Python only.",
            hint="If it is Python after all, choose a Python kernel in Jupyter and save it.",
        )
    name = os.path.splitext(os.path.basename(path))[0] if path else "notebook"
    return Notebook(os.path.abspath(path) if path else "", name, _cells(document), document, language)


def _parse(data: bytes | str, origin: str) -> dict[str, Any]:
    try:
        text = data if isinstance(data, str) else data.decode("utf-8-sig")
        found: Any = json.loads(text)
    except UnicodeDecodeError:
        raise InvalidPipeline(f"{origin} is not a notebook: it is not text in UTF-8.") from None
    except RecursionError:
        raise InvalidPipeline(f"{origin} is not a notebook: it is nested too deeply.") from None
    except ValueError as error:
        words = _json_words(data, error)
        raise InvalidPipeline(f"{origin} is not a notebook: {words}", hint=_json_hint(data)) from None
    if not isinstance(found, dict):
        raise InvalidPipeline(f"{origin} is not a notebook: it is JSON, but not an object with cells.")
    return cast("dict[str, Any]", found)


def _json_words(data: bytes | str, error: ValueError) -> str:
    if not data.strip():
        return "the file is empty."
    if isinstance(error, json.JSONDecodeError):
        return f"its JSON is broken at line {error.lineno}, column {error.colno} ({error.msg})."
    return "it is not JSON."


def _json_hint(data: bytes | str) -> str:
    text = data if isinstance(data, str) else data.decode("utf-8", "replace")
    if "<<<<<<< " in text and ">>>>>>> " in text:
        return "It holds the marks of a merge conflict: resolve it (git checkout --ours or --theirs, or nbdime)."
    if not text.strip():
        return "Write and save it in Jupyter first."
    return "Restore it from version control, or from the checkpoints that Jupyter keeps."


def _as_version_4(document: dict[str, Any], data: bytes | str, origin: str) -> dict[str, Any]:
    """The document in nbformat 4; older ones are converted by nbformat."""
    major = document.get("nbformat")
    if major == 4:
        return document
    if not isinstance(major, int) or isinstance(major, bool):
        hint = "Compiled pipelines are .yaml, .json or packages of them." if "pipelineInfo" in document else ""
        raise InvalidPipeline(f"{origin} is not a notebook: it has no nbformat number.", hint=hint)
    if major > 4 or major < 2:
        raise Unsupported(
            f"{origin} is of notebook format {major}; formats 3 and 4 are known.",
            hint="Convert it: jupyter nbconvert --to notebook --nbformat 4",
        )
    try:
        import nbformat
    except ModuleNotFoundError:
        raise Unsupported(
            f"{origin} is of the old notebook format {major}, and nbformat, which converts it, is not installed.",
            hint="Install it: pip install 'mlplatform[notebook]'",
        ) from None
    reader: Any = nbformat
    text = data if isinstance(data, str) else data.decode("utf-8-sig")
    try:
        return cast("dict[str, Any]", json.loads(reader.writes(reader.reads(text, as_version=4))))
    except (reader.ValidationError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise InvalidPipeline(f"{origin} cannot be converted from notebook format {major}: {error}") from None


def _findings(document: Mapping[str, Any]) -> list[Finding]:
    """Everything in the document that keeps it from being a notebook of format 4."""
    cells: Any = document.get("cells")
    if not isinstance(cells, list):
        return [Finding("cells", "must be a list of cells", "wrong-type")]
    found: list[Finding] = []
    if not isinstance(document.get("metadata", {}), dict):
        found.append(Finding("metadata", "must be an object", "wrong-type"))
    for index, cell in enumerate(cast("list[Any]", cells)):
        at = f"cells[{index}]"
        if not isinstance(cell, dict):
            found.append(Finding(at, "must be an object", "wrong-type"))
            continue
        found += _cell_findings(cast("dict[str, Any]", cell), at)
    return found


def _cell_findings(cell: Mapping[str, Any], at: str) -> list[Finding]:
    found: list[Finding] = []
    kind: Any = cell.get("cell_type")
    if kind not in _KINDS:
        found.append(Finding(f"{at}.cell_type", f"must be one of {', '.join(_KINDS)}, not {kind!r}", "wrong-value"))
    source: Any = cell.get("source")
    if not isinstance(source, str) and not (
        isinstance(source, list) and all(isinstance(line, str) for line in cast("list[Any]", source))
    ):
        found.append(Finding(f"{at}.source", "must be a text or a list of texts", "wrong-type"))
    metadata: Any = cell.get("metadata", {})
    if not isinstance(metadata, dict):
        found.append(Finding(f"{at}.metadata", "must be an object", "wrong-type"))
    else:
        tags: Any = cast("dict[str, Any]", metadata).get("tags", [])
        if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in cast("list[Any]", tags)):
            found.append(Finding(f"{at}.metadata.tags", "must be a list of texts", "wrong-type"))
    return found


def _language(document: Mapping[str, Any]) -> str:
    """The kernel's language as the metadata has it; python where it does not say."""
    metadata: dict[str, Any] = document.get("metadata") or {}
    info: Any = metadata.get("language_info")
    spec: Any = metadata.get("kernelspec")
    told = (cast("dict[str, Any]", info).get("name") if isinstance(info, dict) else "") or (
        cast("dict[str, Any]", spec).get("language") if isinstance(spec, dict) else ""
    )
    language = str(told or "python").lower()
    return "python" if language in ("ipython", "python3") else language


def _cells(document: Mapping[str, Any]) -> tuple[Cell, ...]:
    made: list[Cell] = []
    for index, cell in enumerate(cast("list[dict[str, Any]]", document["cells"])):
        source: Any = cell["source"]
        text = source if isinstance(source, str) else "".join(cast("list[str]", source))
        metadata: dict[str, Any] = cell.get("metadata") or {}
        made.append(Cell(index, cell["cell_type"], text, tuple(metadata.get("tags") or ()), metadata))
    return tuple(made)
