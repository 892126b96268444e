"""The words of ``/api/v1``, for its OpenAPI document. Times are seconds since the epoch, UTC."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from mlplatform.core.catalog import NAME_LIMIT
from mlplatform.core.states import RunState, TaskState


class Model(BaseModel):
    model_config = ConfigDict(extra="forbid")


class FindingModel(Model):
    path: str
    code: str
    message: str
    hint: str


class ErrorBody(BaseModel):
    """What went wrong, what to do next, and every finding. ``code`` is stable."""

    code: str
    message: str
    hint: str = ""
    retryable: bool = False
    findings: list[FindingModel] = Field(default_factory=list[FindingModel])


class ErrorModel(BaseModel):
    error: ErrorBody


class TaskErrorModel(BaseModel):
    code: str
    message: str
    hint: str = ""
    traceback: str = ""


class Progress(Model):
    """Tasks of an unfinished run that are known by now, without groups."""

    done: int
    total: int


class Origin(Model):
    """Where a run came from; empty texts where it did not."""

    pipeline_id: str = ""
    version_id: str = ""
    recurring_id: str = ""
    scheduled_for: str = ""
    rerun_of: str = ""


class RunSummary(Model):
    """A run in a list."""

    run_id: str
    name: str
    pipeline: str
    experiment: str
    state: RunState
    created_at: float
    started_at: float | None
    finished_at: float | None
    priority: int
    tags: dict[str, str]
    note: str
    archived: bool
    error: TaskErrorModel | None
    progress: Progress | None
    origin: Origin
    mlflow_run_id: str


class RunPage(Model):
    """``counts``: runs by state under the same filters, whatever ``state`` was asked for."""

    runs: list[RunSummary]
    next_cursor: str
    counts: dict[str, int]


class RunDetail(RunSummary):
    """A run without its tasks. ``seq``: the newest event that this answer holds: follow the run from there.

    ``inputs`` and ``outputs`` hold parameters and artifacts under their names. ``document``: the digest of its pipeline
    document. ``context``: what it was submitted with. ``mlflow``: where MLflow's pages show it, relative to ours, or
    empty. ``commands``: the command line's way of doing things to it.
    """

    seq: int
    inputs: dict[str, Any]
    outputs: dict[str, Any]
    document: str
    context: dict[str, Any]
    mlflow: str
    counts: dict[str, int]
    commands: dict[str, str]


class TaskColumns(Model):
    """One entry a task, in the order in which tasks were first recorded.

    ``name``, ``component``, ``state``, ``note`` and ``error`` are places in the dictionaries of that name (-1: none).
    Times are whole milliseconds after ``base``, null where something has not happened.
    """

    name: list[int]
    iteration: list[list[int]]
    state: list[int]
    group: list[int]
    component: list[int]
    attempts: list[int]
    created: list[int | None]
    started: list[int | None]
    finished: list[int | None]
    note: list[int]
    error: list[int]


class TaskTable(Model):
    """All tasks of a run, packed. ``base``: seconds since the epoch. ``dictionaries``: the texts columns refer to."""

    run_id: str
    seq: int
    base: float
    dictionaries: dict[Literal["name", "component", "state", "note", "error"], list[str]]
    columns: TaskColumns


class AttemptModel(Model):
    attempt: int
    state: TaskState
    started_at: float | None
    finished_at: float | None
    exit_code: int | None
    error: TaskErrorModel | None
    log_size: int | None


class ArtifactModel(BaseModel):
    name: str
    type: str
    uri: str
    metadata: dict[str, Any]
    digest: str
    size: int | None


class Place(Model):
    """A task of a run: an end of an artifact's lineage. ``task`` is empty for the run itself."""

    run_id: str
    task: str
    iteration: list[int]


class Code(Model):
    """What a task runs. ``kind``: python, notebook, container, importer or group."""

    kind: Literal["python", "notebook", "container", "importer", "group"]
    component: str
    image: str
    command: list[str]
    args: list[str]
    source: str
    packages: list[str]


class Cost(Model):
    """What a task took. ``seconds``: of all its attempts. ``asked``: resources as the pipeline asks for them."""

    seconds: float
    asked: dict[str, str]


class TaskDetail(Model):
    """``metrics``: numbers that it logged, in MLflow or in a metrics artifact. ``training``: the name of the training
    job that it is, where several ranks run it. ``commands``: the command line's way of
    doing things to it, and ``replay``, Python for a notebook, where it is Python."""

    run_id: str
    name: str
    iteration: list[int]
    state: TaskState
    is_group: bool
    component: str
    why: str
    waiting_for: str
    cache_key: str
    cached_from: str
    inputs: dict[str, Any]
    outputs: dict[str, Any]
    error: TaskErrorModel | None
    created_at: float | None
    started_at: float | None
    finished_at: float | None
    retry_at: float | None
    mlflow_run_id: str
    mlflow: str
    training: str
    attempts: list[AttemptModel]
    metrics: dict[str, float]
    code: Code | None
    cost: Cost
    commands: dict[str, str]


class LogPart(Model):
    """Part of an attempt's log. ``offset`` and ``next_offset`` are bytes; ``size``: of the whole log by now.
    ``complete``: the attempt has ended and this part reaches its end."""

    attempt: int
    offset: int
    next_offset: int
    size: int
    complete: bool
    text: str


class Node(Model):
    """A task or a group of a pipeline. ``id`` is its path, ``parent`` that of the group around it, or empty.
    ``detail``: a group's condition or items, an importer's address."""

    id: str
    name: str
    kind: Literal["task", "importer", "dag", "condition", "loop", "exit"]
    parent: str
    component: str
    detail: str


class Edge(Model):
    """``target`` waits for ``source``. ``labels``: the outputs that go along it."""

    source: str
    target: str
    labels: list[str]


class Drawing(Model):
    """Whole pixels. ``nodes`` and ``groups`` (those drawn open, outer before inner): id -> x, y, width, height of what
    is seen; ``edges``: source, target and a way x, y, x, y ..."""

    width: int
    height: int
    nodes: dict[str, list[int]]
    groups: dict[str, list[int]]
    edges: list[tuple[str, str, list[int]]]


class GraphModel(Model):
    """``document``: the digest of the pipeline document; the same one has the same graph."""

    document: str
    nodes: list[Node]
    edges: list[Edge]
    layout: Drawing


Name = Annotated[str, Field(max_length=NAME_LIMIT)]
Tags = Annotated[dict[str, str], Field(max_length=100)]


class CreateRun(Model):
    """What to run: a ``version_id``; or a ``pipeline_id`` (its newest version); or the text of a ``document``."""

    version_id: str = ""
    pipeline_id: str = ""
    document: str = ""
    name: Name = ""
    experiment: Name = ""
    parameters: dict[str, Any] = Field(default_factory=dict[str, Any])
    tags: Tags = Field(default_factory=dict[str, str])
    cache: bool = True
    containers: Literal["", "docker", "podman", "subprocess"] = ""
    priority: Annotated[int, Field(ge=-1_000_000, le=1_000_000)] = 0


class Rerun(Model):
    """The same pipeline once more. ``parameters`` replace those of the run that is repeated, one by one."""

    name: Name = ""
    parameters: dict[str, Any] = Field(default_factory=dict[str, Any])
    cache: bool = True


class Cancel(Model):
    """``force``: kill its processes at once."""

    force: bool = False


class Annotate(Model):
    """``tags``: an empty value removes one. Null: leave as it is."""

    tags: Tags | None = None
    note: Annotated[str, Field(max_length=100_000)] | None = None
    archived: bool | None = None


class Bulk(Model):
    action: Literal["archive", "unarchive", "cancel", "delete"]
    run_ids: Annotated[list[str], Field(min_length=1, max_length=1000)]


class BulkResult(Model):
    """``failed``: the reason for each run nothing could be done to."""

    done: list[str]
    failed: dict[str, str]


class RunId(Model):
    run_id: str


class ArtifactLinkModel(Model):
    """One end of an artifact's lineage: who made it (``output``, or ``reuse`` out of the cache) or used it."""

    run_id: str
    task: str
    iteration: list[int]
    role: Literal["output", "reuse", "input"]
    name: str
    position: int
    uri: str
    digest: str
    type: str
    size: int | None


class ArtifactPage(Model):
    artifacts: list[ArtifactLinkModel]
    next_cursor: str


class ArtifactDetail(Model):
    """``content``: a URL for its bytes, ``raw`` the same to be saved; both signed for some minutes."""

    artifact: ArtifactModel
    made_by: list[Place]
    used_by: list[Place]
    reused_by: list[Place]
    content: str
    raw: str
    exists: bool | None


class Preview(Model):
    """What to show of an artifact. ``kind`` says which of the other fields are filled.

    - text, json, markdown: ``text``. - table: ``columns`` and ``rows`` (cells as text), ``total`` rows where known.
    - image, html, notebook: ``url``, to be shown in an image or a sandboxed frame. - metrics: ``metrics``.
    - confusion_matrix: ``labels``, ``matrix``. - roc: ``curve`` of false and true positive rate, threshold.
    - tree: ``entries``. - binary, none: ``note`` says why there is nothing to see.
    """

    kind: Literal[
        "text", "json", "markdown", "table", "image", "html", "notebook", "metrics", "confusion_matrix", "roc",
        "tree", "binary", "none",
    ]  # fmt: skip
    note: str = ""
    text: str = ""
    truncated: bool = False
    columns: list[str] = Field(default_factory=list[str])
    rows: list[list[str]] = Field(default_factory=list[list[str]])
    total: int | None = None
    url: str = ""
    metrics: dict[str, Any] = Field(default_factory=dict[str, Any])
    labels: list[str] = Field(default_factory=list[str])
    matrix: list[list[float]] = Field(default_factory=list[list[float]])
    curve: list[list[float]] = Field(default_factory=list[list[float]])
    entries: list[TreeEntry] = Field(default_factory=lambda: list[TreeEntry]())


class TreeEntry(Model):
    path: str
    size: int
    url: str
