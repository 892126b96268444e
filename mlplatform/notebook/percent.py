"""Python scripts in the percent format (``# %%``), as jupytext, Spyder and VS Code write them, read as notebooks."""

from __future__ import annotations

import hashlib
import json
import os
import re
from typing import Any, Final

from mlplatform.notebook.model import Cell, Notebook

_MARK: Final = re.compile(r"^#\s*%%%*(?=\s|\[|$)(?P<rest>.*)$")
_KIND: Final = re.compile(r"\[(markdown|md|raw)\]")
_OPTION: Final = re.compile(r"(?P<name>[\w.-]+)\s*=\s*(?P<value>\[[^\]]*\]|\{[^}]*\}|\"(?:[^\"\\]|\\.)*\"|[^\s]+)")
_PIPELINE: Final = re.compile(r"^\s*@\s*(?:\w+\.)*pipeline\b", re.MULTILINE)
#: A magic or shell command that the format has put behind a comment sign, so that the script stays Python.
_MAGIC: Final = re.compile(r"^(\s*)# ?(?=(?:%{1,2}[A-Za-z]|![^\s=]|[\w.]+\?{1,2}\s*$|[\w, ]+=\s*(?:!\S|%[A-Za-z])))")
_HEADER: Final = re.compile(r"\A(?:#!.*\n)?(?:#.*coding[:=].*\n)?# ---\n(?:#.*\n)*?# ---\n")


def is_script(text: str) -> bool:
    """Whether a Python file is a notebook: it has percent cells and defines no pipeline."""
    return any(_MARK.match(line) for line in text.splitlines()) and not _PIPELINE.search(text)


def read(text: str, path: str = "") -> Notebook:
    """The notebook that a script is. What stands before the first mark is a cell of its own."""
    cells: list[Cell] = []
    kind, options, lines = "code", dict[str, Any](), list[str]()

    def finish() -> None:
        source = _source(kind, lines)
        if source.strip() or cells or options:
            metadata = {name: value for name, value in options.items() if name != "title"}
            cells.append(Cell(len(cells), kind, source, _tags(options), metadata))

    for line in _HEADER.sub("", text.replace("\r\n", "\n")).split("\n"):
        mark = _MARK.match(line)
        if mark is None:
            lines.append(line)
            continue
        finish()
        kind, options, lines = *_options(mark["rest"]), []
    finish()
    name = os.path.splitext(os.path.basename(path))[0] if path else "notebook"
    return Notebook(path, name, tuple(cells), _document(cells), "python")


def _options(rest: str) -> tuple[str, dict[str, Any]]:
    """The kind and the metadata that stand behind a mark: ``[markdown] tags=["a"]``."""
    found = _KIND.search(rest)
    kind = {"md": "markdown"}.get(found[1], found[1]) if found else "code"
    options: dict[str, Any] = {}
    for match in _OPTION.finditer(rest):
        value = match["value"]
        try:
            options[match["name"]] = json.loads(value)
        except ValueError:
            options[match["name"]] = value
    return kind, options


def _tags(options: dict[str, Any]) -> tuple[str, ...]:
    tags: Any = options.get("tags", [])
    if isinstance(tags, str):
        return tuple(part.strip() for part in tags.strip("[]").split(",") if part.strip())
    return tuple(str(tag) for tag in tags) if isinstance(tags, list) else ()  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]


def _source(kind: str, lines: list[str]) -> str:
    text = "\n".join(lines).strip("\n")
    if kind == "code":
        if text.lstrip().startswith(("# %%", "#%%")):
            # A cell magic: the whole cell stands behind comment signs.
            return "\n".join(re.sub(r"^# ?", "", line) for line in text.split("\n"))
        return "\n".join(_MAGIC.sub(r"\1", line) for line in text.split("\n"))
    quoted = re.fullmatch(r'\s*r?(?:"""|\'\'\')(.*?)(?:"""|\'\'\')\s*', text, re.DOTALL)
    if quoted:
        return quoted[1].strip("\n")
    return "\n".join(re.sub(r"^# ?", "", line) for line in text.split("\n"))


def _document(cells: list[Cell]) -> dict[str, Any]:
    """The script as a notebook document; ids depend on place and text only, so that they stay."""
    made: list[dict[str, Any]] = []
    for cell in cells:
        text = f"{cell.index}\n{cell.source}".encode("utf-8", "surrogatepass")
        entry: dict[str, Any] = {
            "id": hashlib.sha256(text).hexdigest()[:12],
            "cell_type": cell.kind,
            "metadata": dict(cell.metadata),
            "source": cell.source,
        }
        if cell.kind == "code":
            entry |= {"outputs": [], "execution_count": None}
        made.append(entry)
    spec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    metadata = {"kernelspec": spec, "language_info": {"name": "python"}}
    return {"cells": made, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}
