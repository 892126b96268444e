"""Fakes of the engine's ports. The store fake is held against the real stores by tests/unit/engine/test_fakes.py."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mlplatform.core.errors import NotFound
from mlplatform.core.model import AttemptRecord, CacheEntry, RunRecord, TaskKey, TaskRecord
from mlplatform.core.states import RunState
from mlplatform.engine.ports import Batch, Event, Exit, Interpreter, Launch, TrackingEnvironment


@dataclass
class FakeClock:
    """Time that moves only when told."""

    time: float = 1_000.0

    def now(self) -> float:
        return self.time


class MemoryStore:
    """A run store that forgets with the process."""

    def __init__(self) -> None:
        self.runs: dict[str, RunRecord] = {}
        self.documents: dict[str, bytes] = {}
        self.task_rows: dict[str, dict[TaskKey, TaskRecord]] = {}
        self.attempt_rows: dict[str, dict[tuple[TaskKey, int], AttemptRecord]] = {}
        self.log: list[Event] = []
        self.cache: list[CacheEntry] = []

    def create_run(self, run: RunRecord, document: bytes) -> None:
        self.documents["sha256:" + hashlib.sha256(document).hexdigest()] = document
        self.runs[run.run_id] = run
        self._tell(run.run_id, run.created_at, "run", {"state": str(run.state), "error": None})

    def get_run(self, run_id: str) -> RunRecord:
        if run_id not in self.runs:
            raise NotFound(f"there is no run {run_id!r}")
        return self.runs[run_id]

    def find_run(self, reference: str) -> RunRecord:
        newest = self.list_runs()
        if reference == "latest" and newest:
            return newest[0]
        for run in newest:
            if reference in (run.run_id, run.name):
                return run
        found = [run for run in newest if run.run_id.startswith(reference)]
        if len(found) == 1:
            return found[0]
        raise NotFound(f"there is no run {reference!r}")

    def list_runs(
        self,
        *,
        states: Iterable[RunState] = (),
        experiment: str = "",
        pipeline: str = "",
        limit: int = 50,
        before: str = "",
    ) -> list[RunRecord]:
        wanted = set(states)
        found = [
            run
            for run in self.runs.values()
            if (not wanted or run.state in wanted)
            and (not experiment or run.experiment == experiment)
            and (not pipeline or run.pipeline == pipeline)
            and (not before or run.run_id < before)
        ]
        return sorted(found, key=lambda run: run.run_id, reverse=True)[:limit]

    def document(self, digest: str) -> bytes:
        return self.documents[digest]

    def apply(self, batch: Batch) -> None:
        if batch.document is not None:
            self.documents["sha256:" + hashlib.sha256(batch.document).hexdigest()] = batch.document
        if batch.run is not None:
            self.runs[batch.run_id] = batch.run
        for record in batch.tasks:
            self.task_rows.setdefault(batch.run_id, {})[record.key] = record
        for attempt in batch.attempts:
            self.attempt_rows.setdefault(batch.run_id, {})[(attempt.key, attempt.attempt)] = attempt
        self.cache.extend(batch.cache)
        for at, kind, body in batch.events:
            self._tell(batch.run_id, at, kind, body)

    def _tell(self, run_id: str, at: float, kind: str, body: Mapping[str, Any]) -> None:
        self.log.append(Event(len(self.log) + 1, run_id, at, kind, json.loads(json.dumps(body))))

    def tasks(self, run_id: str) -> list[TaskRecord]:
        return list(self.task_rows.get(run_id, {}).values())

    def attempts(self, run_id: str, key: TaskKey | None = None) -> list[AttemptRecord]:
        rows = self.attempt_rows.get(run_id, {}).values()
        return [row for row in rows if key is None or row.key == key]

    def events(self, *, after: int = 0, run_id: str = "", limit: int = 1000) -> list[Event]:
        return [e for e in self.log if e.seq > after and (not run_id or e.run_id == run_id)][:limit]

    def cache_candidates(self, key: str, limit: int = 20) -> list[CacheEntry]:
        return [entry for entry in reversed(self.cache) if entry.key == key][:limit]

    def cache_similar(self, identity: str, limit: int = 1) -> list[CacheEntry]:
        return [entry for entry in reversed(self.cache) if entry.identity == identity][:limit]

    def clear_cache(self, *, run_id: str = "", identity: str = "") -> int:
        kept = [e for e in self.cache if (run_id and e.run_id != run_id) or (identity and e.identity != identity)]
        count = len(self.cache) - len(kept)
        self.cache = kept
        return count

    def delete_run(self, run_id: str) -> None:
        self.runs.pop(run_id, None)
        self.task_rows.pop(run_id, None)

    def annotate(self, run_id: str, *, tags: Mapping[str, str] | None = None, note: str | None = None) -> None:
        run = self.get_run(run_id)
        merged = {k: v for k, v in {**run.tags, **(tags or {})}.items() if v}
        self.runs[run_id] = replace(run, tags=merged, note=run.note if note is None else note)

    def artifact_links(self, *, uri: str = "", digest: str = "", run_id: str = "") -> list[str]:
        def holds(record: TaskRecord) -> bool:
            return uri in json.dumps([record.inputs.to_json(), record.outputs.to_json()])

        return [owner for owner, rows in self.task_rows.items() if any(map(holds, rows.values()))]

    def expired(self, older_than: float) -> list[str]:
        ended = [r for r in self.runs.values() if r.state.finished and (r.finished_at or 0) < older_than]
        return [r.run_id for r in sorted(ended, key=lambda r: r.finished_at or 0)]

    def close(self) -> None:
        return None


class LocalArtifacts:
    """Plain paths only."""

    def is_local(self, uri: str) -> bool:
        return "://" not in uri

    def local_path(self, uri: str) -> Path:
        return Path(uri)

    def fetch(self, uri: str, to: Path) -> Path:
        return to

    def put(self, source: Path, uri: str) -> None:
        return None

    def digest(self, uri: str) -> tuple[str, int]:
        data = Path(uri).read_bytes()
        return "sha256:" + hashlib.sha256(data).hexdigest(), len(data)

    def exists(self, uri: str) -> bool:
        return Path(uri).exists()

    def remove(self, uri: str) -> None:
        Path(uri).unlink()


class FakeTracker:
    """Remembers what it was told, in order."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []

    def run_started(self, run: RunRecord) -> str:
        self.told.append(("run_started", run.run_id))
        return "parent-" + run.run_id

    def keep_files(self, run: RunRecord, files: Mapping[str, bytes]) -> None:
        return None

    def task_environment(self, run: RunRecord, key: TaskKey, attempt: int) -> TrackingEnvironment:
        return TrackingEnvironment({})

    def rank_environment(self, run: RunRecord) -> Mapping[str, str]:
        return {"MLFLOW_RUN_ID": run.run_id}

    def task_finished(self, run: RunRecord, task: TaskRecord) -> str:
        self.told.append(("task_finished", str(task.key)))
        return ""

    def run_finished(self, run: RunRecord) -> None:
        self.told.append(("run_finished", str(run.state)))

    def ui_url(self, run: RunRecord) -> str:
        return ""

    def close(self) -> None:
        return None


class FakeEnvironments:
    """Every interpreter is as good as another."""

    async def interpreter(
        self, base: Interpreter, requirements: Sequence[str], options: Mapping[str, Any]
    ) -> Interpreter:
        return replace(base, digest="packages:" + ",".join(requirements), version="3.11.0")

    def prune(self, older_than: float) -> FakeEnvironments:
        return self

    environments: tuple[str, ...] = ()
    bytes = 0

    async def kfp_runtime(self, base: Interpreter, version: str) -> str:
        return ""


@dataclass
class FakeRunning:
    """A process that ends when told."""

    launch: Launch
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    exit: Exit = field(default_factory=lambda: Exit(0))
    cancelled: bool = False
    pid: int | None = 1
    pid_start: str = ""

    async def wait(self) -> Exit:
        await self.ended.wait()
        return self.exit

    async def cancel(self, grace: float) -> None:
        self.cancelled = True
        self.exit = Exit(None, 15)
        self.ended.set()


#: Given a launch: a result.json, or an Exit (died without one), or None (keeps running until told).
Behaviour = Callable[[Launch], "Mapping[str, Any] | Exit | None"]


class FakeExecutor:
    """Runs nothing: writes the result that ``behaviour`` gives."""

    def __init__(self, behaviour: Behaviour) -> None:
        self.behaviour = behaviour
        self.started: list[Launch] = []
        self.running: list[FakeRunning] = []

    async def start(self, launch: Launch) -> FakeRunning:
        self.started.append(launch)
        handle = FakeRunning(launch)
        self.running.append(handle)
        answer = self.behaviour(launch)
        if isinstance(answer, Exit):
            handle.exit = answer
            handle.ended.set()
        elif answer is not None:
            (launch.directory / "result.json").write_text(json.dumps(answer))
            handle.ended.set()
        return handle

    def adopt(self, pid: int, pid_start: str, directory: Path) -> FakeRunning | None:
        return None

    async def close(self) -> None:
        return None


def succeed(**parameters: Any) -> dict[str, Any]:
    """A result.json of a task that read and wrote nothing else."""
    return {"version": 1, "state": "SUCCEEDED", "parameters": parameters, "artifacts": {}, "reads": []}


def fail(message: str = "boom") -> dict[str, Any]:
    error = {"code": "TASK_FAILED", "message": message, "traceback": f"RuntimeError: {message}\n"}
    return {"version": 1, "state": "FAILED", "error": error}
