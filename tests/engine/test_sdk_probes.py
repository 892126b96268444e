"""The cache through capture: what a component's function reaches makes it run again and is named; nothing else does.

A project is written, run, edited and run again, each time loaded as a fresh process would load it. What the pipeline
gives is compared with what the function itself gives.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from mlplatform.sdk.testing import LocalPlatform

MAIN = '''
import functools
import importlib

import mlplatform as ml
from features import text
import lib.deep

RATE = 2
TABLE = {"a": {"b": 3}}
UNUSED = 1


def innermost(x):
    return x + 1


def clean(x):
    """Words."""
    return innermost(x) * 2


def unrelated(x):
    return x


class Base:
    weight = 5

    def score(self):
        return self.weight


class Model(Base):
    bias = 1

    def total(self):
        return self.score() + self.bias


def wrap(function):
    @functools.wraps(function)
    def wrapped(*args):
        return function(*args) + 100

    return wrapped


@wrap
def decorated(x):
    return x


def default(x, k=3):
    return x + k


def make(n):
    def closed(x):
        return x + n

    return closed


closed = make(4)
part = functools.partial(default, k=6)


@ml.component
def probe(x: int) -> str:
    # words
    import lib.late

    dynamic = importlib.import_module("lib.dynamic")
    values = [clean(x), RATE, TABLE["a"]["b"], Model().total(), decorated(x), default(x), closed(x), part(x)]
    values += [text.size("abc"), lib.deep.DEPTH, lib.late.LATE, dynamic.VALUE, lib.deep.words()]
    return repr(values)


@ml.pipeline(name="PIPELINE")
def pipeline(x: int = 1) -> str:
    return probe(x)
'''

PROJECT = {
    "main.py": MAIN,
    "features/__init__.py": "",
    "features/text.py": "from lib.util import length\n\n\ndef size(text):\n    return length(text)\n",
    "features/other.py": "VALUE = 1\n",
    "lib/__init__.py": "",
    "lib/util.py": "def length(text):\n    return len(text)\n",
    "lib/deep.py": (
        "from pathlib import Path\n\nDEPTH = 1\n\n\ndef words():\n"
        '    return Path(__file__).with_name("words.txt").read_text()\n'
    ),
    "lib/words.txt": "one",
    "lib/late.py": "LATE = 1\n",
    "lib/dynamic.py": "VALUE = 1\n",
}

#: name -> (file, old text, new text, what the reason names)
CHANGES = {
    "the function": ("main.py", "repr(values)", "str(values) + '!'", "function probe changed"),
    "a helper": ("main.py", "innermost(x) * 2", "innermost(x) * 3", "helper clean changed"),
    "a helper's helper": ("main.py", "return x + 1", "return x + 2", "helper innermost changed"),
    "a global": ("main.py", "RATE = 2", "RATE = 9", "global RATE changed"),
    "a value in a dict": ("main.py", '{"b": 3}', '{"b": 4}', "global TABLE changed"),
    "a class attribute": ("main.py", "bias = 1", "bias = 2", "class Model changed"),
    "a base class": ("main.py", "return self.weight", "return self.weight + 1", "class Base changed"),
    "a decorator": ("main.py", "function(*args) + 100", "function(*args) + 200", "wrap"),
    "a default argument": ("main.py", "k=3", "k=4", "default"),
    "a closure value": ("main.py", "make(4)", "make(5)", "closure value n"),
    "a partial": ("main.py", "k=6", "k=7", "part"),
    "a package's submodule": ("features/text.py", "length(text)", "length(text) + 1", "module features.text changed"),
    "a module two levels down": ("lib/util.py", "len(text)", "len(text) + 5", "module lib.util changed"),
    "a late import": ("lib/late.py", "LATE = 1", "LATE = 2", "lib.late"),
    "a dynamic import": ("lib/dynamic.py", "VALUE = 1", "VALUE = 2", "lib"),
    "a data file beside a module": ("lib/words.txt", "one", "two", "words.txt"),
}

UNCHANGED = {
    "a comment": ("main.py", "# words", "# other words, longer"),
    "a docstring": ("main.py", '"""Words."""', '"""Other words."""'),
    "an unrelated function": ("main.py", "    return x\n\n\nclass Base", "    return x * 7\n\n\nclass Base"),
    "an unrelated global": ("main.py", "UNUSED = 1", "UNUSED = 2"),
    "an unrelated module": ("features/other.py", "VALUE = 1", "VALUE = 2"),
    "spaces": ("main.py", "innermost(x) * 2", "(innermost(x)  *  2)"),
}


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalPlatform]:
    made = LocalPlatform(tmp_path_factory.mktemp("home"))
    yield made
    made.close()


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, text in PROJECT.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    return tmp_path


def fresh() -> ModuleType:
    """The project as a new process would have it."""
    for name in [name for name in sys.modules if name.partition(".")[0] in ("main", "features", "lib")]:
        del sys.modules[name]
    importlib.invalidate_caches()
    return importlib.import_module("main")


def outcome(platform: LocalPlatform) -> tuple[str, str, str]:
    """(state, why, output) of the probe; the output is what the function itself gives."""
    module = fresh()
    run = platform.run(module.pipeline)
    assert run.output == module.probe(1)
    task = run.task("probe")
    return str(task.state), task.why(), str(run.output)


@pytest.mark.parametrize("change", CHANGES)
def test_what_is_reached_counts(change: str, platform: LocalPlatform, project: Path) -> None:
    file, old, new, reason = CHANGES[change]
    main = project / "main.py"
    main.write_text(main.read_text().replace("PIPELINE", f"changed-{list(CHANGES).index(change)}"))
    first = outcome(platform)
    text = (project / file).read_text()
    assert old in text
    (project / file).write_text(text.replace(old, new, 1))
    state, why, output = outcome(platform)
    assert state == "SUCCEEDED", why
    assert output != first[2]
    assert reason in why


def test_what_is_not_reached_does_not_count(platform: LocalPlatform, project: Path) -> None:
    main = project / "main.py"
    main.write_text(main.read_text().replace("PIPELINE", "unchanged"))
    assert outcome(platform)[0] == "SUCCEEDED"
    for change, (file, old, new) in UNCHANGED.items():
        text = (project / file).read_text()
        assert old in text, change
        (project / file).write_text(text.replace(old, new, 1))
        state, why, _ = outcome(platform)
        assert state == "CACHED", f"{change}: {why}"
