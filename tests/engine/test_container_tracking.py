"""What a task in a container logs lands in its own MLflow run, though MLflow is reached by loopback only."""

# ruff: noqa: E501 - the program of the task

from __future__ import annotations

from pathlib import Path

from tests.support.home import home_in
from tests.support.pipelines import Builder
from tests.support.podman import podman
from tests.unit.tracking.conftest import Mlflow, eventually, stop_gateway, users_server

__all__ = ["users_server"]

_SCRIPT = """
post() {
    /bin/busybox wget -q -O - --header "Authorization: Bearer $MLFLOW_TRACKING_TOKEN" \\
        --header "Content-Type: application/json" --post-data "$2" "$MLFLOW_TRACKING_URI/api/2.0/mlflow/runs/$1"
}
answer=$(post create '{"experiment_id": "0", "run_name": "in a container", "start_time": 1790000001000, "tags": []}')
answer=${answer#*\\"run_id\\":}
answer=${answer#*\\"}
run=${answer%%\\"*}
post log-metric "{\\"run_id\\": \\"$run\\", \\"key\\": \\"depth\\", \\"value\\": 7, \\"step\\": 0, \\"timestamp\\": 1790000002000}"
"""


def test_a_container_logs_to_mlflow(tmp_path: Path, users_server: Mlflow) -> None:
    real = podman()
    conf = tmp_path / "containers.conf"  # no network, unless a container is given one
    conf.write_text(Path(real.env["CONTAINERS_CONF"]).read_text().replace('netns = "host"', 'netns = "none"'))
    builder = Builder("boxed")
    builder.components["comp-boxed"] = {"executorLabel": "exec-boxed"}
    builder.executors["exec-boxed"] = {"container": {"image": real.image, "command": ["sh", "-ec", _SCRIPT]}}
    builder.task("boxed")
    environment = {**real.env, "CONTAINERS_CONF": str(conf), "MLFLOW_TRACKING_URI": users_server.url}
    with home_in(tmp_path, **environment) as home:
        result = home.run(builder, "--containers", "podman", "--experiment", "boxed")
        assert result["state"] == "SUCCEEDED", next(iter(home.root.rglob("task.log"))).read_text()

        def metrics() -> dict[str, float]:
            return {run["name"]: run["metrics"].get("depth") for run in users_server.runs("boxed") if run["parent"]}

        assert eventually(lambda: metrics() == {"in a container": 7.0}), users_server.runs("boxed")
        stop_gateway(home.root / "mlflow")
