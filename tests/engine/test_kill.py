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
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support import pipelines
from tests.unit.tracking.conftest import Mlflow, eventually, stop_gateway, users_server

__all__ = ["users_server"]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]


@dataclass
class Ending:
    """How one run of the mixed pipeline came out: the CLI's JSON, and the names that its tasks wrote."""

    folder: Path
    result: dict[str, Any]
    names: list[str]

    def problems(self) -> list[str]:
        found: list[str] = []
        if self.result.get("state") != "SUCCEEDED":
            found.append(f"state {self.result.get('state')}: {self.result.get('error')}")
        elif self.result["outputs"] != pipelines.MIXED_OUTPUTS:
            found.append(f"outputs {self.result['outputs']}")
        if sorted(self.names) != pipelines.MIXED_NAMES:
            seen = Counter(self.names)
            twice = sorted(name for name, count in seen.items() if count > 1)
            found.append(f"run twice: {twice}; never run: {sorted(set(pipelines.MIXED_NAMES) - set(seen))}")
        if left := leftovers(self.folder):
            found.append(f"left running: {left}")
        return found


def run_mixed(folder: Path, mlflow: str, **faults: str) -> Ending:
    """Run the mixed pipeline by the CLI with these fault settings, in an MLflow experiment of the folder's name."""
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "names.txt"
    document = folder / "mixed.json"
    document.write_text(pipelines.mixed(str(log)).text())
    env = {**os.environ, **faults, "MLPLATFORM_IDLE_SECONDS": "1", "MLFLOW_TRACKING_URI": mlflow}
    command = [sys.executable, "-m", "mlplatform.cli.main", "run", str(document), "--home", str(folder / "home")]
    command += ["--experiment", f"kill {folder.name}", "--output", "json"]
    try:
        done = subprocess.run(command, env=env, cwd=folder, capture_output=True, text=True, timeout=240, check=False)
        told = json.loads(done.stdout) if done.stdout.strip() else {"error": done.stderr[-2000:]}
    except subprocess.TimeoutExpired as late:
        told = {"error": f"did not end; it said {(late.stderr or b'')[-2000:]!r}"}
    return Ending(folder, told, log.read_text().split() if log.exists() else [])


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


def tracked(server: Mlflow, folder: Path) -> list[tuple[str, str, float | None]]:
    """The runs of this folder's experiment in MLflow: (name, status, metric ``words``)."""
    found = server.runs(f"kill {folder.name}")
    return sorted((item["name"].partition("-")[0], item["status"], item["metrics"].get("words")) for item in found)


#: The run itself, and the one task that has a metric.
TRACKED = [("count", "FINISHED", 3.0), ("mixed", "FINISHED", None)]


def test_the_service_dies_at_every_point(tmp_path: Path, users_server: Mlflow) -> None:
    """Every 7th point by default (the whole list with MLPLATFORM_ALL_FAULTS=1), each in a fresh home."""
    trace = tmp_path / "points.txt"
    first = run_mixed(tmp_path / "0", users_server.url, MLPLATFORM_FAULT_LOG=str(trace))
    assert first.problems() == []
    points = trace.read_text().split()
    assert len(points) > 100
    step = 1 if os.environ.get("MLPLATFORM_ALL_FAULTS") else 7
    problems: list[str] = []
    died = 0
    for number in range(1, len(points) + 1, step):
        folder = tmp_path / str(number)
        once = tmp_path / f"{number}.died"
        ending = run_mixed(folder, users_server.url, MLPLATFORM_FAULT_AT=str(number), MLPLATFORM_FAULT_ONCE=str(once))
        died += once.exists()
        problems += [f"point {number} ({points[number - 1]}): {problem}" for problem in ending.problems()]
        if not eventually(lambda folder=folder: tracked(users_server, folder) == TRACKED, 60.0):
            problems.append(f"point {number}: in MLflow {tracked(users_server, folder)}")
        stop_gateway(folder / "home" / "mlflow")
    assert problems == []
    # How many points there are differs a little by timing; the last ones may not come.
    assert died >= 0.9 * len(range(1, len(points) + 1, step))
