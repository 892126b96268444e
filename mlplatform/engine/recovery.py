"""Taking up unfinished runs: after a crash of the service, and for ``runs resume``.

Finished tasks stay finished. For every attempt that the store calls running, exactly one of these is true:

- its result is there: it ended while nobody looked;
- its claim is there and names a process that lives: it is watched again;
- its claim is there and the process is gone without a result: the attempt was lost, another one follows;
- there is no claim: it never started. We claim it, so that it never will, and start another.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mlplatform.core.model import NO_VALUES, TaskKey, TaskRecord
from mlplatform.core.states import TaskState
from mlplatform.engine.attempts import claim
from mlplatform.engine.ports import Running
from mlplatform.engine.result import read_result
from mlplatform.ir.graph import dependencies

if TYPE_CHECKING:
    from mlplatform.engine.core import Core
    from mlplatform.ir.model import Dag, Pipeline

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


# ------------------------------------------------------------------ resume
def reset_for_resume(pipeline: Pipeline, records: Iterable[TaskRecord]) -> list[TaskRecord]:
    """Records of a finished run, ready to go on: what succeeded stays, unless something it depends on did not.

    Exit tasks ran because something failed; they run again at the new end.
    """
    kept = list(records)
    bad = {_place(record) for record in kept if not record.is_group and not record.state.succeeded}
    stale = _downstream(pipeline, bad)
    out: list[TaskRecord] = []
    for record in kept:
        place = _place(record)
        again = record.is_group or place in bad or _covered(place, stale)
        out.append(_reset(record) if again else record)
    return out


def _reset(record: TaskRecord) -> TaskRecord:
    return replace(
        record,
        state=TaskState.PENDING,
        failures=0,
        outputs=NO_VALUES,
        error=None,
        started_at=None,
        finished_at=None,
        retry_at=None,
        cached_from="",
        cache_note="",
        waiting_for="",
    )


Place = tuple[tuple[str, ...], tuple[int, ...]]


def _place(record: TaskRecord) -> Place:
    return record.key.path, record.key.iteration


def _covered(place: Place, stale: set[tuple[str, ...]]) -> bool:
    path = place[0]
    return any(path[:depth] in stale for depth in range(1, len(path) + 1))


def _downstream(pipeline: Pipeline, bad: set[Place]) -> set[tuple[str, ...]]:
    """Paths of tasks (all their iterations) that depend, at any level, on a task that has to run again."""
    stale: set[tuple[str, ...]] = set()
    dirty = {path[:depth] for path, _ in bad for depth in range(1, len(path) + 1)}

    def visit(prefix: tuple[str, ...], dag: Dag) -> None:
        needs = dependencies(dag)
        changed = True
        while changed:
            changed = False
            for name in dag.tasks:
                path = (*prefix, name)
                if path in stale:
                    continue
                if any((*prefix, other) in dirty or (*prefix, other) in stale for other in needs.get(name, ())):
                    stale.add(path)
                    changed = True
        for name, task in dag.tasks.items():
            inner = pipeline.components[task.component].dag
            if inner is not None and (*prefix, name) not in stale:
                visit((*prefix, name), inner)

    if pipeline.root.dag is not None:
        visit((), pipeline.root.dag)
    return stale


def known_only(pipeline: Pipeline, records: Iterable[TaskRecord]) -> list[TaskRecord]:
    """Drop records of tasks that a changed document no longer has."""
    return [record for record in records if _exists(pipeline, record.key)]


def _exists(pipeline: Pipeline, key: TaskKey) -> bool:
    dag = pipeline.root.dag
    for name in key.path:
        if dag is None or name not in dag.tasks:
            return False
        component = pipeline.components.get(dag.tasks[name].component)
        dag = component.dag if component else None
    return True


def leftover_scratch(base: Path) -> list[Path]:
    """Scratch folders of attempts that died; each is removed when its run is taken up."""
    return sorted(base.glob("mlplatform-*")) if base.is_dir() else []
