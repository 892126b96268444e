"""Recurring runs of a home: asks the pure ``planning.recurring`` what is due, makes those runs, notes that it did.

A run is durable before its tick is noted, and its id follows from the tick: killed in between, the next service makes
the same run again, which is none. Runs are made only while a service runs; while one recurring run is on, the service
does not leave.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

from mlplatform.core.catalog import (
    PIPELINE_TAG,
    RECURRING_TAG,
    TICK_TAG,
    VERSION_TAG,
    PipelineVersion,
    RecurringRun,
)
from mlplatform.core.errors import MlPlatformError
from mlplatform.engine.core import Core
from mlplatform.engine.ports import Interpreter
from mlplatform.engine.submission import Submission

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlplatform.engine.manager import Manager

_log = logging.getLogger(__name__)

#: Seconds: the longest sleep (somebody may have changed the store), and how often what is held back is looked at.
_LONGEST, _HELD, _TROUBLE = 30.0, 1.0, 5.0


class ScheduleStore(Protocol):
    """What is asked of the store's catalog."""

    def recurring(self, *, enabled: bool | None = None) -> list[RecurringRun]: ...
    def change_recurring(self, recurring_id: str, change: Callable[[RecurringRun], RecurringRun]) -> RecurringRun: ...
    def unfinished_of(self, recurring_id: str) -> int: ...
    def version(self, version_id: str) -> PipelineVersion: ...
    def newest_version(self, pipeline_id: str) -> PipelineVersion: ...


class Schedules:
    """Lives on the service's event loop."""

    def __init__(self, core: Core, manager: Manager, store: ScheduleStore) -> None:
        self._core = core
        self._manager = manager
        self._store = store
        self._news = asyncio.Event()
        #: How many recurring runs are on.
        self.enabled = 0

    def changed(self) -> None:
        """Somebody changed a recurring run."""
        self._news.set()

    async def look(self) -> float:
        """Make what is due; seconds until the next look."""
        entries = await self._core.in_thread(self._store.recurring, enabled=True)
        self.enabled = len(entries)
        wait = _LONGEST
        for entry in entries:
            wait = min(wait, await self._look_at(entry))
        return wait

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self._news.clear()
            try:
                wait = await self.look()
            except MlPlatformError as error:
                _log.warning("recurring runs: %s", error)
                wait = _TROUBLE
            try:
                await asyncio.wait_for(self._news.wait(), max(0.02, wait))
            except TimeoutError:
                continue

    async def _look_at(self, entry: RecurringRun) -> float:
        from mlplatform.planning.recurring import decide  # a home without recurring runs never pays for it

        now = self._core.clock.now()
        active = await self._core.in_thread(self._store.unfinished_of, entry.recurring_id)
        due = decide(entry, now, active)
        for tick in due.ticks:
            trouble = await self._make(entry, tick)
            await self._core.in_thread(self._store.change_recurring, entry.recurring_id, _noted(tick, trouble))
        if due.held:
            return _HELD
        return _LONGEST if due.next_at is None else due.next_at - self._core.clock.now()

    async def _make(self, entry: RecurringRun, tick: float) -> str:
        """Make the run of a tick; returns why it could not be made. Raises what trying again may help against."""
        try:
            submission = await self._submission(entry, tick)
            run_id = await self._manager.submit(submission)
        except MlPlatformError as error:
            if error.retryable:
                raise
            _log.error("recurring run %s: %s", entry.recurring_id, error)
            return str(error)
        _log.info("recurring run %s: run %s for %s", entry.recurring_id, run_id, _iso(tick))
        return ""

    async def _submission(self, entry: RecurringRun, tick: float) -> Submission:
        from mlplatform.planning.recurring import run_id_of

        core, document = self._core, entry.document
        tags: dict[str, str] = {RECURRING_TAG: entry.recurring_id, TICK_TAG: _iso(tick)}
        if entry.pipeline_id or entry.version_id:
            version = await core.in_thread(self._version_of, entry)
            document = version.document
            tags |= {PIPELINE_TAG: version.pipeline_id, VERSION_TAG: version.version_id}
        text = (await core.in_thread(core.store.document, document)).decode("utf-8", "surrogatepass")
        options: Mapping[str, Any] = entry.options
        return Submission(
            document=text,
            parameters=dict(entry.parameters),
            interpreter=Interpreter(sys.executable, "", ".".join(map(str, sys.version_info[:3]))),
            cwd=os.path.expanduser("~"),
            env=dict(os.environ),
            name=f"{entry.name} {_iso(tick)}",
            experiment=entry.experiment,
            tags=tags,
            cache=bool(options.get("cache", True)),
            containers=str(options.get("containers") or ""),
            priority=int(options.get("priority") or 0),
            run_id=run_id_of(entry.recurring_id, tick),
        )

    def _version_of(self, entry: RecurringRun) -> PipelineVersion:
        if entry.version_id:
            return self._store.version(entry.version_id)
        return self._store.newest_version(entry.pipeline_id)


def _noted(tick: float, trouble: str) -> Callable[[RecurringRun], RecurringRun]:
    return lambda entry: replace(entry, ticked_at=max(entry.ticked_at, tick), trouble=trouble)


def _iso(tick: float) -> str:
    return datetime.fromtimestamp(tick, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
