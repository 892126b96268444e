"""The training jobs of this machine, as pages want them: the home's files, and what is asked of its service."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlplatform.core.errors import NotFound
from mlplatform.core.values import child
from mlplatform.engine.home import Home
from mlplatform.engine.training import jobs
from mlplatform.engine.training.places import JobPlace
from mlplatform.engine.training.views import rank_views
from mlplatform.planning.training.facts import RankKey
from mlplatform.planning.training.status import ENDED
from mlplatform.planning.training.view import RankView


class LocalJobs:
    """Implements ``training.Jobs``."""

    namespace = ""

    def __init__(self, home: Home) -> None:
        self._home = home

    def bodies(self) -> list[dict[str, Any]]:
        return jobs.list_jobs(self._home)

    def body(self, name: str) -> dict[str, Any]:
        found = jobs.get_job(self._home, name)
        if found["metadata"]["name"] != name:
            raise NotFound(f"there is no training job {name!r}")
        return found

    def ranks(self, name: str) -> list[RankView]:
        return rank_views(self._home, name)

    def marks(self) -> Mapping[str, Any]:
        """Its two files are replaced whenever anything changes."""
        found: dict[str, Any] = {}
        for place in (JobPlace(self._home, name) for name in _names(self._home)):
            found[place.name] = tuple(_changed(path) for path in (place.object, place.status))
        return found

    def log(self, name: str, rank: RankKey) -> tuple[Path, bool]:
        over = str(child(self.body(name), "status").get("phase")) in ENDED
        views = {(one.group, one.rank, one.attempt): one for one in self.ranks(name)}
        view = views.get((rank.group, rank.rank, rank.attempt))
        ended = over or view is None or view.state in ("Succeeded", "Failed")
        return jobs.rank_log(self._home, name, rank.group, rank.rank, rank.attempt), ended

    def suspend(self, name: str, on: bool) -> None:
        from mlplatform.sdk.training import local

        local.suspend(self._home, name, on)

    def delete(self, name: str) -> None:
        from mlplatform.sdk.training import local

        local.delete(self._home, name)


def _names(home: Home) -> list[str]:
    try:
        return sorted(path.name for path in home.training.iterdir() if path.is_dir())
    except OSError:
        return []


def _changed(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0
