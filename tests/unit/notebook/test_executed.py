"""Outputs in their places."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mlplatform.notebook.executed import assemble, assignments, changed_parameters, without_outputs
from mlplatform.planning.notebook_component import CellSource, NotebookTask
from tests.support.books import code, document, md


def task(name: str, position: int, *cells: int, **more: Any) -> NotebookTask:
    return NotebookTask(name, position, tuple(CellSource(index, f"c{index}") for index in cells), **more)


def text(value: str, display_id: str = "") -> dict[str, Any]:
    output: dict[str, Any] = {"output_type": "display_data", "data": {"text/plain": value}, "metadata": {}}
    return output | ({"transient": {"display_id": display_id}} if display_id else {})


def told(position: int, *cells: tuple[int, list[dict[str, Any]]], updates: list[Any] | None = None) -> dict[str, Any]:
    entries = [{"index": index, "execution_count": index + 1, "outputs": outputs} for index, outputs in cells]
    return {"task": f"t{position}", "position": position, "cells": entries, "updates": updates or []}


def executed(*args: Any, **kwargs: Any) -> dict[str, Any]:
    nbformat: Any = pytest.importorskip("nbformat")
    data = assemble(*args, **kwargs)
    nbformat.validate(nbformat.reads(data.decode(), as_version=4))
    return json.loads(data)


def test_outputs_stand_where_they_belong() -> None:
    book = document(md("# T\ntext"), code("a = 1\na"), code("b"), code("never"), language_info={"name": "python"})
    book["cells"][3]["outputs"] = [text("from long ago")]
    made = executed(
        book,
        [task("a", 0, 1), task("b", 1, 2, 3)],
        [told(1, (2, [text("two\nlines")])), told(0, (1, []))],
        {},
        {"run_id": "r"},
    )
    assert [cell.get("execution_count") for cell in made["cells"]] == [None, 2, 3, None]
    assert made["cells"][2]["outputs"][0]["data"]["text/plain"] == ["two\n", "lines"]
    assert made["cells"][3]["outputs"] == []
    assert made["cells"][0]["source"] == ["# T\n", "text"]
    assert made["metadata"] == {"language_info": {"name": "python"}, "mlplatform": {"run_id": "r"}}
    assert book["cells"][3]["outputs"] != [], "the notebook that was given is not changed"


def test_updates_reach_displays_of_earlier_tasks_only() -> None:
    update = {"display_id": "s", "data": {"text/plain": "done"}, "metadata": {}}
    made = executed(
        document(code("a"), code("b"), code("c")),
        [task("a", 0, 0), task("b", 1, 1), task("c", 2, 2)],
        [told(0, (0, [text("waiting", "s")])), told(1, (1, []), updates=[update]), told(2, (2, [text("new", "s")]))],
        {},
        {},
    )
    outputs = [cell["outputs"] for cell in made["cells"]]
    assert [[o["data"]["text/plain"] for o in each] for each in outputs] == [[["done"]], [], [["new"]]]
    assert "transient" not in json.dumps(made)


def test_images_and_json_stay_whole() -> None:
    data = {
        "image/png": "aGk=\n",
        "application/json": {"a": "x\ny"},
        "image/svg+xml": "<svg>\n</svg>",
        "text/html": "a\nb",
    }
    output = {"output_type": "display_data", "data": data, "metadata": {}}
    made = executed(document(code("a")), [task("a", 0, 0)], [told(0, (0, [output]))], {}, {})
    assert made["cells"][0]["outputs"][0]["data"] == {
        "image/png": "aGk=\n",
        "application/json": {"a": "x\ny"},
        "image/svg+xml": ["<svg>\n", "</svg>"],
        "text/html": ["a\n", "b"],
    }


def test_changed_parameters_stand_at_the_end_of_their_cell() -> None:
    tasks = [task("parameters", 0, 0, parameters=("n", "name"), defaults={"n": 3})]
    made = executed(document(code("n = 3\nname = None")), tasks, [], {"n": 3, "name": "x", "other": 1}, {})
    assert "".join(made["cells"][0]["source"]) == "n = 3\nname = None\n\n# Parameters of this run\nname = 'x'"
    same = executed(document(code("n = 3\nname = None")), tasks, [], {"n": 3}, {})
    assert "".join(same["cells"][0]["source"]) == "n = 3\nname = None"


@pytest.mark.parametrize(
    ("given", "default", "expected"),
    [
        (3, 3, {}),
        (4, 3, {"n": 4}),
        (True, 1, {"n": True}),
        ([1], [1], {}),
        ({"b": 1, "a": 2}, {"a": 2, "b": 1}, {}),
        (None, 3, {"n": None}),
    ],
)
def test_what_counts_as_changed(given: Any, default: Any, expected: dict[str, Any]) -> None:
    holder = task("p", 0, 0, parameters=("n",), defaults={"n": default})
    assert changed_parameters([holder], {"n": given}) == expected


def test_values_as_python() -> None:
    values = {"a": None, "b": [True, {"x": 1.5}], "c": "it's"}
    namespace: dict[str, Any] = {}
    exec(assignments(values), namespace)
    assert {name: namespace[name] for name in values} == values


def test_without_the_notebook_the_cells_are_what_there_is() -> None:
    made = executed(None, [task("a", 0, 1), task("b", 1, 3)], [told(0, (1, [text("x")]))], {}, {})
    assert [(cell["cell_type"], "".join(cell["source"])) for cell in made["cells"]] == [
        ("markdown", ""),
        ("code", "c1"),
        ("markdown", ""),
        ("code", "c3"),
    ]


def test_cells_that_the_notebook_lost_are_passed_over() -> None:
    made = executed(document(code("a")), [task("a", 0, 0, 5)], [told(0, (0, []), (5, [text("x")]))], {}, {})
    assert len(made["cells"]) == 1


def test_nothing_of_an_earlier_execution_is_kept() -> None:
    cell = code("a") | {"outputs": [text("x")], "execution_count": 3}
    cell["metadata"] = {"execution": {}, "papermill": {}, "ExecuteTime": {}, "tags": ["a"]}
    assert without_outputs(document(cell))["cells"] == [code("a", "a")]
