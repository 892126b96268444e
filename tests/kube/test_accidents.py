"""What happens to clusters, PipelineRuns survive here, on a real API server with kwok's pods: nothing is lost, nothing
is doubled."""

from __future__ import annotations

import itertools
import json
import os
import signal
import time
from collections.abc import Generator

import pytest

from mlplatform.controllers.framework.manager import Sharing
from mlplatform.core.errors import KubernetesError
from mlplatform.kube.leases import Timing
from mlplatform.kube.objects import NODES, PODS, Key
from mlplatform.kube.transport import connect
from tests.cluster.cluster import Cluster
from tests.support.kube.arena import POOL, Arena, arena, on_kwok, until
from tests.support.kube.faults import Shaky
from tests.unit.controllers.pipelinerun.documents import LOOP, chain, document, loop, task

#: A chain of two, and a loop of four with two tasks each.
MIXED = document({"first": task(), "then": task(after=("first",)), "loop": loop(list("abcd"))}, LOOP)
TASKS = 10
HOUR = 3600.0


@pytest.fixture
def place(api_server: Cluster) -> Generator[Arena]:
    with arena(api_server) as found:
        yield found


def submit(place: Arena, count: int, seconds: float = 0.2, pool: str = "") -> list[Key]:
    return [place.submit(f"run-{number}", on_kwok(MIXED, seconds, pool)) for number in range(count)]


def test_pods_are_deleted_and_a_node_is_drained(place: Arena) -> None:
    nodes = place.cluster.add_nodes(2, prefix=place.namespace, tainted=True)
    for node in nodes:
        place.client.patch(NODES, Key("", node), {"metadata": {"labels": {POOL: place.namespace}}})
    try:
        with place.running(place.operator()):
            keys = submit(place, 2, 2.0, place.namespace)
            until(lambda: len(place.pods("Running")) >= 6)
            for pod in place.pods("Running")[:3]:
                place.client.delete(PODS, Key(place.namespace, pod["metadata"]["name"]))
            place.client.patch(NODES, Key("", nodes[0]), {"spec": {"unschedulable": True}})
            for pod in place.pods("Running"):
                if pod["spec"].get("nodeName") == nodes[0]:
                    name = pod["metadata"]["name"]
                    eviction = {"metadata": {"name": name}, "apiVersion": "policy/v1", "kind": "Eviction"}
                    place.cluster.api.create(f"/api/v1/namespaces/{place.namespace}/pods/{name}/eviction", eviction)
            place.ended(keys)
        place.nothing_lost_nothing_doubled(keys, TASKS)
        attempts = [task["attempts"] for key in keys for task in place.tasks(key).values() if task["outputs"]]
        assert sum(attempts) > len(attempts), "what was stopped began again"
    finally:
        place.cluster.remove_nodes(nodes)


@pytest.mark.parametrize("seed", [1, 2])
def test_the_connection_is_bad(place: Arena, seed: int) -> None:
    """No answers, answers that got lost, conflicts, watches cut and too old, all the time."""
    shaky = Shaky(connect(str(place.cluster.kubeconfig)).transport, seed)
    with place.running(place.operator(shaky)):
        keys = submit(place, 3)
        place.ended(keys)
    place.nothing_lost_nothing_doubled(keys, TASKS)
    assert shaky.failed["no answer, but an effect"]
    assert shaky.failed["a watch is cut"] + shaky.failed["the version is too old"]


def test_two_operators_at_once(place: Arena) -> None:
    """Without leases, which nobody should do: each does what the other does."""
    with place.running(place.operator(), place.operator()):
        keys = submit(place, 3)
        place.ended(keys)
    place.nothing_lost_nothing_doubled(keys, TASKS)


def test_replicas_share_and_one_dies(place: Arena) -> None:
    timing = Timing(renew=0.5, deadline=2.0, duration=4.0)

    def replica(name: str) -> Sharing:
        return Sharing(place.namespace, name, shards=4, timing=timing)

    one, two = (place.operator(sharing=replica(name)) for name in ("a", "b"))
    two.start(120)
    try:
        with place.running(one):
            keys = submit(place, 4, 0.5)
            until(lambda: one.shards and two.shards and one.shards.owned and two.shards.owned)
            until(lambda: len(place.pods("Running", "Succeeded")) >= 4)
            assert two.shards is not None
            two.shards.stop()  # as if killed: its shards are not given back
            for loop_ in two.loops:
                loop_.queue.close()
            place.ended(keys)
        place.nothing_lost_nothing_doubled(keys, TASKS)
    finally:
        two.stop(10)


def test_clocks_that_are_wrong(place: Arena) -> None:
    """An operator an hour ahead, then one an hour behind."""
    flaky = json.loads(MIXED)
    flaky["components"]["comp-fail"] = {"executorLabel": "exec-fail"}
    flaky["deploymentSpec"]["executors"]["exec-fail"] = {"container": {"image": "alpine", "command": ["false"]}}
    flaky["root"]["dag"]["tasks"]["fails"] = task(
        "comp-fail", retryPolicy={"maxRetryCount": 2, "backoffDuration": "1s"}
    )
    bad = {"mlplatform.test/exit-code": "1", "mlplatform.test/seconds": "0.1s"}
    text = on_kwok(json.dumps(flaky), 1.0, exec_fail=bad)
    with place.running(place.operator(now=lambda: time.time() + HOUR)):
        key = place.submit("run-a", text)
        until(lambda: place.pods("Succeeded", "Failed"))
    with place.running(place.operator(now=lambda: time.time() - HOUR)):
        [body] = place.ended([key], 120)
    found = place.tasks(key)
    assert body["status"]["state"] == "FAILED"
    assert body["status"]["counts"] == {"total": TASKS + 1, "succeeded": TASKS, "failed": 1}
    assert (found["fails"]["attempts"], found["fails"]["state"]) == (3, "FAILED")
    assert place.seen.wrong == []


@pytest.mark.timeout(600)
def test_a_node_dies(place: Arena) -> None:
    """Its pod is not begun again before somebody says that the machine is off; then at once."""
    nodes = place.cluster.add_nodes(2, prefix=place.namespace, tainted=True)
    try:
        for node in nodes:
            place.client.patch(NODES, Key("", node), {"metadata": {"labels": {POOL: place.namespace}}})
        with place.running(place.operator()):
            forever = {"mlplatform.test/forever": "true"}
            key = place.submit("run-a", on_kwok(chain(1), pool=place.namespace, exec_work=forever))
            until(lambda: place.pods("Running"))
            [pod] = place.pods("Running")
            dead = pod["spec"]["nodeName"]
            _silence(place, dead, pod["metadata"]["name"])

            def waits() -> bool:
                [one] = place.body(key)["status"]["tasks"]
                return f"node {dead} does not answer" in one.get("waitingFor", "")

            until(waits, 120)
            time.sleep(3)
            assert len(place.pods()) == 1
            taint = {"key": "node.kubernetes.io/out-of-service", "value": "off", "effect": "NoExecute"}
            old = place.client.get(NODES, Key("", dead))["spec"].get("taints") or []
            place.client.patch(NODES, Key("", dead), {"spec": {"taints": [*old, taint]}})
            until(lambda: [one["spec"].get("nodeName") for one in place.pods("Running")] == [*({*nodes} - {dead})])
            [one] = place.body(key)["status"]["tasks"]
            assert (one["attempt"], one["lost"]) == (2, 1)
    finally:
        place.cluster.remove_nodes(nodes)


def _silence(place: Arena, node: str, pod: str) -> None:
    """Nobody speaks for the node any more, nor for its pod, and the cluster has noticed."""
    place.client.patch(NODES, Key("", node), {"metadata": {"annotations": {"kwok.x-k8s.io/node": None}}})
    ours = {"metadata": {"annotations": {"kwok.x-k8s.io/status": "custom"}}}
    place.client.patch(PODS, Key(place.namespace, pod), ours)
    conditions = place.client.get(NODES, Key("", node))["status"]["conditions"]
    told = [{**one, "status": "Unknown"} if one["type"] == "Ready" else one for one in conditions]
    place.cluster.api.patch(f"/api/v1/nodes/{node}/status", {"status": {"conditions": told}})


@pytest.mark.cannot_run_here("others may use a server that this test did not start: it is not taken from them")
def test_the_api_server_is_away(place: Arena) -> None:
    """For a few seconds; for a minute with MLPLATFORM_ALL_FAULTS=1."""
    if place.cluster.folder is None or os.environ.get("MLPLATFORM_TEST_CLUSTER"):
        pytest.skip("the API server is not this session's own")
    with place.running(place.operator()):
        keys = submit(place, 2, 1.0)
        until(lambda: len(place.pods("Running")) >= 4)
        place.cluster.stop_process("kube-apiserver", signal.SIGKILL)
        time.sleep(60 if os.environ.get("MLPLATFORM_ALL_FAULTS") else 5)
        place.cluster.start_process("kube-apiserver")
        until(lambda: _answers(place))
        keys.append(place.submit("run-after", on_kwok(MIXED)))
        place.ended(keys)
    place.nothing_lost_nothing_doubled(keys, TASKS)


def _answers(place: Arena) -> bool:
    try:
        place.pods()
    except KubernetesError:
        return False
    return True


def test_operators_come_and_go(place: Arena) -> None:
    """A new operator every second, while runs go on."""
    keys = submit(place, 3, 1.0)
    for _ in itertools.count():
        with place.running(place.operator()):
            time.sleep(1)
        if all((place.body(key).get("status") or {}).get("finishedAt") for key in keys):
            break
    with place.running(place.operator()):
        place.ended(keys)
    place.nothing_lost_nothing_doubled(keys, TASKS)
