"""What cells do to each other, through functions of other cells too."""

from __future__ import annotations

import pytest

from mlplatform.notebook.effects import NotebookFlow, dependencies, together
from mlplatform.notebook.flow import read_flow


def flow(*cells: str) -> NotebookFlow:
    return NotebookFlow([read_flow(cell) for cell in cells])


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["K = 1\ndef f(x): return x * K", "K = 3", "c = f(2)"], {"f", "K"}),
        (["def f(): return g()", "def g(): return K", "K = 1", "f()"], {"f", "g", "K"}),
        (["def f(): return K", "def deco(h): return h", "g = deco(f)", "K = 1", "g()"], {"g", "K"}),
        (["class A:\n    def m(self): return K", "a = A()", "K = 1", "a.m()"], {"a", "K"}),
        (["def f(): return K", "K = 2\nx = f()"], {"f"}),
        (["fs = [lambda: K]", "K = 1", "for f in fs: f()"], {"fs", "K", "f"}),
        (["def double(x): return 2 * x", "formula = 'y ~ double(z)'"], {"double"}),
        (["def f(): return f()", "f()"], {"f"}),
        (["list = [1]", "max(list)"], {"list"}),
        (["x = 1", "max([x])"], {"x"}),
    ],
)
def test_reads_through_others(cells: list[str], expected: set[str]) -> None:
    assert set(flow(*cells).effects[-1].reads) == expected


def test_a_function_writes_its_globals_where_it_is_called() -> None:
    told = flow("n = 0\ndef bump():\n    global n\n    n += 1", "bump()").effects[1]
    assert "n" in told.writes


def test_a_star_import_may_bind_what_nobody_else_binds() -> None:
    told = flow("from surely_not_there_xyz import *", "y = power(x, sum(v))", "x = 1").effects
    assert {"power", "sum", "v"} <= told[0].writes
    assert "x" not in told[0].writes
    assert {"power", "sum", "v", "x"} <= told[1].reads


@pytest.mark.parametrize(("name", "whole"), [("_", True), ("_12", True), ("__", True), ("_i3", True), ("_x", False)])
def test_history_is_everything(name: str, whole: bool) -> None:
    assert bool(flow("a = 1", f"b = {name}").effects[1].whole) is whole


def test_a_bound_underscore_is_a_name_like_others() -> None:
    assert flow("_ = 1", "b = _").effects[1].whole == ""


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["a = []", "b = 1", "a.append(1)", "c = len(a)"], [(), (), (0,), (2,)]),
        (["a = 1", "b = a", "c = a", "d = b + c"], [(), (0,), (0,), (1, 2)]),
        (["x = 1", "x = 2", "y = x"], [(), (), (1,)]),
        (["x = 1", "if c: x = 2", "y = x"], [(), (0,), (1,)]),
        (["a = 1", "exec(t)", "b = 2"], [(), (0,), (1,)]),
        (["import os", "os.chdir('x')", "y = 1"], [(), (0,), ()]),
    ],
)
def test_dependencies(cells: list[str], expected: list[tuple[int, ...]]) -> None:
    assert list(dependencies(flow(*cells).effects)) == expected


def test_cells_of_one_task_together() -> None:
    both = together(flow("a = b", "c = a + d", "del c").effects)
    assert set(both.reads) == {"b", "d"}
    assert {"a", "c"} <= both.writes
    assert both.sure == {"a"}


def test_what_was_perhaps_deleted_is_read_from_before() -> None:
    both = together(flow("x = 1", "if c:\n    del x", "y = x").effects)
    assert set(both.reads) == {"c", "x"}
