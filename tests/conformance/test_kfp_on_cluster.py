"""The KFP conformance suite on a real cluster, with one real pod a task.

A sample by default: the whole takes the better part of an hour of two cores. ``MLPLATFORM_CONFORMANCE_ON_CLUSTER=all``
runs every case, any other value those that it matches; ``python -m tests.conformance.cluster_cases`` also compares with
this machine's own results.
"""

from __future__ import annotations

import os
import re
from collections.abc import Generator
from typing import Any

import pytest

from tests.cluster.cluster import Cluster
from tests.conformance.cluster_cases import case_names, prepared, run_cases

#: One case for each way in which a pod is not a process of this machine.
SAMPLE = (
    "bad-own-missing-executor",
    "bad-own-unknown-output-key",
    "own-artifact-metadata-propagation",
    "own-config-map-and-optional-secret.default",
    "own-exit-status-names",
    "own-importer-local-file.file-uri",
    "own-large-string-parameter.hundred-kilobytes",
    "own-retry-inside-loop",
    "up-container-io",
    "up-hello-world",
    "up-pvc-mount",
)


def chosen() -> list[str]:
    word = os.environ.get("MLPLATFORM_CONFORMANCE_ON_CLUSTER", "")
    names = case_names()
    if not word:
        return [name for name in names if name in SAMPLE]
    return names if word == "all" else [name for name in names if re.search(word, name)]


CASES = chosen()


@pytest.fixture(scope="module")
def results(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Generator[dict[str, Any]]:
    """The chosen cases, run once: case name -> its result."""
    if cluster.registry is None:
        pytest.skip("the cases' images go into the registry of a cluster of ours")
    folder = tmp_path_factory.mktemp("on-cluster")
    with prepared(cluster, folder) as installed:
        yield run_cases(installed, folder, "|".join(f"^{re.escape(name)}$" for name in CASES), jobs=3)


@pytest.mark.cannot_run_here("the suite is kept beside this repository, not in it")
def test_the_sample_is_of_the_suite() -> None:
    if not case_names():
        pytest.skip("no conformance suite here; MLPLATFORM_CONFORMANCE may name its folder")
    assert set(SAMPLE) <= set(case_names())


@pytest.mark.cannot_run_here("the suite is kept beside this repository, not in it")
@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("name", CASES)
def test_case_on_the_cluster(name: str, results: dict[str, Any]) -> None:
    assert results[name]["differences"] == []
