"""What is told of a run: its status, the records that finished tasks move on to, events. Pure.

The status is written again whenever something happened, the records once. So the status holds what lives, what failed,
and what ended a moment ago; and it is written less often the larger it is, so that the bytes written for a run grow
with its tasks and not with their square.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from mlplatform.apis.codec import encode
from mlplatform.apis.conditions import Condition, with_conditions
from mlplatform.apis.names import API_VERSION, LABEL_MANAGED, LABEL_RUN, MANAGER, TASK_RECORDS
from mlplatform.apis.pipelinerun import (
    ACCEPTED,
    PROGRESSING,
    SUCCEEDED,
    Counts,
    ErrorStatus,
    FindingStatus,
    PipelineRun,
    PipelineRunStatus,
    TaskStatus,
)
from mlplatform.apis.taskrecords import MAX_TASKS
from mlplatform.apis.times import read_time, told_time
from mlplatform.controllers.framework.model import EventNote, Ref
from mlplatform.controllers.pipelinerun.history import History, told, values_json
from mlplatform.core.model import TaskKey
from mlplatform.core.states import RunState, TaskState
from mlplatform.ir.kubernetes import PlatformPipelineConfig
from mlplatform.kube.objects import Key, Object
from mlplatform.kube.ours import PIPELINE_RUNS
from mlplatform.planning.accepting import Rejected
from mlplatform.planning.brain import Brain
from mlplatform.render.names import records_name, run_label

#: Bytes of finished tasks that the status holds before they become a record.
FLUSH_BYTES: Final = 12 * 1024
#: Bytes of one record: below what an object may have, with room to spare.
RECORD_BYTES: Final = 400 * 1024
#: Live tasks, and failed ones, that the status lists.
SHOWN_LIVE: Final = 50
SHOWN_FAILED: Final = 20
#: A status up to this size is written at once; a larger one waits, up to so many seconds.
QUICK_BYTES: Final = 16 * 1024
LONGEST_WAIT: Final = 3.0

_COUNTED: Final = {
    TaskState.PENDING: "waiting",
    TaskState.QUEUED: "waiting",
    TaskState.RETRYING: "waiting",
    TaskState.RUNNING: "running",
    TaskState.SUCCEEDED: "succeeded",
    TaskState.CACHED: "cached",
    TaskState.FAILED: "failed",
    TaskState.SKIPPED: "skipped",
    TaskState.CANCELLED: "cancelled",
}


def reference(run: PipelineRun) -> Ref:
    return Ref(PIPELINE_RUNS, Key(run.namespace, run.name), run.uid)


# ---------------------------------------------------------------------- tasks
def started(task: TaskStatus, attempt: int) -> TaskStatus:
    """A task whose attempt is to begin."""
    if task.attempt == attempt and task.state is TaskState.RUNNING:
        return task
    return replace(
        task,
        state=TaskState.RUNNING,
        attempt=attempt,
        pod="",
        started_at="",
        finished_at="",
        waiting_for="",
        error=None,
        outputs={},
        image="",
        cache_key="",
        cached_from="",
        note="",
        training="",
    )


def at(task: TaskStatus, now: float) -> TaskStatus:
    """What needs no pod takes no time."""
    return replace(task, started_at=told_time(now), finished_at=told_time(now))


def cancelled(task: TaskStatus, now: float) -> TaskStatus:
    return replace(task, state=TaskState.CANCELLED, finished_at=told_time(now))


def begun_again(task: TaskStatus) -> TaskStatus:
    """A task of a resumed run that is to run once more."""
    return TaskStatus(
        task.path, task.iteration, TaskState.PENDING, attempt=task.attempt, checkpoint_step=task.checkpoint_step
    )


# ---------------------------------------------------------------------- times
def time_to_live(run: PipelineRun, settings: PlatformPipelineConfig | None) -> int | None:
    """Seconds that a finished run stays: what its spec says, else its pipeline, else for ever."""
    ttl = run.spec.ttl
    good = run.status.state is RunState.SUCCEEDED
    choices: list[int | None] = []
    if ttl is not None:
        choices += [ttl.after_success if good else ttl.after_failure, ttl.after_finished]
    if settings is not None:
        choices += [settings.ttl_on_success if good else settings.ttl_on_failure, settings.ttl_on_completion]
    return next((seconds for seconds in choices if seconds is not None), None)


def deadline_at(run: PipelineRun, settings: PlatformPipelineConfig, now: float) -> float | None:
    """When the run's own time is over."""
    limits = [n for n in (run.spec.active_deadline_seconds, settings.active_deadline) if n is not None]
    begun = read_time(run.status.started_at)
    return (now if begun is None else begun) + min(limits) if limits else None


def patience(run: PipelineRun, status: Mapping[str, Any], now: float) -> float:
    """Seconds that a status should wait before it is written; 0: write it now. A task that failed is told at once."""
    written = read_time(run.status.updated_at)
    size = len(json.dumps(status))
    if written is None or size <= QUICK_BYTES or status.get("counts", {}).get("failed", 0) != run.status.counts.failed:
        return 0.0
    return max(0.0, written + min(LONGEST_WAIT, size / (32 * 1024)) - now)


# ---------------------------------------------------------------------- runs that cannot go on
def rejected(run: PipelineRun, why: Rejected, now: float) -> dict[str, Any]:
    """The status of a run that cannot be run: every finding, in a list and in the condition."""
    lines = "\n".join(map(str, why.findings))[:30_000]
    conditions = [
        Condition(ACCEPTED, "False", "Invalid", lines, observed_generation=run.generation),
        Condition(PROGRESSING, "False", "Ended", "nothing was started", observed_generation=run.generation),
        Condition(SUCCEEDED, "False", "Invalid", f"{why.message}: {lines}", observed_generation=run.generation),
    ]
    findings = [FindingStatus(item.path, item.code, item.message, item.hint) for item in why.findings[:1000]]
    return _ended_early(run, why.message, "INVALID_PIPELINE", conditions, findings, now)


def changed(run: PipelineRun, now: float) -> dict[str, Any]:
    """The status of a run whose spec became another pipeline's while it ran."""
    text = "the pipeline or its parameters were changed while the run was going on: create another run instead"
    conditions = [
        Condition(PROGRESSING, "False", "Ended", text, observed_generation=run.generation),
        Condition(SUCCEEDED, "False", "SpecChanged", text, observed_generation=run.generation),
    ]
    return _ended_early(run, text, "SPEC_CHANGED", conditions, [], now)


def _ended_early(
    run: PipelineRun, text: str, code: str, conditions: list[Condition], findings: list[FindingStatus], now: float
) -> dict[str, Any]:
    status = replace(
        run.status,
        state=RunState.FAILED,
        observed_generation=run.generation,
        conditions=with_conditions(run.status.conditions, conditions, now),
        finished_at=run.status.finished_at or told_time(now),
        updated_at=told_time(now),
        resumed=max(run.status.resumed, run.spec.resume),
        error=ErrorStatus(code, text),
        findings=tuple(findings),
    )
    return encode(status)


# ---------------------------------------------------------------------- runs that live
@dataclass
class Telling:
    """Tells what became of a run by now."""

    run: PipelineRun
    brain: Brain
    digest: str
    history: History
    records: Mapping[int, tuple[TaskStatus, ...]]
    waiting: Mapping[TaskKey, str]
    now: float
    flush: bool = True
    _current: list[TaskStatus] = field(default_factory=list[TaskStatus])
    _flushed: list[list[TaskStatus]] = field(default_factory=list[list[TaskStatus]])

    def __post_init__(self) -> None:
        recorded: History = {}
        for index in sorted(self.records):
            recorded.update((TaskKey(task.path, task.iteration), task) for task in self.records[index])
        states = self.brain.states()
        self._current = []
        for key, task in self.history.items():
            shown = self._shown(key, task, states)
            if recorded.get(key) != shown:
                self._current.append(shown)
        if self.flush:
            self._flush()

    def _shown(self, key: TaskKey, task: TaskStatus, states: Mapping[TaskKey, TaskState]) -> TaskStatus:
        """A task as the planner sees it: a failure that is tried again waits, one that is not is final."""
        state = states.get(key, task.state)
        if state is task.state or state in (TaskState.QUEUED, TaskState.PENDING):
            shown = task
        else:
            shown = replace(task, state=state)
        if key in self.waiting and not shown.state.finished:
            shown = replace(shown, waiting_for=self.waiting[key])
        if shown.state.finished and shown.waiting_for:
            shown = replace(shown, waiting_for="")
        return shown

    def _flush(self) -> None:
        """Move finished tasks into records once they are too much for the status."""
        failed = [task for task in self._current if task.state is TaskState.FAILED]
        keep = {id(task) for task in failed[:SHOWN_FAILED]}
        done = [task for task in self._current if task.state.finished and id(task) not in keep]
        sizes = [len(json.dumps(encode(task))) for task in done]
        if sum(sizes) <= FLUSH_BYTES and len(done) <= MAX_TASKS:
            return
        part: list[TaskStatus] = []
        room = RECORD_BYTES
        for task, size in zip(done, sizes, strict=True):
            if part and (len(part) >= MAX_TASKS or size > room):
                self._flushed.append(part)
                part, room = [], RECORD_BYTES
            part.append(task)
            room -= size
        self._flushed.append(part)
        gone = {id(task) for task in done}
        self._current = [task for task in self._current if id(task) not in gone]

    def chunks(self) -> list[Object]:
        """Records to be written, once."""
        first = max(self.records, default=-1) + 1
        labels = {LABEL_MANAGED: MANAGER, LABEL_RUN: run_label(self.run.name)}
        return [
            {
                "apiVersion": API_VERSION,
                "kind": TASK_RECORDS,
                "metadata": {
                    "name": records_name(self.run.name, first + number),
                    "namespace": self.run.namespace,
                    "labels": labels,
                },
                "spec": {"run": self.run.name, "index": first + number, "tasks": [encode(task) for task in tasks]},
            }
            for number, tasks in enumerate(self._flushed)
        ]

    def status(self, *, expired: bool = False, resuming: bool = False) -> dict[str, Any]:
        """The whole status; as it was, where nothing changed."""
        run, finish = self.run, self.brain.finish
        begun = run.status.started_at or told_time(self.now)
        counts = self._counts()
        state, error = RunState.CANCELLING if run.spec.cancel else RunState.RUNNING, None
        outputs: dict[str, object] = {}
        if finish is not None:
            state, error, outputs = finish.state, told(finish.error), values_json(finish.outputs)
            if expired and state is not RunState.SUCCEEDED:
                state, error = RunState.FAILED, ErrorStatus("DEADLINE", "the run's own deadline has passed")
        live = [task for task in self._current if not task.state.finished]
        plain = [task for task in live if task.state is TaskState.RUNNING and not task.waiting_for and not task.lost]
        hidden = {id(task) for task in plain[SHOWN_LIVE:] if task.attempt == 1}
        status = PipelineRunStatus(
            state=state,
            observed_generation=run.generation,
            conditions=with_conditions(
                () if resuming else run.status.conditions, self._conditions(state, error, live), self.now
            ),
            progress=f"{counts.total - counts.waiting - counts.running}/{counts.total}",
            started_at=begun,
            finished_at=told_time(self.now) if finish is not None else "",
            updated_at=run.status.updated_at,
            counts=counts,
            outputs=outputs,
            error=error,
            tasks=tuple(task for task in self._current if id(task) not in hidden),
            omitted=len(hidden),
            records=max(self.records, default=-1) + 1 + len(self._flushed),
            recorded=sum(map(len, self.records.values())) + sum(map(len, self._flushed)),
            resumed=run.spec.resume,
            spec_digest=self.digest,
        )
        if status != run.status:
            status = replace(status, updated_at=told_time(self.now))
        return encode(status)

    def _counts(self) -> Counts:
        found: Counter[str] = Counter(_COUNTED[state] for state in self.brain.states().values())
        return Counts(total=found.total(), **found)

    def _conditions(self, state: RunState, error: ErrorStatus | None, live: list[TaskStatus]) -> list[Condition]:
        generation = self.run.generation
        accepted = Condition(ACCEPTED, "True", "Valid", "", observed_generation=generation)
        if state.finished:
            text = error.message if error is not None else ""
            good = "True" if state is RunState.SUCCEEDED else "False"
            reason = {RunState.SUCCEEDED: "Succeeded", RunState.FAILED: "Failed"}.get(state, "Cancelled")
            return [
                accepted,
                Condition(PROGRESSING, "False", "Ended", "", observed_generation=generation),
                Condition(SUCCEEDED, good, reason, text, observed_generation=generation),
            ]
        stuck = [task for task in live if task.waiting_for]
        reason, text = ("Cancelling", "") if self.run.spec.cancel else ("Running", "")
        if stuck:
            first = stuck[0]
            reason = "Waiting"
            text = f"{TaskKey(first.path, first.iteration)}: {first.waiting_for}"
            text += f" (and {len(stuck) - 1} more)" if len(stuck) > 1 else ""
        return [
            accepted,
            Condition(PROGRESSING, "True", reason, text, observed_generation=generation),
            Condition(SUCCEEDED, "Unknown", "Running", "", observed_generation=generation),
        ]

    def events(self) -> list[EventNote]:
        """What is worth reading under `kubectl describe`."""
        old = {(task.path, task.iteration): task for task in self.run.status.tasks}
        notes: list[EventNote] = []
        for task in self._current:
            before = old.get((task.path, task.iteration))
            name = TaskKey(task.path, task.iteration)
            failures = before.failures if before is not None else 0
            if task.error is not None and task.failures > failures:
                notes.append(EventNote("TaskFailed", f"{name}: {task.error.message}"[:900], "Warning"))
            elif task.waiting_for and (before is None or before.waiting_for != task.waiting_for):
                notes.append(EventNote("TaskWaiting", f"{name}: {task.waiting_for}"[:900], "Warning"))
        finish = self.brain.finish
        if finish is not None:
            kind = "Normal" if finish.state is RunState.SUCCEEDED else "Warning"
            text = finish.error.message if finish.error is not None else "all tasks are done"
            notes.append(EventNote(str(finish.state).capitalize(), text[:900], kind))
        return notes[:20]
