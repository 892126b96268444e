"""What two runs of a notebook tell of it."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from mlplatform.notebook.verdict import (
    ignores_output,
    linear_findings,
    output_differences,
    pipeline_findings,
    value_differences,
)
from tests.support.books import book, code, document


def shown(text: str) -> dict[str, Any]:
    return {"output_type": "stream", "name": "stdout", "text": text}


def with_outputs(source: str, *outputs: dict[str, Any], tags: tuple[str, ...] = ()) -> dict[str, Any]:
    return code(source, *tags) | {"outputs": list(outputs)}


ERROR = {"output_type": "error", "ename": "ValueError", "evalue": "no", "traceback": []}


@pytest.mark.parametrize(
    ("source", "tags", "expected"),
    [
        ("# NBVAL_IGNORE_OUTPUT\nx", (), True),
        ("  #PYTEST_VALIDATE_IGNORE_OUTPUT", (), True),
        ("x", ("nbval-ignore-output",), True),
        ("'NBVAL_IGNORE_OUTPUT'", (), False),
    ],
)
def test_ignored_outputs(source: str, tags: tuple[str, ...], expected: bool) -> None:
    assert ignores_output(book(code(source, *tags)).cells[0]) is expected


def test_a_failing_cell_is_told_whatever_is_ignored() -> None:
    notebook = book(code("1/0", "nbval-ignore-output"))
    error = {"cell": 0, "ename": "ZeroDivisionError", "evalue": "division by zero", "traceback": "the user's"}
    assert linear_findings(notebook, document(code("1/0")), error) == [
        "cell 0 fails: ZeroDivisionError: division by zero\nthe user's"
    ]


@pytest.mark.parametrize(
    ("stored", "ran", "words"),
    [
        ([shown("a")], [], "the file shows an output, and running it gives none"),
        ([], [shown("a")], "running it gives an output, and the file shows none"),
        ([ERROR], [ERROR], "the file holds an error as its output: ValueError"),
        ([shown("a")], [shown("b")], ""),
        ([], [], ""),
    ],
)
def test_outputs_that_are_missing(stored: list[Any], ran: list[Any], words: str) -> None:
    notebook = book(with_outputs("f()", *stored), with_outputs("g()", shown("x")))
    executed = document(with_outputs("f()", *ran), with_outputs("g()", shown("x")))
    assert linear_findings(notebook, executed, None) == ([f"cell 0: {words}"] if words else [])


def test_a_notebook_stripped_of_its_outputs_misses_none() -> None:
    assert linear_findings(book(code("f()")), document(with_outputs("f()", shown("a"))), None) == []


def test_outputs_are_compared_cell_by_cell() -> None:
    image = {"output_type": "display_data", "data": {"image/png": "x"}, "metadata": {}}
    cells = (code("a"), code("b", "nbval-ignore-output"), code("c"), code("d"), code("e"))
    linear = document(
        *(with_outputs("x", o) for o in (shown("1"), shown("1"), image, shown("1"), shown("at 0x7f00aa11")))
    )
    other = document(
        *(with_outputs("x", o) for o in (shown("2"), shown("2"), shown(""), ERROR, shown("at 0x7f00bb22")))
    )
    found = output_differences(book(*cells), linear, other)
    assert sorted(found) == [0, 2, 3]
    assert found[3] == "no error in the linear run, ValueError in the pipeline run"


def test_values_are_compared_by_name() -> None:
    linear = {"a": pickle.dumps(1), "b": pickle.dumps([1]), "c": pickle.dumps(3)}
    found = value_differences(linear, {"a": pickle.dumps(1), "b": pickle.dumps([2]), "d": pickle.dumps(1)})
    assert found == {
        "b": "[0]: 1 is not 2",
        "c": "there is none after the pipeline run",
        "d": "there is none after the linear run",
    }
    assert pipeline_findings({2: "x"}, {"b": "y"}) == ["cell 2: its output differs\n    x", "variable b differs: y"]
