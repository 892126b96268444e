"""An operator on the API server in memory and on a real one: dying at each write, and a server that goes away."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

import pytest

from mlplatform.controllers.framework.manager import Settings
from mlplatform.core.errors import KubernetesError
from mlplatform.kube.client import Client
from mlplatform.kube.objects import CUSTOM_RESOURCES, PODS, SERVICES, Key
from mlplatform.kube.transport import connect
from tests.cluster.cluster import Cluster
from tests.kube.conftest import Server, wait_served
from tests.support.kube.faults import Killed, Mortal
from tests.support.kube.toy import BATCHES, DEFINITION, batch, finish_pods, manager


def play(server: Server, name: str, die_at: int, moment: str) -> int:
    """A whole life of a batch; the first operator dies at a write, another one goes on. How many writes there were."""
    settings = Settings(namespace=server.namespace)
    mortal = Mortal(server.client.transport, die_at, moment)
    operators = [manager(one, settings=settings) for one in (mortal, server.client.transport)]
    server.client.create(BATCHES, batch(name, pods=2, namespace=server.namespace))
    for _ in range(3):
        try:
            operators[0].settle()
        except Killed:
            operators.pop(0)
            operators[0].settle()
        finish_pods(server.client, server.namespace)
    return len(mortal.written)


def test_dying_at_any_write_changes_nothing(server: Server) -> None:
    writes = play(server, "whole", 0, "before")
    assert writes == 9
    for number in range(1, writes + 1):
        for moment in ("before", "after"):
            name = f"{moment}-{number}"
            play(server, name, number, moment)
            done = server.client.get(BATCHES, server.key(name))["status"]["done"]
            assert done == {f"{name}-{n}": f"result of {name}-{n}" for n in range(2)}
            assert server.client.list(PODS, server.namespace).items == []
            assert server.client.get(SERVICES, server.key(name))["spec"]["selector"] == {"batch": name}


def test_looking_again_writes_nothing(server: Server) -> None:
    play(server, "a", 0, "before")
    counting = Mortal(server.client.transport)
    again = manager(counting, settings=Settings(namespace=server.namespace))
    assert again.settle() >= 1
    assert counting.written == []


def until(true: Callable[[], object], seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.1)


@pytest.mark.cannot_run_here("others may use a server that this test did not start: it is not taken from them")
def test_the_server_goes_away_and_comes_back(api_server: Cluster, namespace: str) -> None:
    if api_server.folder is None or os.environ.get("MLPLATFORM_TEST_CLUSTER"):
        pytest.skip("the API server is not this session's own")
    client = connect(str(api_server.kubeconfig))
    client.apply(CUSTOM_RESOURCES, DEFINITION)
    wait_served(client, BATCHES)
    transport = connect(str(api_server.kubeconfig)).transport
    operator = manager(transport, settings=Settings(namespace=namespace), now=time.time)
    operator.start(60)
    try:
        client.create(BATCHES, batch("before", pods=3, namespace=namespace))
        until(lambda: len(client.list(PODS, namespace).items) == 3)
        api_server.stop_process("kube-apiserver", signal.SIGKILL)
        until(lambda: any(informer.trouble for informer in operator.informers.values()))
        time.sleep(5)
        api_server.start_process("kube-apiserver")
        until(lambda: served(client))
        client.create(BATCHES, batch("after", pods=3, namespace=namespace))
        until(lambda: done(client, namespace, "before", 3) and done(client, namespace, "after", 3))
        until(lambda: client.list(PODS, namespace).items == [])
    finally:
        assert operator.stop(60)


def served(client: Client) -> bool:
    try:
        client.list(BATCHES)
    except KubernetesError:
        return False
    return True


def done(client: Client, namespace: str, name: str, pods: int) -> bool:
    finish_pods(client, namespace)
    status = client.get(BATCHES, Key(namespace, name)).get("status") or {}
    return len(status.get("done") or {}) == pods
