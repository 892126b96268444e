"""Taking up unfinished runs after a crash of the service. (For ``runs resume`` see ``planning.resetting``.)

Finished tasks stay finished. For every attempt that the store calls running, exactly one of these is true:

- its result is there: it ended while nobody looked;
- its claim is there and names a process that lives: it is watched again;
- its claim is there and the process is gone without a result: the attempt was lost, another one follows;
- there is no claim: it never started. We claim it, so that it never will, and start another.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mlplatform.core.model import TaskRecord
from mlplatform.core.states import TaskState
from mlplatform.engine.attempts import claim
from mlplatform.engine.ports import Running
from mlplatform.engine.result import read_result

if TYPE_CHECKING:
    from mlplatform.engine.core import Core

_log = logging.getLogger(__name__)

#: A process that has just created its claim writes it within this many seconds.
_CLAIM_PATIENCE = 2.0


class _Ended:
    """An attempt that ended while no service ran; waiting for it returns at once."""

    pid = None
    pid_start = ""

    async def wait(self):
        from mlplatform.engine.ports import Exit

        return Exit(exit_code=None, lost=True)

    async def cancel(self, grace: float) -> None:
        return None


async def find_again(core: Core, run_id: str, record: TaskRecord) -> Running | None:
    """A handle on the running attempt of ``record``, or None if it never started or was lost without a result."""
    directory = core.prepare.directory(run_id, record.key, record.attempt)
    if read_result(directory) is not None:
        return _Ended()
    if not directory.exists():
        return None
    deadline = core.clock.now() + _CLAIM_PATIENCE
    claimed = claim(directory / "claim")
    while claimed is not None and not claimed and core.clock.now() < deadline:
        await asyncio.sleep(0.05)
        claimed = claim(directory / "claim")
    if not claimed:
        return None
    for executor in core.ports.executors.values():
        handle = executor.adopt(int(claimed["pid"]), str(claimed.get("pid_start", "")), directory)
        if handle is not None:
            return handle
    return _Ended() if read_result(directory) is not None else None


def lost(record: TaskRecord) -> TaskRecord:
    """A record whose attempt left nothing: it starts again, and no failure is counted."""
    return replace(record, state=TaskState.PENDING, started_at=None)


def leftover_scratch(base: Path) -> list[Path]:
    """Scratch folders of attempts that died; each is removed when its run is taken up."""
    return sorted(base.glob("mlplatform-*")) if base.is_dir() else []
