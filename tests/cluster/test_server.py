"""The server over a real API server: who may come in, and runs that are objects."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.cluster import Cluster
from tests.support.pipelines import chain

OPERATORS = Path(__file__).resolve().parents[2] / "operators"
CRDS = OPERATORS / "base" / "crds"
KINDS = ("pipelineruns.pipelines", "taskrecords.pipelines", "trainingjobs.training")


@dataclass
class Server:
    url: str
    cluster: Cluster
    namespace: str

    def ask(self, method: str, path: str, token: str = "", body: Any = None) -> tuple[int, Any]:
        headers = {"content-type": "application/json"}
        if token:
            headers["authorization"] = f"Bearer {token}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())

    @property
    def user(self) -> str:
        """Whom the API server takes it for: an account of these tests, with the rights that are installed."""
        return f"system:serviceaccount:mlplatform-system:{self.namespace}-server"

    def token(self, name: str, verbs: list[str], audience: str = "pipelines.kubeflow.org") -> str:
        """A new service account that may do this to PipelineRuns and TrainingJobs, and a token of it."""
        kubectl, space = self.cluster.kubectl, ("-n", self.namespace)
        kubectl("create", "serviceaccount", name, *space)
        if verbs:
            kinds = ("pipelineruns.pipelines", "trainingjobs.training")
            resource = "--resource=" + ",".join(f"{kind}.mlplatform.dev" for kind in kinds)
            kubectl("create", "role", name, f"--verb={','.join(verbs)}", resource, *space)
            kubectl(
                "create", "rolebinding", name, f"--role={name}", f"--serviceaccount={self.namespace}:{name}", *space
            )
        if "create" in verbs:  # a run lends its author nothing: where the platform's policy is, they need this too
            whose = f"--serviceaccount={self.namespace}:{name}"
            kubectl("create", "role", f"{name}-pods", "--verb=create", "--resource=pods,persistentvolumeclaims", *space)
            kubectl("create", "rolebinding", f"{name}-pods", f"--role={name}-pods", whose, *space)
        return kubectl("create", "token", name, "--audience", audience, *space).stdout.strip()


@pytest.fixture
def server(api_server: Cluster, namespace: str, tmp_path: Path) -> Generator[Server]:
    for kind in KINDS:
        plural, group = kind.split(".")
        api_server.kubectl("apply", "--server-side", "-f", str(CRDS / f"{group}.mlplatform.dev_{plural}.yaml"))
        api_server.kubectl("wait", "--for=condition=Established", f"crd/{kind}.mlplatform.dev", "--timeout=60s")
    asked = Server("", api_server, namespace)
    kubeconfig = api_server.kubeconfig
    if api_server.folder is not None:  # users of somebody's own cluster are not ours to make
        kubeconfig = api_server.kubeconfig_of(asked.user, "system:serviceaccounts", "system:authenticated")
    rights = tmp_path / "rights.yaml"
    rights.write_text(as_installed(namespace))
    api_server.kubectl("apply", "-f", str(rights))
    command = [sys.executable, "-m", "mlplatform", "server", "--namespace", namespace, "--port", "0"]
    process = subprocess.Popen(
        [*command, "--home", str(tmp_path / "home")],
        env={**os.environ, "KUBECONFIG": str(kubeconfig)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    link = process.stdout.readline()
    try:
        yield replace(asked, url=link.partition("/?")[0])
    finally:
        process.terminate()
        process.wait(30)
        api_server.kubectl("delete", "-f", str(rights), "--wait=false")


def as_installed(namespace: str) -> str:
    """The server's rights, for an account of the namespace's own."""
    text = (OPERATORS / "server" / "rights.yaml").read_text(encoding="utf-8")
    return text.replace("name: mlplatform-server", f"name: {namespace}-server").replace(": default", f": {namespace}")


def until(met: Callable[[], bool], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not met():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.1)


def test_the_cluster_says_who_may_do_what(server: Server) -> None:
    reader = server.token("reader", ["get"])
    assert server.ask("GET", "/api/v1/runs", reader)[0] == 200
    status, told = server.ask("POST", "/api/v1/runs", reader, {"document": chain(2).text()})
    assert (status, told["error"]["code"]) == (403, "FORBIDDEN")
    assert told["error"]["message"].startswith(f"system:serviceaccount:{server.namespace}:reader may not create")
    assert server.ask("GET", "/api/v1/runs", server.token("nobody", []))[0] == 403
    other = server.token("other", ["get"], audience="https://kubernetes.default.svc")
    assert server.ask("GET", "/api/v1/runs", other)[0] == 401
    assert server.ask("GET", "/api/v1/runs", "no-token-at-all")[0] == 401
    assert server.ask("GET", "/api/v1/runs")[0] == 401


def test_a_run_is_an_object_and_its_history_stays(server: Server) -> None:
    writer = server.token(EDITOR, ["get", "create", "update", "patch", "delete"])
    status, made = server.ask("POST", "/api/v1/runs", writer, {"document": chain(2).text(), "name": "nightly"})
    assert status in (200, 201), made
    run_id = made["run_id"]
    place = f"/apis/pipelines.mlplatform.dev/v1alpha1/namespaces/{server.namespace}/pipelineruns"
    (body,) = server.cluster.api.get(place)["items"]
    assert body["spec"]["displayName"] == "nightly"

    name = next(iter(chain(2).tasks))
    told = {"path": [name], "state": "RUNNING", "attempt": 1, "pod": "p", "startedAt": "2027-01-15T08:00:01Z"}
    patch = json.dumps({"status": {"state": "RUNNING", "startedAt": "2027-01-15T08:00:00Z", "tasks": [told]}})
    object_name = body["metadata"]["name"]
    server.cluster.kubectl(
        "patch", "pipelinerun", object_name, "-n", server.namespace, "--subresource=status", "--type=merge", "-p", patch
    )
    until(lambda: server.ask("GET", f"/api/v1/runs/{run_id}", writer)[1]["state"] == "RUNNING")
    assert server.ask("POST", f"/api/v1/runs/{run_id}/cancel", writer)[0] in (200, 202)
    assert server.cluster.api.get(f"{place}/{object_name}")["spec"]["cancel"] is True
    server.cluster.kubectl("delete", "pipelinerun", object_name, "-n", server.namespace)
    assert server.ask("GET", f"/api/v1/runs/{run_id}", writer)[1]["name"] == "nightly"
    status, told = server.ask("POST", f"/api/v1/runs/{run_id}/cancel", writer)
    assert status == 404


#: The account in whose name the server may change things.
EDITOR = "mlplatform-editor"
#: (in the whole cluster, verb, resource)
Right = tuple[bool, str, str]


def held(namespace: str) -> set[Right]:
    found: set[Right] = set()
    for body in yaml.safe_load_all(as_installed(namespace)):
        for rule in body.get("rules") or ():
            for group in rule["apiGroups"]:
                everywhere = body["kind"] == "ClusterRole"
                found |= {(everywhere, verb, f"{one}.{group}") for verb in rule["verbs"] for one in rule["resources"]}
    return found - {(False, "impersonate", "serviceaccounts.")}  # the log has what was done so, not this right


def acted(server: Server) -> set[tuple[str, str]]:
    """(verb, resource) of what the server did in the editor's name, and was allowed."""
    found: set[tuple[str, str]] = set()
    for event in server.cluster.audit():
        name = (event.get("impersonatedUser") or {}).get("username")
        if event["user"]["username"] != server.user or name is None:
            continue
        assert name == f"system:serviceaccount:{server.namespace}:{EDITOR}"
        found.add((event["verb"], event["objectRef"]["resource"]))
    return found


def used(server: Server, decision: str) -> set[Right]:
    """What the API server's own log says that it asked for, and was or was not allowed."""
    found: set[Right] = set()
    for event in server.cluster.audit():
        asked = event.get("objectRef")
        if event["user"]["username"] != server.user or not asked or event.get("impersonatedUser"):
            continue
        if event["annotations"]["authorization.k8s.io/decision"] == decision:
            name = asked["resource"] + (f"/{asked['subresource']}" if asked.get("subresource") else "")
            found.add((not asked.get("namespace"), event["verb"], f"{name}.{asked.get('apiGroup', '')}"))
    return found


def test_each_right_that_the_server_holds_is_used_and_no_other(server: Server) -> None:
    if server.cluster.folder is None:
        pytest.skip("somebody's own cluster tells nobody what was asked of it")
    space, kubectl = ("-n", server.namespace), server.cluster.kubectl
    anybody = server.token(EDITOR, ["get", "create", "update", "patch", "delete"])

    def ask(method: str, path: str, body: Any = None) -> Any:
        status, told = server.ask(method, f"/api/v1/{path}", anybody, body)
        assert status in (200, 201, 202), (method, path, told)
        return told

    # Runs, and the log of one of their pods.
    run_id = ask("POST", "runs", {"document": chain(2).text()})["run_id"]
    place = f"/apis/pipelines.mlplatform.dev/v1alpha1/namespaces/{server.namespace}/pipelineruns"
    [body] = server.cluster.api.get(place)["items"]
    task = {"path": [next(iter(chain(2).tasks))], "state": "RUNNING", "attempt": 1, "pod": "p"}
    told = {"state": "RUNNING", "startedAt": "2027-01-15T08:00:00Z", "tasks": [task]}
    patch = ("--subresource=status", "--type=merge", "-p", json.dumps({"status": told}))
    kubectl("patch", "pipelinerun", body["metadata"]["name"], *space, *patch)
    until(lambda: ask("GET", f"runs/{run_id}")["state"] == "RUNNING")
    server.ask("GET", f"/api/v1/runs/{run_id}/logs/{task['path'][0]}", anybody)  # it looks; the pod never was
    ask("POST", f"runs/{run_id}/cancel")
    ask("DELETE", f"runs/{run_id}")
    # A pod that asks how to log, by its own token.
    kubectl("run", "task", "--image=none", *space)
    bound = ("--bound-object-kind=Pod", "--bound-object-name=task", "--audience=mlplatform")
    token = kubectl("create", "token", "default", *bound, *space).stdout.strip()
    server.ask("POST", "/api/v1/pods/tracking", token, {})
    # Training jobs, and the page of the cluster.
    kubectl("apply", *space, "-f", str(OPERATORS / "trainingjob" / "samples" / "python.yaml"))
    until(lambda: bool(ask("GET", "training-jobs")["training_jobs"]))
    name = ask("GET", "training-jobs")["training_jobs"][0]["name"]
    ask("POST", f"training-jobs/{name}/suspend")
    ask("DELETE", f"training-jobs/{name}")
    assert ask("GET", "cluster")["notes"] == []

    until(lambda: held(server.namespace) <= used(server, "allow"), 20)
    questions = {"selfsubjectaccessreviews.authorization.k8s.io", "selfsubjectreviews.authentication.k8s.io"}
    assert {right for right in used(server, "allow") - held(server.namespace) if right[2] not in questions} == set()
    assert used(server, "forbid") == set()
    # It changes things in the caller's name alone, so not for those whom it may not speak for.
    kinds = ("pipelineruns", "trainingjobs")
    assert acted(server) == {("create", kinds[0]), *((verb, kind) for verb in ("patch", "delete") for kind in kinds)}
    other = server.token("other", ["get", "create"])
    status, told = server.ask("POST", "/api/v1/runs", other, {"document": chain(2).text()})
    assert (status, "cannot impersonate" in told["error"]["message"]) == (403, True), told
