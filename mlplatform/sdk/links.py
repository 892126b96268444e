"""Where a run is shown in a browser."""

from __future__ import annotations

from mlplatform.core.model import RunRecord
from mlplatform.engine.home import Home
from mlplatform.sdk.records import mlflow_url


def links_of(home: Home, run: RunRecord) -> dict[str, str]:
    """Links by what they open, the best first; none carries a token or another secret."""
    url = mlflow_url(home, run)
    return {"MLflow": url} if url else {}
