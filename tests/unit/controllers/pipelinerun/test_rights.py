"""The operator's rights (operators/pipelinerun/rights.yaml) are what it uses: each verb, and none else."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from mlplatform.apis.pipelinerun import PipelineRunSpec, Ttl
from mlplatform.cli.manifests import root
from mlplatform.controllers.framework.manager import Manager, Settings, Sharing
from mlplatform.controllers.pipelinerun.controller import PipelineRuns
from mlplatform.controllers.pipelinerun.lookups import ServerLookups
from mlplatform.kube.client import Client
from mlplatform.kube.objects import PODS, key_of
from mlplatform.kube.ours import PIPELINE_RUNS, RECORDS, TRAINING_JOBS
from mlplatform.kube.wire import Request
from mlplatform.render.settings import PodSettings
from tests.support.kube.acting import RUN, START, Gone, Stage
from tests.support.kube.faults import Recording
from tests.support.kube.toy import manager
from tests.support.kube.trainedtasks import document as trained
from tests.unit.controllers.pipelinerun.documents import MIXED, document, task

Rights = set[tuple[str, str]]

#: Asked for by clusters that guard what owner references block, and used by no request of its own.
FOR_OWNER_REFERENCES = {("update", "pipelineruns.pipelines.mlplatform.dev/finalizers")}


def held() -> Rights:
    found: Rights = set()
    for body in yaml.safe_load_all((root() / "pipelinerun" / "rights.yaml").read_text()):
        for rule in body.get("rules") or ():
            assert "*" not in [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]
            for group in rule["apiGroups"]:
                for name in rule["resources"]:
                    plural, _, part = name.partition("/")
                    resource = (f"{plural}.{group}" if group else plural) + (f"/{part}" if part else "")
                    found |= {(verb, resource) for verb in rule["verbs"]}
    return found


class Play:
    """A run whose operator's requests are kept."""

    def __init__(self, act: Callable[[str, int, dict[str, Any]], dict[str, Any]], spec: PipelineRunSpec) -> None:
        self.stage = Stage(act, spec)
        self.recording = Recording(self.stage.fake)
        reader = Client(self.recording)
        lookups = ServerLookups(reader, lambda: self.stage.clock[0])
        controllers = (PipelineRuns(PodSettings(), reader.last_lines, lookups),)
        self.stage.operator = manager(self.recording, controllers, now=lambda: self.stage.clock[0])

    @property
    def used(self) -> Rights:
        return self.recording.used


def value(name: str, attempt: int, request: dict[str, Any]) -> dict[str, Any]:
    return {"value": 7}


def flaky(name: str, attempt: int, request: dict[str, Any]) -> dict[str, Any]:
    if attempt == 1 and name == "loop/inside[1]":
        raise Gone
    if name == "flaky" and attempt < 3:
        raise ValueError("not yet")
    return {"value": 7}


def twice(played: Play, path: str) -> None:
    """The first request to make such an object comes twice: the second has to look whose it is."""
    fake, made = played.stage.fake, []

    def first(request: Request) -> None:
        if request.method == "POST" and request.path.endswith(path) and not made:
            made.append(request)
            assert fake.send(request).status == 201

    fake.before.append(first)


def mixed() -> Rights:
    played = Play(flaky, PipelineRunSpec(document=MIXED, ttl=Ttl(after_finished=60)))
    twice(played, "/pods")
    played.stage.play()
    played.stage.clock[0] += 3600
    played.stage.operator.loops[0].wake_all()
    played.stage.operator.settle()
    return played.used


def cancelled() -> Rights:
    played = Play(value, PipelineRunSpec(document=document({"a": task(), "b": task(after=("a",))})))
    played.stage.operator.settle()
    played.stage.client.patch(PIPELINE_RUNS, RUN, {"spec": {"cancel": True}})
    played.stage.play()
    return played.used


def deleted() -> Rights:
    played = Play(value, PipelineRunSpec(document=document({"a": task()})))
    played.stage.operator.settle()
    played.stage.client.delete(PIPELINE_RUNS, RUN)
    played.stage.operator.settle()
    assert played.stage.client.list(PODS).items == []
    return played.used


def many() -> Rights:
    played = Play(value, PipelineRunSpec(document=document({f"t{n:04d}": task() for n in range(230)})))
    twice(played, "/taskrecords")
    played.stage.play(lambda pods: pods[:60])
    return played.used


def large_request() -> Rights:
    word = {"parameters": {"word": {"runtimeValue": {"constant": "x" * 300_000}}}}
    played = Play(value, PipelineRunSpec(document=document({"a": task(inputs=word)})))
    return ended(played, {"state": "SUCCEEDED", "finished_at": START, "parameters": {"value": 7}})


def large_result() -> Rights:
    return ended(
        Play(value, PipelineRunSpec(document=document({"a": task()}))), {"log": {"lines": 2, "sha256": "0" * 64}}
    )


def ended(played: Play, message: dict[str, Any]) -> Rights:
    """The only pod of the run ends with this message."""
    played.stage.operator.settle()
    [pod] = played.stage.client.list(PODS).items
    said = {"exitCode": 0, "message": json.dumps({"mlplatform": 1, **message})}
    containers = [{"name": "main", "state": {"terminated": said}}]
    status = {**pod["status"], "phase": "Succeeded", "containerStatuses": containers}
    played.stage.client.replace_status(PODS, {**pod, "status": status})
    played.stage.operator.settle()
    return played.used


def claims() -> Rights:
    create = {
        "executorLabel": "exec-create",
        "inputDefinitions": {
            "parameters": {
                "access_modes": {"parameterType": "LIST"},
                "pvc_name": {"parameterType": "STRING", "isOptional": True},
                "size": {"parameterType": "STRING"},
            }
        },
        "outputDefinitions": {"parameters": {"name": {"parameterType": "STRING"}}},
    }
    delete = {
        "executorLabel": "exec-delete",
        "inputDefinitions": {"parameters": {"pvc_name": {"parameterType": "STRING"}}},
    }

    def constant(given: Any) -> dict[str, Any]:
        return {"runtimeValue": {"constant": given}}

    made = {"access_modes": constant(["ReadWriteOnce"]), "pvc_name": constant("scratch"), "size": constant("1Gi")}
    from_task = {"taskOutputParameter": {"producerTask": "make", "outputParameterKey": "name"}}
    text = document(
        {
            "make": task("comp-create", inputs={"parameters": made}),
            "use": task(after=("make",)),
            "drop": task("comp-delete", after=("make", "use"), inputs={"parameters": {"pvc_name": from_task}}),
        },
        {"comp-create": create, "comp-delete": delete},
    )
    data = json.loads(text)
    data["deploymentSpec"]["executors"] |= {
        "exec-create": {"container": {"image": "argostub/createpvc"}},
        "exec-delete": {"container": {"image": "argostub/deletepvc"}},
    }
    played = Play(value, PipelineRunSpec(document=json.dumps(data)))
    twice(played, "/persistentvolumeclaims")
    body = played.stage.play()
    assert body["status"]["state"] == "SUCCEEDED", body["status"]
    return played.used


def training(folder: Path) -> Rights:
    """A task that several ranks run: the first attempt fails, the next one is begun."""
    played = Play(lambda *_: {"Output": 7}, PipelineRunSpec(document=trained(folder)))
    twice(played, "/trainingjobs")
    client = played.stage.client
    played.stage.operator.settle()
    played.stage.finish(played.stage.pods()[0])
    played.stage.look()
    [job] = client.list(TRAINING_JOBS).items
    failed = {"status": {"phase": "Failed", "reason": "BudgetSpent", "attempt": 1, "message": "no more"}}
    client.patch(TRAINING_JOBS, key_of(job), failed, subresource="status")
    for _ in range(4):
        played.stage.look(30)
    [again] = client.list(TRAINING_JOBS).items
    assert again["metadata"]["uid"] != job["metadata"]["uid"]
    return played.used


def preparing_and_doubtful() -> Rights:
    """A pod that does not begin, then runs on a node that is gone."""
    played = Play(value, PipelineRunSpec(document=document({"a": task()})))

    def schedule(verb: str, resource: Any, body: Any) -> None:
        if resource == PODS and verb == "create":
            body["spec"]["nodeName"] = "node-0"

    played.stage.fake.admit.append(schedule)
    played.stage.look()
    played.stage.look(5)
    [pod] = played.stage.client.list(PODS).items
    ready = {"conditions": [{"type": "Ready", "status": "False"}]}
    played.stage.client.replace_status(PODS, {**pod, "status": {"phase": "Running", **ready}})
    played.stage.look()
    return played.used


def watching() -> Rights:
    played = Play(value, PipelineRunSpec(document=document({"a": task()})))
    operator = played.stage.operator
    operator.start(60)
    operator.stop(30)
    return played.used


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory) -> Rights:
    """What it asks for in a life with everything in it."""
    lives = (mixed, cancelled, deleted, many, large_request, large_result, claims, preparing_and_doubtful, watching)
    return training(tmp_path_factory.mktemp("trained")).union(*(live() for live in lives))


def test_nothing_is_asked_for_that_is_not_held(used: Rights) -> None:
    assert used - held() == set()


def test_nothing_is_held_that_is_not_used(used: Rights) -> None:
    assert held() - used - FOR_OWNER_REFERENCES == set()


def test_leases_are_all_used_where_replicas_share() -> None:
    [role, _] = yaml.safe_load_all((root() / "common" / "leases.yaml").read_text())
    [rule] = role["rules"]
    stage = Stage(value, PipelineRunSpec(document=document({"a": task()})))
    recording = Recording(stage.fake)

    def replica(name: str) -> Manager:
        sharing = Sharing(namespace="default", identity=name, shards=2)
        return manager(recording, (), settings=Settings(sharing=sharing), clock=lambda: stage.clock[0])

    one, two = replica("a"), replica("b")
    for operator in (one, two, one, two):
        assert operator.shards is not None
        operator.shards.tick()
    assert one.shards is not None
    one.shards.leave()
    leases = {verb for verb, resource in recording.used if resource == "leases.coordination.k8s.io"}
    assert leases == set(rule["verbs"])
    assert {resource for _, resource in recording.used} == {"leases.coordination.k8s.io"}
    assert RECORDS.plural == "taskrecords"
