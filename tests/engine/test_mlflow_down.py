"""MLflow stopped while a run goes on: the run neither waits nor fails, and everything is there once MLflow is back."""

from __future__ import annotations

import os
import time
from pathlib import Path

from tests.support import pipelines
from tests.support.home import home_in
from tests.unit.tracking.conftest import Mlflow, Switch, eventually, stop_gateway, switch, users_server

__all__ = ["switch", "users_server"]

#: Seconds that MLflow stays away beyond the run itself.
LONGER = 60.0 if os.environ.get("MLPLATFORM_ALL_FAULTS") else 0.0


def test_a_run_without_mlflow_is_recorded_later(tmp_path: Path, users_server: Mlflow, switch: Switch) -> None:
    def tracked(experiment: str) -> list[tuple[str, str, float | None]]:
        found = users_server.runs(experiment)
        return sorted((run["name"].partition("-")[0], run["status"], run["metrics"].get("words")) for run in found)

    whole = [("count", "FINISHED", 3.0), ("mixed", "FINISHED", None)]
    with home_in(tmp_path, MLFLOW_TRACKING_URI=switch.url) as home:
        for experiment in ("down from the beginning", "down again"):
            switch.shut()
            result = home.run(pipelines.mixed(str(tmp_path / f"{experiment}.txt")), "--experiment", experiment)
            assert result["state"] == "SUCCEEDED", result["error"]
            assert result["outputs"] == pipelines.MIXED_OUTPUTS
            assert tracked(experiment) == []
            time.sleep(LONGER)
            switch.open()
            assert eventually(lambda name=experiment: tracked(name) == whole, 300.0), tracked(experiment)
        stop_gateway(home.root / "mlflow")
    assert tracked("down from the beginning") == whole
