"""Each contract is tested on the API server in memory and on a real one."""

from __future__ import annotations

import uuid
from collections.abc import Generator
from dataclasses import dataclass, field

import pytest

from mlplatform.kube.client import Client
from mlplatform.kube.objects import CUSTOM_RESOURCES, NAMESPACES, Key, Object, Resource
from mlplatform.kube.transport import connect
from tests.support.kube.fake import FakeServer

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


@pytest.fixture(params=["fake", "real"])
def server(request: pytest.FixtureRequest) -> Generator[Server]:
    if request.param == "fake":
        fake = FakeServer()
        client = Client(fake)
        namespace = "contract"
        fake.add_namespace(namespace)
        client.create(CUSTOM_RESOURCES, CRD)
        yield Server("fake", client, namespace, fake)
        return
    running = request.getfixturevalue("api_server")
    client = connect(str(running.kubeconfig))
    namespace = f"contract-{uuid.uuid4().hex[:8]}"
    client.create(NAMESPACES, {"metadata": {"name": namespace}})
    client.apply(CUSTOM_RESOURCES, CRD)
    wait_established(client)
    yield Server("real", client, namespace)
    client.delete(NAMESPACES, Key("", namespace))
    client.transport.close()


def wait_established(client: Client) -> None:
    import time

    end = time.monotonic() + 60
    while time.monotonic() < end:
        crd = client.get(CUSTOM_RESOURCES, Key("", CRD["metadata"]["name"]))
        conditions = {one["type"]: one["status"] for one in (crd.get("status") or {}).get("conditions") or ()}
        if conditions.get("Established") == "True":
            try:
                client.list(WIDGETS)
                return
            except Exception:
                pass
        time.sleep(0.1)
    raise AssertionError("the CRD is not established")
