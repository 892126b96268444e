"""Handles on attempts that run as process trees of this machine."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from mlplatform.engine.executors.process_end import end_tree, ended
from mlplatform.engine.executors.process_reason import OomWatch, exit_of
from mlplatform.engine.files import read_json
from mlplatform.engine.ports import Exit
from mlplatform.launcher.masking import MARKER, writer
from mlplatform.launcher.tree import LEFTOVER_GRACE

#: How long an adopted attempt's template may take to write down how it ended.
_EXIT_PATIENCE = 0.5
#: How long what a task with secrets wrote last may take on its way into the log.
_LOG_PATIENCE = 5.0


@dataclass(frozen=True, slots=True)
class Who:
    """One attempt's first process and what finds the rest of its tree."""

    pid: int
    pid_start: str
    cookie: str
    directory: Path
    timeout: float | None = None
    grace: float = 10.0

    @property
    def has_result(self) -> bool:
        return (self.directory / "result.json").exists()


class RunningProcess:
    """A started attempt. ``status`` gives its wait status, or None if nobody can tell."""

    def __init__(self, who: Who, status: Callable[[], Awaitable[int | None]], oom: OomWatch) -> None:
        self._who = who
        self._status = status
        self._oom = oom
        self._cancelling: asyncio.Task[bool] | None = None
        self._too_long = False

    @property
    def pid(self) -> int | None:
        return self._who.pid

    @property
    def pid_start(self) -> str:
        return self._who.pid_start

    async def wait(self) -> Exit:
        """Until the whole tree is gone."""
        who = self._who
        alarm = None
        if who.timeout is not None:
            alarm = asyncio.get_running_loop().call_later(who.timeout, self._time_is_up)
        try:
            status = await self._status()
        finally:
            if alarm is not None:
                alarm.cancel()
        if self._cancelling is not None:
            await self._cancelling
        clean = status in (0, 0x100) and who.has_result
        if not clean:
            # Only a launcher that got as far as its result has seen to it that nothing of the tree is left.
            await self._end(LEFTOVER_GRACE)
        await self._log_is_whole()
        if status is None:
            return Exit(None, lost=not who.has_result, reason="" if who.has_result else "its process is gone")
        limit = who.timeout if self._too_long else None
        return exit_of(status, has_result=clean or who.has_result, oom=self._oom, timeout=limit)

    async def _log_is_whole(self) -> None:
        """A task with secrets has its log written by another process, which ends right after it."""
        marker = self._who.directory / MARKER
        deadline = time.monotonic() + _LOG_PATIENCE
        while marker.exists() and time.monotonic() < deadline:
            await asyncio.sleep(0.005)

    async def cancel(self, grace: float) -> None:
        if self._cancelling is None:
            self._cancelling = asyncio.create_task(self._end(grace))
        await asyncio.shield(self._cancelling)

    def _time_is_up(self) -> None:
        self._too_long = True
        if self._cancelling is None:
            self._cancelling = asyncio.create_task(self._end(self._who.grace))

    async def _end(self, grace: float) -> bool:
        who = self._who
        return await end_tree(who.pid, who.pid_start, who.cookie, grace, writer(str(who.directory / MARKER)))


def adopted_status(who: Who) -> Callable[[], Awaitable[int | None]]:
    """For a process that is not our child: its end is seen, its status only if its template wrote it down."""

    async def status() -> int | None:
        await ended(who.pid, who.pid_start)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _EXIT_PATIENCE
        while not who.has_result:
            left = read_json(who.directory / "exit.json")
            if left.get("pid") == who.pid and left.get("pid_start") == who.pid_start:
                return int(left["status"])
            if loop.time() > deadline:
                return None
            await asyncio.sleep(0.02)
        return 0

    return status
