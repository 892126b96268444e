"""The notebook about clusters, under nbval, on one: what it shows is what a real one answers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml

from tests.cluster.cluster import Cluster
from tests.notebooks.test_notebooks import ON_CLUSTER, ROOT, findings, nbval
from tests.support.kube.platform import platform, push_stand_ins


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(ON_CLUSTER))
def test_a_notebook_does_on_a_cluster_what_it_shows(
    name: str, cluster: Cluster, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if cluster.registry is None:
        pytest.skip("this cluster has no registry of ours for the images that stand in")
    notebook = ROOT / "notebooks" / f"{name}.ipynb"
    assert findings(json.loads(notebook.read_text(encoding="utf-8"))) == []
    folder = tmp_path / "notebooks"
    folder.mkdir()
    shutil.copy(notebook, folder)
    told = yaml.safe_load(cluster.kubeconfig.read_text(encoding="utf-8"))
    for context in told["contexts"]:
        context["context"]["namespace"] = namespace
    own = tmp_path / "kubeconfig"
    own.write_text(yaml.safe_dump(told), encoding="utf-8")
    monkeypatch.setenv("KUBECONFIG", str(own))
    assert push_stand_ins(cluster, ["python:3.11"]) == []
    with platform(cluster, tmp_path, namespace=namespace) as found:
        found.prepare(namespace)
        done = nbval(folder, tmp_path)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
