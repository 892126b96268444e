"""Hostile changes of a TrainingJob, on the real API server with the platform's rights and policies, and objects that
have to be taken however strange they look."""

from __future__ import annotations

import copy
import time
import uuid
from collections.abc import Generator
from typing import Any

import pytest

from mlplatform.controllers.trainingjob.resources import TRAINING_JOBS
from mlplatform.kube.client import Client
from mlplatform.kube.errors import Forbidden, Invalid
from mlplatform.kube.objects import NAMESPACES, Key, Object
from tests.cluster.operators.conftest import eventually
from tests.support.kube.training import job

NAME = "job"
RUNNING, RESTING = "running", "resting"
CONTAINER = ("groups", 0, "template", "spec", "containers", 0)
POD = ("groups", 0, "template", "spec")
#: What is there before, and what takes its place: as many members, under other names. The API server's own rules take
#: those for equal; only the policy compares what pods are made of as a whole.
EXCHANGED: dict[str, tuple[tuple[str | int, ...], Any, Any]] = {
    "a port for all secrets": (
        CONTAINER,
        {"ports": [{"containerPort": 80}]},
        {"envFrom": [{"secretRef": {"name": "login"}}]},
    ),
    "a variable for a secret": (
        (*CONTAINER, "env", 0),
        {"name": "A", "x": "1"},
        {"name": "A", "valueFrom": {"secretKeyRef": {"name": "login", "key": "password"}}},
    ),
    "a scratch folder for the node's disk": (
        (*POD, "volumes", 0),
        {"name": "v", "emptyDir": {}},
        {"name": "v", "hostPath": {"path": "/"}},
    ),
    "a scratch folder for a secret": (
        (*POD, "volumes", 0),
        {"name": "v", "emptyDir": {}},
        {"name": "v", "secret": {"secretName": "login"}},
    ),
    "a volume for a driver's": (
        (*POD, "volumes", 0),
        {"name": "v", "configMap": {"name": "c"}},
        {"name": "v", "csi": {"driver": "secrets", "nodePublishSecretRef": {"name": "login"}}},
    ),
    "a volume for a flex volume": (
        (*POD, "volumes", 0),
        {"name": "v", "configMap": {"name": "c"}},
        {"name": "v", "flexVolume": {"driver": "x/y", "secretRef": {"name": "login"}}},
    ),
    "a volume for a claim that comes with the pod": (
        (*POD, "volumes", 0),
        {"name": "v", "emptyDir": {}},
        {"name": "v", "ephemeral": {"volumeClaimTemplate": {"spec": {}}}},
    ),
    "a projected map for a projected secret": (
        (*POD, "volumes", 0),
        {"name": "v", "projected": {"sources": [{"configMap": {"name": "c"}}]}},
        {"name": "v", "projected": {"sources": [{"secret": {"name": "login"}}]}},
    ),
    "no service links for the host's network": (POD, {"enableServiceLinks": False}, {"hostNetwork": True}),
    "no service links for the host's processes": (POD, {"enableServiceLinks": False}, {"hostPID": True}),
    "a policy of DNS for the secrets of a registry": (
        POD,
        {"dnsPolicy": "Default"},
        {"imagePullSecrets": [{"name": "login"}]},
    ),
    "a policy of DNS for a service account's token": (
        POD,
        {"dnsPolicy": "Default"},
        {"automountServiceAccountToken": True},
    ),
    "not as root for the group of root": (
        (*POD, "securityContext"),
        {"runAsNonRoot": True},
        {"supplementalGroups": [0]},
    ),
    "not as root for all rights": (
        (*CONTAINER, "securityContext"),
        {"runAsNonRoot": True},
        {"privileged": True},
    ),
    "a probe for a hook": (
        CONTAINER,
        {"tty": True},
        {"lifecycle": {"postStart": {"exec": {"command": ["sh"]}}}},
    ),
    "requests for limits": (
        (*CONTAINER, "resources"),
        {"requests": {"nvidia.com/gpu": "1"}},
        {"limits": {"nvidia.com/gpu": "1"}},
    ),
    "a class of storage for a volume": (
        ("checkpoint", "claimSpec"),
        {"storageClassName": "a"},
        {"volumeName": "somebodys"},
    ),
    "a size for another size": (
        ("checkpoint", "claimSpec"),
        {"resources": {"requests": {"storage": "1Gi"}}},
        {"resources": {"requests": {"storage": "9Ti"}}},
    ),
}
#: A change of the pod's spec, and whether a job that rests takes it. No running one does.
CHANGED: dict[str, tuple[Object, bool]] = {
    "another network": ({"hostNetwork": True}, False),
    "other processes": ({"shareProcessNamespace": True}, False),
    "a runtime": ({"runtimeClassName": "kata"}, False),
    "somebody's account": ({"serviceAccountName": "admin"}, False),
    "an older word for it": ({"serviceAccount": "admin"}, False),
    "a deadline of the pod's own": ({"activeDeadlineSeconds": 1}, False),
    "claims on devices": ({"resourceClaims": [{"name": "c", "resourceClaimName": "gpu"}]}, False),
    "hosts": ({"hostAliases": [{"ip": "10.0.0.1", "hostnames": ["mlflow"]}]}, False),
    "containers of a debugger": ({"ephemeralContainers": [{"name": "e", "image": "x"}]}, False),
    "nodes by label": ({"nodeSelector": {"disk": "ssd"}}, True),
    "taints it stands": ({"tolerations": [{"operator": "Exists"}]}, True),
    "nodes by affinity": ({"affinity": {"nodeAffinity": {}}}, True),
    "spread": ({"topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "zone"}]}, True),
    "its priority": ({"priorityClassName": "low"}, True),
    "its scheduler": ({"schedulerName": "other"}, True),
}


@pytest.fixture(scope="module")
def jobs(rules: Client) -> Generator[str]:
    """A namespace."""
    name = f"training-corpus-{uuid.uuid4().hex[:8]}"
    rules.create(NAMESPACES, {"metadata": {"name": name}})
    plain, (path, old, new) = job(suspend=True), EXCHANGED["no service links for the host's network"]
    end = time.monotonic() + 60
    while time.monotonic() < end:  # a policy takes a moment until every request sees it
        try:
            change(rules, name, placed(plain, path, old), placed(plain, path, new))
        except (Invalid, Forbidden):
            break
    yield name
    rules.delete(NAMESPACES, Key("", name))


def placed(body: Object, path: tuple[str | int, ...], value: Any) -> Object:
    """The job with this in a place; a dict joins what is there."""
    body = copy.deepcopy(body)
    inside: Any = body["spec"]
    for index, word in enumerate(path):
        after: Any = path[index + 1] if index + 1 < len(path) else None
        empty: Any = [{}] if isinstance(after, int) else {}
        inside = inside[word] if isinstance(word, int) else inside.setdefault(word, empty)
    inside.update(value)
    return body


def change(client: Client, namespace: str, before: Object, after: Object) -> None:
    """Raises Invalid, Forbidden."""
    key = Key(namespace, NAME)
    before["metadata"] = {"name": NAME, "namespace": namespace}
    made = eventually(lambda: client.create(TRAINING_JOBS, before))
    try:
        after["metadata"] = {**made["metadata"], "managedFields": None}
        client.replace(TRAINING_JOBS, after)
    finally:
        client.delete(TRAINING_JOBS, key)


@pytest.mark.parametrize("state", [RUNNING, RESTING])
@pytest.mark.parametrize("name", sorted(EXCHANGED))
def test_nothing_that_pods_are_made_of_is_exchanged(rules: Client, jobs: str, name: str, state: str) -> None:
    path, old, new = EXCHANGED[name]
    plain = job(suspend=state == RESTING)
    with pytest.raises((Invalid, Forbidden)):
        change(rules, jobs, placed(plain, path, old), placed(plain, path, new))


@pytest.mark.parametrize("state", [RUNNING, RESTING])
@pytest.mark.parametrize("name", sorted(CHANGED))
def test_only_where_pods_run_is_changed_and_only_while_they_rest(
    rules: Client, jobs: str, name: str, state: str
) -> None:
    more, taken = CHANGED[name]
    plain = job(suspend=state == RESTING)
    if state == RESTING and taken:
        change(rules, jobs, plain, placed(plain, POD, more))
        return
    with pytest.raises((Invalid, Forbidden)):
        change(rules, jobs, plain, placed(plain, POD, more))
