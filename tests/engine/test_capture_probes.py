"""Never silently stale, through capture: what a component reaches makes it run again, is named, and gives what a fresh
process gives; what it does not reach does none of that. Every run is of a process of its own, as a person's are."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.home import TestHome, home_in
from tests.support.kernel import project

FILES = {
    "pipe.py": """
    import functools, importlib
    import mlplatform as ml
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
    @twice
    def noted(x): return x
    def default(x, k=LIMITS["low"]): return k
    @ml.component
    def f(x: int) -> str:
        late = importlib.import_module("late")
        import latest
        return repr([clean(x), LIMITS["high"]["soft"], Model().go(x), Model.size, learn(x), part(), late.v, latest.v,
                     default(1), features.text.up("a"), rules.apply("a"), noted(x), rules.words()])
    @ml.pipeline
    def probe(x: int = 1) -> str:
        return f(x)
    other = 5
    """,
    "features/__init__.py": "from . import text\n",
    "features/text.py": "from .deep.rules import apply\ndef up(s):\n    return apply(s)\n",
    "features/deep/__init__.py": "",
    "features/deep/rules.py": (
        "import os\ndef apply(s):\n    return s.upper()\ndef words():\n"
        "    with open(os.path.join(os.path.dirname(__file__), 'words.txt')) as file:\n        return file.read()\n"
    ),
    "features/deep/words.txt": "one",
    "late.py": "from later import v\n",
    "later.py": "v = 1\n",
    "latest.py": "v = 1\n",
    "unrelated.py": "x = 1\n",
    "go.py": """
    import json
    import pipe
    run = pipe.probe.run().wait()
    task = run.task("f")
    print(json.dumps({"state": str(task.state), "why": task.why(), "value": run.output, "plain": pipe.f(1)}))
    """,
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestHome]:
    with home_in(tmp_path_factory.mktemp("capture")) as home:
        project(home.folder, FILES)
        assert outcome(home)["state"] == "SUCCEEDED"
        yield home


def outcome(home: TestHome) -> dict[str, Any]:
    env = {**os.environ, "MLPLATFORM_HOME": str(home.root), "MLPLATFORM_TRACKING": "off", **home.env}
    done = subprocess.run(
        [sys.executable, "go.py"], cwd=home.folder, env=env, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["value"] == told["plain"], "what a fresh process gives"
    return told


def changed(home: TestHome, file: str, old: str, new: str) -> dict[str, Any]:
    """What a run says with one change in one file, which is taken back afterwards."""
    path = home.folder / file
    before = path.read_text()
    assert old in before
    path.write_text(before.replace(old, new, 1))
    try:
        return outcome(home)
    finally:
        path.write_text(before)


#: probe -> (file, text, what it becomes, what `why` says)
COUNTS = {
    "helper in the same file": ("pipe.py", "tune(x) + 1", "tune(x) + 2", "helper clean changed"),
    "a helper's helper": ("pipe.py", "return x * 2\n", "return x * 3\n", "helper tune changed"),
    "a module two levels down": ("features/deep/rules.py", "upper", "lower", "module features.deep.rules changed"),
    "a package's submodule": ("features/text.py", "apply(s)\n", "apply(s) * 2\n", "module features.text changed"),
    "a dynamic import": ("later.py", "1", "2", "module later changed"),
    "a late import": ("latest.py", "1", "2", "module latest changed"),
    "a global nested in a dict": ("pipe.py", '{"soft": 2}', '{"soft": 3}', "global LIMITS changed"),
    "a default argument": ("pipe.py", 'k=LIMITS["low"]', "k=max(7, 8)", "default argument k of default changed"),
    "a closure value": ("pipe.py", "make(0.1)", "make(0.2)", "closure value lr of make.learn changed"),
    "a partial": ("pipe.py", "tune, x=5", "tune, x=6", "partial argument x of tune changed"),
    "a class attribute": ("pipe.py", "size = 4", "size = 5", "class Model changed"),
    "a base class's method": ("pipe.py", "x + self.rate", "x - self.rate", "class Base changed"),
    "a decorator": ("pipe.py", "fn(*a) * 2", "fn(*a) * 3", "helper twice changed"),
    "data beside an imported module": ("features/deep/words.txt", "one", "two", "words.txt, which it read, changed"),
}


@pytest.mark.parametrize("probe", COUNTS)
def test_it_runs_again_and_says_why(home: TestHome, probe: str) -> None:
    file, old, new, why = COUNTS[probe]
    told = changed(home, file, old, new)
    assert told["state"] == "SUCCEEDED"
    assert why in told["why"]


DOES_NOT_COUNT = {
    "comments and docstrings": (
        "pipe.py",
        "def clean(x): return",
        "# words\ndef clean(x):\n    '''More.'''\n    return",
    ),
    "a module's comment": ("features/deep/rules.py", "import os\n", "'''Words.'''\nimport os  # more\n\n\n"),
    "an unrelated function": ("pipe.py", "def unused(x): return x", "def unused(x): return x + 1"),
    "an unrelated global": ("pipe.py", "other = 5", "other = 6"),
    "an unrelated module": ("unrelated.py", "x = 1", "x = 2"),
}


@pytest.mark.parametrize("probe", DOES_NOT_COUNT)
def test_it_does_not_run_again(home: TestHome, probe: str) -> None:
    assert changed(home, *DOES_NOT_COUNT[probe])["state"] == "CACHED"


def test_after_all_that_the_first_result_is_still_good(home: TestHome) -> None:
    assert outcome(home)["state"] == "CACHED"
