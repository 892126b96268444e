"""One attempt of a task that several ranks run: the pod of the task as the template of a TrainingJob's ranks."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from mlplatform.apis.names import (
    ANNOTATION_CACHE_KEY,
    ANNOTATION_KEY,
    ANNOTATION_RESUME,
    ANNOTATION_TASK,
    ANNOTATION_WHY,
    FINALIZER_RESULT,
    LABEL_ATTEMPT,
    LABEL_MANAGED,
    LABEL_RUN,
    LABEL_TASK,
    TRAINING_API_VERSION,
    TRAINING_JOB,
)
from mlplatform.apis.pipelinerun import PipelineRun
from mlplatform.apis.podtemplate import RESERVED
from mlplatform.apis.trainingjob import Preemption
from mlplatform.core.values import child
from mlplatform.ir.kubernetes import KubernetesConfig
from mlplatform.planning.sources import SourceValues
from mlplatform.planning.training.names import task_job
from mlplatform.planning.training.shape import words, working_role
from mlplatform.render.parts import Json
from mlplatform.render.pod import Reuse, TaskPod, task_pod
from mlplatform.render.request import Asked
from mlplatform.render.settings import PodSettings

#: Words of a rank's command that its launcher puts in: the image's Python, the launcher's door, the task's file.
PYTHON, DOOR, FILE = "{{python}}", "{{launcher}}", "{{file}}"
#: Begins the names of variables that only the platform may set in a rank's pod: its launcher sets them for the task.
SET_FOR_TASK: Final = "MLPLATFORM_SET_"
_OWN_LABELS: Final = (LABEL_MANAGED, LABEL_RUN, LABEL_TASK, LABEL_ATTEMPT)
_OF_THE_JOB: Final = (ANNOTATION_KEY, ANNOTATION_CACHE_KEY, ANNOTATION_WHY)
_MLFLOW: Final = re.compile("^MLFLOW_")
_RESERVED: Final = re.compile(RESERVED)


def job_name(run: PipelineRun, asked: Asked) -> str:
    """What the job of a task is called, in all its attempts."""
    return task_job(run.uid, asked.start.key)


def rank_job(
    run: PipelineRun,
    asked: Asked,
    config: KubernetesConfig,
    values: SourceValues,
    settings: PodSettings,
    *,
    workspace: bool = False,
    reuse: Reuse,
    resume: int | None = None,
) -> TaskPod:
    """The TrainingJob of one attempt, the same every time.

    Args:
        asked: a task with ``training``.
        resume: the step of the checkpoint that the attempt before left.

    Raises:
        PlanningError: a value is missing or of the wrong form; the text says which.
        InvalidParameters: it asks for what pods must not have.
    """
    # GPUs are the groups' own; whom ranks ask how to log is told to them by whoever makes their pods.
    plain = _without_gpus(asked)
    spec = dict(asked.training or {})
    grace = int(child(spec, "preemption").get("gracePeriodSeconds", Preemption().grace_period_seconds))
    told = {"words": _words(spec), "first": _first(spec), "grace": grace}
    bare = replace(settings, server="")
    made = task_pod(run, plain, config, values, bare, workspace=workspace, reuse=reuse, ranks=told)
    meta: Json = made.pod["metadata"]
    pod: Json = dict(made.pod["spec"])
    limit: int | None = pod.pop("activeDeadlineSeconds", None)
    for name in ("restartPolicy", "terminationGracePeriodSeconds"):
        pod.pop(name, None)
    container: Json = pod["containers"][0]
    container["env"] = [_for_task(entry) for entry in container["env"]]
    template = {
        "metadata": {
            "labels": {name: text for name, text in meta["labels"].items() if name not in _OWN_LABELS},
            "annotations": {name: text for name, text in meta["annotations"].items() if name not in _OF_THE_JOB},
        },
        "spec": pod,
    }
    spec["groups"] = [{**group, "template": copy.deepcopy(template)} for group in spec["groups"]]
    spec["runPolicy"] = _policy(child(spec, "runPolicy"), limit)
    notes = {name: meta["annotations"].get(name, "") for name in (ANNOTATION_TASK, *_OF_THE_JOB)}
    notes[ANNOTATION_RESUME] = "" if resume is None else str(resume)
    body: Json = {
        "apiVersion": TRAINING_API_VERSION,
        "kind": TRAINING_JOB,
        "metadata": {
            "name": job_name(run, asked),
            "namespace": run.namespace,
            "labels": {name: meta["labels"][name] for name in _OWN_LABELS} | {"pipeline/runid": run.uid},
            "annotations": {name: text for name, text in notes.items() if text},
            "finalizers": [FINALIZER_RESULT],
        },
        "spec": spec,
    }
    return TaskPod(body, made.request)


def comparing_pod(
    run: PipelineRun,
    asked: Asked,
    config: KubernetesConfig,
    values: SourceValues,
    settings: PodSettings,
    *,
    workspace: bool = False,
    reuse: Reuse,
) -> TaskPod:
    """A pod that looks whether an earlier result still stands, and computes nothing: ranks begin only if it does not.

    Raises:
        PlanningError, InvalidParameters: as ``rank_job``.
    """
    plain = _without_gpus(asked)
    return task_pod(run, plain, config, values, settings, workspace=workspace, reuse=reuse, compare=True)


def _without_gpus(asked: Asked) -> Asked:
    resources = asked.executor.resources
    if resources is None:
        return asked
    return replace(asked, executor=replace(asked.executor, resources=replace(resources, accelerator=None)))


def _words(spec: Mapping[str, Any]) -> dict[str, list[str]]:
    """What the ranks of each group run; nothing, where it is what the platform's own image of the framework runs."""
    framework = str(spec["framework"])
    process = [PYTHON, DOOR, "--task-rank", FILE]
    found: dict[str, list[str]] = {}
    for group in spec["groups"]:
        role = str(group.get("role", "worker"))
        known = role in ("worker", working_role(framework))
        found[str(group["name"])] = words(framework, role, process, PYTHON) if known else process
    return found


def _first(spec: Mapping[str, Any]) -> str:
    """The group whose rank 0 answers."""
    role = working_role(str(spec["framework"]))
    return next((str(group["name"]) for group in spec["groups"] if group.get("role", "worker") == role), "")


def _for_task(entry: Json) -> Json:
    name = str(entry["name"])
    ours = _MLFLOW.match(name) and _RESERVED.match(name)
    return {**entry, "name": SET_FOR_TASK + name} if ours else entry


def _policy(policy: Mapping[str, Any], limit: int | None) -> Json:
    """The job is its run's: it stays as long. A task's limit on time counts from when its ranks run."""
    made = {name: value for name, value in policy.items() if name not in ("ttlSecondsAfterFinished", "cleanPods")}
    limits = [seconds for seconds in (limit, policy.get("activeDeadlineSeconds")) if seconds is not None]
    return made | ({"activeDeadlineSeconds": max(1, min(limits))} if limits else {})
