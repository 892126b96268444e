"""The fixtures by which tests ask for a cluster (they are known to the whole suite, see tests/conftest.py).

``MLPLATFORM_TEST_KUBECONFIG`` names somebody's own cluster, which is then used for both; ``MLPLATFORM_TEST_CLUSTER``
(``make cluster-up`` prints it) the folder of one of ours that runs already.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Generator
from pathlib import Path

import pytest

from tests.cluster.api import default_kubeconfig
from tests.cluster.binaries import CannotBuild
from tests.cluster.cluster import Cluster
from tests.cluster.network import CannotRun, check_machine

FIXTURES = ("api_server", "cluster")


def _start(node: bool) -> Generator[Cluster]:
    own = default_kubeconfig()
    if own is not None:
        yield Cluster.own(own)
        return
    running_already = os.environ.get("MLPLATFORM_TEST_CLUSTER")
    if running_already:
        yield Cluster.find(Path(running_already))
        return
    try:
        if node:
            check_machine()
        running = Cluster.start(node=node)
    except (CannotRun, CannotBuild) as error:
        pytest.skip(str(error))
    try:
        yield running
    finally:
        running.stop()


@pytest.fixture(scope="session")
def api_server() -> Generator[Cluster]:
    """A real API server with controllers, scheduler and kwok, but no node: some five seconds to start."""
    yield from _start(node=False)


@pytest.fixture(scope="session")
def cluster() -> Generator[Cluster]:
    """The same with a real node (kubelet, containerd, Services, DNS) and a registry."""
    yield from _start(node=True)


@pytest.fixture
def namespace(request: pytest.FixtureRequest) -> Generator[str]:
    """A fresh namespace on the cluster that the test uses; its deletion is not waited for."""
    asked = "cluster" if "cluster" in request.fixturenames else "api_server"
    running: Cluster = request.getfixturevalue(asked)
    name = f"test-{uuid.uuid4().hex[:10]}"
    running.api.create("/api/v1/namespaces", {"metadata": {"name": name}})
    running.api.wait(f"/api/v1/namespaces/{name}/serviceaccounts/default", lambda _: True)
    yield name
    running.api.delete(f"/api/v1/namespaces/{name}")


def place(item: pytest.Item) -> int:
    """Not 0 for a test that wants a cluster, the more the longer what it wants takes to start."""
    asked = [FIXTURES.index(name) + 2 for name in getattr(item, "fixturenames", ()) if name in FIXTURES]
    return max(asked, default=int(item.path.parent.name == "cluster"))


def collection_order(items: list[pytest.Item]) -> None:
    """Tests that want a cluster go last: what it is made of may still be built in the background (.ci/run)."""
    items.sort(key=place)
    for item in items:
        if place(item) and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(2400))
