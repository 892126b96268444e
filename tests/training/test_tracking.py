"""A training job of this machine in a real MLflow: one run over all attempts, its checkpoint and its model.
(On a cluster: ``tests/cluster/test_platform``.)"""

from __future__ import annotations

import json
import os
import signal
import uuid
from pathlib import Path

import pytest

import mlplatform as ml
from mlplatform.sdk.training.run import TrainingRun
from tests.training.test_processes import PATIENCE, home, pids, until
from tests.unit.tracking.conftest import Mlflow, eventually, stop_gateway, users_server

__all__ = ["home", "users_server"]

SCRIPT = Path(__file__).parent / "scripts" / "fits.py"


def behind_its_first_checkpoint(run: TrainingRun) -> bool:
    assert run.phase != "Failed", run.status
    return run.progress.get("checkpointStep") == 4 and run.progress.get("step") == 7


def test_one_run_over_all_attempts_with_the_checkpoint_and_the_model(
    home: Path, users_server: Mlflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret, name = f"hush-{uuid.uuid4().hex}", f"line-{uuid.uuid4().hex[:6]}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", users_server.url)
    monkeypatch.setenv("A_TOKEN", secret)
    env = {"MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL": "0.5", "REGISTERED": name}
    once = {"failurePolicy": {"backoffSeconds": 0}}
    job = ml.TrainingJob(SCRIPT, workers=2, env=env, experiment=name, spec=once)
    run = job.run(home=home)
    until(lambda: behind_its_first_checkpoint(run))
    os.kill(pids(run, home, 0)[-1], signal.SIGKILL)
    run.wait(PATIENCE)
    assert [one.get("exitCode") for one in run.attempts] == [137, None]
    try:
        found = eventually(lambda: [one for one in users_server.runs(name) if one["status"] == "FINISHED"], 120.0)
        assert len(found) == 1, (users_server.runs(name), run.logs())
        [only] = found
        assert (only["name"], only["params"]) == (run.name, {"steps": "20"})
        assert [step for step, _ in users_server.history(only["id"], "loss")] == [*range(8), *range(5, 20)]
        for rank in range(2):
            steps = [
                step for step, _ in users_server.history(only["id"], f"system/{rank}/system_memory_usage_percentage")
            ]
            assert steps
            assert steps == [*range(len(steps))]
        told = {key: only["tags"][f"mlplatform.{key}"] for key in ("attempts", "restarts", "checkpoint_step", "state")}
        assert told == {"attempts": "2", "restarts": "1", "checkpoint_step": "19", "state": "SUCCEEDED"}
        assert float(users_server.artifact(only, "checkpoints/step-19/slope")) == pytest.approx(3.0, abs=1e-4)
        assert users_server.artifact(only, "notes/fit.txt") == b"slope 3.000"
        [model] = only["outputs"]
        [version] = users_server.call("registered-models/get", name=name)["registered_model"]["latest_versions"]
        assert (version["source"], version["run_id"]) == (f"models:/{model['model_id']}", only["id"])
        assert secret not in json.dumps(only)
    finally:
        stop_gateway(home / "mlflow")
