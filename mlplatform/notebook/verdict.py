"""What is wrong with a notebook, told by running it twice: linearly, and as a pipeline."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

from mlplatform.notebook.compare import said, same_pickles, same_text
from mlplatform.notebook.model import Cell, Notebook

_IGNORED: Final = re.compile(r"^\s*#\s*(?:NBVAL_IGNORE_OUTPUT|PYTEST_VALIDATE_IGNORE_OUTPUT)\b", re.MULTILINE)
_RAISES: Final = frozenset({"raises-exception", "nbval-raises-exception"})

Document = Mapping[str, Any]


def ignores_output(cell: Cell) -> bool:
    """Whether the cell says that what it prints is different every time."""
    return "nbval-ignore-output" in cell.tags or bool(_IGNORED.search(cell.source))


def may_raise(cell: Cell) -> bool:
    """Whether the cell says that it may fail."""
    return bool(_RAISES & set(cell.tags)) or "NBVAL_RAISES_EXCEPTION" in cell.source


def linear_findings(notebook: Notebook, executed: Document, error: Mapping[str, Any] | None) -> list[str]:
    """What a linear run shows of the notebook itself: a cell that fails, outputs that the file shows and running does
    not give, or the other way round. Outputs that are ignored are no excuse for an error."""
    if error is not None:
        return [f"cell {error['cell']} fails: {error['ename']}: {error['evalue']}\n{error['traceback']}".rstrip()]
    found: list[str] = []
    stored = _cells(notebook.document)
    shows_outputs = any(cell.get("outputs") for cell in stored)
    for cell in notebook.cells:
        if not cell.runs:
            continue
        before, now = said(stored[cell.index]), said(_cells(executed)[cell.index])
        if before["error"] and not may_raise(cell):
            found.append(f"cell {cell.index}: the file holds an error as its output: {before['error']}")
        had, has = _says(before), _says(now)
        if had and not has:
            found.append(f"cell {cell.index}: the file shows an output, and running it gives none")
        elif has and not had and shows_outputs and not ignores_output(cell):
            found.append(f"cell {cell.index}: running it gives an output, and the file shows none")
    return found


def output_differences(notebook: Notebook, linear: Document, pipeline: Document) -> dict[int, str]:
    """Cell -> how its output in the pipeline run differs from that in the linear run."""
    found: dict[int, str] = {}
    for cell in notebook.cells:
        if not cell.runs:
            continue
        one, other = said(_cells(linear)[cell.index]), said(_cells(pipeline)[cell.index])
        if one["error"] != other["error"]:
            words = (one["error"] or "no error", other["error"] or "no error")
            found[cell.index] = f"{words[0]} in the linear run, {words[1]} in the pipeline run"
        elif ignores_output(cell):
            continue
        elif one["images"] != other["images"]:
            found[cell.index] = f"{len(one['images'])} images in the linear run, {len(other['images'])} in the pipeline"
        elif not same_text(one["text"], other["text"]):
            found[cell.index] = f"linear run: {_shown(one['text'])}\n    pipeline run: {_shown(other['text'])}"
    return found


def value_differences(linear: Mapping[str, bytes], pipeline: Mapping[str, bytes]) -> dict[str, str]:
    """Variable -> how its final value in the pipeline run differs from that in the linear run."""
    found: dict[str, str] = {}
    for name, value in linear.items():
        if name not in pipeline:
            found[name] = "there is none after the pipeline run"
        elif told := same_pickles(value, pipeline[name]):
            found[name] = told
    for name in pipeline.keys() - linear.keys():
        found[name] = "there is none after the linear run"
    return found


def pipeline_findings(outputs: Mapping[int, str], values: Mapping[str, str]) -> list[str]:
    """Differences in words."""
    told = [f"cell {index}: its output differs\n    {words}" for index, words in sorted(outputs.items())]
    return [*told, *(f"variable {name} differs: {words}" for name, words in sorted(values.items()))]


def _cells(document: Document) -> Sequence[Mapping[str, Any]]:
    return cast("Sequence[Mapping[str, Any]]", document["cells"])


def _says(told: Mapping[str, Any]) -> bool:
    return bool(told["text"].strip() or told["images"] or told["error"])


def _shown(text: str) -> str:
    text = text.strip()
    return repr(text if len(text) <= 200 else text[:197] + "...")
