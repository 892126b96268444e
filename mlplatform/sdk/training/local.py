"""Training jobs of this machine: asked of the home's service, read from its files."""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from mlplatform.core.errors import NotFound
from mlplatform.engine.home import Home, open_home
from mlplatform.engine.training import jobs
from mlplatform.engine.training.places import JobPlace
from mlplatform.engine.training.views import rank_views
from mlplatform.planning.training.view import RankView
from mlplatform.sdk.client import LocalClient
from mlplatform.sdk.training.run import TrainingRun


class LocalTraining:
    """``sdk.training.run.Backend`` for one home."""

    cluster = False

    def __init__(self, home: str | os.PathLike[str] | Home | None = None) -> None:
        self.home = home if isinstance(home, Home) else open_home(home)
        self._client = LocalClient(self.home)

    def create(self, body: Mapping[str, Any]) -> TrainingRun:
        """Raises InvalidInput with every finding, ServiceError."""
        whole = {**body, "metadata": {**body["metadata"], "uid": str(uuid.uuid4())}}
        script = not os.isatty(0) if hasattr(os, "isatty") else True
        return TrainingRun(self, self._client.train(whole, dict(os.environ), script=script))

    def get(self, name: str) -> dict[str, Any]:
        return jobs.get_job(self.home, name)

    def has(self, name: str) -> bool:
        return JobPlace(self.home, name).object.exists()

    def list(self) -> list[dict[str, Any]]:
        return jobs.list_jobs(self.home)

    def ranks(self, name: str) -> Sequence[RankView]:
        return rank_views(self.home, name)

    def change(self, name: str, spec: Mapping[str, Any]) -> None:
        self._client.train_change(name, spec)

    def delete(self, name: str) -> None:
        self._client.train_delete(name)

    def log(self, name: str, group: str, rank: int, attempt: int) -> str:
        path = jobs.rank_log(self.home, name, group, rank, attempt)
        try:
            return path.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            raise NotFound(f"rank {rank} of {group} said nothing in attempt {attempt} of {name}") from None

    def alive(self) -> None:
        self._client.ensure()


def suspend(home: Home, name: str, on: bool) -> None:
    """Have a job rest, or go on. Raises NotFound, InvalidInput: it has ended."""
    LocalTraining(home).change(name, {"suspend": on})


def delete(home: Home, name: str) -> None:
    """End a job for good. Raises NotFound."""
    LocalTraining(home).delete(name)
