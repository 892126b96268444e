"""A task's inputs and code brought back: called, changed, debugged."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mlplatform.core.errors import InvalidInput, Unsupported
from mlplatform.engine.home import Home, open_home
from mlplatform.planning.python_component import PythonComponent
from mlplatform.sdk import replay as module
from mlplatform.sdk import replay_call
from mlplatform.sdk.client import LocalClient
from mlplatform.sdk.run import Run
from tests.support.pipelines import Builder
from tests.unit.sdk.run_cases import failing, start

LIMIT = 120.0


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    place = open_home(tmp_path_factory.mktemp("replays") / "home")
    yield place
    LocalClient(place).stop()


@pytest.fixture(scope="module")
def run(home: Home, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return start(home, failing(), tmp_path_factory.mktemp("r")).wait(check=False, timeout=LIMIT)


def test_inputs_and_code_come_back(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    found = run.task("divide").replay()
    assert list(found.inputs) == ["data", "by"]
    assert Path(found.inputs["data"].path).read_text() == "6"
    assert found.inputs["data"].metadata == {"rows": 6}
    assert type(found.inputs["by"]) is int
    with pytest.raises(ZeroDivisionError):
        found.call()
    assert isinstance(found.error, ZeroDivisionError)
    assert found.call(by=4) == 1
    assert found.error is None
    assert capsys.readouterr().out == "text 6\ntext 6\n"
    assert "divide(data, by)" in repr(found)
    assert f"data = Dataset at {found.inputs['data'].path}" in repr(found)


def test_outputs_go_into_a_folder_of_its_own(run: Run) -> None:
    before = run.task("prepare").artifact("data").path
    found = run.task("prepare").replay()
    place = Path(found.inputs["data"].path)
    assert place.is_relative_to(found.folder)
    found.call(x=17)
    assert place.read_text() == "17"
    assert before.read_text() == "6"
    assert found.inputs["m"].metadata == {"accuracy": 0.9375}


def typed(monkeypatch: pytest.MonkeyPatch, *lines: str) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("".join(line + "\n" for line in lines)))


def test_the_debugger_opens_where_it_failed(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    typed(monkeypatch, "p text, by", "q")
    found = run.task("divide").replay()
    assert found.debug() is None
    told = capsys.readouterr().out
    assert "ZeroDivisionError: integer division or modulo by zero" in told
    assert "replay.py" not in told, "the platform's frames are of no interest"
    assert "('6', 0)" in told
    assert found.debug(by=2) == 3, "what does not fail gives its result"


def test_below_the_tasks_own_line_there_may_be_others(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    builder = Builder("deep")
    source = "def deep(text: str):\n    import json\n    here = 41 + 1\n    json.loads(text)\n"
    builder.component("deep", source, inputs={"text": "STRING"})
    builder.task("deep", constants={"text": "{"})
    run = start(home, builder, tmp_path).wait(check=False, timeout=LIMIT)
    typed(monkeypatch, "p here", "q")
    run.task("deep").replay().debug()
    assert "\n(Pdb) 42\n" in capsys.readouterr().out


def test_stepping(run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    typed(monkeypatch, "b divide", "c", "c", "q")
    found = run.task("divide").replay()
    found.step(by=3)
    assert "(Pdb)" in capsys.readouterr().out


class Shell:
    def __init__(self, **names: Any) -> None:
        self.user_ns = dict(names)


def test_the_notebook_gets_them(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    shell = Shell(by="mine", other=1)
    monkeypatch.setattr(module, "shell", lambda: shell)
    found = run.task("divide").replay()
    assert (shell.user_ns["by"], shell.user_ns["other"]) == (0, 1)
    assert shell.user_ns["data"] is found.inputs["data"]
    assert shell.user_ns["divide"] is found.function
    assert found.notes == ["replaced in this notebook: by"]
    run.task("load").replay(into_namespace=False)
    assert "load" not in shell.user_ns


def test_a_component_of_the_notebook_keeps_its_name(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    class Component:
        python_func = staticmethod(print)

    mine = Component()
    monkeypatch.setattr(module, "shell", lambda: Shell(divide=mine))
    found = run.task("divide").replay()
    assert module.shell().user_ns["divide"] is mine
    assert "divide stays the notebook's component" in found.notes[0]


def test_environment_and_folder_are_put_back(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import os

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KEPT", "a")
    with module.surroundings(tmp_path / "..", {"KEPT": "b", "NEW": "c"}):
        assert (os.environ["KEPT"], os.environ["NEW"], os.getcwd()) == ("b", "c", str(tmp_path.parent))
    assert (os.environ["KEPT"], "NEW" in os.environ, os.getcwd()) == ("a", False, str(tmp_path))


def test_what_cannot_be_replayed(home: Home, tmp_path: Path, run: Run) -> None:
    builder = Builder("command")
    builder.components["comp-say"] = {"executorLabel": "exec-say"}
    builder.executors["exec-say"] = {"container": {"image": "x", "command": ["sh", "-c", "exit 3"]}}
    builder.task("say")
    failed = start(home, builder, tmp_path, containers="subprocess").wait(check=False, timeout=LIMIT)
    with pytest.raises(Unsupported, match="no Python function"):
        failed.task("say").replay()


def test_a_task_that_never_began(home: Home, tmp_path: Path) -> None:
    builder = Builder("never")
    builder.component("fail", "def fail() -> int:\n    raise OSError\n", outputs={"Output": "NUMBER_INTEGER"})
    builder.component("after", "def after(x: int):\n    pass\n", inputs={"x": "NUMBER_INTEGER"})
    builder.task("fail")
    builder.task("after", from_tasks={"x": ("fail", "Output")})
    run = start(home, builder, tmp_path).wait(check=False, timeout=LIMIT)
    with pytest.raises(InvalidInput, match="never had inputs"):
        run.task("after").replay()


def test_without_kfp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kfp", None)
    python = PythonComponent("import kfp\ndef f(x: int):\n    pass\n", "f")
    with pytest.raises(Unsupported, match="needs kfp") as caught:
        replay_call.prepare(python, {"inputs": {}, "outputs": {"outputFile": ""}}, tmp_path / "c" / "f.py")
    assert "pip install" in caught.value.hint


def test_packages_that_are_missing_here() -> None:
    notes = module._notes(PythonComponent("", "f", packages=("pytest>=1", "no-such-thing==3", "git+https://x/y")), {})
    assert notes == ["the task had packages that are not installed here: no-such-thing==3"]
    notes = module._notes(PythonComponent("", "f"), {"interpreter": {"version": "3.2.1"}})
    assert "the task ran in Python 3.2" in notes[0]
