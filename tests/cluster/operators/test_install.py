"""``mlplatform install`` and ``uninstall`` on a real API server."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import yaml

from mlplatform.cli import manifests
from mlplatform.cli.deploying import LABEL, Deployer
from mlplatform.kube.client import Client
from mlplatform.kube.objects import (
    CONFIG_MAPS,
    CUSTOM_RESOURCES,
    DEPLOYMENTS,
    NAMESPACES,
    Key,
    Object,
    Resource,
    key_of,
)
from mlplatform.kube.transport import connect
from tests.cluster.cluster import Cluster
from tests.cluster.operators.conftest import eventually

RUNS = Resource("pipelines.mlplatform.dev", "v1alpha1", "pipelineruns", "PipelineRun")


@pytest.fixture
def client(api_server: Cluster) -> Client:
    return connect(str(api_server.kubeconfig))


@pytest.mark.parametrize("variant", sorted(manifests.variants()))
def test_kubectl_puts_the_same_together(api_server: Cluster, variant: str) -> None:
    where = manifests.variants()[variant]
    told = api_server.kubectl("kustomize", str(where)).stdout
    theirs = [one for one in yaml.safe_load_all(told) if one]
    ours = manifests.load(where)

    def by_name(objects: list[Object]) -> dict[tuple[str, Key], Object]:
        return {(one["kind"], key_of(one)): one for one in objects}

    assert by_name(ours) == by_name(theirs)


def command(api_server: Cluster, *arguments: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "mlplatform", *arguments, "--kubeconfig", str(api_server.kubeconfig)]
    return subprocess.run(line, capture_output=True, text=True, timeout=300, check=False)


def test_install_upgrade_uninstall(rules: Client, client: Client, namespace: str) -> None:
    """In a namespace of its own, with another group's label, so that it does not meet what else is installed there."""
    place = f"{namespace}-system"
    said: list[str] = []
    objects = manifests.adapted(
        manifests.load(manifests.variants()["base"]), namespace=place, images={"operator": "o:1", "launcher": "l:1"}
    )
    objects = manifests.serving(objects, namespace)
    namespaced = [one for one in objects if key_of(one).namespace or one["kind"] == "Namespace"]
    old: Object = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "of-an-older-version", "namespace": place},
    }
    first = Deployer(client, said.append, 60)
    assert first.check_version().startswith("v1.")
    first.install([*namespaced, old], namespace, wait=False)
    assert len(first.report.made) == len(namespaced) + 1
    again = Deployer(client, said.append, 60)
    again.install(namespaced, namespace, wait=False)
    assert again.report.made == []
    assert again.report.changed == []
    assert again.report.removed == [f"configmaps {place}/of-an-older-version"]
    deployment = client.get(DEPLOYMENTS, Key(place, "mlplatform-operator"))
    assert deployment["metadata"]["labels"][LABEL] == namespace
    out = Deployer(client, said.append, 60)
    out.uninstall(namespace, everything=False)
    claims = [f"persistentvolumeclaims {place}/mlplatform-{part}" for part in ("mlflow", "server")]
    assert sorted(out.report.kept) == [f"namespaces {place}", *claims]
    assert client.list(DEPLOYMENTS, place).items == []
    assert [one["metadata"]["name"] for one in client.list(CONFIG_MAPS, place).items] == ["kube-root-ca.crt"]
    run: Object = {"metadata": {"name": "of-others", "namespace": namespace}, "spec": {"document": "x: y"}}
    eventually(lambda: rules.create(RUNS, run))
    last = Deployer(client, said.append, 120)
    last.uninstall(namespace, everything=True)
    assert not [one for one in client.list(NAMESPACES).items if key_of(one).name == place]
    assert client.get(RUNS, Key(namespace, "of-others"))  # the kinds are another installation's, and so are the runs


def test_what_is_missing_is_told(api_server: Cluster) -> None:
    done = command(api_server, "install", "--image", "operator=o:1")
    assert done.returncode == 2
    assert "There is none for: launcher" in done.stderr
    assert "--registry" in done.stderr
    done = command(api_server, "install", "--variant", "huge")
    assert done.returncode == 2
    assert "base, dev, ha, pipelinerun" in done.stderr


def test_a_dry_run_prints_what_kubectl_takes(api_server: Cluster) -> None:
    line = [sys.executable, "-m", "mlplatform", "install", "--dry-run", "--registry", "r.test/team", "--variant", "ha"]
    text = subprocess.run(line, capture_output=True, text=True, check=True, timeout=120).stdout
    assert "r.test/team/mlplatform-operator:" in text
    objects = [one for one in yaml.safe_load_all(text) if one["kind"] == "CustomResourceDefinition"]
    assert len(objects) >= 3
    client = connect(str(api_server.kubeconfig))
    for body in objects:
        client.apply(CUSTOM_RESOURCES, body, dry_run=True)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def ready(port: int) -> bool:
    try:
        return urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5).status == 200
    except (urllib.error.URLError, OSError):
        return False


def test_the_operator_as_a_process_runs_and_stops(
    api_server: Cluster, rules: Client, namespace: str, tmp_path: Path
) -> None:
    """A run whose document is nonsense ends with a condition; SIGTERM ends the process with status 0."""
    port = free_port()
    line = [sys.executable, "-m", "mlplatform", "operator", "--kubeconfig", str(api_server.kubeconfig), "-n", namespace]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            [*line, "--port", str(port), "--progress-port", "-1", "--host", "127.0.0.1"], stderr=log, env={**os.environ}
        )
        try:
            end = time.monotonic() + 120
            while not ready(port):
                assert process.poll() is None, (tmp_path / "log").read_text()
                assert time.monotonic() < end, (tmp_path / "log").read_text()
                time.sleep(0.2)
            body: Object = {"metadata": {"name": "bad", "namespace": namespace}, "spec": {"document": "no: pipeline"}}
            rules.create(RUNS, body)

            def ended() -> dict[str, Any]:
                status = rules.get(RUNS, Key(namespace, "bad")).get("status") or {}
                return status if status.get("findings") else {}

            while not (status := ended()):
                assert time.monotonic() < end, (tmp_path / "log").read_text()
                time.sleep(0.2)
            conditions = {one["type"]: one["status"] for one in status["conditions"]}
            assert conditions["Accepted"] == "False"
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0
        finally:
            process.kill()
            process.wait()
    assert "stopped" in (tmp_path / "log").read_text()


def test_uninstall_tells_what_goes_on(rules: Client, namespace: str) -> None:
    deployer = Deployer(rules, lambda _: None, 60)
    before = deployer.unfinished_runs()
    body: Object = {"metadata": {"name": "r", "namespace": namespace}, "spec": {"document": "x: y"}}
    eventually(lambda: rules.create(RUNS, body))
    assert deployer.unfinished_runs() >= before
    assert json.dumps(deployer.report.removed) == "[]"
