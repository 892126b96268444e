"""The real API server takes every CRD: structure, rules, and what the rules may cost."""

from __future__ import annotations

import pytest

from mlplatform.apis.crd import crds
from tests.cluster.cluster import Cluster


@pytest.mark.parametrize("name", sorted(crds()))
def test_the_api_server_takes_it(api_server: Cluster, name: str) -> None:
    crd = crds()[name]
    path = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{crd['metadata']['name']}"
    kept = api_server.api.patch(f"{path}?fieldManager=test&force=true&dryRun=All", crd, "application/apply-patch+yaml")
    assert kept["spec"]["names"]["kind"] == crd["spec"]["names"]["kind"]
