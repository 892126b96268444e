"""A cluster that has the platform's kinds, rights and policies, and clients that are other people."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from dataclasses import replace
from typing import Any

import pytest

from mlplatform.cli import manifests
from mlplatform.cli.deploying import Deployer
from mlplatform.core.errors import KubernetesError
from mlplatform.kube.client import Client
from mlplatform.kube.http import HttpTransport
from mlplatform.kube.objects import DEPLOYMENTS, ROLE_BINDINGS, ROLES
from mlplatform.kube.transport import connect, target
from tests.cluster.cluster import Cluster

#: Installed for tests only, beside whatever else is on the cluster; no Deployment: tests run the operator themselves.
GROUP = "mlplatform-tests"


@pytest.fixture(scope="session")
def rules(api_server: Cluster) -> Generator[Client]:
    """An administrator's client of a cluster with kinds, rights and admission policy."""
    client = connect(str(api_server.kubeconfig))
    objects = manifests.adapted(manifests.load(manifests.variants()["base"]), namespace=manifests.NAMESPACE, images={})
    objects = [body for body in objects if manifests.resource_of(body) != DEPLOYMENTS]
    deployer = Deployer(client, lambda _: None, 120)
    deployer.install(objects, GROUP, wait=False)
    yield client
    client.transport.close()


@pytest.fixture
def person(api_server: Cluster, rules: Client, namespace: str) -> Generator[Callable[..., Client]]:
    """``person("ann", {"resources": ["pods"], "verbs": ["create"]})``: somebody with these rights in the namespace."""
    clients: list[Client] = []
    known = target(str(api_server.kubeconfig))

    def become(name: str, *rights: dict[str, Any]) -> Client:
        role = {
            "metadata": {"name": name, "namespace": namespace},
            "rules": [{"apiGroups": [""], "verbs": ["get"], **one} for one in rights]
            + [{"apiGroups": ["pipelines.mlplatform.dev"], "resources": ["*"], "verbs": ["*"]}],
        }
        rules.apply(ROLES, role)
        reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name}
        subject = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": name}
        meta = {"name": name, "namespace": namespace}
        rules.apply(ROLE_BINDINGS, {"metadata": meta, "roleRef": reference, "subjects": [subject]})
        client = impersonating(known, name)
        clients.append(client)
        return client

    yield become
    for client in clients:
        client.transport.close()


def impersonating(known: Any, user: str) -> Client:
    return Client(HttpTransport(lambda: replace(known, headers={"Impersonate-User": user})))


def eventually(act: Callable[[], Any], seconds: float = 30.0) -> Any:
    """Rights and policies take a moment until every request sees them."""
    end = time.monotonic() + seconds
    while True:
        try:
            return act()
        except KubernetesError:
            if time.monotonic() > end:
                raise
            time.sleep(0.2)
