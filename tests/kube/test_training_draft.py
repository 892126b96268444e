"""The draft of the API and ours, side by side on the real API server: what the draft takes is taken, what it refuses is
refused, for each of its fields at its edges.

``MLPLATFORM_TRAININGJOB`` names the folder with the draft; without it, ``shared/design/trainingjob`` beside the
checkout is looked for.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from mlplatform.apis.crd import crds
from mlplatform.core.errors import KubernetesError
from mlplatform.kube.client import Client
from mlplatform.kube.objects import Resource
from mlplatform.kube.transport import connect
from tests.cluster.cluster import Cluster
from tests.kube.test_training_admission import BESIDE, CRD, FOLDER, Object

DRAFT = FOLDER / "crd-draft.yaml"
GROUP = "training.mlplatform.dev"
#: Both are installed under names of their own: the cluster may be somebody's.
THEIRS, OURS = "draft.trainings.test", "ours.trainings.test"
#: Refused by ours alone, and why that is right.
STRICTER = {
    "checkpoint.mountPath": "a container has no folder that is relative, or named with a colon",
}
pytestmark = [pytest.mark.skipif(not DRAFT.is_file(), reason=f"the draft of the API is not at {DRAFT}"), BESIDE]


def full() -> Object:
    """A job that says something of everything."""
    template = {"spec": {"containers": [{"name": "main", "image": "localhost/train:1"}]}}
    claim = {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}}
    worker = {
        "name": "worker",
        "role": "worker",
        "replicas": 2,
        "procsPerReplica": 2,
        "spares": 0,
        "elastic": {"min": 1, "max": 4, "cooldownSeconds": 3},
        "dependsOn": [{"group": "init", "status": "Complete"}],
        "accelerator": {
            "via": "DRA",
            "resourceName": "nvidia.com/gpu",
            "count": 1,
            "products": ["A100"],
            "minMemoryMiB": 1,
            "deviceClassName": "gpu",
            "selector": "true",
        },
        "topology": {"key": "rack", "mode": "Required", "exclusive": True},
        "template": template,
    }
    rule = {
        "name": "memory",
        "groups": ["worker"],
        "exitCodes": {"operator": "In", "values": [1]},
        "podConditions": ["DisruptionTarget"],
        "reasons": ["OOMKilled"],
        "action": "Restart",
    }
    return {
        "framework": "torch",
        "suspend": True,
        "managedBy": "training.mlplatform.dev/controller",
        "queue": {"name": "q", "priorityClassName": "high", "preemptible": True, "maxRequeues": 3},
        "gang": {"mode": "Auto", "scheduleTimeoutSeconds": 60},
        "groups": [{"name": "init", "role": "initializer", "replicas": 1, "template": template}, worker],
        "checkpoint": {
            "scope": "Job",
            "mountPath": "/kept",
            "claimSpec": claim,
            "uri": "s3://bucket",
            "whenFinished": "Retain",
            "whenDeleted": "Retain",
            "keep": 3,
        },
        "preemption": {"gracePeriodSeconds": 3},
        "failurePolicy": {
            "restartScope": "Job",
            "restartMode": "Recreate",
            "maxRestarts": 3,
            "windowSeconds": 0,
            "resetOnCheckpoint": True,
            "backoffSeconds": 1,
            "maxBackoffSeconds": 2,
            "rules": [rule],
        },
        "successPolicy": {"groups": ["worker"], "operator": "All", "rank0Only": False},
        "health": {
            "startupTimeoutSeconds": 1,
            "progressTimeoutSeconds": 1,
            "onHang": "Restart",
            "stragglerFactorPercent": 0,
        },
        "runPolicy": {
            "activeDeadlineSeconds": 1,
            "pendingDeadlineSeconds": 1,
            "ttlSecondsAfterFinished": 0,
            "cleanPods": "Running",
        },
        "tracking": {"mlflowTrackingUri": "http://mlflow", "experimentName": "e", "runId": "r"},
    }


def leaves(schema: Object, path: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], Object]]:
    """Every field, with its place in a job that says something of everything."""
    if path:
        yield path, schema
    if schema["type"] == "array":
        yield from leaves(schema["items"], (*path, 1 if path == ("groups",) else 0))
    for name, below in (schema.get("properties") or {}).items():
        yield from leaves(below, (*path, name))


def edges(schema: Object) -> list[Any]:
    """Values at the edges of what a field takes, and beyond."""
    match schema["type"]:
        case "integer":
            least, most = schema.get("minimum"), schema.get("maximum", 2**63 - 1)
            return ["1", None, most, most + 1, *([] if least is None else [least, least - 1])]
        case "string":
            longest, words = schema.get("maxLength", 0), schema.get("enum") or []
            texts = ["\u00e9" * longest, "a" * (longest + 1)] if longest else []
            return ["", 5, *texts, *words, *(word.lower() for word in words[:1])]
        case "boolean":
            return [True, "true"]
        case "array":
            return [[], {}]
        case _:
            return [{}, [], {"unknown": 1}]


def cases() -> Iterator[tuple[str, Object]]:
    schema: Object = yaml.safe_load(DRAFT.read_text(encoding="utf-8"))["spec"]["versions"][0]["schema"]
    for path, below in leaves(schema["openAPIV3Schema"]["properties"]["spec"], ()):
        name = ".".join(map(str, path))
        for value in [_LEFT_OUT, *edges(below)]:
            spec = full()
            inside: Any = spec
            for word in path[:-1]:
                inside = inside[word]
            if value is not _LEFT_OUT:
                inside[path[-1]] = value
            elif isinstance(inside, dict):
                inside.pop(path[-1], None)
            yield f"{name} {'left out' if value is _LEFT_OUT else repr(value)[:40]}", spec


_LEFT_OUT = object()


def install(server: Cluster, crd: Object, group: str) -> None:
    named = json.loads(json.dumps(crd).replace(f"trainingjobs.{GROUP}", f"trainingjobs.{group}"))
    named["spec"]["group"] = group
    for word in ("shortNames", "categories"):
        named["spec"]["names"].pop(word, None)
    path = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/trainingjobs.{group}"
    server.api.apply(path, named)
    server.api.wait(f"/apis/{group}/v1alpha1/namespaces/default/trainingjobs", lambda _: True)


def refused(client: Client, group: str, spec: Object) -> str:
    body = {"metadata": {"name": "t", "namespace": "default"}, "spec": spec}
    try:
        client.create(Resource(group, "v1alpha1", "trainingjobs", "TrainingJob"), body, dry_run=True)
    except KubernetesError as error:
        return str(error)
    return ""


def test_each_field_at_its_edges_is_judged_as_the_draft_does(api_server: Cluster) -> None:
    install(api_server, yaml.safe_load(DRAFT.read_text(encoding="utf-8")), THEIRS)
    install(api_server, copy.deepcopy(crds()[CRD]), OURS)
    client = connect(str(api_server.kubeconfig))
    assert refused(client, THEIRS, full()) == refused(client, OURS, full()) == ""
    try:
        differ: list[str] = []
        count = 0
        for name, spec in cases():
            count += 1
            theirs, ours = (refused(client, group, spec) for group in (THEIRS, OURS))
            if bool(theirs) is not bool(ours) and not (ours and name.partition(" ")[0] in STRICTER):
                differ.append(f"{name}: {'refused by ours alone' if ours else 'taken by ours alone'}: {ours or theirs}")
        assert count > 300
        assert differ == []
    finally:
        client.transport.close()
        for group in (THEIRS, OURS):
            api_server.api.delete(f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/trainingjobs.{group}")
