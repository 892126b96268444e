"""What changes a fingerprint, what part it names, and what does not change it."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlplatform.capture import Captured, capture
from mlplatform.core.parts import explain_parts as explain
from tests.support.kernel import Kernel, project

BASE = """
import functools, importlib
import features
from features.deep import rules
LIMITS = {"low": 1, "high": {"soft": 2}}
def tune(x): return x * 2
def clean(x): return tune(x) + 1
def unused(x): return x
def twice(fn):
    @functools.wraps(fn)
    def inner(*a): return fn(*a) * 2
    return inner
def marked(fn):
    fn.mark = 1
    return fn
class Base:
    rate = 3
    def go(self, x): return x + self.rate
class Model(Base):
    size = 4
def make(lr):
    def learn(x): return x * lr
    return learn
learn = make(0.1)
part = functools.partial(tune, x=5)
@marked
def noted(x): return noted.mark
@twice
def f(x, k=LIMITS["low"]):
    late = importlib.import_module("late")
    import latest
    return [clean(x), LIMITS["high"]["soft"], Model().go(x), learn(x), part(), late.v, latest.v, k,
            features.text.up("a"), rules.apply("a"), noted(x)]
other = 5
"""
FILES = {
    "features/__init__.py": "from . import text\n",
    "features/text.py": "from .deep.rules import apply\ndef up(s):\n    return apply(s)\ndef apart(s):\n    return s\n",
    "features/deep/__init__.py": "",
    "features/deep/rules.py": "def apply(s):\n    return s.upper()\n",
    "features/deep/unused.py": "x = 1\n",
    "late.py": "from later import v\n",
    "later.py": "v = 1\n",
    "latest.py": "v = 1\n",
    "unrelated.py": "x = 1\n",
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    project(tmp_path, FILES)
    monkeypatch.syspath_prepend(str(tmp_path))
    forget()  # other tests have packages of these names as well
    yield tmp_path
    forget()


def forget() -> None:
    for name in list(sys.modules):
        if name.partition(".")[0] in ("features", "late", "later", "latest", "unrelated"):
            del sys.modules[name]
    importlib.invalidate_caches()


def captured(text: str = BASE) -> Captured:
    kernel = Kernel()
    kernel.run(text)
    return capture(kernel["f"])


#: probe -> (text to replace, by what, the part that `explain` names)
IN_CELLS = {
    "the function": ("return [clean(x),", "return [1, clean(x),", "function f"),
    "a helper": ("tune(x) + 1", "tune(x) + 2", "helper clean"),
    "a helper's helper": ("def tune(x): return x * 2", "def tune(x): return x * 3", "helper tune"),
    "a global nested in a dict": ('{"soft": 2}', '{"soft": 3}', "global LIMITS"),
    "a default argument": ('k=LIMITS["low"]', "k=LIMITS['low'] + 1", "default argument k of f"),
    "a closure value": ("make(0.1)", "make(0.2)", "closure value lr of make.learn"),
    "a partial": ("x=5", "x=6", "partial argument x of tune"),
    "a class attribute": ("size = 4", "size = 5", "class Model"),
    "a base class's attribute": ("rate = 3", "rate = 4", "class Base"),
    "a base class's method": ("x + self.rate", "x - self.rate", "class Base"),
    "a decorator": ("fn(*a) * 2", "fn(*a) * 3", "helper twice"),
    "which decorator": ("@twice\n", "", "function f"),
    "what a decorator notes": ("fn.mark = 1", "fn.mark = 2", "attribute mark of noted"),
    "what an import means": ("from features.deep import rules", "from features import text as rules", "import rules"),
    "a constant of the function": ('up("a")', 'up("b")', "function f"),
    "a type of a constant": ('{"soft": 2}', '{"soft": 2.0}', "global LIMITS"),
}


@pytest.mark.parametrize("probe", IN_CELLS)
def test_a_change_in_the_cells(folder: Path, probe: str) -> None:
    old, new, part = IN_CELLS[probe]
    assert BASE.count(old) == 1
    before, after = captured(), captured(BASE.replace(old, new))
    assert before.fingerprint != after.fingerprint
    assert part in explain(before.parts, after.parts)


IN_MODULES = {
    "a module further down": ("features/deep/rules.py", "def apply(s):\n    return s\n", "module features.deep.rules"),
    "a package": ("features/__init__.py", "from . import text\nX = 1\n", "module features"),
    "a submodule": ("features/text.py", "def up(s):\n    return s + '!'\n", "module features.text"),
    "a package above": ("features/deep/__init__.py", "import os\n", "module features.deep"),
    "a dynamic import": ("late.py", "v = 2\n", "module late"),
    "what a dynamic import imports": ("later.py", "v = 2\n", "module later"),
    "a late import": ("latest.py", "v = 2\n", "module latest"),
}  # fmt: skip


@pytest.mark.parametrize("probe", IN_MODULES)
def test_a_change_in_a_module(folder: Path, probe: str) -> None:
    name, text, part = IN_MODULES[probe]
    before = captured()
    (folder / name).write_text(text)
    forget()
    after = captured()
    assert before.fingerprint != after.fingerprint
    assert part in explain(before.parts, after.parts)


UNRELATED = {
    "a comment": ("def tune(x): return x * 2", "# words\ndef tune(x): return x * 2  # more"),
    "a docstring": ("def clean(x): return tune(x) + 1", 'def clean(x):\n    """Words."""\n    return tune(x) + 1'),
    "a class's docstring": ("class Base:\n", 'class Base:\n    """Words."""\n'),
    "layout": ("return x * 2", "return (x\n        * 2)"),
    "quotes": ('"soft"', "'soft'"),
    "an unrelated function": ("def unused(x): return x", "def unused(x): return x + 1"),
    "an unrelated global": ("other = 5", "other = 6"),
    "order of definitions": ("other = 5", "def tune(x): return x * 2"),
    "lines above": ("import functools, importlib", "\n\n\nimport functools, importlib"),
    "an import nobody uses": ("other = 5", "import unrelated"),
}


@pytest.mark.parametrize("probe", UNRELATED)
def test_what_does_not_count(folder: Path, probe: str) -> None:
    old, new = UNRELATED[probe]
    assert old in BASE
    before, after = captured(), captured(BASE.replace(old, new, 1) if probe != "quotes" else BASE.replace(old, new))
    assert explain(before.parts, after.parts) == ""
    assert before.fingerprint == after.fingerprint


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (
            "features/text.py",
            "'''Words.'''\n# and more\n" + FILES["features/text.py"].replace("(s):", "( s ):\n    '''D.'''"),
        ),
        ("features/deep/unused.py", "x = 2\n"),
        ("unrelated.py", "x = 2\n"),
    ],
    ids=["comments and docstrings", "an unused submodule", "an unrelated module"],
)
def test_what_does_not_count_in_modules(folder: Path, name: str, text: str) -> None:
    before = captured()
    (folder / name).write_text(text)
    forget()
    after = captured()
    assert explain(before.parts, after.parts) == ""


VALUES = """
import numpy as np, pandas as pd, datetime, pathlib, decimal, collections
from sklearn.linear_model import LinearRegression
class Thing:
    def __init__(self): self.tags = {"b", "a", "c", "d"}; self.when = datetime.date(2024, 1, 1)
thing = Thing()
frame = pd.DataFrame({"a": [1, 2], "b": ["x", None], "c": pd.to_datetime(["2024-01-01", "2024-02-01"])})
array = np.arange(6).reshape(2, 3)
model = LinearRegression().fit(np.eye(3), np.arange(3))
odd = collections.OrderedDict(a=decimal.Decimal("1.5"), b=pathlib.PurePosixPath("/x"), c=frozenset("hello"))
def f(): return thing, frame, array, model, odd
"""


def test_values_count_by_content_in_any_process(tmp_path: Path) -> None:
    """Hash seeds, identities and orders of sets differ between processes; the fingerprint does not."""
    script = tmp_path / "script.py"
    script.write_text(
        VALUES + "from mlplatform.capture import capture\nimport json\nprint(json.dumps(dict(capture(f).parts)))\n"
    )
    told = {
        subprocess.run(
            [sys.executable, str(script)], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": seed}
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(told) == 1


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ("frame.loc[0, 'a'] = 5", "global frame"),
        ("frame.columns = ['a', 'b', 'z']", "global frame"),
        ("array[1, 2] = 9", "global array"),
        ("array = array.astype('float64')", "global array"),
        ("thing.tags.add('e')", "global thing"),
        ("model.coef_[0] += 1e-12", "global model"),
        ("odd['c'] = frozenset('jello')", "global odd"),
    ],
)
def test_a_change_in_a_value(change: str, part: str) -> None:
    kernel = Kernel()
    kernel.run(VALUES)
    before = capture(kernel["f"])
    kernel.run(change)
    assert part in explain(before.parts, capture(kernel["f"]).parts)


def test_explain_says_where_and_what() -> None:
    assert explain({"a": "1"}, {"a": "1"}) == ""
    assert explain({"helper g": "1"}, {"helper g": "2"}, {"helper g": "cell 3"}) == "helper g (cell 3) changed"
    assert explain({}, {"global K": "1"}) == "global K is new"
    assert explain({"global K": "1"}, {}) == "global K is gone"
    assert explain({"package numpy": "1.5"}, {"package numpy": "2.0"}) == "package numpy changed: 1.5 -> 2.0"
    assert explain({"global K": "1", "function f": "1"}, {"global Z": "2", "function f": "2"}) == "function f changed"
