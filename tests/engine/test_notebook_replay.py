"""A notebook's task brought back: the state it began with, its cells called again, the debugger where they fail."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlplatform.core.errors import InvalidInput, Unsupported
from mlplatform.sdk.run import Run
from tests.support.home import home_in
from tests.support.notebooks import Book


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Book]:
    with home_in(tmp_path_factory.mktemp("replays")) as home:
        yield Book(
            home,
            make=(
                "import random\nimport threading\nrandom.seed(7)\nrows = [1, 2]\nalias = rows\n"
                "lock = threading.Lock()\n"
                "def double(x):\n    return [factor * y for y in x]\nfactor = 2"
            ),
            train="rows.append(random.random())\nmodel = double(alias)",
            locked="with lock:\n    rows.append(5)",
            breaks="share = 1 / (len(rows) - 4)",
            later="never = 1",
        )


@pytest.fixture(scope="module")
def run(book: Book) -> Run:
    result = book.run()
    assert result["state"] == "FAILED"
    return Run(book.home.root, result["run_id"])


def test_the_state_before_a_task_and_its_cells(run: Run, book: Book) -> None:
    found = run.task("train").replay()
    assert found.inputs["rows"] == [1, 2]
    assert found.inputs["rows"] is found.inputs["alias"]
    assert "lock" not in found.inputs
    assert "not brought back, and not named by its cells: lock" in found.notes
    made = book.values({"run_id": run.run_id}, "model")["model"]
    for _ in range(2):
        namespace = found.call()
        assert namespace["model"] == made, "every call begins from the task's own state"
    assert found.call(factor=10)["model"][:2] == [10, 20]


def test_what_cannot_be_brought_back_is_named(run: Run) -> None:
    with pytest.raises(Unsupported) as told:
        run.task("locked").replay()
    assert "variable lock cannot be brought back" in told.value.message
    assert "train" in told.value.hint
    with pytest.raises(InvalidInput):
        run.task("later").replay()


def test_the_debugger_opens_in_the_cell(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("p len(rows)\nq\n"))
    found = run.task("breaks").replay()
    assert found.debug() is None
    told = capsys.readouterr().out
    assert "ZeroDivisionError: division by zero" in told
    assert "replay_notebook.py" not in told
    assert "(Pdb) 4" in told
    assert found.debug(rows=[1])["share"] == 1 / -3


def test_in_a_notebook_its_variables_are_the_notebooks(run: Run, book: Book, tmp_path: Path) -> None:
    script = """
import json, sys
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
shell.run_cell('import sys; from mlplatform.sdk.run import Run; run = Run(sys.argv[1], sys.argv[2])')
shell.run_cell('found = run.task("train").replay()')
before = list(shell.user_ns['rows'])
shell.run_cell('found.call()')
print(json.dumps([before, shell.user_ns['rows'] is shell.user_ns['alias'], len(shell.user_ns['model'])]))
shell.run_cell('failing = run.task("breaks").replay()')
shell.run_cell('failing.debug()')
"""
    line = [sys.executable, "-c", script, str(book.home.root), run.run_id]
    done = subprocess.run(
        line, capture_output=True, text=True, cwd=tmp_path, check=False, input="p 'rows:', len(rows)\nq\n"
    )
    assert done.returncode == 0, done.stderr
    assert "[[1, 2], true, 3]" in done.stdout.splitlines(), done.stdout
    assert done.stdout.count("ZeroDivisionError: division by zero") == 1
    assert "('rows:', 4)" in done.stdout
