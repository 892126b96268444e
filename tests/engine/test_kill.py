"""The service dies between any two lines: at every enumerated point of a run of thirty mixed tasks.

The points are those of ``engine.faults``: before and after every transaction, every spec, every start, every end. The
run is started, the service kills itself at point N, a client starts the next one, and the run must end as if nothing
had happened: same outputs, no finished task run twice, no process left, one MLflow run and that one closed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import pipelines

pytestmark = pytest.mark.slow


def run_mixed(folder: Path, **faults: str) -> tuple[dict, list[str]]:
    """Run the mixed pipeline by the CLI with these fault settings; returns its JSON and the names its tasks wrote."""
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "names.txt"
    document = folder / "mixed.json"
    document.write_text(pipelines.mixed(str(log)).text())
    env = {**os.environ, **faults, "MLPLATFORM_IDLE_SECONDS": "1"}
    command = [sys.executable, "-m", "mlplatform.cli.main", "run", str(document), "--home", str(folder / "home")]
    done = subprocess.run(
        [*command, "--output", "json"], env=env, cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.stdout.strip(), done.stderr
    return json.loads(done.stdout), log.read_text().split()


def leftovers(folder: Path) -> list[str]:
    """Command lines of processes whose environment carries an attempt of this folder's home."""
    found = []
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        try:
            environment = (process / "environ").read_bytes()
            command = (process / "cmdline").read_bytes()
        except OSError:
            continue
        if str(folder).encode() in environment and b"MLPLATFORM_ATTEMPT=" in environment:
            found.append(command.replace(b"\0", b" ").decode(errors="replace"))
    return found


def check(result: dict, names: list[str], folder: Path) -> None:
    assert result["state"] == "SUCCEEDED", result["error"]
    assert result["outputs"] == pipelines.MIXED_OUTPUTS
    assert sorted(set(names)) == pipelines.MIXED_NAMES
    assert leftovers(folder) == []


def fault_count(folder: Path) -> int:
    trace = folder / "points.txt"
    result, names = run_mixed(folder, MLPLATFORM_FAULT_LOG=str(trace))
    check(result, names, folder)
    assert sorted(names) == pipelines.MIXED_NAMES
    return len(trace.read_text().split())


def test_the_service_dies_at_every_point(tmp_path: Path) -> None:
    """Every 7th point by default (the whole list with MLPLATFORM_ALL_FAULTS=1), each in a fresh home."""
    count = fault_count(tmp_path / "count")
    assert count > 100
    step = 1 if os.environ.get("MLPLATFORM_ALL_FAULTS") else 7
    problems = []
    for point in range(1, count + 1, step):
        folder = tmp_path / str(point)
        result, names = run_mixed(folder, MLPLATFORM_FAULT_AT=str(point), MLPLATFORM_FAULT_ONCE=str(folder) + ".died")
        try:
            check(result, names, folder)
            finished_twice = sorted({name for name in names if names.count(name) > 1})
            assert finished_twice == []
        except AssertionError as error:
            problems.append(f"point {point}: {error}")
    assert problems == []
