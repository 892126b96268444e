"""Fix and continue: whose code goes on, what it changes, what stays."""

from __future__ import annotations

import json
import os
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlplatform.core.errors import InvalidInput, Unsupported
from mlplatform.core.states import TaskState
from mlplatform.engine.home import Home, open_home
from mlplatform.sdk.client import LocalClient
from mlplatform.sdk.resuming import current
from mlplatform.sdk.run import Run
from tests.unit.sdk.run_cases import failing, gated, start

LIMIT = 120.0


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    place = open_home(tmp_path_factory.mktemp("resumes") / "home")
    yield place
    LocalClient(place).stop()


def failed(home: Home, folder: Path) -> Run:
    return start(home, failing(), folder).wait(check=False, timeout=LIMIT)


def attempts(run: Run) -> dict[str, int]:
    return {task.name: len(task.attempts) for task in run.tasks}


def test_the_saved_files_code(home: Home, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = failed(home, tmp_path)
    (tmp_path / "failing.json").write_text(failing(mended=True, comment="# no change").text())
    assert run.resume() is run
    assert run.output == 6
    assert attempts(run) == {"load": 1, "side": 1, "prepare": 1, "divide": 2}
    told = capsys.readouterr().out
    assert told.startswith(f"resumed with the saved file's code: {tmp_path}/failing.json, saved ")
    assert "  divide: its code changed\n" in told
    assert told.endswith("runs again: divide; 3 tasks stay as they are\n")
    with pytest.raises(InvalidInput, match="nothing to resume"):
        run.resume()


def test_what_changed_runs_again_with_what_depends_on_it(
    home: Home, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = failed(home, tmp_path)
    other = tmp_path / "other.json"
    other.write_text(failing(mended=True, factor=5).text())
    run.resume(other)
    assert run.output == 15
    assert attempts(run) == {"load": 2, "side": 1, "prepare": 2, "divide": 2}
    told = capsys.readouterr().out
    assert "  load: its code changed\n" in told
    assert told.endswith("runs again: load, prepare, divide; 1 task stays as it is\n")
    assert [event.kind for event in _events(home, run)].count("note") == 1


def _events(home: Home, run: Run) -> list[object]:
    from mlplatform.sdk.records import open_records

    with open_records(home) as store:
        return list(store.events(run_id=run.run_id))


def test_tasks_that_are_gone(home: Home, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = failed(home, tmp_path)
    document = json.loads(failing(mended=True).text())
    del document["root"]["dag"]["tasks"]["side"]
    (tmp_path / "failing.json").write_text(json.dumps(document))
    run.resume()
    assert run.output == 6
    assert "side: no longer in the pipeline" in capsys.readouterr().out
    side = next(task for task in run.report()["tasks"] if task["name"] == "side")
    assert (side["state"], side["why"]) == ("SKIPPED", "skipped: the pipeline it was resumed with no longer has it")
    assert run.tasks[0].name == "load"


def test_without_newer_code(home: Home, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = failed(home, tmp_path)
    (tmp_path / "failing.json").unlink()
    run.resume().wait(check=False, timeout=LIMIT)
    assert "the code it was started with" in capsys.readouterr().out
    assert attempts(run)["divide"] == 2
    assert run.task("divide").state is TaskState.FAILED


class Compiled:
    """A pipeline object of this kernel."""

    def __init__(self, text: str) -> None:
        self.name = "failing"

        def pipeline() -> None:
            return None

        self.function = pipeline
        self._text = text
        self.objects: dict[str, object] = {}

    def submission(self) -> Compiled:
        return self

    def text(self) -> str:
        return self._text


def test_the_kernels_code(home: Home, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = Run(home, failed(home, tmp_path).run_id, Compiled(failing(mended=True).text()))
    run.resume()
    assert run.output == 6
    assert "resumed with this kernel's code: failing as it is defined now" in capsys.readouterr().out
    again = failed(home, tmp_path)
    with pytest.raises(Unsupported, match="no pipeline that can be compiled"):
        again.resume(3)


def test_the_pipeline_that_has_the_name_now(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("a_users_module")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    old, new = Compiled("old"), Compiled("new")
    for pipeline in (old, new):
        pipeline.function.__module__ = module.__name__
    assert current(old) is old
    module.pipeline = new  # type: ignore[attr-defined]
    assert current(old) is new
    module.pipeline = "something else"  # type: ignore[attr-defined]
    assert current(old) is old


def test_a_run_that_goes_on_is_not_resumed(home: Home, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    run = start(home, gated(gate, "going"), tmp_path)
    with pytest.raises(InvalidInput, match="is still"):
        run.resume()
    gate.touch()
    run.wait(timeout=LIMIT)


def test_the_origin_is_found_from_elsewhere(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = start(home, failing(), Path(os.curdir)).wait(check=False, timeout=LIMIT)
    assert run.record.context["origin"] == str(tmp_path / "failing.json")
