"""Probes and metrics over HTTP."""

from __future__ import annotations

import urllib.error
import urllib.request

import pytest

from mlplatform.kube.health import HealthServer
from mlplatform.kube.metrics import Metrics


def test_probes_and_metrics() -> None:
    trouble = [""]
    metrics = Metrics()
    server = HealthServer("127.0.0.1", 0, alive=lambda: "", ready=lambda: trouble[0], metrics=metrics.text)
    server.start()
    try:
        url = f"http://127.0.0.1:{server.port}"
        assert urllib.request.urlopen(f"{url}/healthz").read() == b"ok\n"
        assert urllib.request.urlopen(f"{url}/readyz?verbose").read() == b"ok\n"
        trouble[0] = "pods: not listed yet"
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"{url}/readyz")
        assert (refused.value.code, refused.value.read()) == (503, b"pods: not listed yet\n")
        metrics.reconciles.labels("batch", "same").inc()
        text = urllib.request.urlopen(f"{url}/metrics").read().decode()
        assert 'mlplatform_operator_reconciles_total{controller="batch",result="same"} 1.0' in text
        with pytest.raises(urllib.error.HTTPError) as unknown:
            urllib.request.urlopen(f"{url}/other")
        assert unknown.value.code == 404
    finally:
        server.stop()
