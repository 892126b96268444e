"""One run: facts in, planner, records out, attempts started. One asyncio task owns each run.

A step is: take everything that happened, ask the planner until it has nothing more to say, make all changes durable in
one transaction, and only then act on them. Dying before the transaction repeats the step; dying after it finds the
attempts by their claims (see ``engine.recovery``).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from mlplatform.core.errors import MlPlatformError, StoreError
from mlplatform.core.model import AttemptRecord, CacheEntry, RunRecord, TaskError, TaskKey, TaskRecord
from mlplatform.core.states import RunState, TaskState, transition_run
from mlplatform.engine import faults
from mlplatform.engine.caching import Hit, Miss
from mlplatform.engine.notebooks.executed import with_notebook
from mlplatform.engine.ports import Batch, Running
from mlplatform.engine.prepared import Prepared
from mlplatform.engine.records import Ledger, facts_of, run_event, task_event
from mlplatform.planning.model import (
    CancelTask,
    Decision,
    FinishRun,
    Limits,
    RecordTask,
    RunView,
    StartTask,
    TaskFact,
)
from mlplatform.planning.planner import Planner

if TYPE_CHECKING:
    from mlplatform.engine.core import Core
    from mlplatform.ir.model import Pipeline

_log = logging.getLogger(__name__)

#: How long a step waits for environments before it lets the other tasks of the run go on.
_PREPARE_PATIENCE = 0.02

#: Attempts lost with their process in a row (not the user's failures) after which a task fails all the same.
_LOST_LIMIT = 3


@dataclass(frozen=True, slots=True)
class Ended:
    """An attempt that ended: its fact and, if its result may be reused, the cache entry. ``started_at``: when it began,
    if that was before its turn."""

    fact: TaskFact
    entry: CacheEntry | None = None
    note: str = ""
    started_at: float | None = None


class RunDriver:
    """Drives one run to its end. All methods run on the event loop."""

    def __init__(
        self,
        core: Core,
        run: RunRecord,
        pipeline: Pipeline,
        records: Iterable[TaskRecord],
        env: Mapping[str, str],
    ) -> None:
        self.core = core
        self.run = run
        self.pipeline = pipeline
        self.env = env
        self.ledger = Ledger(records)
        self.running, self.adopted = dict[TaskKey, Running](), dict[TaskKey, Running]()
        self.cancelled: set[TaskKey] = set()
        self._inbox: list[Ended] = []
        self._prepared: list[tuple[Prepared, Hit | Miss]] = []
        self._admitted: list[Prepared] = []
        self._queued: list[TaskKey] = []
        self._attempts: list[AttemptRecord] = []
        self._entries: list[CacheEntry] = []
        self._background: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._cancelling = False
        self._force = self._expired = False
        self._lost: dict[TaskKey, int] = {}
        self._finish: FinishRun | None = None
        self._crash: BaseException | None = None
        view = RunView(
            run_id=run.run_id,
            job_name=f"{pipeline.name}-{run.run_id}",
            parameters=run.parameters,
            artifacts=run.artifacts,
            tasks=facts_of(self.ledger.all()),
            cancel_requested=run.cancel_requested_at is not None,
            created_at=run.created_at,
            pipeline_root=str(core.prepare.root(run.run_id)),
            workspace=core.prepare.workspace(self),
        )
        self._planner = Planner(pipeline, view, Limits())

    # ------------------------------------------------------------------ from outside
    def cancel(self, *, force: bool = False) -> None:
        """Ask for the end. Exit handlers still run unless ``force``."""
        self._cancelling = True
        self._force = self._force or force
        self._wake.set()

    def expire(self) -> None:
        """The run's own deadline has passed: everything is stopped and the run fails."""
        self._expired = True
        self.cancel(force=True)

    def admit(self, prepared: Prepared) -> None:
        """Admission gave this task its resources."""
        self._admitted.append(prepared)
        self._wake.set()

    def report(self, ended: Ended) -> None:
        """An attempt ended."""
        self._inbox.append(ended)
        self._wake.set()

    # ------------------------------------------------------------------ the loop
    async def drive(self) -> None:
        """Until the run has ended. Store failures are waited out: nothing is acted on before it is durable."""
        decision = self._planner.advance((), self.core.clock.now())
        await self._begin()
        self._take_up_adopted()
        while True:
            wake_at = await self._step(decision)
            if self._finish is not None:
                break
            timeout = None if wake_at is None else max(0.0, wake_at - self.core.clock.now())
            try:
                await asyncio.wait_for(self._wake.wait(), timeout)
            except TimeoutError:
                pass
            self._wake.clear()
            if self._crash is not None:
                raise self._crash
            decision = self._next()
        await self._end(self._finish)

    def _next(self) -> Decision:
        now = self.core.clock.now()
        inbox, self._inbox = self._inbox, []
        for ended in inbox:
            self._absorb(ended, now)
        decision = self._planner.advance([ended.fact for ended in inbox], now)
        if self._cancelling and self.run.cancel_requested_at is None:
            self.run = replace(
                self.run,
                state=transition_run(self.run.state, RunState.CANCELLING),
                cancel_requested_at=now,
            )
            more = self._planner.cancel(now)
            decision = Decision(decision.actions + more.actions, more.wake_at)
        if self._force:
            waiting = self.core.admission.waiting(self.run.run_id)
            actions = tuple(CancelTask(key) for key in [*self.running, *waiting])
            decision = Decision(decision.actions + actions, decision.wake_at)
        return decision

    def _absorb(self, ended: Ended, now: float) -> None:
        fact = ended.fact
        self.running.pop(fact.key, None)
        before = self.ledger[fact.key]
        record = self.ledger.fact(fact, now)
        if ended.started_at is not None:
            record = replace(record, started_at=ended.started_at)
            self.ledger.put(record)
        if before.state is TaskState.RUNNING:
            self._attempts.append(
                AttemptRecord(
                    key=fact.key,
                    attempt=fact.attempt,
                    state=fact.state,
                    directory=str(self.core.prepare.directory(self.run.run_id, fact.key, fact.attempt)),
                    started_at=before.started_at,
                    finished_at=record.finished_at,
                    error=fact.error,
                )
            )
        if ended.note:
            self.ledger.put(replace(record, cache_note=ended.note))
        if ended.entry is not None:
            self._entries.append(ended.entry)

    async def _begin(self) -> None:
        if self.run.state is RunState.PENDING:
            now = self.core.clock.now()
            state = transition_run(self.run.state, RunState.RUNNING)
            self.run = replace(self.run, state=state, started_at=self.run.started_at or now)
        mlflow = await self.core.in_thread(self.core.tracker.run_started, self.run)
        if mlflow != self.run.mlflow_run_id:
            self.run = replace(self.run, mlflow_run_id=mlflow)

    def _take_up_adopted(self) -> None:
        """Attempts that outlived an earlier service: watch them like our own."""
        for key, handle in self.adopted.items():
            self.running[key] = handle
            prepared = self.core.prepare.adopted(self, self.ledger[key])
            self._spawn(self.core.attempts.watch(self, prepared, handle))
        self.adopted = {}

    async def _step(self, decision: Decision) -> float | None:
        """Carry out a decision and whatever follows from it at once; returns when to wake up."""
        now = self.core.clock.now()
        cancels: list[TaskKey] = []
        starts: list[StartTask] = []
        while True:
            for action in decision.actions:
                match action:
                    case StartTask():
                        starts.append(action)
                        self.ledger.start(action, now, "its environment")
                    case RecordTask():
                        self.ledger.derived(action, now)
                    case CancelTask():
                        cancels.append(action.key)
                    case FinishRun():
                        self._finish = action
            facts = await self._prepare(starts)
            starts = []
            facts += self._cancel_waiting(cancels)
            if not facts:
                break
            decision = self._planner.advance(facts, now)
        self.core.admission.pump()
        launches = self._mark_running(now)
        for key, reason in self.core.admission.reasons(self.run.run_id, self._queued).items():
            self.ledger.put(replace(self.ledger[key], waiting_for=reason))
        self._queued.clear()
        await self._commit(now)
        for prepared in launches:
            self._spawn(self.core.attempts.execute(self, prepared))
        for key in cancels:
            self.cancelled.add(key)
            if handle := self.running.get(key):
                self._spawn(handle.cancel(self.core.grace))
        return decision.wake_at

    async def _prepare(self, starts: list[StartTask]) -> list[TaskFact]:
        """Resolve commands and environments, ask the cache; what takes long goes on in the background."""
        if starts:
            tasks = [self._spawn(self._prepare_one(start)) for start in starts]
            await asyncio.wait(tasks, timeout=_PREPARE_PATIENCE)
        ready, self._prepared, now = self._prepared, [], self.core.clock.now()
        facts: list[TaskFact] = []
        for prepared, answer in ready:
            key = prepared.key
            record = self.ledger[key]
            if key in self.cancelled:  # asked for while it was being prepared
                facts.append(TaskFact(key, TaskState.CANCELLED, record.attempt, record.failures, finished_at=now))
                self.ledger.fact(facts[-1], now)
                continue
            if isinstance(answer, Hit):
                fact = TaskFact(
                    key, TaskState.CACHED, prepared.attempt, record.failures, answer.outputs, finished_at=now
                )
                self.ledger.fact(fact, now)
                note = {"cached_from": answer.cached_from, "cache_note": answer.note}
                self.ledger.put(replace(self.ledger[key], cache_key=prepared.cache_key, **note))
                facts.append(fact)
                continue
            self.ledger.put(replace(record, cache_key=prepared.cache_key, cache_note=answer.note, waiting_for=""))
            self.core.admission.request(self, prepared)
            self._queued.append(key)
        inbox, self._inbox = self._inbox, []
        for ended in inbox:
            self._absorb(ended, now)
            facts.append(ended.fact)
        return facts

    async def _prepare_one(self, start: StartTask) -> None:
        """Ends in ``_prepared`` or, if it cannot be prepared, in a failed fact."""
        failures = self.ledger[start.key].failures
        try:
            answer = await self.core.prepare.task(self, start)
        except MlPlatformError as error:
            reason = TaskError(error.code, error.message, hint=error.hint)
            if error.findings:
                reason = replace(reason, message="\n".join([error.message, *map(str, error.findings)]))
            ended_at = self.core.clock.now()
            fact = TaskFact(start.key, TaskState.FAILED, start.attempt, failures + 1, error=reason)
            self.report(Ended(replace(fact, finished_at=ended_at, retryable=error.retryable)))
            return
        self._prepared.append(answer)
        self._wake.set()

    def _cancel_waiting(self, keys: list[TaskKey]) -> list[TaskFact]:
        """Tasks that only wait for resources end at once."""
        facts: list[TaskFact] = []
        now = self.core.clock.now()
        for key in keys:
            if key in self.running or self.ledger[key].state.finished:
                continue
            if not self.core.admission.withdraw(self.run.run_id, key):
                continue
            record = self.ledger[key]
            fact = TaskFact(key, TaskState.CANCELLED, record.attempt, record.failures, finished_at=now)
            self.ledger.fact(fact, now)
            facts.append(fact)
        return facts

    def _mark_running(self, now: float) -> list[Prepared]:
        launches, self._admitted = self._admitted, []
        for prepared in launches:
            record = self.ledger[prepared.key]
            self.ledger.put(replace(record, state=TaskState.RUNNING, started_at=now, finished_at=None, waiting_for=""))
            self._attempts.append(
                AttemptRecord(
                    key=prepared.key,
                    attempt=prepared.attempt,
                    state=TaskState.RUNNING,
                    directory=str(prepared.directory),
                    started_at=now,
                )
            )
        return launches

    async def _commit(self, now: float) -> None:
        """Make everything that changed durable, in one transaction, before anything is done about it."""
        records = self.ledger.take()
        events = [(now, "task", task_event(record)) for record in records]
        run = None
        if self._finish is None:
            stored = self.core.stored_run.get(self.run.run_id)
            if stored != self.run:
                run = self.run
                events.append((now, "run", run_event(run)))
        attempts, self._attempts, entries, self._entries = self._attempts, [], self._entries, []
        if not (records or attempts or entries or run):
            return
        batch = Batch(self.run.run_id, run, records, attempts, entries, events)
        await self._apply(batch)
        if run is not None:
            self.core.stored_run[run.run_id] = run

    async def _apply(self, batch: Batch, delay: float = 0.5) -> None:
        while True:
            try:
                self.ledger.tracked(await self.core.in_thread(self._write, batch))
                break
            except StoreError as error:
                _log.error("run %s: %s; again in %.1f s", batch.run_id, error.message, delay)
                self.core.trouble = error.message
                await asyncio.sleep(delay)
                delay = min(30.0, delay * 2)
        self.core.trouble = ""
        faults.point("after-apply")
        self.core.published(batch.run_id)

    def _write(self, batch: Batch) -> list[TaskRecord]:
        """Tell the tracker of tasks that ended, then store. In this order: a task told twice is told once (by its
        reserved run), a task never told would be lost. Returns the records as they were stored; runs in a thread."""
        tasks: list[TaskRecord] = []
        for record in batch.tasks:
            if record.state.finished and not record.is_group and record.state is not TaskState.SKIPPED:
                child = self.core.tracker.task_finished(self.run, record)
                if child != record.mlflow_run_id:
                    record = replace(record, mlflow_run_id=child)
            tasks.append(record)
        faults.point("before-apply")
        self.core.store.apply(replace(batch, tasks=tasks))
        return tasks

    async def _end(self, finish: FinishRun) -> None:
        now = self.core.clock.now()
        if self._expired and finish.state is not RunState.SUCCEEDED:
            finish = FinishRun(RunState.FAILED, error=TaskError("DEADLINE", "the run's own deadline has passed"))
        state = transition_run(self.run.state, finish.state)
        run = replace(self.run, state=state, outputs=finish.outputs, error=finish.error, finished_at=now)
        run = await with_notebook(self.core, run, self.pipeline)
        await self.core.in_thread(self.core.tracker.run_finished, run)
        faults.point("tracker-told-of-end")
        self.run = run
        await self._apply(Batch(run.run_id, run, events=[(now, "run", run_event(run))]))
        self.core.home.private(run.run_id).unlink(missing_ok=True)
        if self.core.beside is not None:
            await self.core.beside.finished(run.run_id)
        self.core.notebooks.finished(run.run_id)
        for task in list(self._background):
            task.cancel()

    def lost_again(self, key: TaskKey) -> bool:
        """Count a lost attempt; True once a task has lost too many in a row."""
        self._lost[key] = self._lost.get(key, 0) + 1
        return self._lost[key] >= _LOST_LIMIT

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(coroutine)
        self._background.add(task)
        task.add_done_callback(self._background_ended)
        return task

    def _background_ended(self, task: asyncio.Task[None]) -> None:
        """A background task that failed by our own bug ends the run; it must not wait for ever."""
        self._background.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._crash = error
            self._wake.set()
