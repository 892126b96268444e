"""How two runs differ: what went in (parameters, code, packages, data) and what came out (metrics, outputs, times)."""

from __future__ import annotations

import ast
import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mlplatform.core.errors import MlPlatformError
from mlplatform.core.model import Artifact, ArtifactValue, RunRecord, TaskRecord
from mlplatform.core.states import TaskState
from mlplatform.engine.home import Home
from mlplatform.ir.model import ContainerExecutor, Dag, Pipeline
from mlplatform.planning.changes import implementation
from mlplatform.planning.notebook_component import recognise_notebook
from mlplatform.planning.python_component import recognise
from mlplatform.planning.sdk_component import describe
from mlplatform.sdk.run_reading import Records, read_pipeline, read_records
from mlplatform.sdk.snapshot import metrics_of
from mlplatform.tracking.latest import logged_metrics

if TYPE_CHECKING:
    from mlplatform.sdk.run import Run

#: A value in both runs; None where a run has none.
Pair = tuple[Any, Any]


@dataclass(frozen=True, slots=True)
class RunDiff:
    """Differences from run ``a`` to run ``b``. A pair is (value in a, value in b), None where there is none.

    Attributes:
        parameters: run parameters that differ.
        code: task -> unified diff of its code; comments and formatting are no difference.
        packages: what tasks were to run on, where it differs: Python, images, required packages.
        data: ``task.input`` (or a run's input) -> digests of artifacts whose content differs.
        metrics: ``task.metric`` -> numbers logged by either run, equal ones too.
        outputs: outputs of the runs that are plain values, equal ones too.
        states: tasks that ended differently.
        durations: seconds of the runs (``""``) and of tasks that ran in both.
    """

    a: str
    b: str
    names: tuple[str, str]
    parameters: Mapping[str, Pair] = field(default_factory=dict[str, Pair])
    code: Mapping[str, str] = field(default_factory=dict[str, str])
    packages: Mapping[str, Pair] = field(default_factory=dict[str, Pair])
    data: Mapping[str, Pair] = field(default_factory=dict[str, Pair])
    metrics: Mapping[str, Pair] = field(default_factory=dict[str, Pair])
    outputs: Mapping[str, Pair] = field(default_factory=dict[str, Pair])
    states: Mapping[str, Pair] = field(default_factory=dict[str, Pair])
    durations: Mapping[str, Pair] = field(default_factory=dict[str, Pair])

    @property
    def same_inputs(self) -> bool:
        """Whether everything that went in is the same: what differs then came of chance or of the outside."""
        return not (self.parameters or self.code or self.packages or self.data)

    def to_dict(self) -> dict[str, Any]:
        """JSON: pairs as ``{"a": ..., "b": ...}``."""

        def pairs(found: Mapping[str, Pair]) -> dict[str, Any]:
            return {name: {"a": a, "b": b} for name, (a, b) in found.items()}

        return {
            "a": {"run_id": self.a, "name": self.names[0]},
            "b": {"run_id": self.b, "name": self.names[1]},
            "same_inputs": self.same_inputs,
            "parameters": pairs(self.parameters),
            "code": dict(self.code),
            "packages": pairs(self.packages),
            "data": pairs(self.data),
            "metrics": pairs(self.metrics),
            "outputs": pairs(self.outputs),
            "states": pairs(self.states),
            "durations": pairs(self.durations),
        }

    def __repr__(self) -> str:
        from mlplatform.sdk.diff_display import text

        return text(self)

    def _repr_html_(self) -> str:
        from mlplatform.sdk.diff_display import html

        return html(self)


def diff_runs(a: Run, b: Run) -> RunDiff:
    """Raises NotFound if a run is no longer there."""
    return diff_of(_side(a.client.home, a.run_id), _side(b.client.home, b.run_id))


def diff_stored(home: Home, a: str, b: str) -> RunDiff:
    """The same by full ids of runs in one home."""
    return diff_of(_side(home, a), _side(home, b))


@dataclass(frozen=True, slots=True)
class Side:
    """One run with its pipeline; None where its document is gone. ``logged``: what its tasks logged in MLflow."""

    records: Records
    pipeline: Pipeline | None
    logged: Mapping[str, Mapping[str, float]] = field(default_factory=dict[str, Mapping[str, float]])


def _side(home: Home, run_id: str) -> Side:
    records = read_records(home, run_id)
    logged = logged_metrics(home.mlflow, run_id, records.tasks)
    try:
        return Side(records, read_pipeline(home, records.run.spec_digest), logged)
    except MlPlatformError:
        return Side(records, None, logged)


def diff_of(a: Side, b: Side) -> RunDiff:
    """Pure."""
    left, right = a.records.run, b.records.run
    executors = (_executors(a.pipeline), _executors(b.pipeline))
    tasks = (_tasks(a.records.tasks), _tasks(b.records.tasks))
    return RunDiff(
        a=left.run_id,
        b=right.run_id,
        names=(left.name, right.name),
        parameters=_different(left.parameters, right.parameters),
        code=_code(*executors),
        packages=_different(_packages(left, executors[0], executors[1]), _packages(right, executors[1], executors[0])),
        data=_different(_digests(left, tasks[0]), _digests(right, tasks[1]), both=True),
        metrics=_pairs(_metrics(a), _metrics(b)),
        outputs=_pairs(left.outputs.parameters, right.outputs.parameters),
        states=_states(*tasks),
        durations=_durations(left, right, *tasks),
    )


def _states(a: Mapping[str, TaskRecord], b: Mapping[str, TaskRecord]) -> dict[str, Pair]:
    found: dict[str, Pair] = {}
    for name in dict.fromkeys([*a, *b]):
        one, other = (tasks[name].state if name in tasks else None for tasks in (a, b))
        good = one is not None and other is not None and one.succeeded and other.succeeded
        if one is not other and not good:
            found[name] = (None if one is None else str(one), None if other is None else str(other))
    return found


def _pairs(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, Pair]:
    return {name: (a.get(name), b.get(name)) for name in dict.fromkeys([*a, *b])}


def _different(a: Mapping[str, Any], b: Mapping[str, Any], *, both: bool = False) -> dict[str, Pair]:
    """Entries that differ, in value or type. ``both``: only those that both have."""
    return {
        name: (one, other)
        for name, (one, other) in _pairs(a, b).items()
        if (one != other or type(one) is not type(other)) and not (both and (name not in a or name not in b))
    }


def _tasks(records: Iterable[TaskRecord]) -> dict[str, TaskRecord]:
    return {str(record.key): record for record in records if not record.is_group}


# ------------------------------------------------------------------ code and packages
def _executors(pipeline: Pipeline | None) -> dict[str, ContainerExecutor]:
    """What each task of a pipeline runs, by its path."""
    found: dict[str, ContainerExecutor] = {}

    def visit(prefix: str, dag: Dag, pipeline: Pipeline) -> None:
        for name, task in dag.tasks.items():
            component = pipeline.components[task.component]
            executor = pipeline.executors.get(component.executor_label)
            if component.dag is not None:
                visit(f"{prefix}{name}/", component.dag, pipeline)
            elif isinstance(executor, ContainerExecutor):
                found[prefix + name] = executor

    if pipeline is not None and pipeline.root.dag is not None:
        visit("", pipeline.root.dag, pipeline)
    return found


def _code(a: Mapping[str, ContainerExecutor], b: Mapping[str, ContainerExecutor]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name in dict.fromkeys([*a, *b]):
        old, new = a.get(name), b.get(name)
        if old is not None and new is not None and _meaning(old) == _meaning(new):
            continue
        before, after = (code_of(executor) if executor is not None else "" for executor in (old, new))
        lines = difflib.unified_diff(before.splitlines(), after.splitlines(), f"a/{name}", f"b/{name}", lineterm="")
        found[name] = "\n".join(lines)
    return {name: text for name, text in found.items() if text}


def _meaning(executor: ContainerExecutor) -> Any:
    parts = implementation(executor)
    return parts.get("code"), parts.get("adapter"), parts.get("command")


def code_of(executor: ContainerExecutor) -> str:
    """The code of a task as its author wrote it, as far as the pipeline keeps it."""
    python = recognise(executor)
    if python is not None:
        return user_source(python.source)
    notebook = recognise_notebook(executor)
    if notebook is not None:
        return "\n\n".join(f"# cell {cell.index}\n{cell.source}" for cell in notebook.cells)
    return "\n".join([*executor.command, *executor.args])


def user_source(source: str) -> str:
    """A component's source without what a compiler put around it."""
    if describe(source) is not None:
        source = _captured(source)
    lines = [line for line in source.strip("\n").splitlines() if not line.startswith("# line ")]
    header = ("import kfp", "from kfp import dsl", "from kfp.dsl import *", "from typing import *", "")
    while lines and lines[0].strip() in header:
        lines.pop(0)
    return "\n".join(lines).strip("\n")


def _captured(source: str) -> str:
    """The user's part of an SDK component: before the adapter, or, where large values come later, what it is given."""
    body = source.partition("\n")[2].partition("# line 0\ndef _mlplatform_adapter()")[0]
    try:
        last = ast.parse(source).body[-1]
    except SyntaxError:
        return body
    for node in ast.walk(last):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "bind_late":
            text = node.args[1]
            return str(text.value) if isinstance(text, ast.Constant) else body
    return body


def _packages(
    run: RunRecord, executors: Mapping[str, ContainerExecutor], others: Mapping[str, ContainerExecutor]
) -> dict[str, Any]:
    """What tasks that both runs have are to run on."""
    interpreter: Any = run.context.get("interpreter") or {}
    found: dict[str, Any] = {"python": str(interpreter.get("version") or "")}
    for name, executor in executors.items():
        if name in others:
            found[f"{name}: image"] = executor.image
            python = recognise(executor)
            found[f"{name}: packages"] = ", ".join(python.packages) if python is not None else ""
            sdk = describe(python.source) if python is not None else None
            if sdk is not None:
                found.update({f"{name}: {package}": version for package, version in sdk.packages.items()})
    return found


# ------------------------------------------------------------------ data, metrics, times
def _digests(run: RunRecord, tasks: Mapping[str, TaskRecord]) -> dict[str, Any]:
    found = {name: _digest(value) for name, value in run.artifacts.items()}
    for task, record in tasks.items():
        found.update({f"{task}.{name}": _digest(value) for name, value in record.inputs.artifacts.items()})
    return {name: digest for name, digest in found.items() if digest}


def _digest(value: ArtifactValue) -> str:
    if isinstance(value, Artifact):
        return value.digest or value.uri
    return ", ".join(item.digest or item.uri for item in value)


def _metrics(side: Side) -> dict[str, float]:
    metrics = metrics_of(side.records.tasks, side.logged)
    return {f"{task}.{name}": number for task, found in metrics.items() for name, number in found.items()}


def _durations(
    a: RunRecord, b: RunRecord, left: Mapping[str, TaskRecord], right: Mapping[str, TaskRecord]
) -> dict[str, Pair]:
    found: dict[str, Pair] = {"": (_seconds(a), _seconds(b))}
    for name in left:
        if name in right:
            pair = (_seconds(left[name]), _seconds(right[name]))
            if pair != (None, None):
                found[name] = pair
    return found


def _seconds(record: RunRecord | TaskRecord) -> float | None:
    if record.state is TaskState.CACHED or record.started_at is None or record.finished_at is None:
        return None
    return round(record.finished_at - record.started_at, 3)
