"""The whole platform installed in a cluster by its own command, from images in the cluster's registry."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from tests.cluster.api import Object
from tests.cluster.cluster import Cluster

PLACE = "mlplatform-system"
#: Seconds that anything may take on a machine that has other things to do.
PATIENCE = 600.0


@dataclass(frozen=True)
class Installed:
    """``serves``: the namespace whose runs the server has; ``told``: what the command said (JSON)."""

    cluster: Cluster
    serves: str
    told: dict[str, Any]

    @property
    def url(self) -> str:
        service = self.cluster.api.get(f"/api/v1/namespaces/{PLACE}/services/mlplatform-server")
        return f"http://{service['spec']['clusterIP']}:8787"

    def pods(self) -> list[Object]:
        found = self.cluster.api.get(f"/api/v1/namespaces/{PLACE}/pods")["items"]
        return [pod for pod in found if not pod["metadata"].get("deletionTimestamp")]

    def token(self, name: str, *verbs: str, audience: str = "pipelines.kubeflow.org") -> str:
        """A token of a new service account that may do this to runs."""
        kubectl, space = self.cluster.kubectl, ("-n", self.serves)
        kubectl("create", "serviceaccount", name, *space)
        if verbs:
            resource = "--resource=pipelineruns.pipelines.mlplatform.dev"
            kubectl("create", "role", name, f"--verb={','.join(verbs)}", resource, *space)
            kubectl("create", "rolebinding", name, f"--role={name}", f"--serviceaccount={self.serves}:{name}", *space)
        return kubectl("create", "token", name, "--audience", audience, *space).stdout.strip()

    def ask(self, method: str, path: str, token: str = "", body: Any = None) -> tuple[int, Any]:
        """An answer of the server's: its status, and its JSON (or text)."""
        headers = {"content-type": "application/json", **({"authorization": f"Bearer {token}"} if token else {})}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                status, text = answer.status, answer.read()
        except urllib.error.HTTPError as error:
            status, text = error.code, error.read()
        try:
            return status, json.loads(text)
        except ValueError:
            return status, text.decode("utf-8", "replace")

    def mlflow(self, token: str, where: str, /, body: Any = None, **query: str) -> Any:
        """An answer of MLflow's, through the server."""
        target = f"/mlflow/api/2.0/mlflow/{where}" + (f"?{urlencode(query)}" if query else "")
        status, told = self.ask("GET" if body is None else "POST", target, token, body)
        assert status == 200, told
        return told

    def tracked(self, token: str, experiment: str) -> list[dict[str, Any]]:
        """MLflow's runs of an experiment, as few words."""
        names = self.mlflow(token, "experiments/search", {"max_results": 100})["experiments"]
        ids = [one["experiment_id"] for one in names if one["name"] == experiment]
        if not ids:
            return []
        found = self.mlflow(token, "runs/search", {"experiment_ids": ids}).get("runs", [])
        return [_words(run) for run in found]


def _words(run: dict[str, Any]) -> dict[str, Any]:
    data = run["data"]
    tags = {one["key"]: one["value"] for one in data.get("tags", [])}
    return {
        "id": run["info"]["run_id"],
        "name": run["info"]["run_name"],
        "status": run["info"]["status"],
        "parent": tags.get("mlflow.parentRunId", ""),
        "run": tags.get("mlplatform.run_id", ""),
        "params": {one["key"]: one["value"] for one in data.get("params", [])},
        "metrics": {one["key"]: one["value"] for one in data.get("metrics", [])},
    }


@contextmanager
def installed(cluster: Cluster, serves: str) -> Generator[Installed]:
    """``mlplatform install``, and ``uninstall`` in the end.

    ``MLPLATFORM_TEST_IMAGES`` (``PART=REFERENCE ...``) names images that were pushed before, to spare their making.
    """
    assert cluster.registry is not None
    options = ["--registry", f"{cluster.registry}/platform", "--insecure-registry", "--serve", serves]
    for image in os.environ.get("MLPLATFORM_TEST_IMAGES", "").split():
        options += ["--image", image]
    told = command(cluster, "install", *options, "--timeout", str(PATIENCE), "--output", "json")
    try:
        yield Installed(cluster, serves, json.loads(told))
    finally:
        command(cluster, "uninstall")
        cluster.kubectl("delete", "persistentvolumeclaims", "--all", "-n", PLACE, "--wait=false")


def command(cluster: Cluster, *arguments: str) -> str:
    line = [sys.executable, "-m", "mlplatform", *arguments, "--kubeconfig", str(cluster.kubeconfig)]
    done = subprocess.run(line, capture_output=True, text=True, timeout=3 * PATIENCE, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def until(check: Callable[[], Any], what: str, seconds: float = PATIENCE) -> Any:
    """Wait for something that is true; a server that is being replaced is asked again."""
    end = time.monotonic() + seconds
    while True:
        try:
            if found := check():
                return found
            trouble: Any = ""
        except (OSError, AssertionError) as error:
            trouble = error
        assert time.monotonic() < end, f"{what}: it never came {trouble}"
        time.sleep(0.5)
