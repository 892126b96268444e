"""Tasks of a notebook, each in a process of its own that has nothing but what the one before it left."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from mlplatform.launcher import preload
from mlplatform.launcher.digest import digest_path
from mlplatform.launcher.notebook.alone import CELLS, STATE

CELLS_OF = (
    "import random\nrandom.seed(3)\nrows = [1, 2, 3]\nalias = rows\nfirst = random.random()",
    "open('made.txt', 'w').write('made')\ngenerator = (row * 10 for row in rows)\nnext(generator)\nalias.append(4)",
    "rest = list(generator)\nsecond = random.random()\n"
    "print(rest, rows is alias, open('made.txt').read(), first, second)",
    "1 / 0",
)


def attempt(folder: Path, position: int, state: str, run: str) -> tuple[dict[str, Any], Path, Path]:
    """One task in a machine of its own; (result, what it left, what its cells said)."""
    here = folder / run / str(position)
    here.mkdir(parents=True)
    artifacts: dict[str, Any] = {
        name: {
            "path": str(here / "out" / name),
            "uri": str(here / "out" / name),
            "type": "",
            "metadata": {},
            "list": False,
        }
        for name in (STATE, CELLS)
    }
    cell = {"index": position, "source": CELLS_OF[position], "may_fail": False, "definitions": False}
    task: dict[str, Any] = {
        "name": f"task-{position}", "position": position, "cells": [cell], "may_read": [], "may_write": [],
        "whole_namespace": False, "parameters": [], "defaults": {}, "notebook": "study.ipynb", "values": {},
        "cookie": "notebook", "folder": str(here), "library": str(here / "library"), "history": False,
        "outputs": artifacts[CELLS]["path"], "pointer": str(here / "pointer.json"), "state": state,
    }  # fmt: skip
    spec: dict[str, Any] = {
        "version": 1, "kind": "notebook", "run_id": run, "task": task["name"], "iteration": [], "attempt": 1,
        "cookie": run, "executor_input": {}, "cwd": str(folder / "cwd" / run / str(position)), "sys_path": [],
        "scratch": str(here), "outputs": {"parameters": {}, "artifacts": artifacts}, "claim": None,
        "result": str(here / "result.json"), "trace": None, "trace_ignore": [], "hooks": [], "timeout": None,
        "secrets": [], "mounts": [], "cpus": None, "gpus": None, "peers": None, "log": str(here / "log"),
        "env": {"PATH": "/usr/bin:/bin", "HOME": str(here)}, "notebook": task,
    }  # fmt: skip
    file = here / "spec.json"
    file.write_text(json.dumps(spec))
    done = subprocess.run(
        [sys.executable, preload.DOOR, "--notebook-alone", str(file)], capture_output=True, text=True, check=False
    )
    result = json.loads((here / "result.json").read_bytes())
    assert (done.returncode == 0) == (result["state"] == "SUCCEEDED"), done.stderr
    return result, here / "out" / STATE, here / "out" / CELLS


def chain(folder: Path, run: str) -> list[tuple[dict[str, Any], Path, Path]]:
    found: list[tuple[dict[str, Any], Path, Path]] = []
    state = ""
    for position in range(3):
        found.append(attempt(folder, position, state, run))
        assert found[-1][0]["state"] == "SUCCEEDED", found[-1][0]
        state = str(found[-1][1])
    return found


def test_each_goes_on_where_the_one_before_it_ended(tmp_path: Path) -> None:
    """Shared objects, random numbers, files, and a generator that no snapshot holds: as in one kernel."""
    first = chain(tmp_path, "a")
    [cell] = json.loads(first[2][2].read_bytes())["cells"]
    assert cell["outputs"][0]["text"] == "[20, 30, 40] True made 0.23796462709189137 0.5442292252959519\n"
    assert cell["execution_count"] == 3
    told = json.loads((first[1][1] / "state.json").read_bytes())
    assert [task["name"] for task in told["replay"]] == ["task-1"]  # the generator: run again for what it leaves
    assert set(told["files"]) == {"made.txt"}
    # Said once more, byte for byte: so what comes after may be reused.
    again = chain(tmp_path, "b")
    for (one, state, _), (other, same, _) in zip(first, again, strict=True):
        assert digest_path(str(state)) == digest_path(str(same))
        assert one["artifacts"][STATE][0]["digest"] == other["artifacts"][STATE][0]["digest"]


def test_the_cell_that_fails_is_told_with_the_users_traceback(tmp_path: Path) -> None:
    result, state, cells = attempt(tmp_path, 3, "", "a")
    assert (result["state"], result["error"]["message"]) == ("FAILED", "ZeroDivisionError: division by zero")
    assert result["error"]["traceback"].startswith("cell 3 of study.ipynb\n")
    assert not state.exists()
    assert json.loads(cells.read_bytes())["cells"][0]["outputs"][0]["ename"] == "ZeroDivisionError"
