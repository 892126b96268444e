"""The behaviours of a training job (their numbers are the design's), lived through on a real API server: the same tests
as on the one in memory, and those that only a real one can show.

Scheduler and kubelets are played (``tests.support.kube.realtraining``); what the real ones do is in
``test_training_pods``.
"""

from __future__ import annotations

import inspect
import json
import os
import time
import uuid
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from mlplatform.kube.client import Client
from mlplatform.kube.objects import NAMESPACES, RESOURCE_QUOTAS, Key, Object
from mlplatform.kube.transport import connect
from mlplatform.kube.wire import Transport
from tests.cluster.cluster import Cluster
from tests.support.kube.arena import make_namespace
from tests.support.kube.faults import Mortal, Write
from tests.support.kube.platform import apply_crds
from tests.support.kube.realtraining import RealTrainingCluster
from tests.support.kube.training import job
from tests.unit.controllers.trainingjob import test_behaviours as behaviours
from tests.unit.controllers.trainingjob.test_dying import GOODPUT, live, outcome

Behaviour = Callable[..., None]

#: What refuses objects in memory, and what counts requests there.
OTHERWISE = {
    behaviours.test_43_what_the_api_refuses_to_make_is_told,
    behaviours.test_looking_again_writes_nothing,
}
ALL = [
    one
    for name, one in vars(behaviours).items()
    if name.startswith("test_")
    and callable(one)
    and one not in OTHERWISE
    and "cluster" in inspect.signature(one).parameters  # others count the writes to a server in memory
]


#: At each so many-th write of a job's life its operator dies. All of them: MLPLATFORM_TEST_STRIDE=1, two minutes.
STRIDE = int(os.environ.get("MLPLATFORM_TEST_STRIDE") or 13)


def cases() -> list[Any]:
    found: list[Any] = []
    for one in ALL:
        name = one.__name__.removeprefix("test_")
        words = ("Retain", "Delete") if "when" in inspect.signature(one).parameters else ("",)
        for when in words:
            told = pytest.param(one, {"when": when} if when else {}, id=f"{name}-{when}" if when else name)
            found.append(told)
    return found


@pytest.fixture(scope="module")
def site(api_server: Cluster) -> Generator[tuple[Client, str]]:
    apply_crds(api_server)
    client = connect(str(api_server.kubeconfig))
    namespace = f"ranks-{uuid.uuid4().hex[:8]}"
    client.create(NAMESPACES, {"metadata": {"name": namespace}})
    api_server.api.wait(f"/api/v1/namespaces/{namespace}/serviceaccounts/default", lambda _: True)
    yield client, namespace
    client.delete(NAMESPACES, Key("", namespace))
    client.transport.close()


@pytest.fixture
def real(site: tuple[Client, str]) -> Generator[RealTrainingCluster]:
    client, namespace = site
    cluster = RealTrainingCluster(transport=client.transport, namespace=namespace)
    yield cluster
    cluster.clear()


@pytest.mark.parametrize(("behaviour", "given"), cases())
def test_on_a_real_server(real: RealTrainingCluster, behaviour: Behaviour, given: dict[str, str]) -> None:
    behaviour(real, **given)


def test_43_a_quota_that_is_full_is_told(real: RealTrainingCluster) -> None:
    quota: Object = {"metadata": {"name": "none", "namespace": "default"}, "spec": {"hard": {"pods": "0"}}}
    real.client.create(RESOURCE_QUOTAS, quota)
    deadline = time.monotonic() + 120
    try:
        while "hard" not in (real.client.get(RESOURCE_QUOTAS, Key("default", "none")).get("status") or {}):
            assert time.monotonic() < deadline, "the quota is not looked after"
            time.sleep(0.05)
        real.submit(job())
        said = real.says("Placed")
        assert said is not None
        assert said[:2] == ("False", "CreationRefused")
        assert "exceeded quota: none, requested: pods=1, used: pods=0, limited: pods=0" in said[2]
        assert (real.phase, real.names()) == ("Starting", [])
    finally:
        real.client.delete(RESOURCE_QUOTAS, Key("default", "none"))
    real.run(30)
    while real.phase != "Running":  # the server forgets a quota a moment after it is gone
        assert time.monotonic() < deadline, real.status
        real.run(30)


def _life(transport: Transport, start: float, die_at: int = 0) -> tuple[str, list[Write], int]:
    """What is left of a job's life in a namespace of its own, what was written, and how often its operator died."""
    client = Client(transport)
    namespace = f"life-{uuid.uuid4().hex[:8]}"
    make_namespace(client, namespace)
    cluster = RealTrainingCluster(now=start, transport=transport, namespace=namespace)
    mortal = Mortal(cluster.wire, die_at)
    cluster.operator = cluster.new_operator(mortal)
    live(cluster)
    left = json.dumps(outcome(cluster), sort_keys=True).replace(cluster.nodes, "node")
    cluster.clear()
    client.delete(NAMESPACES, Key("", namespace))
    return left, mortal.written, cluster.deaths


def test_45_an_operator_that_dies_at_any_write_comes_to_the_same_end(api_server: Cluster) -> None:
    apply_crds(api_server)
    transport, start = connect(str(api_server.kubeconfig)).transport, float(int(time.time()))
    wanted, writes, _ = _life(transport, start)
    status = json.loads(wanted)[0]
    assert (status["phase"], status["restartsCounted"], status["attempt"]) == ("Complete", 2, 4)
    assert status["goodput"] == GOODPUT
    assert len(writes) > 30

    def dying(number: int) -> tuple[str, int]:
        left, _, deaths = _life(transport, start, number)
        return ("" if left == wanted else f"{writes[number - 1]}, {deaths} deaths: {left}, not {wanted}"), deaths

    with ThreadPoolExecutor(6) as pool:
        lives = list(pool.map(dying, range(1, len(writes) + 1, STRIDE)))
    assert [wrong for wrong, _ in lives if wrong] == []
    # a life may come out a write shorter than the one that was counted: nobody dies at the last one then
    assert {deaths for _, deaths in lives[:-1]} == {1}
    assert lives[-1][1] <= 1
    transport.close()
