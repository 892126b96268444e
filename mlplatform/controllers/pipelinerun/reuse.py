"""Whether a task's result is there already. Pure.

A result is reused if its key is the same, its image is what the kubelet would run now, and its artifacts are as they
were. The operator can tell of parameters, and of images whose name does not move; the rest is asked of the task's own
pod: it begins by comparing what is in the store, says which image it has, and computes only where something differs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from mlplatform.apis.pipelinerun import PipelineRun, Store
from mlplatform.core.large import is_large
from mlplatform.core.model import Artifact, TaskKey, Values
from mlplatform.core.values import JsonValue
from mlplatform.ir.kubernetes import KubernetesConfig
from mlplatform.ir.model import ContainerExecutor, Pipeline
from mlplatform.planning.accepting import Accepted
from mlplatform.planning.brain import Brain
from mlplatform.planning.cachekey import Parts, Uncacheable, distance, explain
from mlplatform.planning.model import StartTask
from mlplatform.planning.sources import SourceValues
from mlplatform.planning.templates import RunContext
from mlplatform.planning.training.task import training_of
from mlplatform.render.places import run_store
from mlplatform.render.request import Asked
from mlplatform.render.reuse import asked_anew, pinned, task_parts
from mlplatform.render.runview import job_name, workspace_path


@dataclass(frozen=True, slots=True)
class Entry:
    """A result that is there. ``image`` is the digest of the one that it was made in."""

    source: str
    run: str
    image: str
    outputs: Values
    store: Store | None = None


#: The parts of the same task in other runs, by how they are made from a run.
PartsOf = Callable[[PipelineRun, Accepted, Brain], Iterable[Mapping[str, JsonValue]]]


class Known(Protocol):
    """Results of a namespace."""

    def find(self, key: str) -> list[Entry]:
        """Those under a key, newest first."""
        ...

    def image(self, name: str) -> str:
        """The digest that a kubelet told last for an image's name, "" where none has."""
        ...

    def similar(self, run: PipelineRun, pipeline: str, parts_of: PartsOf) -> list[Mapping[str, JsonValue]]:
        """Parts of earlier runs of a pipeline, newest first."""
        ...


class Nothing:
    """No result is known."""

    def find(self, key: str) -> list[Entry]:
        return []

    def image(self, name: str) -> str:
        return ""

    def similar(self, run: PipelineRun, pipeline: str, parts_of: PartsOf) -> list[Mapping[str, JsonValue]]:
        return []


@dataclass(frozen=True, slots=True)
class Choice:
    """``hit``: reuse it, no pod is needed; ``offer``: its pod is to compare. ``key``: under what the result is kept."""

    key: str = ""
    note: str = ""
    hit: Entry | None = None
    offer: Entry | None = None
    told: Mapping[str, Any] = field(default_factory=dict[str, Any])
    image: str = ""


def run_context(start: StartTask, run: PipelineRun, accepted: Accepted) -> RunContext:
    """What a task's placeholders stand for."""
    return RunContext(
        run_id=run.uid,
        job_name=job_name(run, accepted),
        pipeline_root=run_store(run).root,
        task_name=start.key.path[-1],
        task_id=str(start.key),
        created_at=run.created_at,
        workspace=workspace_path(accepted),
    )


def asked_of(start: StartTask, run: PipelineRun, accepted: Accepted, executor: ContainerExecutor) -> Asked:
    """A task to be put into a pod."""
    component = accepted.pipeline.components[start.component]
    training = training_of(accepted.pipeline, start.executor)
    return Asked(start, component, executor, run_context(start, run, accepted), run_store(run), training)


def choose(
    asked: Asked, run: PipelineRun, accepted: Accepted, brain: Brain, known: Known, *, offers: bool = True
) -> Choice:
    """What is to be done with a task's result. ``offers``: its pod may still be asked to compare.

    Raises:
        PlanningError: a value is missing.
    """
    start = asked.start
    if not start.cache_enabled:
        return Choice()
    config = accepted.configs.get(start.executor) or KubernetesConfig()
    values = SourceValues(brain, start.key, start.inputs)
    parts = task_parts(run, asked, config, values, workspace=accepted.settings.workspace is not None)
    if isinstance(parts, Uncacheable):
        return Choice(note=f"its result cannot be reused: {parts.reason}")
    if not run.spec.cache:
        return Choice(parts.key, "the run was started without the cache")
    image = str(parts.values["image"])
    reason = ""
    for entry in known.find(parts.key):
        if _elsewhere(entry, run):
            reason = reason or "its earlier result is in another store"
            continue
        now = pinned(image) or ("" if asked_anew(image, config.image_pull_policy) else known.image(image))
        if now and now != entry.image:
            reason = reason or "the container image changed"
        elif now and not _with_bytes(entry.outputs):
            note = f"nothing it depends on changed since run {entry.source.partition(':')[0]}"
            return Choice(parts.key, note, hit=entry, image=f"{image.partition('@')[0]}@{entry.image}")
        elif offers:
            return Choice(parts.key, "its earlier result is compared", offer=entry, told=_offer(entry))
        else:
            reason = reason or "its earlier result was not as it had been"
    return Choice(parts.key, reason or _why(parts, asked, accepted, run, known))


def _elsewhere(entry: Entry, run: PipelineRun) -> bool:
    return (bool(entry.outputs.artifacts) or is_large(entry.outputs.parameters)) and entry.store != run.spec.store


def _artifacts(outputs: Values) -> list[tuple[str, Artifact]]:
    found: list[tuple[str, Artifact]] = []
    for name, value in outputs.artifacts.items():
        found += [(name, item) for item in ((value,) if isinstance(value, Artifact) else value)]
    return found


def _with_bytes(outputs: Values) -> bool:
    return is_large(outputs.parameters) or any(item.digest for _, item in _artifacts(outputs))


def _offer(entry: Entry) -> dict[str, Any]:
    """What the pod is told to compare, and to say where it is so."""
    artifacts: dict[str, list[dict[str, Any]]] = {}
    for name, item in _artifacts(entry.outputs):
        artifacts.setdefault(name, []).append(item.to_json())
    for name, value in entry.outputs.artifacts.items():
        if value == ():
            artifacts[name] = []
    return {
        "source": entry.source,
        "run": entry.run,
        "image": entry.image,
        "parameters": dict(entry.outputs.parameters),
        "artifacts": artifacts,
    }


# ---------------------------------------------------------------------- why not
def _why(parts: Parts, asked: Asked, accepted: Accepted, run: PipelineRun, known: Known) -> str:
    key = asked.start.key

    def parts_of(other: PipelineRun, their: Accepted, brain: Brain) -> list[Mapping[str, JsonValue]]:
        return [found.values for found in _earlier(other, their, brain, key)]

    similar = known.similar(run, accepted.pipeline.name, parts_of)
    if not similar:
        return "no earlier result of this task is kept"
    nearest = min(similar, key=lambda values: distance(values, parts.values))
    return explain(nearest, parts.values) or "its earlier result is gone"


def _earlier(run: PipelineRun, accepted: Accepted, brain: Brain, key: TaskKey) -> Iterable[Parts]:
    """The parts of a task, in all its iterations, as another run had it."""
    for record in brain.records():
        if record.is_group or record.key.path != key.path or not record.state.succeeded:
            continue
        component = accepted.pipeline.components[record.component]
        executor = accepted.pipeline.executors[component.executor_label]
        if not isinstance(executor, ContainerExecutor):
            continue
        label = component.executor_label
        own = _user_key(accepted.pipeline, key)
        start = StartTask(record.key, record.attempt, record.component, label, record.inputs, True, own)
        asked = asked_of(start, run, accepted, executor)
        config = accepted.configs.get(label) or KubernetesConfig()
        parts = task_parts(run, asked, config, SourceValues(brain, record.key, record.inputs))
        if isinstance(parts, Parts):
            yield parts


def _user_key(pipeline: Pipeline, key: TaskKey) -> str:
    dag, found = pipeline.root.dag, ""
    for name in key.path:
        task = dag.tasks[name] if dag is not None else None
        if task is None:
            break
        found = task.caching.cache_key if task.caching else ""
        dag = pipeline.components[task.component].dag
    return found
