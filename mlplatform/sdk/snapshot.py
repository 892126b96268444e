"""A run at one moment, with everything that its display shows. Reading is here, drawing is pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlplatform.core.errors import MlPlatformError
from mlplatform.core.model import Artifact, TaskRecord
from mlplatform.core.states import TaskState
from mlplatform.engine.home import Home
from mlplatform.ir.graph import dependencies
from mlplatform.ir.model import Dag, Pipeline
from mlplatform.sdk.links import links_of
from mlplatform.sdk.records import log_files
from mlplatform.sdk.report import run_report
from mlplatform.sdk.run_reading import Records, read_pipeline, read_records
from mlplatform.tracking.latest import logged_metrics

#: Running tasks whose last lines are shown, and how many lines of each.
_LOGS = 3
_LOG_LINES = 8
#: Bytes at the end of a log in which its last lines are looked for.
_LOG_BYTES = 16_384


@dataclass(frozen=True, slots=True)
class GraphNode:
    """A task, or a group around some, with what happened to it: of one in a loop, to all of its iterations.

    ``state``: a task state, or WAITING for one that is held back by something worth saying. ``count``: how many
    iterations there are and how many ended; (0, 0) outside loops. ``seconds``: how long it took, or takes so far."""

    id: str
    label: str
    parent: str
    is_group: bool
    state: str
    seconds: float | None
    done: int = 0
    count: int = 0


@dataclass(frozen=True, slots=True)
class Graph:
    nodes: tuple[GraphNode, ...]
    edges: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """``report``: see :mod:`mlplatform.sdk.report`. ``logs``: last lines of running tasks, by task; ``metrics``: what
    tasks logged, by task. ``now``: when it was taken, seconds since the epoch."""

    report: Mapping[str, Any]
    graph: Graph
    logs: Mapping[str, str]
    metrics: Mapping[str, Mapping[str, float]]
    links: Mapping[str, str]
    now: float


def take_snapshot(home: Home, run_id: str, now: float) -> Snapshot:
    """Raises NotFound."""
    records = read_records(home, run_id)
    try:
        graph = graph_of(read_pipeline(home, records.run.spec_digest), records.tasks, now)
    except MlPlatformError:  # the document is gone: there is no graph to draw
        graph = Graph((), ())
    links = links_of(home, records.run)
    files = log_files(records.attempts)
    report = run_report(records.run, records.tasks, logs=files, mlflow_url=links.get("MLflow", ""))
    logged = logged_metrics(home.mlflow, run_id, records.tasks)
    return Snapshot(report, graph, _running_logs(records), metrics_of(records.tasks, logged), links, now)


def _running_logs(records: Records) -> dict[str, str]:
    files = log_files(records.attempts)
    running = [task for task in records.tasks if task.state is TaskState.RUNNING and task.key in files]
    newest = sorted(running, key=lambda task: task.started_at or 0.0)[-_LOGS:]
    return {str(task.key): last_lines(Path(files[task.key]), _LOG_LINES) for task in newest}


def last_lines(path: Path, count: int) -> str:
    """The last lines of a file that may be long and still grows; what a progress bar wrote over is left out."""
    try:
        with path.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - _LOG_BYTES))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return ""
    lines = [line.rstrip().rpartition("\r")[2] for line in text.split("\n")]
    return "\n".join([line for line in lines if line.strip()][-count:])


# ------------------------------------------------------------------ graph
def graph_of(pipeline: Pipeline, records: Iterable[TaskRecord], now: float) -> Graph:
    """The pipeline's tasks and groups with what its records say of each."""
    by_path: dict[tuple[str, ...], list[TaskRecord]] = {}
    for record in records:
        by_path.setdefault(record.key.path, []).append(record)
    nodes: list[GraphNode] = []
    edges: list[tuple[str, str]] = []

    def visit(prefix: tuple[str, ...], dag: Dag) -> None:
        for name, needs in dependencies(dag, pipeline).items():
            path = (*prefix, name)
            component = pipeline.components.get(dag.tasks[name].component)
            inner = component.dag if component is not None else None
            nodes.append(_node(path, inner is not None, by_path.get(path, []), now))
            edges.extend(("/".join((*prefix, need)), "/".join(path)) for need in needs)
            if inner is not None:
                visit(path, inner)

    if pipeline.root.dag is not None:
        visit((), pipeline.root.dag)
    return Graph(tuple(nodes), tuple(edges))


def _node(path: tuple[str, ...], is_group: bool, records: list[TaskRecord], now: float) -> GraphNode:
    shallow = min((len(record.key.iteration) for record in records), default=0)
    own = [record for record in records if len(record.key.iteration) == shallow]
    deeper = [record for record in records if len(record.key.iteration) == shallow + 1]
    iterations = deeper if deeper and own and own[0].is_group else (records if len(records) > 1 else [])
    told = records if not is_group else own
    return GraphNode(
        id="/".join(path),
        label=path[-1],
        parent="/".join(path[:-1]),
        is_group=is_group,
        state=_state(told),
        seconds=_seconds(told, now),
        done=sum(record.state.finished for record in iterations),
        count=len(iterations),
    )


#: Of several iterations the one worth telling is told.
_TELLING = (
    TaskState.FAILED,
    TaskState.RUNNING,
    TaskState.RETRYING,
    TaskState.QUEUED,
    TaskState.PENDING,
    TaskState.CANCELLED,
    TaskState.SUCCEEDED,
    TaskState.CACHED,
    TaskState.SKIPPED,
)


def _state(records: list[TaskRecord]) -> str:
    states = {record.state for record in records}
    for state in _TELLING:
        if state in states:
            held = state is TaskState.QUEUED and any(r.waiting_for for r in records if r.state is state)
            return "WAITING" if held else str(state)
    return str(TaskState.PENDING)


def _seconds(records: list[TaskRecord], now: float) -> float | None:
    """From the first start to the last end; so far, while one runs."""
    ran = [record for record in records if record.started_at is not None and record.state is not TaskState.CACHED]
    if not ran:
        return None
    start = min(record.started_at or now for record in ran)
    ends = [record.finished_at if record.state.finished else now for record in ran]
    return max(0.0, max(end if end is not None else now for end in ends) - start)


# ------------------------------------------------------------------ metrics
def metrics_of(
    tasks: Iterable[TaskRecord], logged: Mapping[str, Mapping[str, float]] | None = None
) -> dict[str, dict[str, float]]:
    """The numbers that tasks logged, by task: in MLflow (``logged``, by task), and on their metrics artifacts
    (``system.Metrics``), which win."""
    found: dict[str, dict[str, float]] = {}
    for task in tasks:
        if logged and str(task.key) in logged:
            found[str(task.key)] = dict(logged[str(task.key)])
        for value in () if task.is_group else task.outputs.artifacts.values():
            for item in (value,) if isinstance(value, Artifact) else value:
                if item.type == "system.Metrics":
                    numbers = {name: number for name, number in item.metadata.items() if _is_number(number)}
                    found.setdefault(str(task.key), {}).update(numbers)  # pyright: ignore[reportArgumentType,reportCallIssue]
    return {task: numbers for task, numbers in found.items() if numbers}


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
