"""The ranks of a job of this machine as people look at them."""

from __future__ import annotations

from mlplatform.core.values import child
from mlplatform.engine.files import read_json
from mlplatform.engine.home import Home
from mlplatform.engine.training.jobs import get_job
from mlplatform.engine.training.places import JobPlace, RankPlace
from mlplatform.planning.training.facts import RankKey
from mlplatform.planning.training.status import ENDED
from mlplatform.planning.training.view import RankView


def rank_views(home: Home, name: str) -> list[RankView]:
    """Every rank of every attempt that is known. Raises NotFound: there is no such job."""
    over = str(child(get_job(home, name), "status").get("phase")) in ENDED
    return [_view(key, rank, over) for key, rank in JobPlace(home, name).ranks()]


def _view(key: RankKey, place: RankPlace, over: bool) -> RankView:
    start, stop, left = (read_json(path) for path in (place.start, place.stop, place.exit))
    code: int | None = left.get("code")
    if left or over:
        state = "Succeeded" if left and code == 0 and (not stop or left.get("told") is None) else "Failed"
    elif stop:
        state = "Stopping"
    else:
        state = "Running" if place.claim.exists() else "Starting"
    gpus: list[int] = start.get("gpus") or []
    return RankView(
        key.group,
        key.rank,
        key.attempt,
        state,
        place.root.name,
        f"GPU {', '.join(map(str, gpus))}" if gpus else "",
        str(left.get("reason") or ("out of memory" if left.get("oom") else "")),
        code,
        start.get("at"),
        left.get("at"),
    )
