"""What became of a TrainingJob. The ledger of its decisions is kept here too: any operator goes on from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mlplatform.apis.conditions import Condition
from mlplatform.apis.fields import About, told
from mlplatform.apis.trainingjob import TrainingJobSpec

_TEXT = About("", max_length=253)


@dataclass(frozen=True, slots=True)
class GroupStatus:
    """The ranks of a group by what they do. ``done`` and ``apart`` are lists of ranks and ranges."""

    name: str = told("The group.", max_length=12)
    desired: int = told("Ranks that are asked for.", 0)
    admitted: int = told("Ranks that have quota.", 0)
    active: int = told("Ranks that have a place and are not done.", 0)
    ready: int = told("Ranks that work.", 0)
    succeeded: int = told("Ranks that ended well.", 0)
    failed: int = told("Ranks that ended badly in this attempt.", 0)
    attempt: int = told("The attempt that it is in.", 0)
    begun: bool = told("Whether its ranks were asked for.", False)
    whole: int | None = told("With how many ranks it was seen complete.", None)
    done: str = told("Ranks that ended well, such as 0-3,7.", "", max_length=65536)
    apart: str = told("Ranks in an attempt of their own, such as 2-3:4,9:5.", "", max_length=131072)


@dataclass(frozen=True, slots=True)
class Metric:
    """A figure that the ranks report."""

    name: str = told("Its name.", max_length=64)
    value: str = told("Its value.", max_length=64)


@dataclass(frozen=True, slots=True)
class ProgressStatus:
    """What the ranks of the current attempt said last."""

    percent: int | None = told("How much is done.", None, minimum=0, maximum=100)
    step: int | None = told("The step of the slowest rank that reports.", None, minimum=0)
    total_steps: int | None = told("How many steps there are.", None, minimum=0)
    eta_seconds: int | None = told("The time that is left.", None, minimum=0)
    last_report_time: str = told("When ranks last told of a new step or checkpoint.", "", time=True)
    slowest_group: str = told("The group of the slowest rank.", "", max_length=12)
    slowest_rank: int | None = told("The slowest rank.", None, minimum=0)
    attempt: int | None = told("The attempt that it is in.", None, minimum=0)
    lag_steps: int | None = told("How many steps it is behind the quickest.", None, minimum=0)
    checkpoint_step: int | None = told("The newest checkpoint that was saved whole.", None, minimum=0)
    checkpoint_time: str = told("When it was.", "", time=True)
    checkpoint_uri: str = told("Where it is.", "", max_length=2048)
    metrics: tuple[Metric, ...] = told("Figures.", (), max_items=64)


@dataclass(frozen=True, slots=True)
class CheckpointStatus:
    """The checkpoint that the next attempt goes on from."""

    step: int = told("Its step.", minimum=0)
    time: str = told("When it was saved.", "", time=True)
    uri: str = told("Where it is.", "", max_length=2048)


@dataclass(frozen=True, slots=True)
class GoodputStatus:
    """Where the time went, in whole seconds that add up to ``wallSeconds`` (suspended time is no part of it)."""

    percent: int = told("The share of it that training gained from.", 0)
    wall_seconds: int = told("All of it.", 0)
    productive_seconds: int = told("Work that is saved, or led to the end.", 0)
    unsaved_seconds: int = told("Work since the last checkpoint.", 0)
    queued_seconds: int = told("Waiting for quota and places.", 0)
    startup_seconds: int = told("From places to all ranks at work.", 0)
    lost_seconds: int = told("Work that was done again.", 0)
    restart_seconds: int = told("Stopping ranks and waiting to start again.", 0)


@dataclass(frozen=True, slots=True)
class AttemptStatus:
    """One try, and how it ended: the first rank that failed."""

    number: int = told("Which, from 1.", minimum=0)
    start_time: str = told("When it began.", "", time=True)
    end_time: str = told("When it ended.", "", time=True)
    reason: str = told("Why it ended, as one word.", "", max_length=1024)
    message: str = told("Why it ended.", "", max_length=1024)
    group: str = told("The group of the rank that failed first.", "", max_length=12)
    rank: int | None = told("That rank.", None)
    node: str = told("Its node.", "", max_length=253)
    exit_code: int | None = told("Its exit code.", None)
    action: str = told("What it led to.", "", max_length=32)
    counted: bool = told("Whether it counts against maxRestarts.", False)
    resumed_from_step: int | None = told("The checkpoint it went on from.", None)


@dataclass(frozen=True, slots=True)
class Spent:
    """Milliseconds."""

    productive: int = told("Productive.", 0)
    unsaved: int = told("Not saved yet.", 0)
    queued: int = told("Queued.", 0)
    startup: int = told("Startup.", 0)
    lost: int = told("Lost.", 0)
    restart: int = told("Restart.", 0)


@dataclass(frozen=True, slots=True)
class LedgerStatus:
    """What was decided, as far as it is nowhere else in the status. For the controller."""

    stage: str = told("Where the job is.", "", max_length=32)
    since: str = told("Since when.", "", time=True)
    seen_at: str = told("When the clocks were read.", "", time=True)
    waiting_since: str = told("Since when it lacks what it needs.", "", time=True)
    not_before: str = told("When it may be tried again.", "", time=True)
    tries: int = told("How often it was taken back for want of places.", 0)
    requeues: int = told("How often it was put back since it was made or resumed.", 0)
    restarts_at: str = told(
        "Restarts that count: the first in milliseconds since the epoch, each further one as the difference.",
        "",
        max_length=262144,
    )
    avoid_nodes: tuple[str, ...] = told("Nodes to avoid.", (), max_items=16, each=_TEXT)
    hung: bool = told("Whether it hangs.", False)
    given_up: tuple[str, ...] = told(
        "Claims that are taken away before the ranks start again.", (), max_items=5000, each=_TEXT
    )
    void_before: str = told("Checkpoints that were saved earlier are not there any more.", "", time=True)
    spent: Spent = told("Where the time went.", factory=Spent)


@dataclass(frozen=True, slots=True)
class TrackingStatus:
    """Where metrics are."""

    run_id: str = told("The MLflow run.", "")
    experiment_id: str = told("Its experiment.", "")


@dataclass(frozen=True, slots=True)
class ResultStatus:
    """What a rank that runs a task of a pipeline left behind: rank 0, or the one that the job failed by."""

    attempt: int = told("The attempt that the rank was in.", 0)
    group: str = told("Its group.", "", max_length=12)
    rank: int = told("The rank.", 0)
    pod: str = told("Its pod.", "", max_length=253)
    image: str = told("The image that it ran in, and its digest.", "", max_length=1024)
    message: str = told("The last word of its launcher.", "", max_length=8192)
    peers: tuple[str, ...] = told("Whom the ranks talked to, beside each other.", (), max_items=20, each=_TEXT)


@dataclass(frozen=True, slots=True)
class TrainingJobStatus:
    """What became of the job."""

    observed_generation: int = told("The generation of the spec that this speaks of.", 0)
    phase: str = told("Where the job is, derived from its conditions.", "", max_length=32)
    reason: str = told("Why, as one word.", "", max_length=1024)
    message: str = told("Why, and what to do.", "", max_length=32768)
    attempt: int = told("Which try, from 1.", 0)
    restarts_counted: int = told("Restarts that counted against maxRestarts.", 0)
    restarts_uncounted: int = told("Restarts that did not.", 0)
    start_time: str = told("When training began.", "", time=True)
    completion_time: str = told("When the job ended.", "", time=True)
    conditions: tuple[Condition, ...] = told("What is true of the job.", (), keys=("type",), max_items=16)
    groups: tuple[GroupStatus, ...] = told("The ranks.", (), keys=("name",), max_items=8)
    progress: ProgressStatus | None = told("What the ranks said last.", None)
    checkpoint: CheckpointStatus | None = told("What the next attempt goes on from.", None)
    goodput: GoodputStatus | None = told("Where the time went.", None)
    attempts: tuple[AttemptStatus, ...] = told("The last tries.", (), max_items=20)
    tracking: TrackingStatus | None = told("Where metrics are.", None)
    result: ResultStatus | None = told("What came of it, where it is a task of a pipeline.", None)
    ledger: LedgerStatus | None = told("What was decided; for the controller.", None)


@dataclass(frozen=True, slots=True)
class TrainingJob:
    """One training job as the API server has it."""

    name: str
    namespace: str
    uid: str
    spec: TrainingJobSpec
    generation: int = 1
    created_at: float = 0.0
    deleting: bool = False
    #: Whether it is a task of a pipeline, whose run keeps it until it knows how it ended.
    held: bool = False
    #: Whose it is, as its metadata has it.
    owners: tuple[Mapping[str, Any], ...] = ()
    status: TrainingJobStatus = field(default_factory=TrainingJobStatus)
