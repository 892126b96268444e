"""IPython's syntax, read without IPython."""

from __future__ import annotations

import ast

import pytest

from mlplatform.notebook.flow import BUILTINS, read_flow
from mlplatform.notebook.syntax import read_cell


@pytest.mark.parametrize(
    ("source", "reads", "binds"),
    [
        ("%matplotlib inline\nx = y", {"y"}, {"x"}),
        ("%time c = sum(xs)", {"xs"}, {"c"}),
        ("%timeit -n 10 -r 3 f(x)", {"f", "x"}, set()),
        ("t = %timeit -o f(x)", {"f", "x"}, {"t"}),
        ("lines = !echo {name} $other; echo world", {"name", "other"}, {"lines"}),
        ("!pip install {package}==$version", {"package", "version"}, set()),
        ("!ls \\\n  {folder}", {"folder"}, set()),
        ("files = %ls", set(), {"files"}),
        ("if c:\n    !touch {f}\n    %cd {d}", {"c", "f", "d"}, set()),
        ("x?\n?y\nz.a??", set(), set()),
        ("%%time\nx = y", {"y"}, {"x"}),
        ("%%time f(a)\nx = y", {"f", "a", "y"}, {"x"}),
        ("%%capture out\nx = y", {"y"}, {"out", "x"}),
        ("%%capture --no-stderr out\nx = 1", set(), {"out", "x"}),
        ("%%bash\necho {name} $other", {"name", "other"}, set()),
        ("%%bash --out text\ntrue", set(), {"text"}),
        ("%%writefile {folder}/m.py\nx = {not_read}", {"folder"}, set()),
        ("%%timeit\n%%time\nx = y", {"y"}, {"x"}),
        ("text = '''\n%magic?\n'''\ny = x", {"x"}, {"text", "y"}),
        ("await f(x)", {"f", "x"}, set()),
    ],
)
def test_what_is_read_and_bound(source: str, reads: set[str], binds: set[str]) -> None:
    flow = read_flow(source)
    assert (set(flow.reads) - BUILTINS, set(flow.binds), flow.whole) == (reads, binds, "")


@pytest.mark.parametrize("source", ["%run x.py", "%store -r a", "%%unknown\n1", "%reset -f", "x = %who_ls"])
def test_magics_that_may_do_anything(source: str) -> None:
    assert "is not known" in read_flow(source).whole


@pytest.mark.parametrize("source", ["%%html\n<b>x</b>", "%%javascript\nvar x", "%%sh\nls", "%%writefile a.py\nx ="])
def test_other_languages(source: str) -> None:
    told = read_cell(source)
    assert told.foreign
    assert told.whole == ""


def test_what_is_no_python_at_all() -> None:
    told = read_cell("print 'hello")
    assert told.tree is None
    assert told.whole == "it cannot be read as Python"


def test_automatic_calls_are_left_to_ipython() -> None:
    told = read_cell(",f a b")
    assert told.tree is not None
    assert "f" in {node.id for node in ast.walk(told.tree) if isinstance(node, ast.Name)}
