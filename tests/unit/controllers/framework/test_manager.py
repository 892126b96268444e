"""Whole operators with their threads: start, work, share, stop."""

from __future__ import annotations

import threading
import time
import urllib.request
from collections.abc import Callable

from mlplatform.controllers.framework.manager import Manager, Settings, Sharing
from mlplatform.controllers.framework.process import Options, Process
from mlplatform.kube.client import Client
from mlplatform.kube.errors import Unavailable
from mlplatform.kube.leases import Timing
from mlplatform.kube.objects import EVENTS, PODS, Key
from mlplatform.kube.wire import Answer, Request
from tests.support.kube.fake import FakeServer
from tests.support.kube.faults import Recording
from tests.support.kube.toy import BATCHES, Batches, batch, finish_pods, manager, server


def until(true: Callable[[], object], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def all_done(client: Client) -> bool:
    finish_pods(client)
    batches = client.list(BATCHES).items
    return all(len((one.get("status") or {}).get("done") or {}) == one["spec"]["pods"] for one in batches)


def test_a_process_from_start_to_stop() -> None:
    fake = server()
    client = Client(fake)
    process = Process(Client(fake), [Batches()], Options(Settings(workers=3), health=("127.0.0.1", 0), width=4))
    process.start()
    try:
        assert process.health is not None
        url = f"http://127.0.0.1:{process.health.port}"
        assert urllib.request.urlopen(f"{url}/readyz").read() == b"ok\n"
        for number in range(20):
            client.create(BATCHES, batch(f"b{number}", pods=3))
        until(lambda: all_done(client))
        until(lambda: client.list(PODS).items == [])
        metrics = urllib.request.urlopen(f"{url}/metrics").read().decode()
        assert 'mlplatform_operator_cached_objects{resource="batches.test.mlplatform.dev"} 20.0' in metrics
        assert "_created" not in metrics
    finally:
        assert process.stop(30)
    assert len(client.list(EVENTS).items) == 20
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith(("batch-", "cache "))]


def test_stopping_waits_for_the_key_that_is_worked_on() -> None:
    fake = server()
    client = Client(fake)
    inside, go_on = threading.Event(), threading.Event()

    def hold(request: Request) -> None:
        if request.method == "POST" and request.path.endswith("/pods"):
            inside.set()
            go_on.wait(30)

    fake.before.append(hold)
    operator = manager(fake, settings=Settings(workers=1))
    operator.start()
    client.create(BATCHES, batch("a", pods=1))
    assert inside.wait(30)
    stopped: list[bool] = []
    stopping = threading.Thread(target=lambda: stopped.append(operator.stop(30)))
    stopping.start()
    time.sleep(0.1)
    assert stopped == []
    go_on.set()
    stopping.join(30)
    assert stopped == [True]
    assert client.get(BATCHES, Key("default", "a"))["status"]["done"] == {}  # finished what it had begun


def test_a_process_that_cannot_start_stops_all_the_same() -> None:
    fake = server()
    fake.down = True
    operator = manager(fake)
    starting = threading.Thread(target=operator.start)
    starting.start()
    until(lambda: "connection refused" in operator.ready())
    assert operator.alive() == ""
    operator.stop(5)
    starting.join(30)
    assert not starting.is_alive()


def test_an_outage_costs_nothing_but_time() -> None:
    fake = server()
    client = Client(fake)
    operator = manager(fake, chance=lambda: 0.0)
    operator.start()
    try:
        client.create(BATCHES, batch("a", pods=2))
        until(lambda: len(client.list(PODS).items) == 2)
        fake.down = True
        fake.disconnect()
        time.sleep(0.3)
        fake.down = False
        client.create(BATCHES, batch("b", pods=2))
        until(lambda: all_done(client))
    finally:
        operator.stop(30)
    assert all(informer.lists == 1 for informer in operator.informers.values())


class Watched:
    """Who wrote for which batch, in which order."""

    def __init__(self, fake: FakeServer, name: str, log: list[tuple[str, str]]) -> None:
        self._fake, self._name, self._log = fake, name, log
        self.cut = False

    def send(self, request: Request) -> Answer:
        if self.cut:
            raise Unavailable(f"{self._name} is cut off")
        if request.writes and "leases" not in request.path and "events" not in request.path:
            self._log.append((self._name, request.path))
        return self._fake.send(request)

    def stream(self, request: Request):
        if self.cut:
            raise Unavailable(f"{self._name} is cut off")
        return self._fake.stream(request)

    def close(self) -> None: ...


TIMING = Timing(renew=0.1, deadline=1.0, duration=1.5)


def replica(fake: FakeServer, name: str, log: list[tuple[str, str]]) -> tuple[Manager, Watched]:
    transport = Watched(fake, name, log)
    sharing = Sharing(namespace="default", identity=name, shards=8, timing=TIMING)
    return manager(transport, settings=Settings(sharing=sharing, workers=2), now=time.time), transport


def owned(operator: Manager) -> int:
    assert operator.shards is not None
    return len(operator.shards.owned)


def test_replicas_share_hand_over_and_take_over() -> None:
    fake = server(time.time)
    client = Client(fake)
    log: list[tuple[str, str]] = []
    one, _ = replica(fake, "one", log)
    two, link = replica(fake, "two", log)
    one.start()
    until(lambda: owned(one) == 8)
    two.start()
    try:
        until(lambda: owned(two) > 0 and owned(one) + owned(two) == 8)
        for number in range(30):
            client.create(BATCHES, batch(f"b{number}", pods=1))
        until(lambda: all_done(client))
        assert {name for name, _ in log} == {"one", "two"}
        link.cut = True  # two goes on running, but reaches nobody
        until(lambda: owned(one) == 8)
        assert owned(two) == 0
        log.clear()
        for number in range(30):
            client.create(BATCHES, batch(f"c{number}", pods=1))
        until(lambda: all_done(client))
        link.cut = False
        until(lambda: owned(two) > 0 and owned(one) + owned(two) == 8)
    finally:
        one.stop(30)
        until(lambda: owned(two) == 8)  # handed over, not waited for
        two.stop(30)


def test_no_lease_is_asked_for_where_nothing_is_shared() -> None:
    fake = server()
    recording = Recording(fake)
    Client(fake).create(BATCHES, batch("a", pods=1))
    operator = manager(recording)
    operator.settle()
    finish_pods(Client(fake))
    operator.settle()
    batches = f"{BATCHES.plural}.{BATCHES.group}"
    assert recording.used == {
        ("list", batches),
        ("list", "pods"),
        ("list", "services"),
        ("patch", "services"),
        ("create", "pods"),
        ("patch", "pods"),
        ("delete", "pods"),
        ("patch", f"{batches}/status"),
        ("create", "events.events.k8s.io"),
    }
