"""Each contract is tested on the API server in memory and on a real one."""

from __future__ import annotations

import time
import uuid
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from mlplatform.kube.client import Client
from mlplatform.kube.errors import ObjectNotFound
from mlplatform.kube.objects import CUSTOM_RESOURCES, NAMESPACES, Key, Object, Resource
from mlplatform.kube.transport import connect
from tests.support.kube.fake import FakeServer
from tests.support.kube.toy import BATCHES, DEFINITION

HERE = Path(__file__).parent
WIDGETS = Resource("contract.mlplatform.dev", "v1", "widgets", "Widget")

CRD: Object = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "widgets.contract.mlplatform.dev"},
    "spec": {
        "group": WIDGETS.group,
        "scope": "Namespaced",
        "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "subresources": {"status": {}},
                "schema": {
                    "openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                },
            }
        ],
    },
}


@dataclass
class Server:
    """``client`` talks to it as an administrator; ``namespace`` is the test's own."""

    kind: str
    client: Client
    namespace: str
    fake: FakeServer | None = None
    others: dict[str, Client] = field(default_factory=dict)

    def key(self, name: str) -> Key:
        return Key(self.namespace, name)

    def other(self, manager: str) -> Client:
        return Client(self.client.transport, field_manager=manager)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Those that want a real server go last, and may have to wait until it is built (tests/cluster/fixtures.py)."""
    real = [item for item in items if item.path.parent == HERE and "[real" in item.name]
    for item in real:
        item.add_marker(pytest.mark.timeout(2400))
    items[:] = [item for item in items if item not in real] + real


@pytest.fixture(params=["fake", "real"])
def server(request: pytest.FixtureRequest) -> Generator[Server]:
    if request.param == "fake":
        fake = FakeServer()
        client = Client(fake)
        namespace = "contract"
        fake.add_namespace(namespace)
        client.create(CUSTOM_RESOURCES, CRD)
        client.create(CUSTOM_RESOURCES, DEFINITION)
        yield Server("fake", client, namespace, fake)
        return
    running = request.getfixturevalue("api_server")
    client = connect(str(running.kubeconfig))
    namespace = f"contract-{uuid.uuid4().hex[:8]}"
    client.create(NAMESPACES, {"metadata": {"name": namespace}})
    for definition, resource in ((CRD, WIDGETS), (DEFINITION, BATCHES)):
        client.apply(CUSTOM_RESOURCES, definition)
        wait_served(client, resource)
    yield Server("real", client, namespace)
    client.delete(NAMESPACES, Key("", namespace))
    client.transport.close()


def wait_served(client: Client, resource: Resource) -> None:
    """A new kind takes a moment until it is known everywhere."""
    end = time.monotonic() + 60
    while True:
        try:
            client.list(resource)
            return
        except ObjectNotFound:
            assert time.monotonic() < end, f"{resource.name} is not served"
            time.sleep(0.1)
