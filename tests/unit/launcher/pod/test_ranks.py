"""A rank of a task in its pod: what its processes leave is the task's result, and its exit status is their own."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from mlplatform.launcher.pod.ranks import environment, exit_code, log_uris
from mlplatform.render.taskjob import DOOR, FILE, PYTHON
from tests.unit.launcher.pod.test_run import ended, request, start

WORDS = [PYTHON, DOOR, "--task-rank", FILE]
RANKS: dict[str, Any] = {"words": {"worker": WORDS}, "first": "worker", "grace": 30}
SOURCE = """
def fit(word: str) -> int:
    import os, sys, time
    from mlplatform import training
    me = training.init()
    print("rank", me.rank, "of", me.world_size, os.environ["MLFLOW_TRACKING_URI"], flush=True)
    if word == "wait":
        while not training.stopping():
            time.sleep(0.05)
        sys.exit(75)
    if word == "fail":
        raise ValueError("broken on purpose")
    return 7 if me.first else None
"""


def body(base: Path, word: str) -> dict[str, Any]:
    outputs = base / "work" / "outputs"
    file = str(outputs / "executor_output.json")
    told = {"parameters": {"Output": {"outputFile": str(outputs / "parameters" / "Output")}}, "outputFile": file}
    made = {"parameters": {"Output": {"path": str(outputs / "parameters" / "Output"), "type": "NUMBER_INTEGER"}}}
    python = {"source": SOURCE, "function": "fit", "filename": "f.py", "kfp": True, "packages": [], "pip": []}
    return request(
        base,
        [],
        kind="python",
        python=python,
        outputs={**made, "artifacts": {}},
        executor_input={"inputs": {"parameterValues": {"word": word}}, "outputs": told},
        ranks=RANKS,
    )


def variables(rank: int) -> dict[str, str]:
    return {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "MLP_JOB": "fit",
        "MLP_GROUP": "worker",
        "MLP_RANK": str(rank),
        "MLP_WORLD_SIZE": "2",
        "MLP_ATTEMPT": "3",
        "MLPLATFORM_SET_MLFLOW_TRACKING_URI": "http://127.0.0.1:9",
    }


@pytest.mark.parametrize("rank", [0, 1])
def test_rank_0_answers_and_the_others_end(tmp_path: Path, rank: int) -> None:
    base = tmp_path / "pod"
    found, said, code = ended(base, start(base, body(base, "go"), **variables(rank)))
    assert (found.state, code) == ("SUCCEEDED", 0), said
    assert f"rank {rank} of 2 http://127.0.0.1:9" in said
    assert found.values.parameters == ({"Output": 7} if rank == 0 else {})
    assert ('"aside":true' in (base / "termination-log").read_text()) == (rank == 1)


def test_one_that_fails_tells_why(tmp_path: Path) -> None:
    base = tmp_path / "pod"
    found, said, code = ended(base, start(base, body(base, "fail"), **variables(1)))
    assert (found.state, code) == ("FAILED", 1), said
    assert found.error is not None
    assert "broken on purpose" in found.error.message


def test_told_to_stop_it_saves_and_says_so_by_its_status(tmp_path: Path) -> None:
    base = tmp_path / "pod"
    process = start(base, body(base, "wait"), **variables(0))
    end = time.monotonic() + 60
    log = base / "work" / "attempt" / "task.log"
    while not (log.exists() and "rank 0" in log.read_text()):
        assert time.monotonic() < end
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    found, said, code = ended(base, process)
    assert (found.state, code) == ("TERMINATED", 75), said


def test_small_things() -> None:
    assert environment({"A": "1", "MLPLATFORM_SET_A": "2", "B": "3"}) == {"A": "2", "B": "3"}
    assert (exit_code(75), exit_code(-9)) == (75, 137)
    env = {"MLP_GROUP": "worker", "MLP_RANK": "0", "MLP_ATTEMPT": "2"}
    told = {"log_uri": "s3://b/run/fit/1/task.log", "ranks": RANKS}
    assert log_uris(told, env) == ["s3://b/run/fit/1/ranks/worker-a2-0.log", "s3://b/run/fit/1/task.log"]
    assert log_uris(told, {**env, "MLP_RANK": "1"}) == ["s3://b/run/fit/1/ranks/worker-a2-1.log"]
    assert log_uris({**told, "log_uri": ""}, env) == []
