"""Attempts of kind ``notebook``: one session process a run, in which its tasks are executed one after the other.

A session holds the notebook's namespace between tasks. It ends with its run, after a failed task (whose cell has left
the namespace half changed), when it is cancelled, and when its service is gone; whatever comes then starts a fresh one,
which restores the state it needs from the notebook's records (``launcher/notebook/spec.md``). A task that asks for
resources or an image gets a session to itself where the state before it can be restored.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import IO, Any

from mlplatform.core.errors import EnvironmentFailed
from mlplatform.engine.executors.notebooks_beside import AloneSession, Neighbours, RunningNeighbour
from mlplatform.engine.executors.notebooks_image import Containers, Guest, hide, image_of
from mlplatform.engine.executors.process_end import end_tree, ended
from mlplatform.engine.executors.process_reason import OomWatch, exit_of
from mlplatform.engine.executors.process_running import RunningProcess, Who, adopted_status
from mlplatform.engine.executors.process_templates import start_launcher, startup_environment, tail
from mlplatform.engine.files import read_json
from mlplatform.engine.home import cache_folder
from mlplatform.engine.ports import Exit, Launch, Running
from mlplatform.launcher.identity import is_alive, pid_start
from mlplatform.launcher.native import build

#: Sets of strings are walked in the same order in every session, so that equal values have equal digests.
HASH_SEED = "0"


@dataclass(frozen=True, slots=True)
class _Task:
    """One task handed to a session. ``claimed``: the session has taken it; ``done``: its result is written (True), or
    the session is gone (False)."""

    claimed: asyncio.Future[bool]
    done: asyncio.Future[bool]


class Session:
    """The engine's end of one session process."""

    def __init__(self, launch: Launch, library: Path | None, guest: Guest | None = None) -> None:
        """Start it on the running event loop. ``guest``: in the image that its task asks for. Raises
        EnvironmentFailed."""
        executable = (launch.interpreter.executable if launch.interpreter else "") or sys.executable
        self.cookie = str(launch.spec["notebook"]["cookie"])
        self.image = image_of(launch)
        self.guest = guest
        environment = {"PYTHONHASHSEED": HASH_SEED, "MLPLATFORM_ATTEMPT": self.cookie}
        folder = Path(launch.spec["notebook"]["folder"])
        folder.mkdir(parents=True, exist_ok=True)
        self._said: IO[bytes] = (folder / "session.log").open("ab+")
        if guest is not None:
            self.process, self._socket = guest.start(environment, library, self._said)
        else:
            environment = {**dict(startup_environment(launch.spec["env"])), **environment}
            self.process, self._socket = start_launcher(executable, "--notebook", (), environment, library, self._said)
        self.pid = self.process.pid
        self.pid_start = pid_start(self.pid)
        self.dead = False
        self.oom = OomWatch()
        self._ids = count()
        self._tasks: dict[str, _Task] = {}
        self._listener = asyncio.create_task(self._listen())

    async def run(self, spec: str) -> _Task:
        """Hand over the attempt whose spec.json is at ``spec``."""
        loop = asyncio.get_running_loop()
        task = _Task(loop.create_future(), loop.create_future())
        identifier = str(next(self._ids))
        self._tasks[identifier] = task
        try:
            await loop.sock_sendall(
                self._socket, json.dumps({"op": "run", "id": identifier, "spec": spec}).encode() + b"\n"
            )
        except OSError:
            self._lose()
        return task

    async def _listen(self) -> None:
        loop, held = asyncio.get_running_loop(), b""
        with contextlib.suppress(OSError):
            while piece := await loop.sock_recv(self._socket, 1 << 16):
                *lines, held = (held + piece).split(b"\n")
                for line in lines:
                    self._hear(json.loads(line))
        self._lose()
        await ended(self.pid, self.pid_start)
        self.process.wait()
        self._socket.close()

    def _hear(self, message: Mapping[str, Any]) -> None:
        task = self._tasks.get(message.get("id", ""))
        if task is None:
            return
        if message["event"] == "claimed" and not task.claimed.done():
            task.claimed.set_result(True)
        elif message["event"] == "done":
            self._tasks.pop(message["id"])
            self._settle(task, True)

    def _lose(self) -> None:
        self.dead = True
        for task in self._tasks.values():
            self._settle(task, False)
        self._tasks.clear()

    def _settle(self, task: _Task, done: bool) -> None:
        if not task.claimed.done():
            task.claimed.set_result(done)
        if not task.done.done():
            task.done.set_result(done)

    async def status(self) -> int:
        """The wait status of the process, once it has ended."""
        await asyncio.shield(self._listener)
        code = self.process.returncode
        return -code if code < 0 else code << 8

    def words(self) -> str:
        """The end of what the process said outside tasks."""
        return tail(self._said)

    async def close(self, grace: float) -> None:
        """Let it go: it has nothing to do any more."""
        self.dead = True
        self._lose()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(self._listener), grace)
        await end_tree(self.pid, self.pid_start, self.cookie, grace)
        await asyncio.shield(self._listener)
        self._said.close()


class RunningTask:
    """A task in a session. Cancelling it ends the session: there is no other way to stop a cell for sure."""

    def __init__(self, session: Session, task: _Task, launch: Launch, end: asyncio.Event) -> None:
        self._session = session
        self._task = task
        self._launch = launch
        self._end = end
        self._cancelling: asyncio.Task[bool] | None = None
        self._too_long = False

    @property
    def pid(self) -> int | None:
        return self._session.pid

    @property
    def pid_start(self) -> str:
        return self._session.pid_start

    async def wait(self) -> Exit:
        """Until its result is written, or its session is gone."""
        alarm = None
        timeout = self._launch.spec.get("timeout")
        if timeout is not None:
            alarm = asyncio.get_running_loop().call_later(timeout, self._time_is_up)
        try:
            done = await self._task.done
        finally:
            if alarm is not None:
                alarm.cancel()
        if self._cancelling is not None:
            await self._cancelling
        result = read_json(self._launch.directory / "result.json")
        if done and result:
            if result.get("state") != "SUCCEEDED":
                self._end.set()
            return Exit(0 if result.get("state") == "SUCCEEDED" else 1)
        self._end.set()
        session = self._session
        await end_tree(session.pid, session.pid_start, session.cookie, self._launch.grace)
        limit = timeout if self._too_long else None
        ended = exit_of(await session.status(), has_result=bool(result), oom=session.oom, timeout=limit)
        problem = session.guest.problem() if session.guest is not None and limit is None else None
        return replace(ended, reason=problem.message) if problem is not None else ended

    async def cancel(self, grace: float) -> None:
        if self._cancelling is None:
            session = self._session
            self._cancelling = asyncio.create_task(end_tree(session.pid, session.pid_start, session.cookie, grace))
        await asyncio.shield(self._cancelling)

    def _time_is_up(self) -> None:
        self._too_long = True
        if self._cancelling is None:
            session = self._session
            self._cancelling = asyncio.create_task(
                end_tree(session.pid, session.pid_start, session.cookie, self._launch.grace)
            )


class NotebookExecutor:
    """``engine.ports.Executor`` for tasks of notebooks."""

    def __init__(self, containers: Containers | None = None) -> None:
        """``containers``: runs the sessions of tasks that ask for an image."""
        self._containers = containers
        self._sessions: dict[str, Session] = {}
        self._oom = OomWatch()
        self._background: set[asyncio.Task[None]] = set()
        #: Sessions of runs that are on their way out: the next of such a run has the same cookie and would go with it.
        self._leaving: dict[str, asyncio.Task[None]] = {}
        self._library: Path | None = None
        self._looked = asyncio.Lock()
        self._known = False
        #: Tasks that run before their turn; set by whoever puts the service together.
        self.neighbours: Neighbours | None = None

    def live(self, run_id: str) -> bool:
        """Whether this run has a session that can go on."""
        session = self._sessions.get(run_id)
        return session is not None and not session.dead

    async def start(self, launch: Launch) -> Running:
        """Raises EnvironmentFailed if no session can be started."""
        if launch.spec["notebook"].get("neighbour") and self.neighbours is not None:
            return RunningNeighbour(self.neighbours, launch, self.start)
        await self._look()
        leaving = self._leaving.pop(launch.run_id, None)
        if leaving is not None:
            await asyncio.wait([leaving])
        session = self._sessions.get(launch.run_id)
        if session is None or session.dead or session.image != image_of(launch):
            session = self._sessions[launch.run_id] = await self._new(launch)
        elif session.guest is not None:
            await asyncio.to_thread(hide, launch.directory)
        task = await session.run(str(launch.directory / "spec.json"))
        if not await task.claimed and session.dead and not (launch.directory / "claim").exists():
            words = session.words().splitlines()[-1:] or ["it said nothing"]
            self.release(launch.run_id)
            if session.guest is not None:
                await session.status()  # it has then told why
                if problem := session.guest.problem():
                    raise problem
            raise EnvironmentFailed(f"the notebook's session ended before it took the task: {words[0]}")
        end = asyncio.Event()
        running = RunningTask(session, task, launch, end)
        self._later(self._release_when(launch.run_id, session, end, task))
        return running

    async def _new(self, launch: Launch) -> Session:
        if not image_of(launch):
            return Session(launch, self._library)
        assert self._containers is not None, "only a service that runs containers is given images"
        return Session(launch, self._library, await Guest.of(launch, self._containers))

    async def begin_alone(self, launch: Launch) -> AloneSession:
        """A session for one task that runs before its turn. Raises EnvironmentFailed, OSError."""
        await self._look()
        return await AloneSession.begin(Session(launch, self._library), launch)

    async def _look(self) -> None:
        async with self._looked:
            if not self._known:
                self._library = await asyncio.to_thread(build.library, cache_folder())
                self._known = True

    def adopt(self, pid: int, pid_start: str, directory: Path) -> Running | None:
        if not pid_start or not is_alive(pid, pid_start) or not (directory / "notebook").exists():
            return None
        claim = read_json(directory / "claim")
        if claim.get("pid") != pid:
            return None
        who = Who(pid, pid_start, str(claim.get("cookie", "")), directory)
        return RunningProcess(who, adopted_status(who), self._oom)

    def release(self, run_id: str) -> None:
        """The run needs its session no more. One that runs nothing leaves at once."""
        session = self._sessions.pop(run_id, None)
        if session is not None:
            self._leaving[run_id] = self._later(session.close(2.0))
            self._leaving[run_id].add_done_callback(lambda task: self._left(run_id, task))

    def _left(self, run_id: str, task: asyncio.Task[None]) -> None:
        if self._leaving.get(run_id) is task:
            del self._leaving[run_id]

    async def close(self) -> None:
        """A session whose service leaves finishes its task and ends by itself."""
        for task in list(self._background):
            task.cancel()
        self._sessions.clear()

    async def _release_when(self, run_id: str, session: Session, end: asyncio.Event, task: _Task) -> None:
        await task.done
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(end.wait(), 5.0)
        if end.is_set() and self._sessions.get(run_id) is session:
            self.release(run_id)

    def _later(self, work: asyncio._CoroutineLike[None]) -> asyncio.Task[None]:  # pyright: ignore
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        return task
