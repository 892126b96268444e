"""What a task that should be running comes to: a pod, or, where it needs none, its result at once. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mlplatform.apis.names import LABEL_MADE_BY, LABEL_MANAGED, LABEL_RUN, MANAGER
from mlplatform.apis.pipelinerun import PipelineRun
from mlplatform.controllers.pipelinerun.message import Result
from mlplatform.controllers.pipelinerun.observed import Claim
from mlplatform.controllers.pipelinerun.pods import PodSeen
from mlplatform.controllers.pipelinerun.reuse import Choice, Known, Nothing, asked_of, choose, run_context
from mlplatform.core.errors import MlPlatformError, PlanningError
from mlplatform.core.model import Artifact, TaskError, Values
from mlplatform.ir.kubernetes import KubernetesConfig
from mlplatform.ir.model import ImporterExecutor
from mlplatform.kube.objects import Object
from mlplatform.planning.accepting import Accepted
from mlplatform.planning.brain import Brain
from mlplatform.planning.model import StartTask
from mlplatform.planning.render import render_importer
from mlplatform.planning.sources import SourceValues
from mlplatform.planning.templates import RunContext
from mlplatform.planning.volumes import CREATE, volume_action
from mlplatform.render.names import claim_name, run_label, workspace_name
from mlplatform.render.pod import Reuse, task_pod
from mlplatform.render.request import Asked
from mlplatform.render.settings import PodSettings
from mlplatform.render.taskjob import comparing_pod, job_name, rank_job

#: The value of the label by which claims of CreatePVC tasks are known.
BY_TASK = "create-pvc"


@dataclass(frozen=True, slots=True)
class Work:
    """``create``: objects to make, the pod last. ``remove``: a claim; that it is being removed is the result, later.
    ``result``: it needs no pod, or can have none. ``later``: it cannot be done in this plan, and why. ``key`` and
    ``note``: under what its result is kept for reuse, and why it runs or not; ``image``: of a reused result."""

    create: tuple[Object, ...] = ()
    remove: Claim | None = None
    result: Result | None = None
    later: str = ""
    key: str = ""
    note: str = ""
    image: str = ""
    #: The training job of an earlier attempt, which has to go first.
    drop: PodSeen | None = None


def work_of(
    start: StartTask,
    run: PipelineRun,
    accepted: Accepted,
    brain: Brain,
    settings: PodSettings,
    claims: Mapping[str, Claim],
    making: frozenset[str] = frozenset(),
    begun: bool = False,
    known: Known | None = None,
    *,
    offers: bool = True,
    jobs: Mapping[str, PodSeen] | None = None,
    resume: int | None = None,
) -> Work:
    """What is to be done for a task. Whatever is wrong with it is its failure, never an exception. ``making``: claims
    that this very plan makes. ``begun``: it is on record that this attempt began. ``known``: results of earlier runs;
    ``offers``: whether its pod may still be asked to compare one with what there is. ``jobs``: the run's training jobs
    that are there, by name; ``resume``: the checkpoint that the attempt before left."""
    try:
        executor = accepted.pipeline.executors[start.executor]
        if isinstance(executor, ImporterExecutor) or volume_action(executor):
            return _work(start, run, accepted, brain, claims, making, begun)
        asked = asked_of(start, run, accepted, executor)
        if asked.training is not None and (old := (jobs or {}).get(job_name(run, asked))) is not None:
            return Work(later="the training job of the attempt before goes away", drop=old)
        choice = choose(asked, run, accepted, brain, known or Nothing(), offers=offers)
        return _computed(asked, choice, run, accepted, brain, settings, resume)
    except MlPlatformError as error:
        lines = [error.message, *map(str, error.findings)]
        return Work(result=failure(TaskError(error.code, "\n".join(lines), hint=error.hint)))


def failure(error: TaskError, *, retryable: bool = False) -> Result:
    return Result("FAILED", error=error, retryable=retryable)


def _work(
    start: StartTask,
    run: PipelineRun,
    accepted: Accepted,
    brain: Brain,
    claims: Mapping[str, Claim],
    making: frozenset[str],
    begun: bool,
) -> Work:
    """A task that needs no pod. Raises MlPlatformError: it cannot be done."""
    executor = accepted.pipeline.executors[start.executor]
    component = accepted.pipeline.components[start.component]
    if isinstance(executor, ImporterExecutor):
        context = run_context(start, run, accepted)
        return Work(result=_imported(start, executor, list(component.outputs.artifacts), context))
    if volume_action(executor) == CREATE:
        return _make(start, run, claims)
    return _remove(start, brain, claims, making, begun)


def _computed(
    asked: Asked,
    choice: Choice,
    run: PipelineRun,
    accepted: Accepted,
    brain: Brain,
    settings: PodSettings,
    resume: int | None,
) -> Work:
    """A task that computes, or whose result is there. Raises MlPlatformError: it cannot be done."""
    start = asked.start
    if choice.hit is not None:
        hit = Result("CACHED", choice.hit.outputs, cached_from=choice.hit.source)
        return Work(result=hit, key=choice.key, note=choice.note, image=choice.image)
    config = accepted.configs.get(start.executor) or KubernetesConfig()
    values = SourceValues(brain, start.key, start.inputs)
    workspace = accepted.settings.workspace is not None
    reuse = Reuse(choice.key, choice.note, choice.told)
    if asked.training is None:
        made = task_pod(run, asked, config, values, settings, workspace=workspace, reuse=reuse)
    elif choice.offer is not None:
        made = comparing_pod(run, asked, config, values, settings, workspace=workspace, reuse=reuse)
    elif not settings.trainings:
        hint = "Have whoever runs it install them (mlplatform install), and start the operator again."
        raise PlanningError("several ranks are to run the task, and this cluster knows no TrainingJobs", hint=hint)
    else:
        made = rank_job(run, asked, config, values, settings, workspace=workspace, reuse=reuse, resume=resume)
    objects = (made.pod,) if made.request is None else (made.request, made.pod)
    return Work(create=objects, key=choice.key, note=choice.note)


def _imported(start: StartTask, executor: ImporterExecutor, outputs: list[str], context: RunContext) -> Result:
    found = render_importer(executor, start.inputs, context)
    if len(outputs) != 1:
        raise PlanningError(f"importer {start.key} must have one output artifact, it has {len(outputs)}")
    if not found.uri:
        raise PlanningError("the importer's URI is empty")
    artifact = Artifact(outputs[0], found.uri, found.type, dict(found.metadata))
    return Result("SUCCEEDED", Values(artifacts={outputs[0]: artifact}))


# ---------------------------------------------------------------------- claims
def _make(start: StartTask, run: PipelineRun, claims: Mapping[str, Claim]) -> Work:
    inputs = start.inputs.parameters
    name, suffix = str(inputs.get("pvc_name") or ""), str(inputs.get("pvc_name_suffix") or "")
    if bool(name) == bool(suffix):
        raise PlanningError("CreatePVC wants one of pvc_name and pvc_name_suffix")
    name = name or claim_name(run.name, start.key, suffix)
    spec: dict[str, Any] = {
        "accessModes": inputs.get("access_modes") or ["ReadWriteOnce"],
        "resources": {"requests": {"storage": inputs.get("size") or "1Gi"}},
    }
    if storage := inputs.get("storage_class_name"):
        spec["storageClassName"] = storage
    if volume := inputs.get("volume_name"):
        spec["volumeName"] = volume
    if source := inputs.get("data_source"):
        spec["dataSource"] = source
    claim: Object = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {
            "name": name,
            "namespace": run.namespace,
            "labels": {LABEL_MANAGED: MANAGER, LABEL_RUN: run_label(run.name), LABEL_MADE_BY: BY_TASK},
            "annotations": inputs.get("annotations") or {},
            # what a task made outlives its run, as in KFP: a DeletePVC task or a user removes it
            "ownerReferences": [],
        },
        "spec": spec,
    }
    made = () if name in claims else (claim,)
    return Work(create=made, result=Result("SUCCEEDED", Values({"name": name})))


def _remove(start: StartTask, brain: Brain, claims: Mapping[str, Claim], making: frozenset[str], begun: bool) -> Work:
    """The task has succeeded once the claim goes away, not before: whoever deletes it may die before that."""
    name = str(start.inputs.parameters.get("pvc_name") or "")
    if not name:
        raise PlanningError("DeletePVC names no claim")
    if name in making:
        return Work(later=f"claim {name} is being made")
    claim = claims.get(name)
    if claim is None and (begun or name in _made_by_run(brain)):
        return Work(result=Result("SUCCEEDED"))  # gone already: removing it twice is removing it once
    if claim is None or not claim.by_task:
        raise PlanningError(
            f"claim {name!r} was not made by a CreatePVC task, so it is not removed with the platform's rights",
            hint=f"Remove it yourself: kubectl delete pvc {name}",
        )
    return Work(result=Result("SUCCEEDED")) if claim.deleting else Work(remove=claim)


def _made_by_run(brain: Brain) -> set[str]:
    """Claims that CreatePVC tasks of this run gave."""
    pipeline = brain.pipeline
    found: set[str] = set()
    for record in brain.records():
        component = pipeline.components.get(record.component)
        executor = pipeline.executors.get(component.executor_label) if component is not None else None
        if record.state.succeeded and volume_action(executor) == CREATE:
            found.add(str(record.outputs.parameters.get("name") or ""))
    return found


def workspace_claim(run: PipelineRun, accepted: Accepted) -> Object | None:
    """The claim that all tasks of the run share, if its pipeline asks for one; it goes with the run."""
    wanted = accepted.settings.workspace
    if wanted is None:
        return None
    spec: dict[str, Any] = {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": wanted.size}},
        **dict(wanted.pvc_spec_patch),
    }
    labels = {LABEL_MANAGED: MANAGER, LABEL_RUN: run_label(run.name)}
    metadata = {"name": workspace_name(run.name), "namespace": run.namespace, "labels": labels}
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": spec}
