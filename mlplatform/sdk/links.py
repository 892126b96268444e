"""Where a run is shown in a browser."""

from __future__ import annotations

from mlplatform.core.model import RunRecord
from mlplatform.engine.home import Home
from mlplatform.engine.webdoor import read_port
from mlplatform.sdk.records import mlflow_url


def links_of(home: Home, run: RunRecord) -> dict[str, str]:
    """Links by what they open, the best first; none carries a token or another secret."""
    found: dict[str, str] = {}
    if port := read_port(home):
        found["open"] = f"http://127.0.0.1:{port}/#/runs/{run.run_id}"
    if url := mlflow_url(home, run):
        found["MLflow"] = url
    return found
