"""Values that a run may override."""

from __future__ import annotations

from typing import Any

import pytest

from mlplatform.core.values import ParameterType
from mlplatform.notebook.model import Cell, Parameter
from mlplatform.notebook.parameters import offered_cell, read_parameters

INT, FLOAT, TEXT = ParameterType.NUMBER_INTEGER, ParameterType.NUMBER_DOUBLE, ParameterType.STRING
BOOL, LIST, STRUCT = ParameterType.BOOLEAN, ParameterType.LIST, ParameterType.STRUCT


def parameters(source: str) -> dict[str, Parameter]:
    return {each.name: each for each in read_parameters([Cell(0, "code", source)], [0])}


@pytest.mark.parametrize(
    ("source", "type_", "default"),
    [
        ("n = 3", INT, 3),
        ("n = -3", INT, -3),
        ("n = 10**3", INT, 1000),
        ("n = 60 * 60", INT, 3600),
        ("n = 1_000", INT, 1000),
        ("n = 0.5", FLOAT, 0.5),
        ("n = 1e-3", FLOAT, 0.001),
        ("n = 1 / 4", FLOAT, 0.25),
        ("n: float = 1", FLOAT, 1),
        ("n = True", BOOL, True),
        ("n = 'a'", TEXT, "a"),
        ("n = [1, (2, 'x')]", LIST, [1, [2, "x"]]),
        ("n = (1, 2)", LIST, [1, 2]),
        ("n = {'a': [1], 'b': None}", STRUCT, {"a": [1], "b": None}),
    ],
)
def test_types_are_those_of_the_values(source: str, type_: ParameterType, default: Any) -> None:
    found = parameters(source)["n"]
    assert (found.type, found.default, found.has_default) == (type_, default, True)


@pytest.mark.parametrize(
    ("source", "type_"),
    [
        ("n = None", TEXT),
        ("n: int = None", INT),
        ("n: list[int] = None", LIST),
        ("n: typing.Dict[str, int] = None", STRUCT),
        ("n = len('abc')", TEXT),
        ("n: int = len('abc')", INT),
        ("n = 1 / 0", TEXT),
        ("n = 9**999", TEXT),
        ("n = {1: 2}", TEXT),
        ("n = {**other}", TEXT),
        ("n = float('inf')", TEXT),
    ],
)
def test_values_that_are_not_plain_have_no_default(source: str, type_: ParameterType) -> None:
    found = parameters(source)["n"]
    assert (found.type, found.default, found.has_default) == (type_, None, False)


def test_comments_say_what_it_is_for() -> None:
    found = parameters("n = 3  # how many\nm = (  # no\n    4\n)  # the other\nt = '# no comment'\n")
    assert [found[name].description for name in "nmt"] == ["how many", "the other", ""]


def test_the_last_setting_counts() -> None:
    cells = [Cell(0, "code", "n = 1\nk = 1"), Cell(1, "code", "n = 2.5")]
    found = read_parameters(cells, [0, 1])
    assert [(each.name, each.default) for each in found] == [("k", 1), ("n", 2.5)]


@pytest.mark.parametrize("source", ["%magic", "if x:\n    n = 1", "n, m = 1, 2", "a.b = 1", "oops("])
def test_other_statements_set_none(source: str) -> None:
    assert parameters(source) == {}


def test_the_offered_cell_is_the_first_that_does_more_than_define() -> None:
    cells = [
        Cell(0, "markdown", "# T"),
        Cell(1, "code", "import os"),
        Cell(2, "code", "%matplotlib inline"),
        Cell(3, "code", "# words"),
        Cell(4, "code", "'''what it is'''\nn = 1"),
        Cell(5, "code", "m = 2"),
    ]
    assert offered_cell(cells, {1}) == 4
    assert offered_cell([*cells[:4], Cell(4, "code", "n = f()"), cells[5]], {1}) is None
