"""Events: counted, limited, never in the way."""

from __future__ import annotations

from mlplatform.kube.client import Client
from mlplatform.kube.events import Recorder
from mlplatform.kube.objects import EVENTS, Key, Object
from tests.support.kube.fake import FakeServer

POD: Object = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "namespace": "default", "uid": "u1"}}


class Time:
    def __init__(self) -> None:
        self.at = 1_700_000_000.0

    def __call__(self) -> float:
        return self.at


def setup() -> tuple[FakeServer, Recorder, Time]:
    now = Time()
    fake = FakeServer(now)
    return fake, Recorder(Client(fake), "mlplatform.dev/test", "test-0", now=now), now


def events(fake: FakeServer) -> list[Object]:
    return Client(fake).list(EVENTS).items


def test_an_event_is_what_kubectl_shows() -> None:
    fake, recorder, _ = setup()
    recorder.record(POD, "Warning", "Evicted", "the node was low on memory", "Observe")
    recorder.flush()
    [event] = events(fake)
    assert event["regarding"] == {"apiVersion": "v1", "kind": "Pod", "namespace": "default", "name": "a", "uid": "u1"}
    assert (event["type"], event["reason"], event["note"]) == ("Warning", "Evicted", "the node was low on memory")
    assert event["eventTime"] == "2023-11-14T22:13:20.000000Z"


def test_the_same_again_is_counted() -> None:
    fake, recorder, now = setup()
    for _ in range(4):
        recorder.record(POD, "Normal", "Waiting", "no room")
        recorder.flush()
        now.at += 10
    [event] = events(fake)
    assert event["series"]["count"] == 4
    now.at += 1000
    recorder.record(POD, "Normal", "Waiting", "no room")
    recorder.flush()
    assert len(events(fake)) == 2


def test_an_event_that_the_server_forgot_begins_anew() -> None:
    fake, recorder, now = setup()
    for _ in range(3):
        recorder.record(POD, "Normal", "Waiting", "no room")
        recorder.flush()
        for event in events(fake):
            Client(fake).delete(EVENTS, Key("default", event["metadata"]["name"]))
        now.at += 1
    recorder.record(POD, "Normal", "Waiting", "no room")
    recorder.flush()
    assert len(events(fake)) <= 1
    assert recorder.dropped == 0


def test_an_object_with_much_to_say_is_cut_short() -> None:
    fake, recorder, now = setup()
    for number in range(40):
        recorder.record(POD, "Normal", "Said", f"word {number}")
    recorder.flush()
    assert len(events(fake)) == 25
    assert recorder.dropped == 15
    now.at += 300
    recorder.record(POD, "Normal", "Said", "one more")
    recorder.flush()
    assert len(events(fake)) == 26


def test_a_server_that_is_away_is_no_trouble() -> None:
    fake, recorder, _ = setup()
    fake.down = True
    recorder.record(POD, "Normal", "Said", "a")
    recorder.flush()
    assert recorder.dropped == 1
    fake.down = False
    recorder.record(POD, "Normal", "Said", "b")
    recorder.flush()
    assert [event["note"] for event in events(fake)] == ["b"]


def test_long_notes_are_cut() -> None:
    fake, recorder, _ = setup()
    recorder.record(POD, "Normal", "Said", "ä" * 2000)
    recorder.flush()
    [event] = events(fake)
    assert len(event["note"].encode()) <= 1024
    assert event["note"].endswith("ä...")


def test_the_thread_writes_what_is_waiting_before_it_ends() -> None:
    fake, recorder, _ = setup()
    recorder.start()
    for number in range(10):
        recorder.record(POD, "Normal", "Said", f"{number}")
    recorder.stop()
    assert len(events(fake)) == 10
