"""Shapes of ``/api/v1`` about training jobs and the cluster. Times are seconds since the epoch."""

from __future__ import annotations

from pydantic import Field

from mlplatform.server.models import Model


class Surroundings(Model):
    """What there is besides runs. ``cluster``: the namespace that this server shows; empty: it is on a machine.
    ``training``: whether there can be training jobs here."""

    cluster: str
    training: bool


class RankCounts(Model):
    desired: int
    active: int
    ready: int
    succeeded: int
    failed: int


class TrainingSummary(Model):
    """A training job in one line. ``message``: what it waits for, or how it ended. ``percent`` of its steps is what
    ranks report; ``goodput_percent``: the share of its time that training gained from."""

    name: str
    namespace: str
    uid: str
    framework: str
    phase: str
    reason: str
    message: str
    suspend: bool
    created_at: float | None
    started_at: float | None
    finished_at: float | None
    attempt: int
    restarts: int
    restarts_counted: int
    max_restarts: int
    ranks: RankCounts
    accelerators: int
    percent: int | None
    step: int | None
    total_steps: int | None
    eta_seconds: int | None
    reported_at: float | None
    checkpoint_step: int | None
    goodput_percent: int | None
    queue: str


class TrainingPage(Model):
    """``note``: why there may be more than is shown."""

    training_jobs: list[TrainingSummary]
    total: int
    note: str


class TrainingGroup(Model):
    """Ranks that do the same. ``least`` and ``most``: of an elastic group."""

    name: str
    role: str
    desired: int
    least: int | None
    most: int | None
    accelerators: int
    active: int
    ready: int
    succeeded: int
    failed: int
    attempt: int


class TrainingRank(Model):
    """One rank as it is now. ``place``: its pod or process."""

    group: str
    rank: int
    attempt: int
    state: str
    place: str
    node: str
    message: str
    exit_code: int | None
    started_at: float | None
    finished_at: float | None


class TrainingAttempt(Model):
    """One try. ``group`` and ``rank``: who failed first; ``counted``: against max_restarts."""

    number: int
    started_at: float | None
    ended_at: float | None
    reason: str
    message: str
    group: str
    rank: int | None
    node: str
    exit_code: int | None
    action: str
    counted: bool
    resumed_from_step: int | None


class TrainingCondition(Model):
    type: str
    status: str
    reason: str
    message: str
    at: float | None


class Goodput(Model):
    """Where the seconds went; the parts add up to ``wall_seconds``."""

    percent: int
    wall_seconds: int
    productive_seconds: int
    unsaved_seconds: int
    queued_seconds: int
    startup_seconds: int
    lost_seconds: int
    restart_seconds: int


class TrainingDetail(TrainingSummary):
    """Everything about a training job. Newest attempt first."""

    groups: list[TrainingGroup]
    rank_rows: list[TrainingRank]
    attempts: list[TrainingAttempt]
    conditions: list[TrainingCondition]
    goodput: Goodput | None
    metrics: dict[str, str]
    slowest: str
    lag_steps: int | None
    checkpoint_at: float | None
    checkpoint_uri: str
    checkpoint_scope: str
    mlflow_run_id: str
    mlflow_experiment_id: str
    mlflow: str
    commands: dict[str, str]


class Done(Model):
    name: str


class User(Model):
    """Who has accelerators of a node. Without a name: pods of other namespaces."""

    pod: str
    training_job: str
    count: int


class Accelerators(Model):
    resource: str
    total: int
    used: int
    by: list[User]


class ClusterNode(Model):
    """``memory`` in bytes, ``cpu`` in cores: what pods may have, and what they asked for."""

    name: str
    ready: bool
    schedulable: bool
    taints: list[str]
    product: str
    accelerator_memory_mib: int | None
    zone: str
    accelerators: list[Accelerators]
    cpu: float
    cpu_used: float
    memory: float
    memory_used: float
    pods: int


class Waiting(Model):
    """A pod without a place."""

    pod: str
    training_job: str
    run: str
    accelerators: int
    why: str


class Quota(Model):
    quota: str
    resource: str
    hard: str
    used: str


class ClusterView(Model):
    """``waiting_jobs``: training jobs that do not run, with the reason; ``notes``: what may not be seen."""

    namespace: str
    nodes: list[ClusterNode]
    waiting: list[Waiting]
    waiting_jobs: list[TrainingSummary] = Field(default_factory=list[TrainingSummary])
    quotas: list[Quota]
    notes: list[str]
