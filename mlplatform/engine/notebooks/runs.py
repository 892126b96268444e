"""Notebooks in runs: which tasks stand as they are, and what a session is told about one that runs.

The tasks of a notebook form a chain, and the engine asks about them in that order. What a run did so far is in its
folder: one pointer to a record for each task, written by the session that ran it or by us for one that was reused; so
it is known again after a crash.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from mlplatform.core.errors import Unsupported
from mlplatform.core.model import NO_VALUES
from mlplatform.engine.caching import Hit, Miss
from mlplatform.engine.files import read_json, write_json
from mlplatform.engine.home import Home
from mlplatform.engine.notebooks import keys
from mlplatform.engine.notebooks.asks import asked
from mlplatform.engine.notebooks.library import Library
from mlplatform.engine.notebooks.state import (
    Record,
    State,
    apply,
    difference,
    may_skip,
    starting_point,
    unrestorable,
)
from mlplatform.ir.model import Pipeline
from mlplatform.planning.notebook_component import NotebookTask, tasks_of


class Sessions(Protocol):
    """The executor's part in it."""

    def live(self, run_id: str) -> bool: ...
    def release(self, run_id: str) -> None: ...


@dataclass
class Book:
    """One run's notebook. ``keys`` by index in ``tasks``; ``asks``: what a task wants a process of its own for,
    "" if it does not; ``images``: digest of the image that its cells run in, "" for the notebook's own Python; ``ran``:
    index of the last task that the session ran. ``watch``: tasks also tell what they left inside libraries, for those
    that run beside each other."""

    run_id: str
    tasks: list[NotebookTask]
    values: list[Mapping[str, Any]]
    keys: list[str]
    env: Mapping[str, str]
    identity: str
    cache: bool
    digests: list[list[str]]
    asks: list[str]
    images: list[str]
    history: bool = False
    ran: int = -1
    watch: bool = False
    written: frozenset[str] = frozenset()
    looked: dict[int, tuple[int, State, tuple[Record | None, str]]] = field(
        default_factory=dict[int, "tuple[int, State, tuple[Record | None, str]]"]
    )

    def index(self, task: NotebookTask) -> int:
        return next(i for i, one in enumerate(self.tasks) if one.position == task.position)


class NotebookRuns:
    """The notebooks of one home. ``sessions``: the executor of their tasks."""

    def __init__(self, home: Home, sessions: Sessions) -> None:
        self._home = home
        self._sessions = sessions
        self._books: dict[str, Book] = {}
        self.library = Library(home.root / "notebooks")

    def folder(self, run_id: str) -> Path:
        """Where a run keeps what concerns its notebook."""
        return self._home.run(run_id) / "notebook"

    def release(self, run_id: str) -> None:
        """What comes next in this run begins with a fresh session."""
        self._sessions.release(run_id)

    def finished(self, run_id: str) -> None:
        """The run is over: its session can go."""
        if self._books.pop(run_id, None) is not None:
            self._sessions.release(run_id)

    # ------------------------------------------------------------------ what a run is
    def open(
        self,
        run_id: str,
        pipeline: Pipeline,
        parameters: Mapping[str, Any],
        surroundings: Mapping[str, str],
        env: Mapping[str, str],
        *,
        cache: bool,
        parallel: int = 1,
        images: Mapping[int, str] | None = None,
    ) -> None:
        """Read the notebook of a run, once. ``surroundings``: Python, packages and folder, as texts; ``images``: by
        position, the digest of the image that a task runs in."""
        if run_id in self._books:
            return
        tasks = tasks_of(pipeline)
        defaults = pipeline.root.inputs.parameters
        parameters = {**{n: spec.default for n, spec in defaults.items() if spec.has_default}, **parameters}
        exact, history = keys.looks_at_text(tasks), keys.uses_history(tasks)
        values: list[Mapping[str, Any]] = [
            {name: parameters[name] for name in task.parameters if name in parameters} for task in tasks
        ]
        places = [(images or {}).get(task.position, "") for task in tasks]
        around = [{**surroundings, **({"image": place} if place else {})} for place in places]
        found = [
            keys.task_key(task, own, exact=exact, history=history, surroundings=where)
            for task, own, where in zip(tasks, values, around, strict=True)
        ]
        digests = [[keys.cell_digest(cell, exact=exact) for cell in task.cells] for task in tasks]
        identity = f"{pipeline.name}:{surroundings.get('folder', '')}"
        asks = asked(pipeline, tasks)
        book = Book(run_id, tasks, values, found, env, identity, cache, digests, asks, places, history=history)
        book.watch = parallel > 1
        book.written = frozenset(
            path for key in found for record in self.library.candidates(key) for path in record["files"]["writes"]
        )
        self._books[run_id] = book
        self.folder(run_id).mkdir(parents=True, exist_ok=True)

    def book(self, run_id: str) -> Book:
        return self._books[run_id]

    def done(self, book: Book, until: int) -> list[Record | None]:
        """Records of the first ``until`` tasks of this run."""
        found: list[Record | None] = []
        for index in range(until):
            pointer = read_json(self.pointer(book, index))
            record = None
            if pointer.get("key") == book.keys[index]:
                record = self.library.record(str(pointer["key"]), str(pointer["token"]))
            found.append(record)
        return found

    def pointer(self, book: Book, index: int) -> Path:
        return self.folder(book.run_id) / f"{book.tasks[index].position:04d}.json"

    def outputs(self, book: Book, index: int) -> Path:
        return self.folder(book.run_id) / f"outputs-{book.tasks[index].position:04d}.json"

    def states(self, book: Book, until: int) -> list[State]:
        states = [State()]
        for record in self.done(book, until):
            states.append(apply(states[-1], record))
        return states

    # ------------------------------------------------------------------ does it stand
    def ask(self, run_id: str, task: NotebookTask) -> Hit | Miss:
        """Whether the result of a task stands. One that stands is in place when this returns. Reads files: call it off
        the event loop."""
        book = self._books[run_id]
        index = book.index(task)
        self.pointer(book, index).unlink(missing_ok=True)
        states = self.states(book, index)
        record, reason = self.standing(book, index, states[index])
        if record is None:
            return Miss(self._why(book, index, reason))
        records: list[Record] = [record]
        states.append(apply(states[-1], record))
        miss = None
        for later in range(index + 1, len(book.tasks)):
            found, _ = self.standing(book, later, states[later])
            if found is None:
                miss = later
                break
            records.append(found)
            states.append(apply(states[later], found))
        bad = self.library.bad(states[-1])
        obstacle = may_skip(states, index, miss, bad, self.live_state(book, states))
        if obstacle:
            name = book.tasks[miss].name if miss is not None else ""
            return Miss(f"{name} has to run, and it cannot start from what is kept: {obstacle}")
        problem = self.library.put_back(states[index + 1].files if miss is not None else states[-1].files)
        if problem:
            return Miss(problem)
        return self._take(book, index, record)

    def _take(self, book: Book, index: int, record: Record) -> Hit | Miss:
        try:
            self.library.outputs(record, self.outputs(book, index))
            write_json(self.pointer(book, index), {"key": record["key"], "token": record["token"]})
        except OSError as error:
            return Miss(f"its outputs are gone ({error.strerror})")
        run = str(record["token"]).partition("-")[0]
        return Hit(NO_VALUES, f"{run}:{record['task']}", f"nothing it depends on changed since run {run}")

    def live_state(self, book: Book, states: list[State]) -> State | None:
        """The state of this run's session, if it has one."""
        if self._sessions.live(book.run_id) and 0 <= book.ran < len(states) - 1:  # one that ran later is of no use
            return states[book.ran + 1]
        return None

    def _live_for(self, book: Book, index: int, states: list[State]) -> State | None:
        """The same, if that session is in the place where a task has to run."""
        here = 0 <= book.ran < len(book.images) and book.images[book.ran] == book.images[index]
        return self.live_state(book, states) if here else None

    def standing(self, book: Book, index: int, state: State) -> tuple[Record | None, str]:
        """A record of this task that holds in ``state``, or why the newest does not."""
        known = book.looked.get(index)
        if known is None or known[0] != book.ran or known[1] != state:
            known = book.looked[index] = (book.ran, state, self._look(book, index, state))
        return known[2]

    def _look(self, book: Book, index: int, state: State) -> tuple[Record | None, str]:
        if not book.cache:
            return None, "the run was started without the cache"
        reason = ""
        for record in self.library.candidates(book.keys[index]):
            problem = difference(record, state) or self.library.files_changed(record, state, book.written, book.env)
            if not problem and not self.library.has_outputs(record):
                problem = "its outputs are gone"
            if not problem:
                return record, ""
            reason = reason or problem
        return None, reason

    def _why(self, book: Book, index: int, reason: str) -> str:
        identity = f"{book.identity}:{book.tasks[index].name}"
        before = self.library.last_cells(identity)
        told = {"cells": book.digests[index], "values": dict(book.values[index]), "key": book.keys[index]}
        self.library.remember_cells(identity, told)
        if reason:
            return reason
        if not before:
            return "no earlier result of this task is kept"
        for cell, digest in zip(book.tasks[index].cells, book.digests[index], strict=True):
            if digest not in before["cells"]:
                return f"cell {cell.index} changed"
        if before["cells"] != book.digests[index]:
            return "a cell was removed or moved"
        for name, value in book.values[index].items():
            if before["values"].get(name) != value:
                return f"parameter {name!r} changed"
        if before["key"] != book.keys[index]:
            return "Python, its packages or the folder changed"
        return "its earlier result is gone or cannot be reused"

    # ------------------------------------------------------------------ what a session is told
    def section(self, run_id: str, task: NotebookTask, attempt: int) -> dict[str, Any]:
        """The ``notebook`` member of a task's spec: the same whatever it starts from (see :meth:`start`)."""
        book = self._books[run_id]
        index = book.index(task)
        folder = self.folder(run_id)
        return {
            **task.to_json(),
            "cookie": f"{run_id}:notebook",
            "folder": str(folder),
            "library": str(self.library.root),
            "outputs": str(self.outputs(book, index)),
            "pointer": str(self.pointer(book, index)),
            "key": book.keys[index],
            "token": f"{run_id}-{task.position:04d}-{attempt}",
            "history": book.history,
            "execution_count": self._count_before(book, index),
            "values": dict(book.values[index]),
            "watch": book.watch,
        }

    def start(self, run_id: str, task: NotebookTask) -> tuple[dict[str, Any], bool, str]:
        """Where the session begins and what it runs again first, because no later state can be restored; whether it
        must be a fresh one; and a note. Call it right before it starts: what the tasks before it did is known then."""
        book = self._books[run_id]
        index = book.index(task)
        states = self.states(book, index)
        bad = self.library.bad(states[index])
        live, why = self._live_for(book, index, states), ""
        begin, fresh = index, live is None or bool(unrestorable(states[index], bad, live))
        asks, note = book.asks[index], ""
        if not fresh and (asks or book.asks[book.ran]):
            # One that asks for something has its process to itself, if this state can be brought there.
            why = unrestorable(states[index], bad)
            fresh = not why
        if fresh:
            begin = starting_point(states, bad | self._all_bad(states))
            why = unrestorable(states[begin + 1], bad) if begin < index else ""
            _refuse_elsewhere(book, begin, index, unrestorable(states[index], bad))
        if asks:
            words = (
                f", and shares a process with others all the same: {why}" if why else ": it has a process of its own"
            )
            note = asks + words
        book.ran = index
        self.library.put_back(states[index].files)
        told = {
            "start": told_of(states[begin]) | {"files": dict(states[index].files)},
            "replay": [self._again(book, earlier) for earlier in range(begin, index)],
            "earlier": self.cells_before(book, begin),
        }
        return told, fresh, note

    def cells_before(self, book: Book, index: int) -> list[list[Any]]:
        """``[number, source]`` of the cells that run before a task."""
        cells = (cell for task in book.tasks[:index] for cell in task.cells if cell.source.strip())
        return [[number, cell.source] for number, cell in enumerate(cells, 1)]

    def adopt(self, book: Book, index: int, record: Record, records: Path) -> None:
        """Make a record that lies below ``records`` this task's in this run. Raises OSError."""
        name = f"{record['key']}/{record['token']}"
        target = self.library.root / "records" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        for ending in (".outputs", ".json"):
            Path(f"{records / name}{ending}").replace(f"{target}{ending}")
        self.library.outputs(record, self.outputs(book, index))
        write_json(self.pointer(book, index), {"key": record["key"], "token": record["token"]})

    def _all_bad(self, states: list[State]) -> frozenset[str]:
        return frozenset(group for state in states for group in self.library.bad(state))

    def _again(self, book: Book, index: int) -> dict[str, Any]:
        task = book.tasks[index]
        return {
            **task.to_json(),
            "execution_count": self._count_before(book, index),
            "values": dict(book.values[index]),
        }

    def _count_before(self, book: Book, index: int) -> int:
        before = [cell for task in book.tasks[:index] for cell in task.cells if cell.source.strip()]
        return 1 + len(before)


def _refuse_elsewhere(book: Book, begin: int, index: int, why: str) -> None:
    """Tasks that a session would have to run again although they belong into another image than it is in.

    Raises:
        Unsupported: there are such.
    """
    here = book.images[index]
    other = next((i for i in range(begin, index) if book.images[i] != here), None)
    if other is None:
        return
    name, before = book.tasks[index].name, book.tasks[other].name
    where = "its image" if here else "the notebook's own Python"
    raise Unsupported(
        f"{name} runs in {where}, and what was made before it ({before} ran elsewhere) cannot be brought there: {why}",
        hint="Delete what cannot be kept before its task ends (del NAME), or put cells that share it into one task; "
        "without --containers all cells run in the notebook's own Python.",
    )


def told_of(state: State) -> dict[str, Any]:
    groups = {told[1] for told in state.names.values()}
    return {
        "names": {name: list(told) for name, told in state.names.items()},
        "groups": {group: dict(state.groups[group]) for group in groups if group in state.groups},
    }
