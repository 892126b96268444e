"""The display that moves: in a kernel of its own, under the client that saves what a notebook holds."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from mlplatform.engine.home import open_home
from mlplatform.sdk.client import LocalClient
from mlplatform.sdk.progress import one_line
from mlplatform.sdk.run_reading import read_records
from tests.unit.sdk.run_cases import gated, start

ROOT = Path(__file__).resolve().parents[3]


def execute(tmp_path: Path, *cells: str) -> list[Any]:
    notebook = nbformat.v4.new_notebook()
    setup = f"""
import sys; sys.path.insert(0, {str(ROOT)!r})
from pathlib import Path
from mlplatform.engine.home import open_home
from tests.unit.sdk.run_cases import failing, gated, start
folder = Path({str(tmp_path)!r}); gate = folder / "gate"
run = start(open_home(folder / "home"), gated(gate), folder)
"""
    notebook.cells = [nbformat.v4.new_code_cell(text) for text in (setup, *cells)]
    try:
        NotebookClient(notebook, timeout=120, kernel_name="python3", allow_errors=True).execute()
    finally:
        LocalClient(tmp_path / "home").stop()
    nbformat.validate(notebook)
    return [cell.outputs for cell in notebook.cells[1:]]


@pytest.mark.slow
def test_it_is_true_in_the_saved_notebook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    shown, early, late, result, again = execute(
        tmp_path,
        "run",
        "run.task('load').outputs",
        "gate.touch()",
        "run.outputs",
        "bad = start(open_home(folder / 'home'), failing(), folder)\nbad.outputs",
    )
    assert [output.output_type for output in shown] == ["display_data"], "one output, replaced in place"
    assert " succeeded in " in shown[0].data["text/plain"].splitlines()[0], "although its cell ended long before"
    assert "result  14" in shown[0].data["text/plain"]
    assert "data:image/svg+xml" in shown[0].data["text/html"]
    assert [output.data["text/plain"] for output in early] == ["{'Output': 6}"], "it is on show already"
    assert late == []
    assert result[0].data["text/plain"] == "{'result': 14}"
    kinds = [output.output_type for output in again]
    assert kinds == ["display_data", "error"], "who waits for a run that is not on show sees it"
    assert "  failed after " in again[0].data["text/plain"]
    assert "\n" not in again[0].data["text/plain"], "in one line"
    assert again[1].ename == "TaskFailed"
    assert again[1].traceback[0] == "Traceback (most recent call last):"
    assert "return int(text) // by" in "\n".join(again[1].traceback)


def test_one_line_for_a_terminal(tmp_path: Path) -> None:
    home = open_home(tmp_path / "home")
    gate = tmp_path / "gate"
    run = start(home, gated(gate), tmp_path)
    run.task("wait").wait_for_inputs()
    record = run.record
    line = one_line(read_records(home, run.run_id), (record.started_at or 0.0) + 75)
    assert line.startswith(f"◐ {run.name}  running for 1m 15s  1 of ")
    assert run.cancel().wait(check=False, timeout=60).state == "CANCELLED"
    run.client.stop()
