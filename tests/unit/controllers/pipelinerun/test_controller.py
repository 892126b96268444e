"""What a run does: the controller on the fake API server, with pods that end as told."""

from __future__ import annotations

import itertools
import json
import random
from typing import Any

import pytest

from mlplatform.apis.pipelinerun import PipelineRunSpec, Ttl
from mlplatform.controllers.pipelinerun import plan
from mlplatform.kube.errors import ObjectNotFound
from mlplatform.kube.objects import CLAIMS, NODES, PODS, key_of
from mlplatform.kube.ours import PIPELINE_RUNS, RECORDS
from tests.support.kube.acting import RUN, START, Gone, Stage
from tests.support.kube.faults import Killed, Mortal
from tests.unit.controllers.pipelinerun.documents import LITTLE, MIXED, chain, document, exit_handler, loop, task
from tests.unit.controllers.pipelinerun.documents import LOOP as LOOP_PARTS


def number(name: str, attempt: int, request: dict[str, Any]) -> dict[str, Any]:
    return {"value": 7}


def flaky(name: str, attempt: int, request: dict[str, Any]) -> dict[str, Any]:
    if name == "flaky" and attempt < 3:
        raise ValueError(f"not yet ({attempt})")
    if name == "loop/inside[1]" and attempt == 1:
        raise Gone
    return {"value": len(name) + attempt}


def stage(text: str, act: Any = number, **spec: Any) -> Stage:
    return Stage(act, PipelineRunSpec(document=text, **spec))


def condition(body: dict[str, Any], name: str) -> tuple[str, str, str]:
    found = next(item for item in body["status"]["conditions"] if item["type"] == name)
    return found["status"], found["reason"], found.get("message", "")


def test_a_chain() -> None:
    played = stage(chain(3))
    body = played.play()
    assert played.started == ["t0000:1", "t0001:1", "t0002:1"]
    assert body["status"]["state"] == "SUCCEEDED"
    assert body["status"]["counts"] == {"total": 3, "succeeded": 3}
    assert condition(body, "Succeeded")[:2] == ("True", "Succeeded")
    assert condition(body, "Progressing")[:2] == ("False", "Ended")
    for pod in played.client.list(PODS).items:
        assert not pod["metadata"].get("finalizers"), "a recorded result holds no pod"


def test_looking_again_writes_nothing() -> None:
    played = stage(MIXED, flaky)
    played.play()
    played.fake.requests.clear()
    played.operator.loops[0].wake_all()
    played.operator.settle()
    played.start().settle()
    assert played.fake.writes() == []


def test_everything_at_once() -> None:
    played = stage(MIXED, flaky)
    body = played.play()
    records = played.records()
    assert body["status"]["state"] == "SUCCEEDED"
    assert records["flaky"] == {"state": "SUCCEEDED", "attempts": 3, "outputs": {"value": 8}}
    assert records["loop/inside[1]"] == {"state": "SUCCEEDED", "attempts": 2, "outputs": {"value": 16}}
    assert records["loop/inside[0]"]["attempts"] == 1
    assert records["check"]["state"] == "SUCCEEDED"
    assert records["check/within"]["state"] == "SUCCEEDED"
    assert played.clock[0] >= START + 30, "a retry waits for its time"


@pytest.mark.parametrize("seed", range(12))
def test_any_order_of_pods_ends_the_same(seed: int) -> None:
    wanted = stage(MIXED, flaky)
    wanted.play()
    dice = random.Random(seed)
    other = stage(MIXED, flaky)

    def some(pods: list[Any]) -> list[Any]:
        return dice.sample(pods, dice.randint(1, len(pods))) if pods else []

    operators = itertools.count()

    def pick(pods: list[Any]) -> list[Any]:
        if dice.random() < 0.4:  # a new process: planners are built anew from what is recorded
            other.operator = other.start()
            next(operators)
        return some(pods)

    other.play(pick)
    assert other.records() == wanted.records()
    assert sorted(other.started) == sorted(wanted.started)


def _lives(die_at: int, moment: str) -> tuple[Stage, int]:
    played = stage(LITTLE, flaky)
    mortal = Mortal(played.fake, die_at, moment)
    played.operator = played.start(mortal)
    for _ in range(200):
        try:
            played.operator.settle()
        except Killed:
            played.operator = played.start()
            played.operator.settle()
        if played.body().get("status", {}).get("finishedAt"):
            return played, len(mortal.written)
        pods = played.pods()
        for pod in pods:
            played.finish(pod)
        if not pods:
            played.clock[0] += 60.0
            played.operator.loops[0].wake_all()
    raise AssertionError("the run does not end")


def test_dying_before_or_after_any_write_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "BATCH", 2)  # two pods at a look, and a third at the next
    first, writes = _lives(0, "before")
    assert writes >= 12
    wanted = first.records()
    for number_, moment in itertools.product(range(1, writes + 1), ("before", "after")):
        played, _ = _lives(number_, moment)
        assert played.records() == wanted, (number_, moment)
        assert sorted(played.started) == sorted(first.started), (number_, moment)
        played.operator.settle()
        assert not any(pod["metadata"].get("finalizers") for pod in played.client.list(PODS).items)


def test_a_failure_stops_what_depends_on_it() -> None:
    def act(name: str, attempt: int, request: dict[str, Any]) -> dict[str, Any]:
        if name == "a":
            raise ValueError("broken")
        return {"value": 1}

    played = stage(document({"a": task(), "b": task(after=("a",)), "c": task()}), act)
    body = played.play()
    records = played.records()
    assert body["status"]["state"] == "FAILED"
    assert {name: records[name]["state"] for name in "abc"} == {"a": "FAILED", "b": "SKIPPED", "c": "SUCCEEDED"}
    assert "broken" in body["status"]["error"]["message"]
    assert body["status"]["counts"] == {"total": 3, "succeeded": 1, "failed": 1, "skipped": 1}
    assert "broken" in condition(body, "Succeeded")[2]


def test_exit_tasks_run_whatever_happened() -> None:
    def act(name: str, attempt: int, request: dict[str, Any]) -> dict[str, Any]:
        if name == "exit-handler-1/a":
            raise ValueError("broken")
        return {"value": 1}

    played = stage(exit_handler({"a": task()}), act)
    assert played.play()["status"]["state"] == "FAILED"
    assert played.started == ["exit-handler-1/a:1", "clean:1"]


def test_cancelling() -> None:
    played = stage(exit_handler({"a": task(), "b": task(after=("a",))}))

    def schedule(verb: str, resource: Any, body: Any) -> None:
        if resource == PODS and verb == "create":
            body["spec"]["nodeName"] = "node-0"

    played.fake.admit.append(schedule)
    played.client.create(NODES, {"metadata": {"name": "node-0"}})
    played.operator.settle()
    played.client.patch(PIPELINE_RUNS, RUN, {"spec": {"cancel": True}})
    played.operator.settle()
    pod = played.client.list(PODS).items[0]
    assert pod["metadata"]["deletionTimestamp"]
    assert played.body()["status"]["state"] == "CANCELLING"
    body = played.play()
    assert body["status"]["state"] == "CANCELLED"
    assert played.started == ["exit-handler-1/a:1", "clean:1"]
    records = played.records()
    assert (records["exit-handler-1/a"]["state"], records["clean"]["state"]) == ("CANCELLED", "SUCCEEDED")


def test_resuming_runs_what_failed_and_what_depends_on_it() -> None:
    broken = [True]

    def act(name: str, attempt: int, request: dict[str, Any]) -> dict[str, Any]:
        if name == "b" and broken[0]:
            raise ValueError("broken")
        return {"value": attempt}

    played = stage(document({"a": task(), "b": task(after=("a",)), "c": task(after=("b",))}), act)
    assert played.play()["status"]["state"] == "FAILED"
    broken[0] = False
    played.client.patch(PIPELINE_RUNS, RUN, {"spec": {"resume": 1}})
    played.operator.settle()
    assert played.body()["status"]["state"] == "RUNNING"
    assert played.play()["status"]["state"] == "SUCCEEDED"
    assert played.started == ["a:1", "b:1", "b:2", "c:1"]
    assert {name: record["attempts"] for name, record in played.records().items()} == {"a": 1, "b": 2, "c": 1}
    assert played.body()["status"]["resumed"] == 1


def test_a_pod_that_is_always_lost_fails_its_task() -> None:
    def act(name: str, attempt: int, request: dict[str, Any]) -> dict[str, Any]:
        raise Gone

    played = stage(chain(1), act)
    body = played.play()
    assert body["status"]["state"] == "FAILED"
    assert len(played.started) == 5
    assert "lost 5 times" in body["status"]["error"]["message"]


def test_a_pod_that_somebody_tore_away_is_made_again() -> None:
    played = stage(chain(1))
    played.operator.settle()
    played.operator.settle()
    pod = played.client.list(PODS).items[0]
    played.client.replace_status(PODS, {**pod, "status": {"phase": "Running"}})
    played.operator.settle()
    played.client.patch(PODS, key_of(pod), {"metadata": {"finalizers": None}})
    played.client.delete(PODS, key_of(pod))
    assert played.play()["status"]["state"] == "SUCCEEDED"
    assert played.started == ["t0000:2"]


def test_at_most_so_many_at_once() -> None:
    played = stage(document({"loop": loop([str(n) for n in range(9)])}, LOOP_PARTS), parallelism=2)
    most = [0]

    def pick(pods: list[Any]) -> list[Any]:
        most[0] = max(most[0], len(pods))
        return pods[:1]

    assert played.play(pick)["status"]["state"] == "SUCCEEDED"
    assert most[0] == 2


def test_a_wide_run_says_that_it_has_begun_before_all_its_pods_are_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(plan, "BATCH", 20)
    count = 2 * plan.BATCH + 30
    played = stage(document({f"t{n:04d}": task() for n in range(count)}))
    played.operator.settle()
    words = [request.path.rpartition("/")[2] for request in played.fake.writes()]
    written = [
        (word, len(list(group))) for word, group in itertools.groupby(w for w in words if w in ("pods", "status"))
    ]
    assert written[:3] == [("pods", plan.BATCH), ("status", 1), ("pods", plan.BATCH)]
    assert words.count("pods") == count
    assert played.body()["status"]["counts"] == {"total": count, "running": count}
    assert played.play()["status"]["state"] == "SUCCEEDED"
    assert sorted(played.started) == sorted(f"t{n:04d}:1" for n in range(count))


def test_a_quota_that_is_full_is_not_asked_all_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "BATCH", 20)
    from tests.support.kube.refusals import refuse

    count, room = 2 * plan.BATCH, plan.BATCH // 2
    played = stage(document({f"t{n:04d}": task() for n in range(count)}))
    asked = [0]

    def admit(verb: str, resource: Any, body: Any) -> None:
        if verb == "create" and resource == PODS:
            asked[0] += 1
            if len(played.pods()) >= room:
                raise refuse(403, 'pods "x" is forbidden: exceeded quota: small', "Forbidden")

    played.fake.admit.append(admit)
    played.operator.settle()
    assert len(played.pods()) == room
    assert room < asked[0] <= room + 12, "after three refusals a look asks for no more"
    assert "exceeded quota" in condition(played.body(), "Progressing")[2]
    assert played.play()["status"]["state"] == "SUCCEEDED"
    assert len(played.started) == count


def test_the_runs_own_deadline() -> None:
    played = stage(chain(2), active_deadline_seconds=100)
    played.operator.settle()
    played.clock[0] += 101
    played.operator.loops[0].wake_all()
    body = played.play()
    assert (body["status"]["state"], body["status"]["error"]["code"]) == ("FAILED", "DEADLINE")


def test_a_finished_run_goes_when_its_time_is_over() -> None:
    played = stage(chain(1), ttl=Ttl(after_success=50))
    played.play()
    played.operator.settle()
    assert played.body()["status"]["state"] == "SUCCEEDED"
    played.clock[0] += 51
    played.operator.loops[0].wake_all()
    played.operator.settle()
    with pytest.raises(ObjectNotFound):
        played.body()


def test_every_finding_is_in_the_condition() -> None:
    played = stage(document({"a": task("comp-none"), "b": task(after=("nobody",))}))
    body = played.play()
    told = condition(body, "Accepted")
    assert told[:2] == ("False", "Invalid")
    assert "comp-none" in told[2]
    assert "nobody" in told[2]
    assert len(body["status"]["findings"]) >= 2
    assert played.client.list(PODS).items == []


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (
            {
                "conditions": [
                    {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 cpu"}
                ]
            },
            ("no node can take it", "Ask for less"),
        ),
        (
            {
                "conditions": [
                    {
                        "type": "PodScheduled",
                        "status": "False",
                        "reason": "Unschedulable",
                        "message": 'persistentvolumeclaim "data" not found',
                    }
                ]
            },
            ('"data" not found', "Create the claim"),
        ),
        (
            {
                "containerStatuses": [
                    {"name": "main", "image": "nope:1", "state": {"waiting": {"reason": "ImagePullBackOff"}}}
                ]
            },
            ("nope:1 cannot be pulled", "image_pull_secrets"),
        ),
        (
            {
                "containerStatuses": [
                    {
                        "name": "main",
                        "state": {
                            "waiting": {"reason": "CreateContainerConfigError", "message": 'secret "s" not found'}
                        },
                    }
                ]
            },
            ('secret "s" not found', "Create it"),
        ),
    ],
)
def test_what_keeps_a_pod_from_running_is_told(status: dict[str, Any], words: tuple[str, ...]) -> None:
    played = stage(chain(1))
    played.operator.settle()
    pod = played.client.list(PODS).items[0]
    played.client.replace_status(PODS, {**pod, "status": {"phase": "Pending", **status}})
    played.operator.settle()
    body = played.body()
    told = condition(body, "Progressing")
    assert told[1] == "Waiting"
    for word in words:
        assert word in told[2]
        assert word in body["status"]["tasks"][0]["waitingFor"]
    assert played.play()["status"]["state"] == "SUCCEEDED"
    assert condition(played.body(), "Progressing")[2] == ""


def test_finished_tasks_move_on_to_records_written_once() -> None:
    def act(name: str, attempt: int, request: dict[str, Any]) -> dict[str, Any]:
        return {"value": 10**15}

    played = stage(document({f"t{n:04d}": task() for n in range(230)}), act)
    body = played.play(lambda pods: pods[:40])
    chunks = played.client.list(RECORDS).items
    held = [len(item["spec"]["tasks"]) for item in chunks]
    assert len(chunks) >= 2
    assert max(held) <= 200
    assert len(json.dumps(body["status"])) < 20_000
    assert sum(held) == body["status"]["recorded"]
    assert sum(held) + len(body["status"].get("tasks", [])) == 230
    records = played.records()
    assert len(records) == 230
    assert {record["state"] for record in records.values()} == {"SUCCEEDED"}
    writes = [request for request in played.fake.requests if request.writes and "taskrecords" in request.path]
    assert len(writes) == len(chunks)


def test_a_refused_pod_fails_its_task_and_says_why() -> None:
    from tests.support.kube.refusals import refuse

    played = stage(document({"a": task(), "b": task()}))

    def admit(verb: str, resource: Any, body: Any) -> None:
        if resource == PODS and body["metadata"]["annotations"]["pipelines.mlplatform.dev/task-name"] == "a":
            raise refuse(403, 'violates PodSecurity "restricted:latest": runAsNonRoot', "Forbidden")

    played.fake.admit.append(admit)
    body = played.play()
    assert body["status"]["state"] == "FAILED"
    assert "PodSecurity" in body["status"]["error"]["message"]
    assert played.records()["b"]["state"] == "SUCCEEDED"


def test_a_claim_is_removed_right_after_it_was_made() -> None:
    data = json.loads(document({"make": task("comp-make"), "drop": task("comp-drop", after=("make",))}))
    text = {"parameterType": "STRING"}
    data["components"] |= {
        "comp-make": {
            "executorLabel": "exec-make",
            "inputDefinitions": {"parameters": {"pvc_name_suffix": text}},
            "outputDefinitions": {"parameters": {"name": text}},
        },
        "comp-drop": {"executorLabel": "exec-drop", "inputDefinitions": {"parameters": {"pvc_name": text}}},
    }
    data["deploymentSpec"]["executors"] |= {
        f"exec-{name}": {"container": {"image": f"argostub/{image}"}}
        for name, image in (("make", "createpvc"), ("drop", "deletepvc"))
    }
    tasks = data["root"]["dag"]["tasks"]
    tasks["make"]["inputs"] = {"parameters": {"pvc_name_suffix": {"runtimeValue": {"constant": "-x"}}}}
    source = {"producerTask": "make", "outputParameterKey": "name"}
    tasks["drop"]["inputs"] = {"parameters": {"pvc_name": {"taskOutputParameter": source}}}
    played = stage(json.dumps(data))
    body = played.play()
    assert body["status"]["state"] == "SUCCEEDED"
    assert played.client.list(CLAIMS).items == []
    assert played.client.list(PODS).items == []
    writes = [request.path for request in played.fake.requests if request.writes and "volumeclaims" in request.path]
    assert len(writes) == 2
