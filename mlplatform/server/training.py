"""Where a server's training jobs are: in the cluster that it shows, or on this machine."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any, Final, Protocol

from mlplatform.core.errors import MlPlatformError
from mlplatform.planning.training.facts import RankKey
from mlplatform.planning.training.view import RankView
from mlplatform.server.context import Context
from mlplatform.server.events import HEARTBEAT, message
from mlplatform.server.localjobs import LocalJobs

_log = logging.getLogger(__name__)

#: Seconds between two looks for what changed, while somebody listens.
_LOOK: Final = 0.3


class Jobs(Protocol):
    """Training jobs as objects of the API, whoever runs them."""

    @property
    def namespace(self) -> str: ...
    def bodies(self) -> list[dict[str, Any]]: ...
    def body(self, name: str) -> dict[str, Any]: ...
    def ranks(self, name: str) -> list[RankView]: ...
    def marks(self) -> Mapping[str, Any]:
        """Something for each job that is another thing once the job changed."""
        ...

    def log(self, name: str, rank: RankKey) -> tuple[Path, bool]:
        """(the file of a rank's log, whether it has ended)."""
        ...

    def suspend(self, name: str, on: bool) -> None: ...
    def delete(self, name: str) -> None: ...


def jobs_of(here: Context) -> Jobs:
    """The training jobs of a server."""
    return LocalJobs(here.settings.home) if here.cluster is None else here.cluster.jobs


async def stream(jobs: Callable[[], Jobs], clock: Callable[[], float]) -> AsyncIterator[bytes]:
    """Server-sent events: ``hello``, then ``events`` with the names of the jobs that changed.

    There is no past to tell of: a browser that comes back reads the jobs anew.
    """
    known = await asyncio.to_thread(lambda: jobs().marks())
    seq, silent = 1, 0.0
    yield message("hello", seq, {"seq": seq, "now": clock()})
    while True:
        await asyncio.sleep(_LOOK)
        try:
            found = await asyncio.to_thread(lambda: jobs().marks())
        except MlPlatformError as error:
            _log.warning("training jobs cannot be read: %s", error)
            continue
        changed = sorted(name for name in found.keys() | known.keys() if found.get(name) != known.get(name))
        known, silent = found, silent + _LOOK
        if changed:
            seq, silent = seq + 1, 0.0
            told = [
                {"seq": seq, "run_id": "", "at": clock(), "kind": "training", "body": {"name": name}}
                for name in changed
            ]
            yield message("events", seq, {"seq": seq, "events": told})
        elif silent >= HEARTBEAT:
            silent = 0.0
            yield b": still here\n\n"
