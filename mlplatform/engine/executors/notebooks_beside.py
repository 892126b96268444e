"""Tasks of a notebook that were begun before their turn: their processes, and what becomes of them at their turn."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from mlplatform.engine.executors.process_end import end_tree
from mlplatform.engine.ports import Exit, Launch, Running
from mlplatform.planning.notebook_component import NotebookTask


class Neighbours(Protocol):
    """``engine.notebooks.beside.Beside``, as far as executors need it."""

    async def settle(self, run_id: str, task: NotebookTask, directory: Path) -> tuple[bool, str]: ...
    async def in_order(
        self, run_id: str, task: NotebookTask, spec: Path | None = None
    ) -> tuple[dict[str, Any], str]: ...
    async def end(self, run_id: str, task: NotebookTask) -> None: ...


class Process(Protocol):
    """A session."""

    pid: int
    pid_start: str
    cookie: str

    async def run(self, spec: str) -> Any: ...
    async def close(self, grace: float) -> None: ...


class AloneSession:
    """A session that runs one task before its turn."""

    def __init__(self, session: Process, task: Any, grace: float) -> None:
        self._session = session
        self._task = task
        self._grace = grace

    @staticmethod
    async def begin(session: Process, launch: Launch) -> AloneSession:
        """Hand it its task, whose folder is there."""
        path = launch.directory / "spec.json"
        path.touch(mode=0o600)
        path.write_text(json.dumps(dict(launch.spec)), encoding="utf-8")
        return AloneSession(session, await session.run(str(path)), launch.grace)

    async def wait(self) -> bool:
        done = bool(await self._task.done)
        await self._session.close(0.0)
        return done

    async def end(self) -> None:
        session = self._session
        await end_tree(session.pid, session.pid_start, session.cookie, 0.0)


class RunningNeighbour:
    """A task at its turn that was begun before: it is waited for, and what it did is taken if it stands; else the task
    runs in order."""

    def __init__(self, neighbours: Neighbours, launch: Launch, start: Callable[[Launch], Awaitable[Running]]) -> None:
        self._neighbours = neighbours
        self._launch = launch
        self._start = start
        self._task = NotebookTask.from_json(launch.spec["notebook"])
        self._inner: Running | None = None
        self._cancelled = False
        self._waiting: asyncio.Future[tuple[bool, str]] | None = None
        self.note = ""

    @property
    def pid(self) -> int | None:
        return self._inner.pid if self._inner is not None else None

    @property
    def pid_start(self) -> str:
        return self._inner.pid_start if self._inner is not None else ""

    async def wait(self) -> Exit:
        run_id = self._launch.run_id
        settled = self._neighbours.settle(run_id, self._task, self._launch.directory)
        timeout = self._launch.spec.get("timeout")
        try:
            taken, self.note = await asyncio.wait_for(settled, timeout)
        except TimeoutError:
            await self._neighbours.end(run_id, self._task)
            return Exit(None, 9, reason=f"it ran longer than {timeout:g} s")
        if taken:
            return Exit(0)
        if self._cancelled:
            return Exit(None, 15)
        path = self._launch.directory / "spec.json"
        told, note = await self._neighbours.in_order(run_id, self._task, path)
        self.note = "; ".join(filter(None, (self.note, note)))
        section: Mapping[str, Any] = {**self._launch.spec["notebook"], **told, "neighbour": False}
        self._inner = await self._start(replace(self._launch, spec={**self._launch.spec, "notebook": section}))
        if self._cancelled:
            await self._inner.cancel(self._launch.grace)
        return await self._inner.wait()

    async def cancel(self, grace: float) -> None:
        self._cancelled = True
        if self._inner is not None:
            await self._inner.cancel(grace)
        else:
            await self._neighbours.end(self._launch.run_id, self._task)
