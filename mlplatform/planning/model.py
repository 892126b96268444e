"""What goes into the planner and what comes out of it.

The planner is a pure state machine. Only what leaf tasks did is truth (:class:`RunView`); groups, skips, loops,
conditions and the run's own state are derived from it, the same way on every machine and after every restart.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mlplatform.core.model import EMPTY, NO_VALUES, ArtifactValue, TaskError, TaskKey, Values
from mlplatform.core.states import RunState, TaskState
from mlplatform.core.values import JsonValue


@dataclass(frozen=True, slots=True)
class Limits:
    """``max_running``: tasks of this run at once (None: no limit; the engine's admission decides instead)."""

    max_running: int | None = None


@dataclass(frozen=True, slots=True)
class TaskFact:
    """What is known of one leaf task. Absent: nothing was done yet.

    States that occur: RUNNING (started, no result; the engine says RUNNING also while a started task is queued for
    resources), SUCCEEDED, CACHED, FAILED (one more attempt may follow, the planner decides), CANCELLED, and PENDING
    (the last attempt was lost with its process: start again, no failure counted).
    ``failures`` counts attempts that failed by the user's code. ``finished_at`` is when the last attempt ended.
    ``retryable=False`` on FAILED: do not retry whatever the policy says (wrong input, not a crash).
    """

    key: TaskKey
    state: TaskState
    attempt: int = 0
    failures: int = 0
    outputs: Values = NO_VALUES
    error: TaskError | None = None
    finished_at: float | None = None
    retryable: bool = True


@dataclass(frozen=True, slots=True)
class RunView:
    """The run's inputs and the facts of its leaf tasks.

    ``created_at`` (seconds since the epoch), ``pipeline_root`` and ``workspace`` are what the run's placeholders
    (``{{$.pipeline_job_create_time_utc}}``, ``{{$.pipeline_root}}``, ``{{$.workspace_path}}``) stand for in the
    constants of task inputs; one that is used but not given fails its task."""

    run_id: str
    job_name: str
    parameters: Mapping[str, JsonValue] = EMPTY
    artifacts: Mapping[str, ArtifactValue] = EMPTY
    tasks: Mapping[TaskKey, TaskFact] = field(default_factory=dict[TaskKey, TaskFact])
    cancel_requested: bool = False
    created_at: float | None = None
    pipeline_root: str = ""
    workspace: str = ""


@dataclass(frozen=True, slots=True)
class StartTask:
    """Start attempt ``attempt`` of a leaf task with these inputs (defaults filled in, types kept)."""

    key: TaskKey
    attempt: int
    component: str
    executor: str
    inputs: Values
    cache_enabled: bool = False
    cache_key: str = ""


@dataclass(frozen=True, slots=True)
class RecordTask:
    """A derived fact worth showing: a group began, ended or was skipped, a leaf was skipped or failed before it could
    start, or a leaf now waits for a retry (``retry_at``). Recording it is idempotent; the planner never reads it
    back."""

    key: TaskKey
    state: TaskState
    component: str = ""
    is_group: bool = False
    inputs: Values = NO_VALUES
    outputs: Values = NO_VALUES
    error: TaskError | None = None
    retry_at: float | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class CancelTask:
    """Stop the running attempt of a leaf task (its process tree), then report it CANCELLED."""

    key: TaskKey


@dataclass(frozen=True, slots=True)
class FinishRun:
    """The run is over."""

    state: RunState
    outputs: Values = NO_VALUES
    error: TaskError | None = None


Action = StartTask | RecordTask | CancelTask | FinishRun


@dataclass(frozen=True, slots=True)
class Decision:
    """``wake_at``: call again at this time (a retry becomes due) even if nothing happens before."""

    actions: tuple[Action, ...]
    wake_at: float | None = None
