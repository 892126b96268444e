"""A training job as a task of a pipeline: what the IR says of it.

The task is an ordinary Python component: any KFP backend, and ``kfp.local``, runs it as one worker. Its executor's
entry in ``platforms.mlplatform.deploymentSpec.executors`` holds ``training``: the spec of a TrainingJob in the API's
own words, without templates. Whoever makes the job puts in what its ranks run.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, cast

from mlplatform.apis.codec import decode
from mlplatform.apis.trainingjob import TrainingJobSpec
from mlplatform.core.errors import Finding, InvalidPipeline
from mlplatform.core.values import JsonValue, child
from mlplatform.ir.model import Pipeline
from mlplatform.ir.platform import OWN
from mlplatform.planning.training.environment import processes
from mlplatform.planning.training.fitting import misfits

MEMBER: Final = "training"


def training_of(pipeline: Pipeline, label: str) -> dict[str, Any] | None:
    """The spec (without templates) of the job that tasks of this executor are; None: they are ordinary tasks.

    Raises:
        InvalidPipeline: with every finding, by the path in the document.
    """
    entry: Any = child(child(child(pipeline.platforms.get(OWN) or {}, "deploymentSpec"), "executors"), label)
    told: Any = entry.get(MEMBER)
    if told is None:
        return None
    at = f"platforms.{OWN}.deploymentSpec.executors.{label}.{MEMBER}"
    if not isinstance(told, Mapping):
        raise InvalidPipeline("training is not an object", findings=[Finding(at, "must be an object")])
    spec = dict(cast("Mapping[str, Any]", told))
    read_spec(spec, at)
    return spec


def training_executors(pipeline: Pipeline) -> frozenset[str]:
    """The executors whose tasks are training jobs, as far as the document says so."""
    found = child(child(pipeline.platforms.get(OWN) or {}, "deploymentSpec"), "executors")
    return frozenset(label for label, entry in found.items() if isinstance(entry, Mapping) and MEMBER in entry)


def read_spec(spec: Mapping[str, Any], path: str = "spec") -> TrainingJobSpec:
    """Raises InvalidPipeline with every finding: it is no spec of a training job, or none of a task's."""
    groups: Any = spec.get("groups")
    whole = {**spec, "groups": [{"template": {}, **group} for group in groups]} if isinstance(groups, list) else spec  # pyright: ignore[reportUnknownVariableType]
    read = decode(TrainingJobSpec, whole, path)
    findings = [
        Finding(f"{path}.groups[{index}].template", "cannot be said: its ranks run the component")
        for index, group in enumerate(read.groups)
        if group.template
    ]
    findings += misfits(read, path)
    if findings:
        raise InvalidPipeline("a training component cannot be run so", findings=findings)
    return read


def answer_parts(spec: Mapping[str, Any]) -> JsonValue:
    """What of it changes the task's answer: how many processes work together, not on which GPUs, nor how often they
    may fail."""
    read = read_spec(spec)
    return {
        "framework": read.framework,
        "groups": [
            [group.name, group.role, group.replicas, processes(group)]
            + ([group.elastic.min, group.elastic.max] if group.elastic else [])
            for group in read.groups
        ],
    }


def devices(spec: Mapping[str, Any]) -> tuple[int, int]:
    """(ranks, GPUs) of all groups together."""
    read = read_spec(spec)
    gpus = sum(group.replicas * (group.accelerator.count if group.accelerator else 0) for group in read.groups)
    return sum(group.replicas for group in read.groups), gpus
