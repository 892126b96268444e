"""Nodes that are silent, gone, or vouched to be off; volumes that cannot be mounted."""

from __future__ import annotations

from typing import Any

import pytest

from mlplatform.apis.pipelinerun import PipelineRunSpec
from mlplatform.controllers.pipelinerun.doubts import read_node
from mlplatform.kube.errors import ObjectNotFound
from mlplatform.kube.objects import EVENTS, NODES, PODS, Key, Object, key_of
from mlplatform.kube.ours import PIPELINE_RUNS
from tests.support.kube.acting import START, Stage, message
from tests.unit.controllers.pipelinerun.documents import chain

NODE = Key("", "node-0")


def value(name: str, attempt: int, request: dict[str, Any]) -> dict[str, Any]:
    return {"value": attempt}


@pytest.fixture
def stage() -> Stage:
    """A run whose first pod is bound to a node."""
    played = Stage(value, PipelineRunSpec(document=chain(1)))
    played.client.create(NODES, {"metadata": {"name": NODE.name}})
    ready(played, True)
    bound: list[str] = []

    def schedule(verb: str, resource: Any, body: Object) -> None:
        if resource == PODS and verb == "create":
            bound.append(body["metadata"]["name"])
            body["spec"]["nodeName"] = NODE.name if len(bound) == 1 else "node-1"

    played.fake.admit.append(schedule)
    played.look()
    return played


def ready(played: Stage, is_so: bool) -> None:
    node = played.client.get(NODES, NODE)
    condition = {"type": "Ready", "status": "True" if is_so else "Unknown"}
    played.client.replace_status(NODES, {**node, "status": {"conditions": [condition]}})


def running(played: Stage, is_ready: bool = True) -> Object:
    """The only pod runs."""
    [pod] = played.client.list(PODS).items
    condition = {"type": "Ready", "status": str(is_ready)}
    containers = [{"name": "main", "state": {"running": {}}}]
    status = {"phase": "Running", "conditions": [condition], "containerStatuses": containers}
    return played.client.replace_status(PODS, {**pod, "status": status})


def lose(played: Stage) -> None:
    """The node is silent; its pod's deletion is asked for, and nobody carries it out."""
    running(played)
    ready(played, False)
    played.client.delete(PODS, key_of(running(played, False)))
    played.look(5)


def waiting(played: Stage) -> str:
    return str(played.body()["status"]["tasks"][0].get("waitingFor", ""))


def test_a_silent_node_is_waited_for(stage: Stage) -> None:
    lose(stage)
    assert "node-0 does not answer" in waiting(stage)
    assert "kubectl delete node node-0" in waiting(stage)
    for _ in range(5):
        stage.look(3600)
    assert len(stage.client.list(PODS).items) == 1, "its task does not begin again, however long it takes"
    ready(stage, True)
    stage.look(5)
    assert waiting(stage) == ""


def test_a_node_that_is_gone_frees_its_task(stage: Stage) -> None:
    lose(stage)
    stage.client.delete(NODES, NODE)
    stage.look(5)
    [pod] = stage.client.list(PODS).items
    assert pod["spec"]["nodeName"] == "node-1", "the old pod is taken away, though no kubelet says that it has ended"
    body = stage.play()
    assert body["status"]["state"] == "SUCCEEDED"
    assert stage.started == ["t0000:2"]


def test_a_node_out_of_service_frees_its_task_only_while_it_is_silent(stage: Stage) -> None:
    lose(stage)
    ready(stage, True)
    taint = {"key": "node.kubernetes.io/out-of-service", "value": "off", "effect": "NoExecute"}
    stage.client.patch(NODES, NODE, {"spec": {"taints": [taint]}})
    stage.look(5)
    assert len(stage.client.list(PODS).items) == 1
    ready(stage, False)
    stage.look(5)
    assert [pod["spec"]["nodeName"] for pod in stage.client.list(PODS).items] == ["node-1"]
    assert stage.play()["status"]["state"] == "SUCCEEDED"


def test_a_pod_that_only_goes_away_is_waited_for(stage: Stage) -> None:
    stage.client.delete(PODS, key_of(running(stage)))
    stage.look(5)
    assert len(stage.client.list(PODS).items) == 1
    assert waiting(stage) == ""


def test_an_end_that_the_cache_has_missed_counts(stage: Stage) -> None:
    """Its node is gone, but its task had ended: a stale cache must not make it run twice."""
    pod = running(stage, False)
    stage.client.delete(NODES, NODE)
    done = {"exitCode": 0, "message": message("SUCCEEDED", START, parameters={"value": 1})}
    said = {"phase": "Succeeded", "containerStatuses": [{"name": "main", "state": {"terminated": done}}]}
    stage.operator.refresh()
    stage.client.replace_status(PODS, {**pod, "status": said})
    stage.clock[0] += 5
    stage.operator.loops[0].process_one()
    stage.look()
    assert stage.play()["status"]["state"] == "SUCCEEDED"
    assert [pod["metadata"]["name"][-1] for pod in stage.client.list(PODS).items] == ["1"], "nothing ran again"


def test_a_pod_of_an_attempt_that_was_given_up_is_stopped_when_its_node_comes_back(stage: Stage) -> None:
    lose(stage)
    old = stage.client.list(PODS).items[0]
    stage.client.delete(NODES, NODE)
    from tests.support.kube.faults import Killed, Mortal

    mortal = Mortal(stage.fake, die_at=2, moment="after")  # the new pod and the status; not the old pod's end
    stage.operator = stage.start(mortal)
    with pytest.raises(Killed):
        stage.look()
    assert len(stage.client.list(PODS).items) == 2
    stage.client.create(NODES, {"metadata": {"name": NODE.name}})
    ready(stage, True)
    stage.operator = stage.start()
    stage.look(5)
    assert stage.client.get(PODS, key_of(old))["metadata"].get("deletionTimestamp")
    assert len(stage.client.list(PODS).items) == 2


@pytest.mark.parametrize(
    ("note", "words"),
    [
        ('MountVolume.SetUp failed for volume "v" : secret "nobody" not found', 'secret "nobody" not found (Create it'),
        ('MountVolume.SetUp failed for volume "v" : configmap "c" not found', 'configmap "c" not found (Create it'),
        ('MountVolume.SetUp failed for volume "v" : references non-existent secret key: k', "(Add the key"),
        ("MountVolume.SetUp failed: the NFS server is away", "(It is tried again and again"),
        ('MountVolume.SetUp failed: failed to sync secret cache: timed out: "v"', ""),
        ('Failed to pull image "nowhere/x:1": not found', "image nowhere/x:1 cannot be pulled: not found (Check the"),
        ('Error: secret "nobody" not found', 'secret "nobody" not found (Create it'),
        ("Error: couldn't find key k in Secret default/s", "(Add the key"),
        ("Error: ErrImagePull", ""),
    ],
)
def test_what_the_kubelet_warns_of_is_told(stage: Stage, note: str, words: str) -> None:
    [pod] = stage.client.list(PODS).items
    event: Object = {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": "e-1", "namespace": "default"},
        "type": "Warning",
        "reason": "FailedMount" if "Mount" in note else "Failed",
        "note": note,
        "regarding": {"kind": "Pod", "uid": pod["metadata"]["uid"]},
    }
    stage.client.create(EVENTS, event)
    stage.look()
    stage.look(5)
    assert words in waiting(stage)
    assert bool(words) == bool(waiting(stage))
    running(stage)
    stage.look(5)
    assert waiting(stage) == ""


def test_a_node_that_says_nothing_of_itself_counts_as_ready() -> None:
    seen = read_node({"metadata": {"name": "new"}})
    assert (seen.ready, seen.fenced) == (True, False)


def test_a_run_that_ended_takes_pods_of_dead_nodes_away(stage: Stage) -> None:
    lose(stage)
    stage.client.patch(NODES, NODE, {"spec": {"unschedulable": True}})
    [pod] = stage.client.list(PODS).items
    stage.client.patch(
        PIPELINE_RUNS, key_of(stage.body()), {"status": {"state": "FAILED", "finishedAt": "2023-11-14T22:13:20Z"}},
        subresource="status",
    )  # fmt: skip
    stage.client.delete(NODES, NODE)
    stage.look(5)
    with pytest.raises(ObjectNotFound):
        stage.client.get(PODS, key_of(pod))
