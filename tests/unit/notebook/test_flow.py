"""What a cell reads and binds: by tables, and against what running it really touches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlplatform.notebook.flow import BUILTINS, read_flow, words_of


def reads(source: str) -> set[str]:
    return set(read_flow(source).reads) - BUILTINS


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("y = x", {"x"}),
        ("x = 1\ny = x", set()),
        ("if c:\n    x = 1\ny = x", {"c", "x"}),
        ("for i in xs:\n    t = i", {"xs", "i"}),
        ("x += 1", {"x"}),
        ("a.b.c = v", {"a", "v"}),
        ("a[i] = v", {"a", "i", "v"}),
        ("del x", {"x"}),
        ("ys = [x * k for x in xs]", {"xs", "k"}),
        ("y = x\nsq = [x for x in y]", {"x"}),
        ("f = lambda a, b=d: a + g", {"d", "g"}),
        ("def f(a, b=d):\n    return a + g", {"d"}),
        ("@deco\ndef f() -> T: ...", {"deco", "T"}),
        ("class K(Base):\n    n = n + 1\n    def m(self):\n        return g", {"Base", "n"}),
        ("with open(p) as f:\n    t = f.read()", {"p"}),
        ("try:\n    import fast\nexcept ImportError as e:\n    fast = None", set()),
        ("print(e)", {"e"}),
        ("match v:\n    case [a, *b] if g: r = a\n    case K.X: r = 2", {"v", "g", "a", "K"}),
        ("if (n := f(x)) > 1:\n    pass\ny = n", {"f", "x", "n"}),
        ("[y := q for q in qs]\nz = y", {"qs", "q", "y"} - {"q"}),
        ("x: int = 1\ny = x", set()),
        ("f'{a!r:>{w}}'", {"a", "w"}),
        ("one = await g(3)", {"g"}),
        ("[x async for x in gen(n)]", {"gen", "n"}),
        ("global x\nx = 1\ny = x", set()),
        ("import a.b.c as d, e.f\nd; e", set()),
        ("first, *rest = xs\nrest", {"xs"}),
    ],
)
def test_reads(source: str, expected: set[str]) -> None:
    assert reads(source) == expected


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("a = b = 1\nc, (d, *e) = v", {"a", "b", "c", "d", "e"}),
        ("import os.path\nimport numpy as np\nfrom m import f as g, h", {"os", "np", "g", "h"}),
        ("def f(): x = 1\nclass K: y = 2", {"f", "K"}),
        ("for i, (j, k) in xs: pass", {"i", "j", "k"}),
        ("with a as b, c as (d, e): pass", {"b", "d", "e"}),
        (
            "try:\n    x = 1\nexcept E as err:\n    y = 1\nelse:\n    z = 1\nfinally:\n    w = 1",
            {"x", "err", "y", "z", "w"},
        ),
        (
            "match v:\n    case {'a': p, **rest}: pass\n    case [q, *r] | (q, r) as whole: pass",
            set("pqr") | {"rest", "whole"},
        ),
        ("[last := y for y in ys]", {"last"}),
        ("a.b = 1\na[0] = 2", set()),
        ("class K:\n    def m(self):\n        global made\n        made = 1", {"K", "made"}),
    ],
)
def test_binds(source: str, expected: set[str]) -> None:
    assert set(read_flow(source).binds) == expected


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("b.append(3)", {"b"}),
        ("a.b.c(d, *e, **f)", {"a", "d", "e", "f"}),
        ("f(x)", {"x"}),
        ("x += y", {"x"}),
        ("a.b[c] = d", {"a"}),
        ("del a[0]", {"a"}),
        ("for x in xs: pass", {"xs"}),
        ("[f(x, k) for x in xs]", {"f", "k", "xs"}),
        ("statistics.mean = g", {"statistics"}),
        ("y = x + 1", set()),
    ],
)
def test_what_may_be_changed_in_place(source: str, expected: set[str]) -> None:
    assert set(read_flow(source).changes) >= expected
    if not expected:
        assert set(read_flow(source).changes) == set()


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("def f(x):\n    return x * K", {"f": {"K"}}),
        ("def f():\n    def g():\n        return K\n    return g", {"f": {"K"}}),
        ("def f():\n    global n\n    n += 1", {"f": {"n"}}),
        ("def f(K):\n    return [K for K in L]", {"f": {"L"}}),
        ("class A:\n    def m(self):\n        return helper(self)", {"A": {"helper"}}),
        ("f = lambda x: x + K", {"f": {"K"}}),
        ("fs = [lambda x: x * K, 1]", {"fs": {"K"}}),
        ("d['a'] = lambda: K", {"d": {"K"}}),
        ("def f(x):\n    x = 1\n    return x", {}),
    ],
)
def test_what_is_read_when_it_is_called(source: str, expected: Mapping[str, set[str]]) -> None:
    found = {name: set(names) for name, names in read_flow(source).deferred.items()}
    assert found == expected


@pytest.mark.parametrize(
    "source",
    [
        "exec(text)",
        "eval('x')",
        "globals()['x'] = 1",
        "got = 'x' in locals()",
        "vars()",
        "dir()",
        "import __main__",
        "from __main__ import x",
        "get_ipython().user_ns['x']",
        "ip.push({'x': 1})",
        "import sys\nsys._getframe(1).f_globals",
        "sys.modules['__main__'].x = 1",
        "def f():\n    exec('x = 1', globals())",
        "%run other.py",
        "%load x.py",
        "%%strange\nx = 1",
        "%pylab",
        "Out[3]",
        "this is no Python",
    ],
)
def test_what_may_touch_everything(source: str) -> None:
    assert read_flow(source).whole


@pytest.mark.parametrize(
    "source",
    [
        "model.eval()",
        "vars(x)",
        "dir(x)",
        "df.stack()",
        "xs.push(1)",
        "x.reset()",
        "ip = get_ipython()",
        "%matplotlib inline",
    ],
)
def test_what_only_looks_like_it(source: str) -> None:
    assert read_flow(source).whole == ""


def test_star_imports_of_the_standard_library_are_resolved() -> None:
    flow = read_flow("from math import *")
    assert {"pi", "sqrt", "e"} <= flow.binds
    assert not flow.star


@pytest.mark.parametrize(
    "source", ["from surely_not_there_xyz import *", "from . import *", "from antigravity import *"]
)
def test_other_star_imports_may_bring_anything(source: str) -> None:
    assert read_flow(source).star


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("y ~ f(x1) + x2", {"y", "f", "x1", "x2"}),
        ("a > @limit", {"a", "limit"}),
        ("x", set()),
        ("some plain words", set()),
        ("long - " * 100, set()),
    ],
)
def test_words_of_texts(text: str, expected: set[str]) -> None:
    assert words_of(text) == expected


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import os\nfrom x import y\n'text'\ndef f(a=1): ...", True),
        ("class A:\n    n = 1\n    def m(self): ...", True),
        ("try:\n    import fast\nexcept ImportError:\n    fast = None", True),
        ("@dataclass\nclass A:\n    x: int = 0", True),
        ("@lru_cache(None)\ndef f(): ...", False),
        ("def f(a=[]): ...", False),
        ("x = 1", False),
        ("import numpy as np\nnp.random.seed(1)", False),
        ("%matplotlib inline", False),
        ("", False),
    ],
)
def test_definitions(source: str, expected: bool) -> None:
    assert read_flow(source).definitions is expected


# ------------------------------------------------------------------ against the truth
SNIPPETS = [
    "y = x + z",
    "x = 5",
    "x += 1",
    "if x > 2:\n    w = z\nelse:\n    v = 1",
    "for i in range(x):\n    z = i",
    "def f(a, b=x):\n    return a + y",
    "g = f if callable(f) else None",
    "t = f(1) if callable(f) else 0",
    "s = [x * q for q in range(z)]",
    "h = lambda k: k + x",
    "u = h(2) if callable(h) else 0",
    "class K:\n    n = x\n    def m(self):\n        return z",
    "r = K().m() if isinstance(K, type) else 0",
    "try:\n    nope\nexcept NameError as err:\n    m = str(err)",
    "del x",
    "d = {'x': x}\nd['y'] = y",
    "def bump():\n    global x\n    x = x + y\nbump()",
    "(w := x) + 1",
    "import math as mm\nx = mm.floor(x)",
    "from math import pi\nz = pi",
    "with open('/dev/null') as fh:\n    z = x",
    "match x:\n    case int(n):\n        p = n",
    "while x > 100:\n    x = x - 1\nelse:\n    y = z",
    "a, (b, *c) = x, (y, z)",
    "x = [i for i in [1, 2] if i > 1] and x",
    "print(f'{x:>{y}}', end='')",
    "{k: v for k, v in {'a': x}.items() if k != z}",
    "def outer():\n    q = y\n    def inner():\n        return q + z\n    return inner\nw = outer()()",
]
NAMES = {"x": 3, "y": 4, "z": 2, "w": 1, "f": 0, "g": 0, "h": 0, "K": 0, "d": {}, "v": 0, "u": 0, "t": 0, "m": 0}


class Watched(dict[str, Any]):
    """A namespace that tells which names were asked for before they were set, functions' look-ups included."""

    def __init__(self) -> None:
        super().__init__(NAMES)
        self.asked: set[str] = set()
        self.set: set[str] = set()

    def __getitem__(self, name: str) -> Any:
        if name not in self.set:
            self.asked.add(name)
        return super().__getitem__(name)

    def __setitem__(self, name: str, value: Any) -> None:
        self.set.add(name)
        super().__setitem__(name, value)


@given(st.lists(st.sampled_from(SNIPPETS), min_size=1, max_size=6))
@settings(max_examples=300, deadline=None)
def test_nothing_that_runs_is_missed(cells: list[str]) -> None:
    """Whatever a cell reads of what was there before it, or binds, its text said so; through functions as well."""
    from mlplatform.notebook.effects import NotebookFlow

    namespace = Watched()
    effects = NotebookFlow([read_flow(cell) for cell in cells]).effects
    for cell, told in zip(cells, effects, strict=True):
        namespace.asked, namespace.set = set(), set()
        before = dict(namespace)
        try:
            exec(compile(cell, "<cell>", "exec"), namespace)
        except (NameError, TypeError, ValueError):
            continue  # such as x deleted before: what was read until then counts
        finally:
            asked = {name for name in namespace.asked if name not in BUILTINS and not name.startswith("__")}
            assert asked <= told.reads | told.binds, cell
            changed = {name for name in namespace if name not in before or namespace.get(name) is not before[name]}
            assert changed - {"__builtins__"} <= told.writes, cell


@pytest.mark.parametrize("source", SNIPPETS)
def test_the_snippets_are_no_whole_namespace(source: str) -> None:
    """Otherwise the property above would say nothing of them."""
    assert read_flow(source).whole == ""
