"""The executed notebook: the notebook as it was run, with the outputs of its tasks in place.

What a run keeps of a task is ``{"task", "position", "cells": [{"index", "execution_count", "outputs"}...], "updates":
[{"display_id", "data", "metadata"}...]}`` (``launcher/notebook/spec.md``).
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from mlplatform.core.values import JsonValue
from mlplatform.planning.notebook_component import NotebookTask

_Json = dict[str, Any]
#: Media types that are text, and so are kept as a list of lines.
_TEXT: Final = ("application/javascript", "image/svg+xml")


def without_outputs(document: Mapping[str, Any]) -> _Json:
    """A notebook as it is before it runs: no outputs, no counts, nothing about an earlier execution."""
    made = copy.deepcopy(dict(document))
    for cell in made.get("cells") or ():
        if cell.get("cell_type") == "code":
            cell["outputs"], cell["execution_count"] = [], None
            metadata: _Json = cell.get("metadata") or {}
            for name in ("execution", "papermill", "ExecuteTime"):
                metadata.pop(name, None)
    return made


def assemble(
    document: Mapping[str, Any] | None,
    tasks: Sequence[NotebookTask],
    outputs: Iterable[Mapping[str, Any]],
    parameters: Mapping[str, JsonValue],
    about: Mapping[str, Any],
) -> bytes:
    """The executed notebook as the bytes of an ``.ipynb`` file.

    Args:
        document: the notebook without outputs; made of the tasks' cells where it is not known.
        tasks: the notebook's tasks.
        outputs: what is kept of each task that ran or was reused, in any order.
        parameters: the run's parameters; those that differ from the notebook's own values stand at the end of the
            parameters cell, as they were set.
        about: what to say of the run in the notebook's metadata.
    """
    made = without_outputs(document) if document is not None else _document(tasks)
    cells: list[_Json] = made["cells"]
    displays: dict[str, list[_Json]] = {}
    for told in sorted(outputs, key=lambda each: int(each["position"])):
        for entry in told["cells"]:
            cell = cells[int(entry["index"])] if int(entry["index"]) < len(cells) else None
            if cell is None or cell.get("cell_type") != "code":
                continue
            cell["execution_count"] = entry["execution_count"]
            cell["outputs"] = copy.deepcopy(entry["outputs"])
            for output in cell["outputs"]:
                transient: _Json = output.get("transient") or {}
                if name := transient.get("display_id"):
                    displays.setdefault(name, []).append(output)
        for update in told.get("updates") or ():
            for output in displays.get(update["display_id"], ()):
                output["data"], output["metadata"] = dict(update["data"]), dict(update["metadata"])
    _set_parameters(cells, tasks, parameters)
    metadata: _Json = made.setdefault("metadata", {})
    metadata["mlplatform"] = dict(about)
    return _text(made).encode("utf-8", "surrogatepass")


def changed_parameters(tasks: Iterable[NotebookTask], parameters: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """The parameters of a run that are not what the notebook itself sets."""
    found: dict[str, JsonValue] = {}
    for task in tasks:
        for name in task.parameters:
            if name in parameters and (name not in task.defaults or not same(parameters[name], task.defaults[name])):
                found[name] = parameters[name]
    return found


def same(one: JsonValue, other: JsonValue) -> bool:
    """Whether two JSON values are the same; a boolean is no number."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def assignments(values: Mapping[str, JsonValue]) -> str:
    """Values as the Python lines that set them."""
    return "\n".join(f"{name} = {value!r}" for name, value in values.items())


def _set_parameters(cells: list[_Json], tasks: Sequence[NotebookTask], parameters: Mapping[str, JsonValue]) -> None:
    for task in tasks:
        changed = changed_parameters([task], parameters)
        index = task.cells[-1].index
        if changed and index < len(cells):
            source: Any = cells[index]["source"]
            text = source if isinstance(source, str) else "".join(source)
            cells[index]["source"] = f"{text}\n\n# Parameters of this run\n{assignments(changed)}"


def _document(tasks: Sequence[NotebookTask]) -> _Json:
    """A notebook of the tasks' cells, at their places; what stood between them is not known."""
    known = {cell.index: cell for task in tasks for cell in task.cells}
    cells: list[_Json] = []
    for index in range(max(known, default=-1) + 1):
        base: _Json = {"id": f"cell-{index}", "metadata": {}}
        if index in known:
            tags = {"tags": ["raises-exception"]} if known[index].may_fail else {}
            base |= {"cell_type": "code", "metadata": tags, "source": known[index].source}
            cells.append(base | {"outputs": [], "execution_count": None})
        else:
            cells.append(base | {"cell_type": "markdown", "source": ""})
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    return {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}


# ------------------------------------------------------------------ the file
def _text(document: _Json) -> str:
    """A notebook's text as Jupyter writes it, so that versions can be compared line by line."""
    minor = document.setdefault("nbformat_minor", 5)
    document.setdefault("nbformat", 4)
    for position, cell in enumerate(document["cells"]):
        cell.setdefault("metadata", {})
        cell["source"] = _lines(cell["source"])
        if isinstance(minor, int) and minor >= 5:
            cell.setdefault("id", f"cell-{position}")
        for output in cell.get("outputs") or ():
            output.pop("transient", None)
            if "text" in output:
                output["text"] = _lines(output["text"])
            data: _Json = output.get("data") or {}
            for kind, value in data.items():
                if isinstance(value, str) and (kind.startswith("text/") or kind in _TEXT):
                    data[kind] = _lines(value)
    return json.dumps(document, ensure_ascii=False, indent=1, sort_keys=True) + "\n"


def _lines(text: Any) -> Any:
    return text.splitlines(keepends=True) if isinstance(text, str) else text
