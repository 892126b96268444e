"""Captured functions give in another process what they give here."""

from __future__ import annotations

import ast
import asyncio
import inspect
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlplatform.capture import CannotCapture, capture
from tests.support.kernel import Kernel, elsewhere, project


def kinds() -> dict[str, tuple[str, list]]:
    found: dict[str, tuple[str, list]] = {}
    for entry in Path(__file__).with_name("kinds.txt").read_text(encoding="utf-8").split("\n=== ")[1:]:
        head, _, text = entry.partition("\n")
        name, _, arguments = head.partition(": ")
        found[name] = (text, json.loads(arguments))
    return found


KINDS = kinds()


@pytest.mark.parametrize("kind", KINDS)
def test_another_process_gives_the_same(kind: str) -> None:
    text, arguments = KINDS[kind]
    kernel = Kernel()
    kernel.run(text)
    captured = capture(kernel["f"])
    assert captured.name.isidentifier()
    ast.parse(captured.source)
    there = elsewhere(captured, *arguments)
    here = kernel["f"](*arguments)
    if inspect.iscoroutine(here):
        here = asyncio.run(here)
    assert there == (list(here) if isinstance(here, tuple) else here)


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_cells_in_another_kernel_have_the_same_fingerprint(kind: str) -> None:
    text, _ = KINDS[kind]
    one, other = Kernel(), Kernel()
    one.run(text)
    other.run("pass")
    other.run("# a comment\n" + text.replace("\ndef f", "\n\n# another\ndef f") + "\nunrelated = 5")
    assert dict(capture(one["f"]).parts) == dict(capture(other["f"]).parts)
    assert capture(one["f"]).fingerprint == capture(one["f"]).fingerprint


def test_cells_are_captured_from_several() -> None:
    kernel = Kernel()
    kernel.run("import math")
    kernel.run("def area(r): return math.pi * r ** 2")
    kernel.run("def f(r): return round(area(r) * SCALE, 3)")
    kernel.run("SCALE = 10")
    captured = capture(kernel["f"])
    assert elsewhere(captured, 2) == 125.664
    assert captured.places["helper area"] == "cell 2"
    assert captured.source.count("def ") == 2
    assert not captured.values


PROJECT = {
    "features/__init__.py": "from .text import clean\nVERSION = 1\n",
    "features/text.py": "import re\nfrom .deep import rules\ndef clean(s): return rules.apply(re.sub('a', 'b', s))\n",
    "features/deep/__init__.py": "",
    "features/deep/rules.py": (
        "import os\nHERE = os.path.dirname(__file__)\ndef apply(s): return s.upper()\n"
        "def words():\n    with open(os.path.join(HERE, 'words.txt')) as f:\n        return f.read()\n"
    ),
    "features/deep/words.txt": "data beside it",
    "late.py": "from helpers_of_late import value\n",
    "helpers_of_late.py": "value = 41\n",
    "unrelated.py": "x = 1\n",
    "space/inner.py": "y = 3\n",
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    project(tmp_path, PROJECT)
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.partition(".")[0] in ("features", "late", "helpers_of_late", "unrelated", "space", "pipe"):
            del sys.modules[name]


def test_modules_travel(folder: Path) -> None:
    kernel = Kernel()
    kernel.run(
        """
        import features
        from features.deep import rules as r
        import space.inner
        def f(s):
            import importlib
            late = importlib.import_module("late")
            return [features.clean(s), r.apply(s), late.value, features.text.clean(s), space.inner.y, r.words()]
        """
    )
    captured = capture(kernel["f"], project=folder)
    assert set(captured.modules) == {
        "features", "features.text", "features.deep", "features.deep.rules",
        "late", "helpers_of_late", "space", "space.inner",
    }  # fmt: skip
    assert captured.modules["late"] == PROJECT["late.py"]
    expected = ["BBC", "ABC", 41, "BBC", 3, "data beside it"]
    assert elsewhere(captured, "abc") == expected
    (folder / "features" / "text.py").unlink()
    (folder / "late.py").unlink()
    assert elsewhere(captured, "abc") == expected, "the project's files are not needed; data beside them is"


def test_a_function_of_a_file(folder: Path) -> None:
    project(
        folder,
        {
            "pipe.py": """
            from features import clean
            from features.deep.rules import apply as up
            SCALE = 2
            def twice(s): return s * SCALE
            def unrelated(): return 1
            def f(s): return [twice(clean(s)), up("x")]
            """
        },
    )
    import pipe  # pyright: ignore[reportMissingImports]

    captured = capture(pipe.f)
    assert elsewhere(captured, "abc") == ["BBCBBC", "X"]
    assert "pipe" not in captured.modules
    assert "unrelated" not in captured.source
    assert captured.places["function f"] == "pipe.py:7"


def test_installed_packages_are_named_not_carried() -> None:
    kernel = Kernel()
    kernel.run("import sklearn.linear_model as lm\nimport yaml\ndef f(): return [lm.Lasso(), yaml.safe_dump({})]")
    captured = capture(kernel["f"])
    assert set(captured.distributions) == {"scikit-learn", "PyYAML"}
    assert not captured.modules


STUCK = {
    "lock": ("import threading\nthing = threading.Lock()", "lock", "inside the function"),
    "file": (f"thing = open({__file__!r})", "TextIOWrapper", "open the file inside"),
    "generator": ("thing = (i for i in range(3))", "generator", "list"),
    "socket": ("import socket\nthing = socket.socket()", "socket", "connect inside"),
    "deep": (
        "import threading\nclass A: pass\nthing = A()\nthing.parts = {'x': [threading.Lock()]}",
        "thing.parts['x'][0]", "inside",
    ),
    "module": ("import types\nthing = types.ModuleType('made_up')", "module without source", "file beside"),
}  # fmt: skip


@pytest.mark.parametrize("kind", STUCK)
def test_what_cannot_travel_is_named(kind: str) -> None:
    text, words, hint = STUCK[kind]
    kernel = Kernel()
    kernel.run(text)
    kernel.run("def helper(): return thing")
    kernel.run("def f(): return helper()")
    with pytest.raises(CannotCapture) as refused:
        capture(kernel["f"])
    (finding,) = refused.value.findings
    assert "'thing'" in finding.message
    assert words in finding.message
    assert finding.path == "helper (cell 2)"
    assert hint in finding.hint
    getattr(kernel["thing"], "close", lambda: None)()


def test_all_that_is_wrong_is_told_at_once() -> None:
    kernel = Kernel()
    kernel.run("import threading\na = threading.Lock()\nb = (i for i in [])\nAPI_KEY = 'abc123def456'")
    kernel.run("def f(): return a, b, API_KEY")
    with pytest.raises(CannotCapture) as refused:
        capture(kernel["f"])
    assert [finding.code for finding in refused.value.findings] == ["cannot-travel", "cannot-travel", "secret"]


def test_large_values_stay_objects() -> None:
    kernel = Kernel()
    kernel.run("import numpy as np\nbig = np.zeros(2_000_000)\nblob = bytes(11_000_000)\ndef f(): return big, blob")
    captured = capture(kernel["f"])
    assert captured.large["big"] is kernel["big"]
    assert captured.large["blob"] is kernel["blob"]
    assert not captured.values
    kernel["big"][5] = 1
    assert capture(kernel["f"]).parts["global big"] != captured.parts["global big"]


def test_over_a_gigabyte_is_refused() -> None:
    kernel = Kernel()
    kernel.run("class Big:\n    nbytes = 2 * 1000**3\nbig = Big()\ndef f(): return big")
    with pytest.raises(CannotCapture, match=r"'big' is 2\.0 GB"):
        capture(kernel["f"])


def test_a_file_that_was_edited_since_it_was_imported(folder: Path) -> None:
    """The run uses the file as it is now: that is what a fresh kernel would."""
    text = "def helper(x):\n    return x + 1\n\ndef f(x):\n    return helper(x)\n"
    project(folder, {"pipe.py": text})
    import pipe  # pyright: ignore[reportMissingImports]

    (folder / "pipe.py").write_text("import math\n\n\n" + text.replace("x + 1", "x + 10"))
    captured = capture(pipe.f)
    assert elsewhere(captured, 1) == 11
    assert captured.places["helper helper"] == "pipe.py:4"


def test_a_function_that_is_captured_while_it_is_decorated() -> None:
    """A decorator of the platform sees the function before its name is bound."""
    kernel = Kernel()
    kernel.run(
        """
        import functools
        seen = []
        def timed(fn):
            @functools.wraps(fn)
            def inner(*a): return fn(*a) + 0.5
            return inner
        def component(fn):
            seen.append(fn)
            return fn
        component.__module__ = "mlplatform.sdk"
        @component
        @timed
        def f(x): return x
        """
    )
    captured = capture(kernel["seen"][0])
    assert captured.name == "f"
    assert "@component" not in captured.source
    assert elsewhere(captured, 1) == 1.5


def test_data_beside_a_module_and_file_of_the_function(folder: Path) -> None:
    project(
        folder,
        {"pipe.py": "from pathlib import Path\ndef f():\n    return Path(__file__).with_name('d.txt').read_text()\n"},
    )
    (folder / "d.txt").write_text("data")
    import pipe  # pyright: ignore[reportMissingImports]

    assert elsewhere(capture(pipe.f)) == "data"


def test_undefined_names_are_warned_of() -> None:
    kernel = Kernel()
    kernel.run("def f(x): return x + undefined_thing")
    (finding,) = capture(kernel["f"]).findings
    assert finding.code == "undefined-name"
    assert "'undefined_thing'" in finding.message
    assert finding.path == "f (cell 1)"


def test_computed_imports_are_warned_of() -> None:
    kernel = Kernel()
    kernel.run("import importlib\ndef f(name): return importlib.import_module(name)")
    assert [finding.code for finding in capture(kernel["f"]).findings] == ["dynamic-import"]
