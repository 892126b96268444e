"""Creating a TrainingJob lends nobody the operator's rights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mlplatform.controllers.trainingjob.resources import TRAINING_JOBS
from mlplatform.kube.client import Client
from mlplatform.kube.errors import Forbidden
from mlplatform.kube.objects import ROLE_BINDINGS, ROLES, Key, Object
from mlplatform.kube.transport import target
from tests.cluster.cluster import Cluster
from tests.cluster.operators.conftest import eventually, impersonating
from tests.support.kube.training import group, job

CLAIM = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}}


def become(api_server: Cluster, rules: Client, namespace: str, name: str, *rights: Object) -> Client:
    """Somebody who may do anything to training jobs, and these things beside."""
    own = {"apiGroups": ["training.mlplatform.dev"], "resources": ["trainingjobs"], "verbs": ["*"]}
    meta = {"name": name, "namespace": namespace}
    rules.apply(ROLES, {"metadata": meta, "rules": [own, *rights]})
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name}
    subject = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": name}
    rules.apply(ROLE_BINDINGS, {"metadata": meta, "roleRef": reference, "subjects": [subject]})
    return impersonating(target(str(api_server.kubeconfig)), name)


def may(resource: str) -> Object:
    return {"apiGroups": [""], "resources": [resource], "verbs": ["create"]}


def submit(client: Client, namespace: str, **spec: Any) -> Object:
    body = job(suspend=True, **spec)
    body["metadata"] = {"name": "job", "namespace": namespace}
    return client.create(TRAINING_JOBS, body, dry_run=True)


def test_who_may_not_create_pods_gets_none_by_way_of_a_job(api_server: Cluster, rules: Client, namespace: str) -> None:
    ann = become(api_server, rules, namespace, "ann")

    def refused() -> str:
        with pytest.raises(Forbidden) as raised:
            submit(ann, namespace)
        if "admission" not in str(raised.value).lower() and "needs the right" not in str(raised.value):
            raise raised.value  # the role is not seen everywhere yet
        return str(raised.value)

    assert "needs the right to create pods" in eventually(refused)


def test_claims_are_asked_for_where_the_job_makes_some(api_server: Cluster, rules: Client, namespace: str) -> None:
    bob = become(api_server, rules, namespace, "bob", may("pods"))
    assert eventually(lambda: submit(bob, namespace))["metadata"]["name"] == "job"
    with pytest.raises(Forbidden, match="create persistentvolumeclaims"):
        submit(bob, namespace, checkpoint={"claimSpec": CLAIM})
    eve = become(api_server, rules, namespace, "eve", may("pods"), may("persistentvolumeclaims"))
    assert eventually(lambda: submit(eve, namespace, checkpoint={"claimSpec": CLAIM}))


def test_what_does_not_change_the_spec_asks_for_nothing(api_server: Cluster, rules: Client, namespace: str) -> None:
    """Labels, say: who may not create pods may still tidy up."""
    body = job(suspend=True)
    body["metadata"] = {"name": "job", "namespace": namespace}
    eventually(lambda: rules.create(TRAINING_JOBS, body))
    ann = become(api_server, rules, namespace, "ann")
    key = Key(namespace, "job")
    labelled = eventually(lambda: ann.patch(TRAINING_JOBS, key, {"metadata": {"labels": {"team": "a"}}}))
    assert labelled["metadata"]["labels"] == {"team": "a"}
    with pytest.raises(Forbidden, match="create pods"):
        ann.patch(TRAINING_JOBS, key, {"spec": {"suspend": False}})
    rules.delete(TRAINING_JOBS, key)


def test_claims_on_devices_are_asked_for_where_the_job_makes_some(
    api_server: Cluster, rules: Client, namespace: str
) -> None:
    bob = become(api_server, rules, namespace, "bob", may("pods"))
    device = {"via": "DRA", "deviceClassName": "gpu.example.com"}
    eventually(lambda: submit(bob, namespace))
    with pytest.raises(Forbidden, match="create resourceclaimtemplates"):
        submit(bob, namespace, groups=[group(accelerator=device)])
    templates = {"apiGroups": ["resource.k8s.io"], "resources": ["resourceclaimtemplates"], "verbs": ["create"]}
    eve = become(api_server, rules, namespace, "eve", may("pods"), templates)
    assert eventually(lambda: submit(eve, namespace, groups=[group(accelerator=device)]))


#: Every way in which a pod names a secret.
SECRETS: dict[str, Object] = {
    "a volume": {"volumes": [{"name": "v", "secret": {"secretName": "login"}}]},
    "a projected volume": {"volumes": [{"name": "v", "projected": {"sources": [{"secret": {"name": "login"}}]}}]},
    "a driver's volume": {
        "volumes": [{"name": "v", "csi": {"driver": "d", "nodePublishSecretRef": {"name": "login"}}}]
    },
    "an old driver's": {"volumes": [{"name": "v", "flexVolume": {"driver": "x/y", "secretRef": {"name": "login"}}}]},
    "a registry": {"imagePullSecrets": [{"name": "login"}]},
    "a variable": {
        "containers": [
            {"name": "m", "env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "login", "key": "k"}}}]}
        ]
    },
    "variables": {"containers": [{"name": "m", "envFrom": [{"secretRef": {"name": "login"}}]}]},
    "variables of what comes before": {
        "initContainers": [
            {"name": "i", "envFrom": [{"configMapRef": {"name": "c"}}, {"secretRef": {"name": "login"}}]}
        ]
    },
}


def with_pod(**spec: Any) -> Object:
    made = group()
    made["template"]["spec"] = {**made["template"]["spec"], **spec}
    return made


def test_secrets_and_accounts_that_templates_name_have_to_be_the_authors(
    api_server: Cluster, rules: Client, namespace: str
) -> None:
    bob = become(api_server, rules, namespace, "bob", may("pods"))
    eventually(lambda: submit(bob, namespace))
    for spec in SECRETS.values():
        with pytest.raises(Forbidden, match="right to get them"):
            submit(bob, namespace, groups=[with_pod(**spec)])
    for word in ("serviceAccountName", "serviceAccount"):
        with pytest.raises(Forbidden, match="impersonate"):
            submit(bob, namespace, groups=[with_pod(**{word: "admin"})])
    assert submit(bob, namespace, groups=[with_pod(serviceAccountName="default")])
    own = [
        {"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["login"], "verbs": ["get"]},
        {"apiGroups": [""], "resources": ["serviceaccounts"], "resourceNames": ["admin"], "verbs": ["impersonate"]},
    ]
    eve = become(api_server, rules, namespace, "eve", may("pods"), *own)
    for spec in SECRETS.values():
        assert eventually(lambda spec=spec: submit(eve, namespace, groups=[with_pod(**spec)]))
    two = [with_pod(**SECRETS["a volume"]), {**with_pod(serviceAccountName="admin"), "name": "other"}]
    assert submit(eve, namespace, groups=two)
    two[1]["template"]["spec"]["imagePullSecrets"] = [{"name": "other"}]
    with pytest.raises(Forbidden, match="right to get them"):
        submit(eve, namespace, groups=two)


def test_nobody_but_the_operator_says_how_a_job_stands(api_server: Cluster, rules: Client, namespace: str) -> None:
    ann = become(api_server, rules, namespace, "ann", may("pods"))
    body = job(suspend=True)
    body["metadata"] = {"name": "job", "namespace": namespace}
    body["status"] = {"phase": "Complete", "attempt": 7}
    made = eventually(lambda: ann.create(TRAINING_JOBS, body))
    assert "status" not in made
    key = Key(namespace, "job")
    with pytest.raises(Forbidden):
        ann.patch(TRAINING_JOBS, key, {"status": {"phase": "Complete"}}, subresource="status")
    patched = ann.patch(TRAINING_JOBS, key, {"status": {"phase": "Complete"}, "metadata": {"labels": {"a": "b"}}})
    assert "status" not in patched
    rules.delete(TRAINING_JOBS, key)


def test_what_nobody_does_yet_is_taken_and_told(
    api_server: Cluster, rules: Client, namespace: str, tmp_path: Path
) -> None:
    """As warnings, which kubectl shows."""
    later: dict[str, Object] = {
        "restartMode InPlace": {"failurePolicy": {"restartMode": "InPlace"}},
        "spares are": {"groups": [group(spares=1)]},
        "stragglerFactorPercent": {"health": {"stragglerFactorPercent": 150}},
        "reason Straggler": {"failurePolicy": {"rules": [{"action": "Restart", "reasons": ["Straggler"]}]}},
        "gang.mode PodGroup": {"gang": {"mode": "PodGroup"}},
        "leaves the job to MultiKueue": {"managedBy": "kueue.x-k8s.io/multikueue"},
    }

    def warned(spec: Object) -> str:
        body = job(suspend=True, **spec)
        body["metadata"] = {"name": "job", "namespace": namespace}
        file = tmp_path / "job.json"
        file.write_text(json.dumps(body))
        return api_server.kubectl("create", "--dry-run=server", "-f", str(file)).stderr

    for words, spec in later.items():
        assert words in warned(spec)
    assert warned({}) == ""
