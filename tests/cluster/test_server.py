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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.cluster import Cluster
from tests.support.pipelines import chain

CRDS = Path(__file__).resolve().parents[2] / "operators" / "base" / "crds"


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

    def token(self, name: str, verbs: list[str], audience: str = "pipelines.kubeflow.org") -> str:
        """A new service account that may do this to PipelineRuns, and a token of it."""
        kubectl, space = self.cluster.kubectl, ("-n", self.namespace)
        kubectl("create", "serviceaccount", name, *space)
        if verbs:
            resource = "--resource=pipelineruns.pipelines.mlplatform.dev"
            kubectl("create", "role", name, f"--verb={','.join(verbs)}", resource, *space)
            kubectl(
                "create", "rolebinding", name, f"--role={name}", f"--serviceaccount={self.namespace}:{name}", *space
            )
        return kubectl("create", "token", name, "--audience", audience, *space).stdout.strip()


@pytest.fixture
def server(api_server: Cluster, namespace: str, tmp_path: Path) -> Generator[Server]:
    for crd in ("pipelineruns", "taskrecords"):
        api_server.kubectl("apply", "--server-side", "-f", str(CRDS / f"pipelines.mlplatform.dev_{crd}.yaml"))
        api_server.kubectl(
            "wait", "--for=condition=Established", f"crd/{crd}.pipelines.mlplatform.dev", "--timeout=60s"
        )
    command = [sys.executable, "-m", "mlplatform", "server", "--namespace", namespace, "--port", "0"]
    process = subprocess.Popen(
        [*command, "--home", str(tmp_path / "home")],
        env={**os.environ, "KUBECONFIG": str(api_server.kubeconfig)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    link = process.stdout.readline()
    try:
        yield Server(link.partition("/?")[0], api_server, namespace)
    finally:
        process.terminate()
        process.wait(30)


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
    writer = server.token("writer", ["get", "create", "update", "delete"])
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
