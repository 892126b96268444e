"""The loop of a controller: what it writes, in which order, and what it does not write."""

from __future__ import annotations

import pytest

from mlplatform.controllers.framework.manager import Settings
from mlplatform.kube.client import Client
from mlplatform.kube.metrics import describe
from mlplatform.kube.objects import EVENTS, PODS, SERVICES, Key, Object, Resource
from tests.support.kube.faults import Killed, Mortal
from tests.support.kube.refusals import refuse
from tests.support.kube.toy import BATCHES, FINALIZER, batch, finish_pods, manager, server

A = Key("default", "a")


def verbs(requests) -> list[tuple[str, str]]:
    return [describe(request) for request in requests if request.writes and "/events" not in request.path]


def test_makes_records_and_then_releases() -> None:
    fake = server()
    client = Client(fake)
    client.create(BATCHES, batch("a", pods=2))
    operator = manager(fake)
    fake.requests.clear()
    operator.settle()
    assert verbs(fake.requests) == [
        ("patch", "services"),
        ("create", "pods"),
        ("create", "pods"),
        ("patch", "batches.test.mlplatform.dev/status"),
    ]
    pods = client.list(PODS).items
    assert [pod["metadata"]["name"] for pod in pods] == ["a-0", "a-1"]
    owner = pods[0]["metadata"]["ownerReferences"][0]
    assert owner["uid"] == client.get(BATCHES, A)["metadata"]["uid"]
    assert finish_pods(client) == 2
    fake.requests.clear()
    operator.settle()
    assert verbs(fake.requests) == [
        ("patch", "batches.test.mlplatform.dev/status"),
        *[("patch", "pods")] * 2,
        *[("delete", "pods")] * 2,
    ]
    status = client.get(BATCHES, A)["status"]
    assert status["done"] == {"a-0": "result of a-0", "a-1": "result of a-1"}
    assert status["conditions"][0]["status"] == "True"
    assert client.list(PODS).items == []
    assert [event["note"] for event in client.list(EVENTS).items] == ["all 2 pods are done"]


def test_looking_again_writes_nothing() -> None:
    fake = server()
    client = Client(fake)
    for name in ("a", "b", "c"):
        client.create(BATCHES, batch(name))
    operator = manager(fake)
    operator.settle()
    finish_pods(client)
    operator.settle()
    fake.requests.clear()
    operator.loops[0].wake_all()
    assert operator.settle() == 3
    again = manager(fake)  # a new process
    assert again.settle() >= 3
    assert fake.writes() == []


def test_a_service_that_somebody_changed_is_applied_again() -> None:
    fake = server()
    client = Client(fake)
    client.create(BATCHES, batch("a"))
    operator = manager(fake)
    operator.settle()
    Client(fake, field_manager="somebody").patch(SERVICES, A, {"spec": {"selector": {"batch": "other"}}})
    operator.settle()
    assert client.get(SERVICES, A)["spec"]["selector"] == {"batch": "a"}


def everything(client: Client) -> tuple[object, ...]:
    """What there is in the end, without what differs from one time to the next."""
    status = client.get(BATCHES, A).get("status")
    return status, [pod["metadata"]["name"] for pod in client.list(PODS).items], len(client.list(SERVICES).items)


def play(client: Client, die_at: int, moment: str) -> int:
    """A whole life of a batch; the first operator dies at a write, another one goes on. How many writes there were."""
    fake = client.transport
    mortal = Mortal(fake, die_at, moment)
    operators = [manager(mortal), manager(fake)]
    client.create(BATCHES, batch("a", pods=2))
    for _ in range(4):
        try:
            operators[0].settle()
        except Killed:
            operators.pop(0)
            operators[0].settle()
        finish_pods(client)
    return len(mortal.written)


def test_dying_before_or_after_any_write_changes_nothing() -> None:
    first = Client(server())
    writes = play(first, 0, "before")
    assert writes == 9  # service, 2 pods, status, status, 2 released, 2 deleted
    wanted = everything(first)
    assert wanted[1:] == ([], 1)
    for number in range(1, writes + 1):
        for moment in ("before", "after"):
            client = Client(server())
            play(client, number, moment)
            assert everything(client) == wanted, (number, moment)


def test_a_stale_cache_does_not_begin_a_finished_pod_again() -> None:
    """The pods are gone from the cluster and from their cache, but the cache of batches has not seen the status yet."""
    fake = server()
    client = Client(fake)
    client.create(BATCHES, batch("a", pods=1))
    operator = manager(fake)
    operator.settle()
    finish_pods(client)
    loop, batches = operator.loops[0], operator.informers[BATCHES, ""]
    pods = operator.informers[PODS, "batch"]
    pods.refresh()
    assert loop.process_one()  # records, releases, deletes
    assert client.list(PODS).items == []
    pods.refresh()
    fake.requests.clear()
    loop.wake(A)
    assert loop.process_one()  # waits: its own status has not been seen
    assert not loop.process_one()
    assert verbs(fake.requests) == []
    batches.refresh()  # now it has
    assert loop.process_one()
    assert verbs(fake.requests) == []
    assert client.list(PODS).items == []


def test_a_paused_former_owner_loses() -> None:
    """Two operators at once: the one whose view is older writes no status over the other's."""
    fake = server()
    client = Client(fake)
    client.create(BATCHES, batch("a", pods=1))
    old, new = manager(fake), manager(fake)
    old.refresh()  # and is paused here
    new.settle()
    finish_pods(client)
    new.settle()
    before = everything(client)
    while old.loops[0].process_one():
        pass
    assert old.loops[0].queue.failures(A) == 1
    assert client.get(BATCHES, A)["status"] == before[0]
    old.settle()
    new.settle()
    finish_pods(client)
    new.settle()
    old.settle()
    assert client.get(BATCHES, A)["status"] == before[0]


def test_what_the_server_refuses_is_told_in_the_status_and_tried_again() -> None:
    fake = server()
    client = Client(fake)

    def quota(verb: str, resource: Resource, body: Object) -> None:
        if resource == PODS and verb == "create":
            raise refuse(403, 'pods "a-0" is forbidden: exceeded quota', "Forbidden")

    fake.admit.append(quota)
    client.create(BATCHES, batch("a", pods=5))
    operator = manager(fake)
    operator.refresh()
    fake.requests.clear()
    assert operator.loops[0].process_one()
    assert [verb for verb in verbs(fake.requests) if verb == ("create", "pods")] == [("create", "pods")] * 3
    refused = {one["type"]: one for one in client.get(BATCHES, A)["status"]["conditions"]}["Refused"]
    assert "exceeded quota" in refused["message"]
    due = operator.loops[0].queue.next_due()
    assert due is not None
    assert 0 < due <= 0.3
    fake.admit.clear()
    operator.loops[0].wake(A)
    operator.settle()
    assert len(client.list(PODS).items) == 5


def test_a_name_that_somebody_else_has_is_a_refusal() -> None:
    fake = server()
    client = Client(fake)
    stranger: Object = {"metadata": {"name": "a-0", "namespace": "default"}, "spec": {"containers": []}}
    client.create(PODS, stranger)
    client.create(BATCHES, batch("a", pods=1))
    manager(fake).settle()
    conditions = {one["type"]: one for one in client.get(BATCHES, A)["status"]["conditions"]}
    assert conditions["Refused"]["message"] == "Pod default/a-0 is there already and was made by somebody else."


def test_a_pod_that_is_ours_already_is_no_trouble() -> None:
    """The process died after it made the pod: the answer was lost."""
    fake = server()
    client = Client(fake)
    client.create(BATCHES, batch("a", pods=1))
    fake.fail(0, "POST", "/pods", after=True)
    operator = manager(fake)
    operator.refresh()
    operator.loops[0].process_one()
    assert operator.loops[0].queue.failures(A) == 1
    operator.loops[0].wake(A)  # pods not seen yet
    operator.loops[0].process_one()
    operator.settle()
    assert operator.loops[0].queue.failures(A) == 0
    assert len(client.list(PODS).items) == 1


@pytest.mark.parametrize("status", [409, 429, 500, 503, 0])
def test_a_write_that_fails_is_tried_again(status: int) -> None:
    fake = server()
    client = Client(fake)
    client.create(BATCHES, batch("a", pods=1))
    fault = fake.fail(status, "PATCH", "/status")
    operator = manager(fake)
    operator.settle()
    if status == 429:
        fault = fake.fail(status, "PATCH", "/status", retry_after=30)
    operator.loops[0].wake(A)
    operator.settle()
    assert client.get(BATCHES, A)["status"]["done"] == {}
    assert fault.seen <= 1


def test_a_bug_in_one_key_does_not_stop_the_others(caplog: pytest.LogCaptureFixture) -> None:
    fake = server()
    client = Client(fake)
    client.create(BATCHES, batch("bad", bug=True))
    client.create(BATCHES, batch("good"))
    operator = manager(fake)
    operator.settle()
    assert len(client.list(PODS).items) == 2
    assert operator.loops[0].queue.failures(Key("default", "bad")) >= 1
    assert "ZeroDivisionError" in caplog.text


def test_what_a_deleted_batch_leaves_is_released() -> None:
    fake = server()
    client = Client(fake)
    client.create(BATCHES, batch("a", pods=2))
    operator = manager(fake)
    operator.settle()
    client.delete(BATCHES, A)
    left = client.list(PODS).items
    assert [pod["metadata"]["finalizers"] for pod in left] == [[FINALIZER]] * 2  # the collector waits for us
    operator.settle()
    assert client.list(PODS).items == []
    assert client.list(SERVICES).items == []


def test_a_batch_of_the_same_name_waits_for_its_predecessors_pods() -> None:
    fake = server()
    client = Client(fake)
    client.create(BATCHES, batch("a", pods=1))
    operator = manager(fake)
    operator.settle()
    old = client.list(PODS).items[0]["metadata"]["uid"]
    client.delete(BATCHES, A)
    client.create(BATCHES, batch("a", pods=1))
    for _ in range(3):
        operator.settle()
        operator.loops[0].wake(A)
    new = client.list(PODS).items
    assert len(new) == 1
    assert new[0]["metadata"]["uid"] != old
    assert "deletionTimestamp" not in new[0]["metadata"]


def test_an_orphan_is_kept_while_the_server_knows_its_owner() -> None:
    """The cache of batches is behind the one of pods."""
    fake = server()
    client = Client(fake)
    client.create(BATCHES, batch("a", pods=1))
    manager(fake).settle()
    late = manager(fake)
    late.informers[PODS, "batch"].refresh()
    late.loops[0].process_one()
    assert client.list(PODS).items[0]["metadata"]["finalizers"] == [FINALIZER]


def test_one_namespace_only() -> None:
    fake = server()
    fake.add_namespace("other")
    client = Client(fake)
    client.create(BATCHES, batch("a"))
    client.create(BATCHES, batch("a", namespace="other"))
    manager(fake, settings=Settings(namespace="other")).settle()
    assert {pod["metadata"]["namespace"] for pod in client.list(PODS).items} == {"other"}


def test_several_writes_at_once() -> None:
    fake = server()
    client = Client(fake)
    client.create(BATCHES, batch("a", pods=30))
    operator = manager(fake, width=8)
    operator.settle()
    assert len(client.list(PODS).items) == 30
    finish_pods(client)
    operator.settle()
    assert len(client.get(BATCHES, A)["status"]["done"]) == 30
    assert client.list(PODS).items == []
