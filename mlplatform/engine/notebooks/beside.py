"""Tasks of a notebook that run beside those before them, each in a process of its own, while the order is kept.

The notebook's tasks are a chain, and the engine takes them one by one. When one begins in its order, tasks after it
that seem to need nothing of it or of others in between begin as well, from the last state that is known, behind a
gate: the moment one would write a file, talk to somebody or run a program, it is ended (``launcher/native/trace.c``).
What one did counts only when its turn has come and its record stands in the state of that moment (``overlap.py``); else
it runs in the notebook's own session, in order, as if nothing had been.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from mlplatform.core.errors import MlPlatformError
from mlplatform.core.values import child
from mlplatform.engine.files import read_json, write_json
from mlplatform.engine.notebooks.overlap import Reach, conflict, met, reach_of, spoiled, stuck
from mlplatform.engine.notebooks.runs import Book, NotebookRuns, told_of
from mlplatform.engine.notebooks.state import Record, State, apply, difference, unrestorable
from mlplatform.engine.ports import Launch
from mlplatform.planning.notebook_component import NotebookTask

_TRACKING = ("MLFLOW_", "MLPLATFORM_MLFLOW_")


class Alone(Protocol):
    """A session that runs one task and is gone."""

    async def wait(self) -> bool:
        """Until its result is written (True) or it has died (False)."""
        ...

    async def end(self) -> None: ...


@dataclass(eq=False)
class Neighbour:
    """One task that runs, or ran, before its turn. ``first``: the task that was in order when it began. ``assumed``:
    results of tasks in between that ``base`` counts on."""

    index: int
    first: int
    base: State
    assumed: list[tuple[int, Record]]
    launch: Launch
    done: asyncio.Task[None] | None = None
    alone: Alone | None = None
    record: Record | None = None
    problem: str = ""

    @property
    def running(self) -> bool:
        return self.record is None and not self.problem


@dataclass(eq=False)
class _Crowd:
    """All neighbours of one run. ``index``: the task whose turn it is."""

    run_id: str
    limit: int
    index: int
    launch: Launch
    neighbours: dict[int, Neighbour] = field(default_factory=dict[int, Neighbour])
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class Beside:
    """The neighbours of all runs. Lives on the event loop; what reads files is called off it."""

    def __init__(
        self,
        runs: NotebookRuns,
        start: Callable[[Launch], Awaitable[Alone]],
        on_files: Callable[..., Awaitable[Any]],
    ) -> None:
        self._runs = runs
        self._start = start
        self._on_files = on_files
        self._crowds: dict[str, _Crowd] = {}
        self._endings: set[asyncio.Task[None]] = set()

    # ------------------------------------------------------------------ the order goes on
    async def advance(self, run_id: str, task: NotebookTask, launch: Launch, limit: int) -> None:
        """It is this task's turn: begin what may run beside it, end what cannot stand any more. ``limit``: processes in
        all."""
        index = self._runs.book(run_id).index(task)
        crowd = self._crowds.setdefault(run_id, _Crowd(run_id, limit, index, launch))
        crowd.index, crowd.launch = index, launch
        await self._look(crowd)

    async def turn(self, run_id: str, task: NotebookTask, launch: Launch, limit: int) -> tuple[dict[str, Any], str]:
        """A task has to run, and it is its turn: what its session is told, and a note."""
        if self.has(run_id, task):
            told, note = dict[str, Any](neighbour=True), ""
        else:
            tried = self.why_not(run_id, task)
            told, note = await self.in_order(run_id, task)
            note = "; ".join(filter(None, (tried, note)))
        if limit > 1:
            await self.advance(run_id, task, launch, limit)
        return told, note

    async def in_order(self, run_id: str, task: NotebookTask, spec: Path | None = None) -> tuple[dict[str, Any], str]:
        """What the session is told of a task that runs in order, and a note; ``spec``: a spec.json to write it into."""
        told, fresh, note = await self._on_files(self._runs.start, run_id, task)
        if fresh:
            self._runs.release(run_id)
        if spec is not None:
            await self._on_files(rewrite, spec, {**told, "neighbour": False})
        return told, note

    def has(self, run_id: str, task: NotebookTask) -> bool:
        """Whether this task was begun before its turn and may still stand."""
        crowd = self._crowds.get(run_id)
        if crowd is None:
            return False
        neighbour = crowd.neighbours.get(self._runs.book(run_id).index(task))
        return neighbour is not None and not neighbour.problem

    def why_not(self, run_id: str, task: NotebookTask) -> str:
        """Why what was begun before its turn does not count, "" if nothing was begun."""
        crowd = self._crowds.get(run_id)
        neighbour = crowd.neighbours.get(self._runs.book(run_id).index(task)) if crowd else None
        return _refused(neighbour.problem) if neighbour is not None and neighbour.problem else ""

    async def settle(self, run_id: str, task: NotebookTask, directory: Path) -> tuple[bool, str]:
        """Its turn has come: wait for it, and take what it did if that stands. (whether it was taken, a note)"""
        crowd = self._crowds[run_id]
        neighbour = crowd.neighbours[self._runs.book(run_id).index(task)]
        if neighbour.done is not None:
            await asyncio.wait([neighbour.done])  # not cancelled with whoever waits for it
        problem = neighbour.problem or await self._on_files(self._take, crowd, neighbour, directory)
        neighbour.problem = problem
        if problem:
            return False, _refused(problem)
        others = self._runs.book(run_id).tasks[neighbour.first : neighbour.index]
        return True, "ran in a process of its own beside " + ", ".join(other.name for other in others)

    async def end(self, run_id: str, task: NotebookTask) -> None:
        """It is not wanted any more."""
        crowd = self._crowds.get(run_id)
        neighbour = crowd.neighbours.get(self._runs.book(run_id).index(task)) if crowd else None
        if neighbour is not None:
            await self._end(neighbour, "it was cancelled")

    async def finished(self, run_id: str) -> None:
        """The run is over."""
        crowd = self._crowds.pop(run_id, None)
        if crowd is None:
            return
        await asyncio.gather(*(self._end(each, "the run is over") for each in crowd.neighbours.values()))
        await self._on_files(shutil.rmtree, self._folder(run_id), True)

    async def close(self) -> None:
        """The service leaves."""
        for run_id in list(self._crowds):
            await self.finished(run_id)

    # ------------------------------------------------------------------ beginning and ending
    async def _look(self, crowd: _Crowd) -> None:
        async with crowd.lock:
            if crowd.run_id not in self._crowds:
                return
            spoilt, wanted = await self._on_files(self._choose, crowd)
            for neighbour, problem in spoilt:
                await self._end(neighbour, problem)
            for index, base, assumed in wanted:
                launch = self._launch(crowd, index, base)
                neighbour = Neighbour(index, crowd.index, base, assumed, launch)
                crowd.neighbours[index] = neighbour
                neighbour.done = asyncio.create_task(self._run(crowd, neighbour))

    async def _run(self, crowd: _Crowd, neighbour: Neighbour) -> None:
        try:
            neighbour.alone = await self._start(neighbour.launch)
            if neighbour.problem:  # it was ended while it was being started
                await neighbour.alone.end()
                return
            done = await neighbour.alone.wait()
            if not neighbour.problem:
                await self._on_files(self._read, neighbour, done)
        except (MlPlatformError, OSError, ValueError, KeyError) as error:
            neighbour.problem = neighbour.problem or f"it could not be run: {error}"
        task = asyncio.create_task(self._look(crowd))
        self._endings.add(task)
        task.add_done_callback(self._endings.discard)

    async def _end(self, neighbour: Neighbour, problem: str) -> None:
        was_running = neighbour.running
        neighbour.problem = neighbour.problem or problem
        if was_running and neighbour.alone is not None:
            await neighbour.alone.end()

    def _read(self, neighbour: Neighbour, done: bool) -> None:
        """What it came to."""
        folder, section = neighbour.launch.directory, neighbour.launch.spec["notebook"]
        result = read_json(folder / "result.json")
        if done and result.get("state") == "SUCCEEDED":
            record = read_json(folder / "records" / section["key"] / f"{section['token']}.json")
            if (folder / "mlflow").exists():
                neighbour.problem = "it logs to MLflow"
            elif record:
                neighbour.record = record
            else:
                neighbour.problem = "it left no record"
            return
        gate = _text(folder / "gate")
        if gate:
            neighbour.problem = _GATE.get(gate[0], "it touched the outside") + (f" ({gate[2:].strip()})")
        else:
            error = child(result, "error")
            refused = error.get("code") == "REFUSED"
            neighbour.problem = str(error["message"]) if refused else "it failed there; in order it may not"

    # ------------------------------------------------------------------ choosing
    def _choose(self, crowd: _Crowd) -> tuple[list[tuple[Neighbour, str]], list[tuple[int, State, list[Any]]]]:
        runs, book = self._runs, self._runs.book(crowd.run_id)
        now = runs.states(book, crowd.index)[-1]
        spoilt = [(n, why) for n in crowd.neighbours.values() if n.running and (why := self._spoiled(crowd, n, now))]
        if now.unknown or book.history:
            return spoilt, []
        gone = {neighbour.index for neighbour, _ in spoilt}
        free = crowd.limit - 1 - sum(n.running and n.index not in gone for n in crowd.neighbours.values())
        state, assumed = now, list[tuple[int, Record]]()
        waiting = [self._reach(book, crowd.index)]
        wanted: list[tuple[int, State, list[Any]]] = []
        for index in range(crowd.index + 1, len(book.tasks)):
            neighbour = crowd.neighbours.get(index)
            record = neighbour.record if neighbour is not None and not neighbour.problem else None
            record = record or runs.standing(book, index, state)[0]
            if record is not None and not conflict(reach_of(book.tasks[index], record), waiting):
                state = apply(state, record)
                assumed.append((index, record))
                continue
            mine = self._reach(book, index)
            may = neighbour is None and not mine.trivial and not book.asks[index] and not stuck(state)
            if may and len(wanted) < free and not conflict(mine, waiting):
                wanted.append((index, state, list(assumed)))
            waiting.append(mine)
        return spoilt, wanted

    def _reach(self, book: Book, index: int) -> Reach:
        return reach_of(book.tasks[index], self._runs.library.newest(book.keys[index]))

    def _spoiled(self, crowd: _Crowd, neighbour: Neighbour, now: State) -> str:
        if neighbour.index < crowd.index:
            return "its turn is over"
        for index, record in neighbour.assumed:
            if index >= crowd.index:
                now = apply(now, record)
        names = read_json(neighbour.launch.directory / "began.json").get("names") or ()
        return spoiled(names, neighbour.base, now)

    # ------------------------------------------------------------------ what it is told
    def _folder(self, run_id: str) -> Path:
        return self._runs.folder(run_id) / "beside"

    def _launch(self, crowd: _Crowd, index: int, base: State) -> Launch:
        """As for the task whose turn it is, with everything it writes in a folder of its own. Its attempts log into no
        run of MLflow: one that wants to is not let (see :meth:`_read`)."""
        runs, book = self._runs, self._runs.book(crowd.run_id)
        task = book.tasks[index]
        folder = self._folder(crowd.run_id) / f"{task.position:04d}"
        model: Mapping[str, Any] = crowd.launch.spec
        env = {name: value for name, value in model["env"].items() if not name.startswith(_TRACKING)}
        env |= {"MLFLOW_TRACKING_URI": f"file://{folder}/mlflow", "MLFLOW_ALLOW_FILE_STORE": "true"}
        cookie = f"{crowd.run_id}:notebook:beside:{task.position}"
        section = runs.section(crowd.run_id, task, 0) | {
            "cookie": cookie,
            "token": f"{crowd.run_id}-{task.position:04d}-beside",
            "folder": str(folder),
            "outputs": str(folder / "outputs.json"),
            "pointer": str(folder / "pointer.json"),
            "records": str(folder / "records"),
            "beside": {"gate": str(folder / "gate"), "began": str(folder / "began.json")},
            "given": model["notebook"].get("given") or {},
            "start": told_of(base) | {"files": dict(base.files)},
            "replay": [],
            "earlier": runs.cells_before(book, index),
        }
        spec = {
            **model,
            "task": task.name,
            "attempt": 1,
            "cookie": cookie,
            "env": env,
            "hooks": [],
            "claim": str(folder / "claim"),
            "result": str(folder / "result.json"),
            "log": str(folder / "task.log"),
            "trace": str(folder / "trace.bin"),
            "trace_ignore": [*model["trace_ignore"], str(folder)],
            "timeout": None,
            "mounts": [],
            "gpus": None,
            "notebook": section,
        }
        return replace(crowd.launch, directory=folder, spec=spec)

    # ------------------------------------------------------------------ taking
    def _take(self, crowd: _Crowd, neighbour: Neighbour, directory: Path) -> str:
        """Make what it did the task's result; returns why that must not be, or "". Everything is in place before
        result.json is there."""
        runs, book, record = self._runs, self._runs.book(crowd.run_id), neighbour.record
        if record is None:
            return "it left no record"
        records = runs.done(book, neighbour.index)
        states = runs.states(book, neighbour.index)
        problem = (
            difference(record, states[-1])
            or stuck(states[-1])
            or met(record, records[neighbour.first :], records)
            or runs.library.files_changed(record, states[-1], book.written, book.env)
        )
        after = apply(states[-1], record)
        if not problem and neighbour.index < len(book.tasks) - 1:
            live = runs.live_state(book, states)
            words = unrestorable(after, runs.library.bad(after), live)
            problem = words and f"what it made cannot be handed on: {words}"
        if problem:
            return problem
        try:
            runs.adopt(book, neighbour.index, record, neighbour.launch.directory / "records")
            _finish(neighbour.launch.directory, directory)
        except OSError as error:
            return f"what it left could not be taken ({error.strerror})"
        return ""


_GATE: Mapping[str, str] = {
    "W": "it writes a file",
    "B": "it writes a file",
    "X": "it removes a file",
    "D": "it makes a folder",
    "C": "it talks to another process or the network",
    "N": "it waits for connections",
    "E": "it runs a program",
}


def _refused(problem: str) -> str:
    return f"it was tried beside the tasks before it, and ran in order after all: {problem}"


def _text(path: Path) -> str:
    with contextlib.suppress(OSError):
        return path.read_bytes().decode("utf-8", "replace")
    return ""


def _finish(source: Path, directory: Path) -> None:
    """Log, claim and result of the attempt. Raises OSError."""
    with (directory / "task.log").open("ab") as log:
        log.write((source / "task.log").read_bytes())
    shutil.copyfile(source / "claim", directory / "claim")
    result: dict[str, Any] = json.loads((source / "result.json").read_bytes())
    write_json(directory / "result.json", result | {"beside": True})


def rewrite(path: Path, told: Mapping[str, Any]) -> None:
    """Put what a session is told into an attempt's spec.json. Raises OSError, ValueError."""
    spec: dict[str, Any] = json.loads(path.read_bytes())
    spec["notebook"] = {**spec["notebook"], **told}
    temporary = path.with_name(f".spec-{time.monotonic_ns()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(json.dumps(spec).encode("ascii"))
    temporary.replace(path)
