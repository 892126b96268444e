"""Pure bookkeeping: how facts and planner actions change the records of a run, and which events tell of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from mlplatform.core.model import RunRecord, TaskKey, TaskRecord
from mlplatform.core.states import TaskState, transition_task
from mlplatform.planning.model import RecordTask, StartTask, TaskFact

_BEFORE_ANYTHING = TaskState.PENDING


class Ledger:
    """The task records of one run and what changed since they were last made durable.

    States move along the transition table; a change that ends where it began is no change.
    """

    def __init__(self, records: Iterable[TaskRecord] = ()) -> None:
        self._durable = {record.key: record for record in records}
        self._changed: dict[TaskKey, TaskRecord] = {}

    def __getitem__(self, key: TaskKey) -> TaskRecord:
        return self._changed.get(key) or self._durable[key]

    def get(self, key: TaskKey) -> TaskRecord | None:
        return self._changed.get(key) or self._durable.get(key)

    def all(self) -> list[TaskRecord]:
        return list({**self._durable, **self._changed}.values())

    def put(self, record: TaskRecord) -> None:
        self._changed[record.key] = record

    def take(self) -> list[TaskRecord]:
        """Records to make durable now. The caller stores them before it acts on them."""
        taken: list[TaskRecord] = []
        for key, record in list(self._changed.items()):
            old = self._durable.get(key)
            if old == record:
                continue
            if old and old.state is record.state and old.state.finished and old.attempt == record.attempt:
                record = replace(record, started_at=old.started_at, finished_at=old.finished_at)
                self._changed[key] = record
            transition_task(old.state if old else _BEFORE_ANYTHING, record.state)
            taken.append(record)
        self._durable.update(self._changed)
        self._changed = {}
        return taken

    def tracked(self, records: Iterable[TaskRecord]) -> None:
        """Taken records as they were stored: the tracker may have given them its own names."""
        self._durable.update((record.key, record) for record in records)

    # ------------------------------------------------------------------ changes
    def start(self, action: StartTask, now: float, note: str = "") -> TaskRecord:
        """A leaf is ready to run."""
        old = self.get(action.key)
        base = old or TaskRecord(key=action.key, state=TaskState.QUEUED, created_at=now)
        record = replace(
            base,
            state=TaskState.QUEUED,
            component=action.component,
            attempt=action.attempt,
            inputs=action.inputs,
            error=None,
            retry_at=None,
            waiting_for=note,
        )
        self.put(record)
        return record

    def fact(self, fact: TaskFact, now: float) -> TaskRecord:
        """A leaf's attempt ended (or was lost, or answered from the cache)."""
        old = self[fact.key]
        record = replace(
            old,
            state=fact.state,
            attempt=fact.attempt,
            failures=fact.failures,
            outputs=fact.outputs,
            error=fact.error,
            finished_at=fact.finished_at if fact.finished_at is not None else now,
            started_at=old.started_at or (now if fact.state is TaskState.CACHED else None),
            waiting_for="",
        )
        self.put(record)
        return record

    def derived(self, action: RecordTask, now: float) -> TaskRecord:
        """What the planner derived: a group's state, a skip, a failure before the start, a wait for a retry."""
        old = self.get(action.key)
        base = old or TaskRecord(key=action.key, state=action.state, created_at=now)
        if base.is_group and base.state.finished and not action.state.finished:
            base = replace(base, finished_at=None)
        ends = action.state.finished
        record = replace(
            base,
            state=action.state,
            component=action.component or base.component,
            is_group=action.is_group or base.is_group,
            inputs=action.inputs if action.is_group or not base.component else base.inputs,
            outputs=action.outputs if action.is_group else base.outputs,
            error=action.error or (base.error if action.state is TaskState.RETRYING else None),
            retry_at=action.retry_at,
            waiting_for=action.note if not ends else "",
            cache_note=action.note if ends and action.note else base.cache_note,
            started_at=base.started_at or (now if action.state is TaskState.RUNNING else None),
            finished_at=(base.finished_at or now) if ends else base.finished_at,
        )
        self.put(record)
        return record


def facts_of(records: Iterable[TaskRecord]) -> dict[TaskKey, TaskFact]:
    """The facts a planner is rebuilt from: leaves whose attempts began. Everything else it derives again."""
    facts: dict[TaskKey, TaskFact] = {}
    for record in records:
        state = record.state
        # A durable FAILED is the planner's last word; a task that still has attempts left was recorded as RETRYING.
        retryable = state is not TaskState.FAILED
        if record.is_group or state is TaskState.SKIPPED:
            continue
        if record.attempt == 0 and state is not TaskState.CACHED:
            continue
        if state in (TaskState.QUEUED, TaskState.RUNNING):
            state = TaskState.RUNNING
        elif state is TaskState.RETRYING:
            state = TaskState.FAILED
        facts[record.key] = TaskFact(
            key=record.key,
            state=state,
            attempt=record.attempt,
            failures=record.failures,
            outputs=record.outputs,
            error=record.error,
            finished_at=record.finished_at,
            retryable=retryable,
        )
    return facts


def task_event(record: TaskRecord) -> dict[str, Any]:
    """What watchers are told of a task."""
    return {
        "name": record.key.name,
        "iteration": list(record.key.iteration),
        "state": str(record.state),
        "attempt": record.attempt,
        "started_at": record.started_at,
        "finished_at": record.finished_at,
        "is_group": record.is_group,
        "note": record.waiting_for or record.cache_note,
        "error": record.error.to_json() if record.error else None,
    }


def run_event(run: RunRecord) -> dict[str, Any]:
    """What watchers are told of the run."""
    return {"state": str(run.state), "error": run.error.to_json() if run.error else None}
