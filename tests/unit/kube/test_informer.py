"""Informers: nothing missed, whatever the connection does."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from mlplatform.kube.cache import Change, by_label
from mlplatform.kube.client import Client
from mlplatform.kube.informer import Informer
from mlplatform.kube.objects import CONFIG_MAPS, Key, Object
from tests.support.kube.fake import FakeServer


def config(name: str, **labels: str) -> Object:
    return {"metadata": {"name": name, "namespace": "default", "labels": labels}, "data": {"a": "1"}}


def until(true: Callable[[], object], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.005)


@contextmanager
def running(informer: Informer) -> Iterator[None]:
    thread = threading.Thread(target=informer.run, daemon=True)
    thread.start()
    try:
        assert informer.synced.wait(30)
        yield
    finally:
        informer.stop()
        thread.join(30)
        assert not thread.is_alive()


def names(informer: Informer) -> list[str]:
    return sorted(key.name for key in informer.cache.all_keys())


def test_lists_in_pages_then_follows() -> None:
    fake = FakeServer()
    client = Client(fake)
    for number in range(1100):
        client.create(CONFIG_MAPS, config(f"c{number}"))
    told: list[Change] = []
    informer = Informer(client, CONFIG_MAPS, on_change=told.append)
    fake.requests.clear()
    with running(informer):
        assert len(informer.cache) == 1100
        assert [request.query.get("limit") for request in fake.requests[:3]] == ["500"] * 3
        client.patch(CONFIG_MAPS, Key("default", "c7"), {"data": {"a": "2"}})
        client.delete(CONFIG_MAPS, Key("default", "c8"))
        client.create(CONFIG_MAPS, config("new"))
        until(lambda: len(told) == 1103)
    assert [(change.kind, change.key.name) for change in told[1100:]] == [
        ("modified", "c7"),
        ("deleted", "c8"),
        ("added", "new"),
    ]
    seven = informer.cache.get(Key("default", "c7"))
    assert seven is not None
    assert (seven["data"], seven["kind"], seven["apiVersion"]) == ({"a": "2"}, "ConfigMap", "v1")


def test_goes_on_where_a_broken_watch_ended() -> None:
    fake = FakeServer()
    client = Client(fake)
    informer = Informer(client, CONFIG_MAPS, chance=lambda: 0.0)
    with running(informer):
        for number in range(5):
            client.create(CONFIG_MAPS, config(f"c{number}"))
            fake.disconnect()
        until(lambda: len(informer.cache) == 5)
        assert informer.lists == 1


def test_lists_anew_what_the_server_has_forgotten() -> None:
    fake = FakeServer()
    client = Client(fake)
    client.create(CONFIG_MAPS, config("stays"))
    client.create(CONFIG_MAPS, config("goes"))
    told: list[Change] = []
    informer = Informer(client, CONFIG_MAPS, chance=lambda: 0.0, on_change=told.append)
    with running(informer):
        until(lambda: len(informer.cache) == 2)
        fake.down = True
        fake.disconnect()
        fake.down = False
        with fake.store.lock:  # while nobody watches
            client.delete(CONFIG_MAPS, Key("default", "goes"))
            client.create(CONFIG_MAPS, config("comes"))
            fake.store.compact()
        until(lambda: names(informer) == ["comes", "stays"])
        assert informer.lists == 2
        assert [(change.kind, change.key.name) for change in told[2:]] == [("added", "comes"), ("deleted", "goes")]


def test_an_outage_is_waited_out() -> None:
    fake = FakeServer()
    fake.down = True
    client = Client(fake)
    informer = Informer(client, CONFIG_MAPS, chance=lambda: 0.0)
    thread = threading.Thread(target=informer.run, daemon=True)
    thread.start()
    until(lambda: "connection refused" in informer.trouble)
    assert not informer.synced.is_set()
    fake.down = False
    assert informer.synced.wait(30)
    client.create(CONFIG_MAPS, config("a"))
    until(lambda: len(informer.cache) == 1)
    assert informer.trouble == ""
    informer.stop()
    thread.join(30)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_refused_list_is_tried_again(status: int) -> None:
    fake = FakeServer()
    client = Client(fake, sleep=lambda _: None)
    fake.fail(status, "GET", "/configmaps", times=2)
    with running(Informer(client, CONFIG_MAPS, chance=lambda: 0.0)):
        pass


def test_bookmarks_move_the_version_on() -> None:
    fake = FakeServer()
    client = Client(fake)
    reached: list[int] = []
    informer = Informer(client, CONFIG_MAPS, labels="a=b", on_version=reached.append)
    with running(informer):
        client.create(CONFIG_MAPS, config("other"))
        until(lambda: fake._streams)
        fake.bookmark()
        until(lambda: informer.version == fake.store.version)
    assert len(informer.cache) == 0
    assert reached[-1] == fake.store.version


def test_what_no_longer_matches_is_gone() -> None:
    fake = FakeServer()
    client = Client(fake)
    informer = Informer(client, CONFIG_MAPS, labels="run=a", indexers={"run": by_label("run")})
    with running(informer):
        client.create(CONFIG_MAPS, config("x", run="a"))
        client.create(CONFIG_MAPS, config("y", run="b"))
        until(lambda: names(informer) == ["x"])
        assert [one["metadata"]["name"] for one in informer.cache.indexed("run", "a")] == ["x"]
        client.patch(CONFIG_MAPS, Key("default", "x"), {"metadata": {"labels": {"run": "b"}}})
        client.patch(CONFIG_MAPS, Key("default", "y"), {"metadata": {"labels": {"run": "a"}}})
        until(lambda: names(informer) == ["y"])
        assert informer.cache.indexed("run", "b") == []


def test_objects_handed_out_are_copies() -> None:
    fake = FakeServer()
    client = Client(fake)
    client.create(CONFIG_MAPS, config("x"))
    informer = Informer(client, CONFIG_MAPS)
    informer.refresh()
    first = informer.cache.get(Key("default", "x"))
    assert first is not None
    first["data"]["a"] = "changed"
    again = informer.cache.get(Key("default", "x"))
    assert again is not None
    assert again["data"] == {"a": "1"}


def test_one_namespace() -> None:
    fake = FakeServer()
    fake.add_namespace("other")
    client = Client(fake)
    informer = Informer(client, CONFIG_MAPS, "other")
    with running(informer):
        client.create(CONFIG_MAPS, config("x"))
        client.create(CONFIG_MAPS, {**config("y"), "metadata": {"name": "y", "namespace": "other"}})
        until(lambda: names(informer) == ["y"])
