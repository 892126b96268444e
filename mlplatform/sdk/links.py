"""Where a run is shown in a browser."""

from __future__ import annotations

from mlplatform.core.model import RunRecord
from mlplatform.engine.home import Home
from mlplatform.sdk.records import mlflow_url


def ui_url(home: Home, run_id: str = "") -> str:
    """The pages of a home, or a run in them; empty if no service of this home ever ran. Without a token or another
    secret: it opens for a browser that was let in (``mlplatform up``)."""
    port = home.web_port()
    return f"http://127.0.0.1:{port}/" + (f"#/runs/{run_id}" if run_id else "") if port else ""


def links_of(home: Home, run: RunRecord) -> dict[str, str]:
    """Links by what they open, the best first; none carries a token or another secret."""
    found: dict[str, str] = {}
    if url := ui_url(home, run.run_id):
        found["open"] = url
    if url := mlflow_url(home, run):
        found["MLflow"] = url
    return found
