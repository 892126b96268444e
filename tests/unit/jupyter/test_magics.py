"""The magic in a real shell: what it says, what it refuses, what it starts."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest

from mlplatform.jupyter.magics import MagicError, complete
from tests.support.home import home_in


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with home_in(tmp_path_factory.mktemp("magics")) as found:
        yield found.root


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    from IPython.core.interactiveshell import InteractiveShell

    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.delenv("MLPLATFORM_ATTEMPT", raising=False)
    made = InteractiveShell()
    made.run_cell("%load_ext mlplatform", store_history=True).raise_error()
    yield made
    made.run_line_magic("unload_ext", "mlplatform")
    made.history_manager.end_session()


@pytest.fixture
def notebook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "open.ipynb"
    cells = [nbformat.v4.new_code_cell(text) for text in ("lr = 0.1", "rate = lr * 2")]
    cells[0].metadata["tags"] = ["parameters"]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    monkeypatch.setenv("JPY_SESSION_NAME", str(path))
    return path


def run(shell: Any, text: str) -> Any:
    return shell.run_cell(text, store_history=True)


def test_help_and_unknown_words(shell: Any, capsys: pytest.CaptureFixture[str]) -> None:
    run(shell, "%mlplatform").raise_error()
    assert "%mlplatform run [NOTEBOOK]" in capsys.readouterr().out
    failed = run(shell, "%mlplatform runn").error_in_exec
    assert isinstance(failed, MagicError)
    assert "knows no 'runn'" in str(failed)
    assert "Traceback" not in capsys.readouterr().out


def test_an_unknown_notebook_is_asked_for(shell: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JPY_SESSION_NAME", "5f2a3c1e-uuid")
    failed = run(shell, "%mlplatform run").error_in_exec
    assert "does not know which notebook" in str(failed)
    assert "%mlplatform run NOTEBOOK.ipynb" in str(failed)


def test_what_was_executed_and_not_saved_is_refused(shell: Any, notebook: Path) -> None:
    os.utime(notebook, (time.time() - 100, time.time() - 100))
    run(shell, "rate = lr * 3 if False else 1").raise_error()
    failed = run(shell, "%mlplatform run").error_in_exec
    assert isinstance(failed, MagicError)
    assert "open.ipynb is not saved as you see it" in str(failed)
    assert "+rate = lr * 3" in str(failed)
    os.utime(notebook)  # saved since: what was executed before is an older version
    shell.run_cell("%mlplatform plan", store_history=True).raise_error()


def test_plan(shell: Any, notebook: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(shell, "%mlplatform plan").raise_error()
    assert "makes" in capsys.readouterr().out


def test_runs_the_open_notebook(shell: Any, notebook: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLPLATFORM_HOME", str(home))
    started = run(shell, "%mlplatform run -p lr=0.5 --name mine")
    started.raise_error()
    assert started.result.name == "mine"
    assert started.result.parameters == {"lr": 0.5}
    started.result.wait()
    again = run(shell, "%mlplatform status").result
    assert again.run_id == started.result.run_id
    table = run(shell, "%mlplatform runs").result
    assert list(table["run_id"]) == [started.result.run_id]


def test_inside_a_task_it_does_nothing(shell: Any, notebook: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLPLATFORM_ATTEMPT", "cookie")
    done = run(shell, "%mlplatform run")
    done.raise_error()
    assert done.result is None


def test_bad_options_are_told(shell: Any, notebook: Path) -> None:
    assert "needs a value" in str(run(shell, "%mlplatform run -p").error_in_exec)
    assert "does not know '--fast'" in str(run(shell, "%mlplatform run --fast").error_in_exec)
    assert "There is no notebook" in str(run(shell, "%mlplatform run nothere.ipynb").error_in_exec)


def test_completion() -> None:
    class Event:
        line = "%mlplatform "

    assert "run" in complete(None, Event())
    Event.line = "%mlplatform run "
    assert "--no-cache" in complete(None, Event())
