"""What the text of a task may read as it finds it, and what it surely sets itself."""

from __future__ import annotations

import pytest
from IPython.core.inputtransformer2 import TransformerManager

from mlplatform.launcher.notebook.analysis import read_task

TRANSFORM = TransformerManager().transform_cell


def flow(*cells: str):
    return read_task([(cell, False) for cell in cells], TRANSFORM)


@pytest.mark.parametrize(
    ("source", "reads", "not_read"),
    [
        ("x = 1\ny = x + z", {"z"}, {"x", "y"}),
        ("x += 1", {"x"}, set()),
        ("if c:\n    x = 1\nprint(x)", {"c", "x"}, set()),
        ("if c:\n    x = 1\nelse:\n    x = 2\nprint(x)", {"c"}, {"x"}),
        ("for i in things:\n    last = i\nprint(last)", {"things", "last"}, {"i"}),
        ("for i in (1, 2):\n    pass\nprint(i)", set(), {"i"}),
        ("with open('f') as fh:\n    t = fh.read()\nprint(t)", set(), {"fh", "t"}),
        ("with swallow():\n    t = 1\nprint(t)", {"t"}, set()),
        ("try:\n    x = f()\nexcept E:\n    y = 1\nprint(x)", {"x", "f", "E"}, set()),
        ("def f(a, b=d):\n    return a + g + h(b)\n", {"d", "g", "h"}, {"a", "b", "f"}),
        ("def f():\n    global calls\n    calls += 1", {"calls"}, set()),
        ("class K:\n    n = n + 1\n    def m(self):\n        return other", {"n", "other"}, {"K", "self"}),
        ("[v * k for v in data]", {"data", "k"}, {"v"}),
        ("[last := y for y in rest]\nprint(last)", {"rest"}, {"y"}),
        ("f = lambda a: a + b", {"b"}, {"a", "f"}),
        ("del x", {"x"}, set()),
        ("df.query('a > @limit')", {"df", "limit"}, set()),
        ("ols('y ~ np.log(x) + mine(z)', data=d)", {"np", "mine", "d"}, set()),
        ("print('a limit of x')", {"print"}, {"limit", "x"}),
        ("up = !echo {name} | tr $other\n", {"name", "other"}, {"up"}),
        ("%time c = sum(values)", {"values"}, set()),
        ("%matplotlib inline\nimport numpy as np\nnp.zeros(3)", set(), {"np"}),
        ("one = await fetch(3)", {"fetch"}, {"one"}),
        ("acc = [x async for x in gen(n)]", {"gen", "n"}, {"x"}),
        ("match point:\n    case [a, *b] if a > lim:\n        print(a, b)", {"point", "lim"}, set()),
        ("obj.attr = v\nobj[key] = w", {"obj", "v", "key", "w"}, set()),
    ],
)
def test_reads(source: str, reads: set[str], not_read: set[str]) -> None:
    found = flow(source)
    assert reads <= found.reads, found.reads
    assert not not_read & found.reads, found.reads
    assert not found.whole


@pytest.mark.parametrize(
    "source",
    ["exec(text)", "'a' in globals()", "locals()['x']", "%store x", "import __main__", "def f():\n    return globals()",
     "get_ipython().user_ns['x']", "sys._getframe(1)", "%run -i other.py", "this is no python"],
)  # fmt: skip
def test_whatever_can_reach_any_name_reads_all(source: str) -> None:
    assert flow(source).whole


def test_cells_follow_each_other_and_one_that_may_fail_sets_nothing_for_sure() -> None:
    assert "x" not in flow("x = 1", "print(x)").reads
    found = read_task([("x = 1", True), ("print(x)", False)], TRANSFORM)
    assert "x" in found.reads


def test_places_it_assigns_to() -> None:
    assert flow("statistics.mean = f\nsetattr(pd.DataFrame, 'mine', g)\nself.x = 1").patches == {
        "statistics.mean",
        "pd.DataFrame.mine",
        "self.x",
    }


def test_history() -> None:
    assert flow("_ + 1").history
    assert flow("Out[3]").history
    assert not flow("for _ in range(3):\n    print(_)").history
