"""The control plane alone: what tests of controllers stand on."""

from __future__ import annotations

import base64
import json
import signal
import time
from pathlib import Path

import pytest

from tests.cluster.api import Api, Refused
from tests.cluster.cluster import Cluster


def test_users_may_do_what_they_were_given_and_no_more(api_server: Cluster, namespace: str) -> None:
    alice = Api(api_server.kubeconfig_of("alice", "data-scientists"))
    pods = f"/api/v1/namespaces/{namespace}/pods"
    with pytest.raises(Refused, match="alice"):
        alice.get(pods)
    rbac = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}"
    rules = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}]
    api_server.api.create(f"{rbac}/roles", {"metadata": {"name": "reader"}, "rules": rules})
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader"}
    subject = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "data-scientists"}
    binding = {"metadata": {"name": "reader"}, "roleRef": reference, "subjects": [subject]}
    api_server.api.create(f"{rbac}/rolebindings", binding)
    give_up = time.monotonic() + 30
    while True:  # the authorizer hears of the binding by a watch
        try:
            assert alice.get(pods)["items"] == []
            break
        except Refused:
            assert time.monotonic() < give_up
            time.sleep(0.1)
    seen = {(e["verb"], e["responseStatus"]["code"]) for e in api_server.audit() if e["user"]["username"] == "alice"}
    assert seen == {("list", 403), ("list", 200)}


def test_pods_on_kwok_nodes_live_and_end_as_told(api_server: Cluster, namespace: str) -> None:
    nodes = api_server.add_nodes(2, prefix=f"n-{namespace}")
    try:
        spec = {"restartPolicy": "Never", "containers": [{"name": "main", "image": "any:1"}]}
        jobs = f"/apis/batch/v1/namespaces/{namespace}/jobs"
        told = {"mlplatform.test/message": '{"rows": 3}', "mlplatform.test/seconds": "0.2s"}
        template = {"metadata": {"annotations": told}, "spec": spec}
        api_server.api.create(jobs, {"metadata": {"name": "fine"}, "spec": {"template": template}})
        failing = {"metadata": {"annotations": {"mlplatform.test/exit-code": "7"}}, "spec": spec}
        api_server.api.create(jobs, {"metadata": {"name": "fails"}, "spec": {"template": failing, "backoffLimit": 0}})
        api_server.api.wait(f"{jobs}/fine", lambda job: job["status"].get("succeeded") == 1)
        api_server.api.wait(f"{jobs}/fails", lambda job: job["status"].get("failed") == 1)
        pods = api_server.api.get(f"/api/v1/namespaces/{namespace}/pods")["items"]
        assert {p["spec"]["nodeName"] for p in pods} <= set(nodes)
        ends = {p["metadata"]["labels"]["job-name"]: p["status"]["containerStatuses"][0]["state"] for p in pods}
        assert json.loads(ends["fine"]["terminated"]["message"]) == {"rows": 3}
        assert ends["fails"]["terminated"]["exitCode"] == 7
        alone = {"metadata": {"name": "alone"}, "spec": {"containers": [{"name": "main", "image": "any:1"}]}}
        api_server.api.create(f"/api/v1/namespaces/{namespace}/pods", alone)
        path = f"/api/v1/namespaces/{namespace}/pods/alone"
        api_server.api.wait(path, lambda p: p["status"]["phase"] == "Running")
        api_server.api.delete(path)
        _gone(api_server, path)
    finally:
        api_server.remove_nodes(nodes)


def test_nodes_with_gpus_look_like_nvidias(api_server: Cluster, namespace: str) -> None:
    (name,) = api_server.add_nodes(1, gpus=8, prefix=f"g-{namespace}")
    node = api_server.api.get(f"/api/v1/nodes/{name}")
    api_server.remove_nodes([name])
    assert node["status"]["allocatable"]["nvidia.com/gpu"] == "8"
    assert node["metadata"]["labels"]["nvidia.com/gpu.present"] == "true"
    assert {"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"} in node["spec"]["taints"]


def test_what_was_written_outlives_the_api_server(api_server: Cluster, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    api_server.api.create(path, {"metadata": {"name": "kept"}, "data": {"a": "1"}})
    api_server.stop_process("kube-apiserver", signal.SIGKILL)
    with pytest.raises(OSError, match=r"refused|reset"):
        api_server.api.get(f"{path}/kept")
    api_server.start_process("kube-apiserver")
    assert api_server.api.get(f"{path}/kept")["data"] == {"a": "1"}


def _gone(api_server: Cluster, path: str) -> None:
    give_up = time.monotonic() + 60
    while time.monotonic() < give_up:
        collection, _, name = path.rpartition("/")
        if name not in [item["metadata"]["name"] for item in api_server.api.get(collection)["items"]]:
            return
        time.sleep(0.1)
    raise AssertionError(f"{path} is still there")


def test_a_kubeconfig_may_ask_a_program_who_we_are(api_server: Cluster, namespace: str, tmp_path: Path) -> None:
    """As those of the clouds do; somebody's own cluster may have such a one."""
    if api_server.folder is None:
        pytest.skip("the program hands out a certificate of a cluster of ours")
    config = json.loads(api_server.kubeconfig.read_text())
    user = config["users"][0]["user"]
    status = {
        ours: base64.b64decode(user[f"{theirs}-data"]).decode()
        for ours, theirs in (("clientCertificateData", "client-certificate"), ("clientKeyData", "client-key"))
    }
    (tmp_path / "answer").write_text(json.dumps({"status": status}))
    config["users"][0]["user"] = {"exec": {"command": "cat", "args": [str(tmp_path / "answer")]}}
    (tmp_path / "kubeconfig").write_text(json.dumps(config))
    assert Api(tmp_path / "kubeconfig").get(f"/api/v1/namespaces/{namespace}")["metadata"]["name"] == namespace
