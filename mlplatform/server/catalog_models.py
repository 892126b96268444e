"""The words of ``/api/v1`` for pipelines, experiments, recurring runs, the cache and the machine."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from mlplatform.server.models import Model, Name

Text = Annotated[str, Field(max_length=100_000)]


class InputField(Model):
    """An input parameter of a pipeline: what a form asks for. ``default`` counts only if ``has_default``."""

    name: str
    type: Literal[
        "NUMBER_INTEGER", "NUMBER_DOUBLE", "STRING", "BOOLEAN", "LIST", "STRUCT", "TASK_FINAL_STATUS", "TASK_CONFIG"
    ]  # fmt: skip
    required: bool
    has_default: bool
    default: Any = None
    description: str
    literals: list[Any]


class PipelineModel(Model):
    """A pipeline somebody uploaded. ``newest``: the id of its newest version, or empty."""

    pipeline_id: str
    name: str
    display_name: str
    description: str
    created_at: float
    versions: int


class PipelinePage(Model):
    pipelines: list[PipelineModel]
    next_cursor: str
    total: int


class VersionModel(Model):
    """``document``: the digest its pipeline document is stored under."""

    version_id: str
    pipeline_id: str
    name: str
    display_name: str
    description: str
    created_at: float
    document: str
    code_source_url: str


class VersionDetail(VersionModel):
    """``inputs``: the pipeline's parameters. ``text``: its document, as it was given."""

    pipeline_name: str
    inputs: list[InputField]
    artifacts: list[str]
    text: str


class VersionPage(Model):
    versions: list[VersionModel]


class PipelineDetail(PipelineModel):
    newest: VersionDetail | None


class Uploaded(Model):
    pipeline: PipelineModel
    version: VersionModel


class Checked(Model):
    """What a document is, without storing it."""

    name: str
    inputs: list[InputField]
    artifacts: list[str]


class ExperimentModel(Model):
    experiment_id: str
    name: str
    description: str
    created_at: float
    archived: bool
    last_run_at: float | None


class ExperimentList(Model):
    experiments: list[ExperimentModel]


class CreateExperiment(Model):
    name: Annotated[str, Field(min_length=1, max_length=200)]
    description: Text = ""


class ChangeExperiment(Model):
    description: Text | None = None
    archived: bool | None = None


class TriggerModel(Model):
    """Either ``cron`` (five fields, or six beginning with seconds) in ``timezone``, or ``interval`` seconds."""

    cron: Annotated[str, Field(max_length=200)] = ""
    interval: Annotated[float, Field(ge=0)] = 0.0
    timezone: Annotated[str, Field(max_length=100)] = "UTC"
    start: float | None = None
    end: float | None = None


class CreateRecurring(Model):
    """What to run is named as for a run; without a version, each tick takes the pipeline's newest one."""

    name: Annotated[str, Field(min_length=1, max_length=200)]
    trigger: TriggerModel
    description: Text = ""
    experiment: Name = ""
    pipeline_id: str = ""
    version_id: str = ""
    document: str = ""
    parameters: dict[str, Any] = Field(default_factory=dict[str, Any])
    enabled: bool = True
    catchup: bool = True
    max_concurrency: Annotated[int, Field(ge=1, le=100)] = 1
    cache: bool = True
    priority: Annotated[int, Field(ge=-1_000_000, le=1_000_000)] = 0


class ChangeRecurring(Model):
    """Null: leave as it is. Ticks that pass while it is off are not made up for."""

    enabled: bool | None = None
    trigger: TriggerModel | None = None
    catchup: bool | None = None
    max_concurrency: Annotated[int, Field(ge=1, le=100)] | None = None
    parameters: dict[str, Any] | None = None
    description: Text | None = None


class RecurringModel(Model):
    """``next``: the next ticks while it is on. ``trouble``: why the last tick made no run. ``active``: unfinished runs
    of it."""

    recurring_id: str
    name: str
    description: str
    experiment: str
    enabled: bool
    trigger: TriggerModel
    catchup: bool
    max_concurrency: int
    pipeline_id: str
    version_id: str
    parameters: dict[str, Any]
    cache: bool
    priority: int
    created_at: float
    updated_at: float
    ticked_at: float
    next: list[float]
    active: int
    trouble: str


class RecurringList(Model):
    """``note``: what people should know about when these run."""

    recurring_runs: list[RecurringModel]
    note: str


class TriggerCheck(Model):
    """The first ticks from now on."""

    next: list[float]


class Holder(Model):
    """A task that has a part of the machine now."""

    run_id: str
    task: str
    iteration: list[int]
    cores: float
    memory: float
    gpus: int


class Machine(Model):
    """The machine that runs things. ``service``: whether its service runs (without one nothing does, and nobody
    knows of GPUs). Memory is in bytes. ``trouble``: what keeps the service from going on."""

    service: bool
    version: str
    home: str
    store: str
    cores: float
    memory: float
    gpus: list[int]
    active_runs: int
    running: list[Holder]
    waiting: int
    stays: bool
    recurring_runs: int
    trouble: str


class Found(Model):
    """Something that fits a search. ``link``: where the pages show it."""

    kind: Literal["run", "pipeline", "experiment", "recurring run"]
    id: str
    name: str
    detail: str
    link: str


class FoundList(Model):
    results: list[Found]


class CacheClear(Model):
    """Of a run, of a task identity, of both together; with neither, ``everything`` must be true."""

    run_id: str = ""
    identity: str = ""
    everything: bool = False


class Removed(Model):
    removed: int


class Why(Model):
    run_id: str
    task: str
    state: str
    why: str
    cached_from: str


class MlflowModel(Model):
    """``url``: the pages behind this server, relative to it. ``ready``: they are up; else they are being started."""

    url: str
    ready: bool
    trouble: str
