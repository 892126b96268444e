"""Runs on a real API server: time, requests, bytes, memory.

    python -m tests.bench.bench_cluster chain           10 tasks in a row beside 10 bare pods; wants a real node (root)
    python -m tests.bench.bench_cluster fanout [N]      1,000 tasks at once on kwok's nodes: requests by verb and kind
    python -m tests.bench.bench_cluster bytes [N ...]   what runs of 500 and of 5,000 tasks write
    python -m tests.bench.bench_cluster resync [N]      an operator that starts beside 10,000 finished runs

It uses the cluster that MLPLATFORM_TEST_CLUSTER names (`python -m tests.cluster.up`), or starts one. The operator is a
process of its own, with the flags that are printed; counts and bytes are those of its own metrics.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from mlplatform.apis.objects import pipeline_run_object
from mlplatform.apis.pipelinerun import PipelineRunSpec
from mlplatform.kube.client import Client
from mlplatform.kube.objects import NAMESPACES, PODS, Key, Object
from mlplatform.kube.ours import PIPELINE_RUNS
from mlplatform.kube.transport import connect
from tests.cluster.cluster import Cluster
from tests.support.kube.arena import make_namespace, on_kwok, prepare, until
from tests.support.kube.measured import Operator
from tests.unit.controllers.pipelinerun.documents import chain, document, loop, task
from tests.unit.controllers.pipelinerun.test_rights import Play, value

RUNS = "/apis/pipelines.mlplatform.dev/v1alpha1/namespaces/{}/pipelineruns"
SHELL = "alpine:latest"


def load() -> str:
    return f"load {os.getloadavg()[0]:.1f}"


def namespace_on(cluster: Cluster) -> tuple[Client, str]:
    client = connect(str(cluster.kubeconfig))
    name = f"bench-{uuid.uuid4().hex[:8]}"
    make_namespace(client, name)
    return client, name


# ---------------------------------------------------------------------- a chain beside bare pods
def chained(length: int) -> str:
    """A chain of container tasks that do nothing."""
    data = json.loads(chain(length))
    data["components"]["comp-work"] = {"executorLabel": "exec-work"}
    data["deploymentSpec"]["executors"]["exec-work"] = {"container": {"image": SHELL, "command": ["true"]}}
    return json.dumps(data)


def bench_chain(cluster: Cluster, rounds: int = 3, length: int = 10) -> None:
    from tests.support.kube.platform import platform, push_stand_ins

    push_stand_ins(cluster, [SHELL])
    client, name = namespace_on(cluster)
    with tempfile.TemporaryDirectory() as folder, platform(cluster, Path(folder), namespace=name) as found:
        store = found.prepare(name)
        spec = {"document": chained(length), "store": store}
        took: dict[str, list[float]] = {"run": [], "bare pods": [], "bare pods with the launcher": []}
        for number in range(rounds + 1):  # the first one fills caches of images, and is not counted
            body = {"apiVersion": "pipelines.mlplatform.dev/v1alpha1", "kind": "PipelineRun"}
            body |= {"metadata": {"name": f"run-{number}"}, "spec": spec}
            began = time.perf_counter()
            cluster.api.create(RUNS.format(name), body)
            path = f"{RUNS.format(name)}/run-{number}"
            run = cluster.api.wait(path, lambda run: bool(run.get("status", {}).get("finishedAt")), seconds=600)
            seconds = [time.perf_counter() - began]
            assert run["status"]["state"] == "SUCCEEDED", run["status"]
            own = client.list(PODS, name, labels="mlplatform.dev/managed-by").items or client.list(PODS, name).items
            seconds.append(in_a_row(cluster, client, name, f"bare-{number}", length, bare()))
            seconds.append(in_a_row(cluster, client, name, f"same-{number}", length, same(own[0]["spec"])))
            for kind, one in zip(took, seconds, strict=True):
                took[kind] += [one] if number else []
            print(
                f"  round {number}: run {seconds[0]:.2f} s, bare {seconds[1]:.2f} s, same {seconds[2]:.2f} s; {load()}"
            )
    middle = {kind: statistics.median(seconds) for kind, seconds in took.items()}
    print(f"a chain of {length}, medians of {rounds}: " + ", ".join(f"{k} {v:.2f} s" for k, v in middle.items()))
    for kind in ("bare pods", "bare pods with the launcher"):
        print(f"  ratio to {kind}: {middle['run'] / middle[kind]:.2f}")
    client.delete(NAMESPACES, Key("", name))


def bare() -> Object:
    safe = {"allowPrivilegeEscalation": False, "runAsNonRoot": True, "capabilities": {"drop": ["ALL"]}}
    container = {"name": "main", "image": SHELL, "command": ["true"]}
    container["securityContext"] = safe | {"seccompProfile": {"type": "RuntimeDefault"}, "runAsUser": 1000}
    return {"restartPolicy": "Never", "containers": [container], "automountServiceAccountToken": False}


def same(spec: Object) -> Object:
    """The spec of a pod that the operator made, without what the cluster added."""
    return {key: value for key, value in spec.items() if key not in ("nodeName", "tolerations")}


def in_a_row(cluster: Cluster, client: Client, place: str, name: str, length: int, spec: Object) -> float:
    """Seconds for pods that are made one after the other by somebody who watches each."""
    began = time.perf_counter()
    for number in range(length):
        pod = f"{name}-{number}"
        made = client.create(PODS, {"metadata": {"name": pod, "namespace": place}, "spec": spec})
        fields, version = f"metadata.name={pod}", made["metadata"]["resourceVersion"]
        with client.watch(PODS, place, resource_version=version, fields=fields) as events:
            for event in events:
                phase = json.loads(event.raw)["status"].get("phase")
                if phase in ("Succeeded", "Failed"):
                    assert phase == "Succeeded"
                    break
    return time.perf_counter() - began


# ---------------------------------------------------------------------- many tasks on kwok
def wide(count: int) -> str:
    """That many tasks, none of which waits for another."""
    inside = {"inside": task(inputs={"parameters": {"word": {"componentInputParameter": "item"}}})}
    text = {"parameterType": "STRING"}
    part = {"dag": {"tasks": inside}, "inputDefinitions": {"parameters": {"item": text}}}
    return document({"loop": loop([str(number) for number in range(count)])}, {"comp-loop": part})


def play_wide(cluster: Cluster, count: int) -> Operator:
    """A run of ``count`` tasks on kwok's nodes, to its end. Prints what it took; the operator has been stopped."""
    client, name = namespace_on(cluster)
    prepare(cluster, 12)
    with Operator(cluster, name, "pipelinerun") as operator:
        began = time.perf_counter()
        spec = PipelineRunSpec(document=on_kwok(wide(count), 0.0))
        client.create(PIPELINE_RUNS, pipeline_run_object("run-a", name, spec))
        key = Key(name, "run-a")
        until(lambda: (client.get(PIPELINE_RUNS, key).get("status") or {}).get("finishedAt"), 3600)
        took = time.perf_counter() - began
        status = client.get(PIPELINE_RUNS, key)["status"]
        assert status["counts"] == {"total": count, "succeeded": count}, status
        until(lambda: operator.released(count), 600)
        pods = len(client.list(PODS, name).items)
        operator.look()
    print(f"{count} tasks at once: {took:.1f} s ({took / count * 1000:.1f} ms a task), {pods} pods, {load()}")
    print(f"  operator: {operator.words()}")
    client.delete(NAMESPACES, Key("", name))
    return operator


def bench_fanout(cluster: Cluster, count: int = 1000) -> None:
    operator = play_wide(cluster, count)
    for (verb, resource), times in sorted(operator.requests.items(), key=lambda item: -item[1]):
        print(f"  {times:7d}  {verb} {resource}")


def bench_bytes(cluster: Cluster, counts: Iterable[int] = (500, 5000)) -> None:
    each: list[tuple[int, float]] = []
    for count in counts:
        operator = play_wide(cluster, count)
        sent = {kind: size for kind, size in operator.sent.items() if size}
        own = sum(size for (_, resource), size in sent.items() if resource not in ("pods", "events.events.k8s.io"))
        print(f"  bytes written: {sum(sent.values()):,} in all, {sum(sent.values()) / count:,.0f} a task")
        print(f"  ... of them status and records: {own:,}, {own / count:,.0f} a task")
        for (verb, resource), size in sorted(sent.items(), key=lambda item: -item[1]):
            print(f"  {size:12,}  {verb} {resource}")
        each.append((count, sum(sent.values()) / count))
    if len(each) > 1:
        print(
            f"bytes a task: {each[-1][1] / each[0][1]:.2f} times as many with {each[-1][0]} tasks as with {each[0][0]}"
        )


# ---------------------------------------------------------------------- an operator that starts
def bench_resync(cluster: Cluster, count: int = 10_000) -> None:
    client, name = namespace_on(cluster)
    prepare(cluster)
    spec = PipelineRunSpec(document=chain(10))
    status = Play(value, spec).stage.play()["status"]

    def make(number: int) -> None:
        made = client.create(PIPELINE_RUNS, pipeline_run_object(f"run-{number:05d}", name, spec))
        client.replace_status(PIPELINE_RUNS, {**made, "status": status})

    began = time.perf_counter()
    at_once(make, range(count))
    print(f"{count} finished runs of 10 tasks are there after {time.perf_counter() - began:.0f} s; {load()}")
    with Operator(cluster, name, "pipelinerun") as operator:
        began = time.perf_counter()
        until(lambda: operator.reconciled() >= count, 600)
        took = time.perf_counter() - began
        operator.look()
    print(f"an operator that starts beside them: ready {operator.ready_after:.2f} s after its start, all looked at "
          f"{took:.2f} s later; {load()}")  # fmt: skip
    print(f"  {operator.words()}")
    client.delete(NAMESPACES, Key("", name))


def at_once(what: Callable[[int], Any], numbers: Iterable[int], width: int = 16) -> None:
    with ThreadPoolExecutor(width) as pool:
        for _ in pool.map(what, numbers):
            pass


BENCHES: dict[str, tuple[Callable[..., None], bool]] = {
    "chain": (bench_chain, True),
    "fanout": (bench_fanout, False),
    "bytes": (bench_bytes, False),
    "resync": (bench_resync, False),
}


def main() -> None:
    name, *numbers = sys.argv[1:] or ["fanout"]
    bench, node = BENCHES[name]
    running = os.environ.get("MLPLATFORM_TEST_CLUSTER")
    cluster = Cluster.find(Path(running)) if running else Cluster.start(node=node)
    given = [int(number) for number in numbers]
    try:
        if name == "bytes":
            bench(cluster, *([given] if given else []))
        else:
            bench(cluster, *given)
    finally:
        if not running:
            cluster.stop()


if __name__ == "__main__":
    main()
