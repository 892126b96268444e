"""What the platform itself takes on a cluster: pods, memory, processor, idle and while a run goes.

    python -m tests.bench.bench_footprint [SECONDS]

It installs the platform with its own command on the cluster that MLPLATFORM_TEST_CLUSTER names, or on one that it
starts, and uninstalls it in the end. Figures are the kubelet's: the largest working set, and processor time over each
window of SECONDS (60) as thousandths of a core. The run is a chain of ten tasks that log to MLflow.
"""

import json
import os
import sys
import time
import uuid
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from kfp import compiler, dsl

from tests.cluster.cluster import Cluster
from tests.support.kube.installed import PLACE, Installed, installed

RUNS = "/apis/pipelines.mlplatform.dev/v1alpha1/namespaces/{}/pipelineruns"


def stats(platform: Installed) -> dict[str, tuple[float, int]]:
    """By part: MiB of working set, nanoseconds of processor so far."""
    node = platform.cluster.api.get("/api/v1/nodes")["items"]
    found: dict[str, tuple[float, int]] = {}
    for one in node:
        if "kwok" in str(one["metadata"].get("annotations")):
            continue
        told = platform.cluster.api.get(f"/api/v1/nodes/{one['metadata']['name']}/proxy/stats/summary")
        for pod in told["pods"]:
            if pod["podRef"]["namespace"] == PLACE and "workingSetBytes" in pod.get("memory", {}):
                part = pod["podRef"]["name"].split("-")[1]
                found[part] = (pod["memory"]["workingSetBytes"] / 2**20, pod["cpu"]["usageCoreNanoSeconds"])
    return found


def window(platform: Installed, seconds: float) -> dict[str, dict[str, float]]:
    """Over a window: the most memory seen, and processor time a second."""
    first, began = stats(platform), time.monotonic()
    most = {part: memory for part, (memory, _) in first.items()}
    last = first
    while time.monotonic() - began < seconds:
        time.sleep(5)
        last = stats(platform)
        most = {part: max(most.get(part, 0.0), memory) for part, (memory, _) in last.items()}
    took = time.monotonic() - began
    return {
        part: {"MiB": round(most[part]), "millicores": round((last[part][1] - first[part][1]) / took / 1e6, 1)}
        for part in sorted(last)
    }


def pipeline(image: str, folder: Path) -> str:
    @dsl.component(base_image=image)
    def step(number: int) -> int:
        import mlflow

        for value in range(20):
            mlflow.log_metric("value", value, step=value)
        return number + 1

    @dsl.pipeline(name="footprint")
    def chain() -> int:
        number = step(number=0)
        for _ in range(9):
            number = step(number=number.output)
        return number.output

    file = folder / "footprint.yaml"
    compiler.Compiler().compile(chain, str(file))
    return file.read_text(encoding="utf-8")


def measure(cluster: Cluster, seconds: float) -> dict[str, Any]:
    space = f"footprint-{uuid.uuid4().hex[:6]}"
    cluster.api.create("/api/v1/namespaces", {"metadata": {"name": space}})
    try:
        with installed(cluster, space) as platform:
            time.sleep(20)  # what starting took is over
            idle = window(platform, seconds)
            document = pipeline(platform.told["images"]["mlflow"], Path("/tmp"))
            meta = {"name": "footprint", "namespace": space}
            body = {"apiVersion": "pipelines.mlplatform.dev/v1alpha1", "kind": "PipelineRun", "metadata": meta}
            cluster.api.create(RUNS.format(space), {**body, "spec": {"document": document}})
            busy = window(platform, seconds)
            return {"pods": len(platform.pods()), "idle": idle, "while a run goes": busy}
    finally:
        cluster.api.delete(f"/api/v1/namespaces/{space}")


def main() -> None:
    seconds = float(sys.argv[1]) if sys.argv[1:] else 60.0
    known = os.environ.get("MLPLATFORM_TEST_CLUSTER")
    cluster = Cluster.find(Path(known)) if known else Cluster.start(node=True)
    try:
        found = measure(cluster, seconds)
    finally:
        if not known:
            cluster.stop()
    for state in ("idle", "while a run goes"):
        found[state]["all"] = {
            unit: round(sum(part[unit] for part in found[state].values()), 1) for unit in ("MiB", "millicores")
        }
    print(json.dumps({**found, "load": round(os.getloadavg()[0], 1)}, indent=1))


if __name__ == "__main__":
    main()
