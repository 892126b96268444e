"""What is told of a task: the metrics it logged with plain MLflow (in notebooks too), and how it is replayed."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import time

from mlplatform.engine.home import Home
from mlplatform.sdk.diff import diff_stored
from mlplatform.sdk.display_text import text
from mlplatform.sdk.snapshot import take_snapshot
from tests.support.pages import submit
from tests.support.pipelines import Builder, fan_out
from tests.support.server import Served

_TRAIN = """
def train(rate: float, metrics: Output[Metrics]) -> float:
    import mlflow
    metrics.log_metric("loss", rate)
    with mlflow.start_run():
        for step in range(3):
            mlflow.log_metric("accuracy", rate + step, step=step)
        mlflow.log_metrics({"loss": 99.0, "lost": float("nan")})
    return rate
"""


def _pipeline() -> Builder:
    made = Builder("logs")
    made.component(
        "train",
        _TRAIN,
        inputs={"rate": "NUMBER_DOUBLE"},
        outputs={"Output": "NUMBER_DOUBLE"},
        artifacts_out={"metrics": "system.Metrics"},
    )
    made.root_inputs = {"rate": {"parameterType": "NUMBER_DOUBLE"}}
    made.task("train", from_inputs={"rate": "rate"}, cache=True)
    return made


def test_metrics_of_plain_mlflow(served: Served) -> None:
    runs = [submit(served, _pipeline(), wait=False, parameters={"rate": rate}) for rate in (0.25, 0.5)]
    for run in runs:  # side by side: importing MLflow takes its seconds
        served.finished(run)
    runs.append(submit(served, _pipeline(), parameters={"rate": 0.25}))
    compared = served.get("/api/v1/compare", run=runs)["runs"]
    assert [one["metrics"] for one in compared] == [
        {"train/accuracy": rate + 2, "train/loss": rate, "train/Output": rate} for rate in (0.25, 0.5, 0.25)
    ]
    details = [served.get(f"/api/v1/runs/{run}/tasks/train") for run in runs]
    assert [one["state"] for one in details] == ["SUCCEEDED", "SUCCEEDED", "CACHED"]
    assert [one["metrics"] for one in details] == [{"accuracy": rate + 2, "loss": rate} for rate in (0.25, 0.5, 0.25)]
    home = Home(served.home.root)
    snapshot = take_snapshot(home, runs[0], time.time())
    numbers = dict(snapshot.metrics["train"])
    assert math.isnan(numbers.pop("lost"))
    assert numbers == {"accuracy": 2.25, "loss": 0.25}
    diff = diff_stored(home, *runs[:2])
    assert diff.metrics["train.accuracy"] == (2.25, 2.5)
    assert diff.metrics["train.loss"] == (0.25, 0.5)
    assert "train.accuracy" in repr(diff)
    assert text(snapshot)


def test_what_is_copied_to_replay_a_task_works(served: Served) -> None:
    run = submit(served, fan_out(3, name="loop"))
    group = served.get(f"/api/v1/runs/{run}/tasks/for-loop-1")
    assert "replay" not in group["commands"], "there is no function to call"
    told = served.get(f"/api/v1/runs/{run}/tasks/for-loop-1/add-one", iteration="2")
    command = told["commands"]["replay"]
    assert command == f'import mlplatform as ml; ml.run("{run}").task("for-loop-1/add-one", 2).replay()'
    done = subprocess.run(
        [sys.executable, "-c", command.replace("ml.run", "found = ml.run") + "; print('gives', found.call())"],
        env={**os.environ, "MLPLATFORM_HOME": str(served.home.root)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert f"gives {told['outputs']['Output']}" in done.stdout, done.stderr
