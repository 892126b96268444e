"""Runs of pipelines written with the SDK: objects come back as objects, the kernel's functions go on."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from mlplatform.core.errors import InvalidInput, TaskFailed
from mlplatform.engine.home import Home, open_home
from mlplatform.sdk.client import LocalClient
from mlplatform.sdk.run import Run

LIMIT = 180.0
SOURCE = """
import mlplatform as ml
import numpy as np

FACTOR = {factor}


def scaled(numbers):
    return numbers * FACTOR


@ml.component
def prepare(numbers: np.ndarray) -> tuple[np.ndarray, int]:
    return scaled(numbers), len(numbers)


@ml.component
def side(n: int) -> int:
    return n


@ml.component
def divide(numbers: np.ndarray, count: int, by: int = 0, /) -> float:
    {comment}
    rest = numbers.sum() + count
    return float(rest / {by})


@ml.pipeline
def halves(numbers: np.ndarray, n: int = 3) -> float:
    side(n)
    ready, count = prepare(numbers)
    return divide(ready, count)
"""


def define(folder: Path, name: str, **words: Any) -> ModuleType:
    """The module as a cell or an import would define it now."""
    path = folder / f"{name}.py"
    path.write_text(SOURCE.format(**{"factor": 2, "comment": "# nothing", "by": "[][by]", **words}))
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    place = open_home(tmp_path_factory.mktemp("sdk") / "home")
    yield place
    LocalClient(place).stop()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    place = tmp_path_factory.mktemp("project")
    sys.path.insert(0, str(place))
    yield place
    sys.path.remove(str(place))


def start(module: ModuleType, home: Home, name: str = "") -> Run:
    import numpy as np

    return module.halves.options(home=home.root, name=name, cache=False).run(numbers=np.arange(4.0))


def test_fix_and_continue(home: Home, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import numpy as np

    run = start(define(folder, "users_halves"), home, "broken")
    with pytest.raises(TaskFailed) as caught:
        run.wait(timeout=LIMIT)
    assert "IndexError: list index out of range" in str(caught.value)
    assert np.array_equal(run.task("prepare").outputs["output_0"].load(), np.arange(4.0) * 2)
    assert run.task("prepare").outputs["output_1"] == 4

    replay = run.task("divide").replay()
    assert list(replay.inputs) == ["numbers", "count", "by"]
    assert np.array_equal(replay.inputs["numbers"], np.arange(4.0) * 2)
    assert replay.function.__name__ == "divide"
    with pytest.raises(IndexError):
        replay.call()

    define(folder, "users_halves", by="2", comment="# mended")
    run.resume()
    told = capsys.readouterr().out
    assert (
        "resumed with this kernel's code: halves as it is defined now (module users_halves as it was imported)" in told
    )
    assert "divide: its code changed: function divide changed" in told
    assert "runs again: divide; 2 tasks stay as they are" in told
    assert run.output == 8.0
    assert {task.name: len(task.attempts) for task in run.tasks} == {"side": 1, "prepare": 1, "divide": 2}


def test_a_helper_that_changed(home: Home, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = start(define(folder, "users_other"), home, "helper")
    run.wait(check=False, timeout=LIMIT)
    module = define(folder, "users_other", factor=10, by="2")
    run.resume(module.halves)
    told = capsys.readouterr().out
    assert "prepare: its code changed: global FACTOR changed" in told
    assert run.output == 32.0
    assert {task.name: len(task.attempts) for task in run.tasks} == {"side": 1, "prepare": 2, "divide": 2}
    other = start(define(folder, "users_other", factor=3, by="2"), home, "other").wait(timeout=LIMIT)
    found = run.diff("other")
    assert list(found.code) == ["prepare"]
    changed = [line for line in found.code["prepare"].splitlines() if line[:1] in "+-" and line[1:2] not in "+-"]
    assert changed == ["-FACTOR = 10", "+FACTOR = 3"]
    assert found.outputs == {"Output": (32.0, 11.0)}
    assert list(found.data) == ["divide.numbers"]
    assert "_mlplatform_adapter" not in repr(found)
    assert other.diff(other).same_inputs


def test_other_objects_are_other_contents(home: Home, folder: Path) -> None:
    """A constant of the pipeline function is an artifact of the run: with another content, who takes it runs again."""
    path = folder / "users_constant.py"
    text = (
        "import mlplatform as ml\nimport numpy as np\n\n\n@ml.component\ndef total(numbers: np.ndarray) -> float:\n"
        "    return float(numbers.sum())\n\n\n@ml.component\ndef check(x: float) -> float:\n    assert x > 3, x\n"
        "    return x\n\n\n@ml.component\ndef alone() -> int:\n    return 1\n\n\n"
        "@ml.pipeline\ndef sums() -> float:\n    alone()\n    return check(total(np.array([1.0, {last}])))\n"
    )

    def made(last: float) -> Any:
        path.write_text(text.format(last=last))
        spec = importlib.util.spec_from_file_location("users_constant", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules["users_constant"] = module
        spec.loader.exec_module(module)
        return module.sums.options(home=home.root)

    run = made(1.0).run()
    run.wait(check=False, timeout=LIMIT)
    assert run.task("total").outputs["Output"] == 2.0
    run.resume(made(5.0))
    assert run.output == 6.0
    assert {task.name: len(task.attempts) for task in run.tasks} == {"alone": 1, "total": 2, "check": 2}


def test_a_secret_that_is_not_here(home: Home, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = folder / "users_secret.py"
    path.write_text(
        "import mlplatform as ml\n\n\n@ml.component\ndef ask(word: str) -> int:\n    return len(word)\n\n\n"
        "@ml.pipeline\ndef asks() -> int:\n    return ask(ml.secret('RUN_TEST_WORD'))\n"
    )
    spec = importlib.util.spec_from_file_location("users_secret", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["users_secret"] = module
    spec.loader.exec_module(module)
    monkeypatch.setenv("RUN_TEST_WORD", "not to be told")
    run = module.asks.options(home=home.root).run().wait(timeout=LIMIT)
    monkeypatch.delenv("RUN_TEST_WORD")
    with pytest.raises(InvalidInput, match="the secret RUN_TEST_WORD is not there"):
        run.task("ask").replay()
