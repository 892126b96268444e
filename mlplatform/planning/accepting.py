"""Whether a PipelineRun can be run at all, and what it then is. Everything wrong with it is told at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mlplatform.apis.codec import encode
from mlplatform.apis.pipelinerun import PipelineRun, PipelineRunSpec
from mlplatform.core.errors import Finding
from mlplatform.core.model import Artifact, ArtifactValue
from mlplatform.core.values import JsonValue, digest_json, whole_numbers
from mlplatform.ir.arguments import check_arguments
from mlplatform.ir.kubernetes import KubernetesConfig, PlatformPipelineConfig
from mlplatform.ir.model import ContainerExecutor, Pipeline
from mlplatform.ir.platform import OWN, all_configs, pipeline_config
from mlplatform.planning.checking import check_pipeline
from mlplatform.planning.notebook_component import STATE, recognise_notebook
from mlplatform.planning.python_component import recognise
from mlplatform.planning.training.task import MEMBER, training_of
from mlplatform.planning.volumes import volume_action


@dataclass(frozen=True, slots=True)
class Accepted:
    """A run that can be run."""

    pipeline: Pipeline
    parameters: Mapping[str, JsonValue]
    artifacts: Mapping[str, ArtifactValue]
    configs: Mapping[str, KubernetesConfig]
    settings: PlatformPipelineConfig
    digest: str


@dataclass(frozen=True, slots=True)
class Rejected:
    """A run that cannot be run, and why."""

    message: str
    findings: tuple[Finding, ...]
    digest: str


def spec_digest(spec: PipelineRunSpec) -> str:
    """What of a spec decides what the run is."""
    data: dict[str, Any] = encode(spec)
    kept = ("document", "pipelineSpec", "platformSpec", "parameters", "artifacts", "store")
    return digest_json({name: data[name] for name in kept if name in data})


def accept(run: PipelineRun, pipeline: Pipeline) -> Accepted | Rejected:
    """Look at everything of a run of ``pipeline`` that can be looked at before it begins."""
    digest = spec_digest(run.spec)
    findings = list(check_pipeline(pipeline))
    configs: dict[str, KubernetesConfig] = {}
    settings = PlatformPipelineConfig()
    if not findings:
        configs, _ = all_configs(pipeline)
        settings = pipeline_config(pipeline)
        findings += _unfit(pipeline, configs)
    artifacts = _artifacts(run.spec, pipeline)
    given = {name: whole_numbers(value) for name, value in run.spec.parameters.items()}
    parameters, wrong = check_arguments(pipeline, given, artifacts)
    findings += wrong
    if findings:
        word = "finding" if len(findings) == 1 else "findings"
        return Rejected(f"the run has {len(findings)} {word}", tuple(findings), digest)
    return Accepted(pipeline, parameters, artifacts, configs, settings, digest)


def _artifacts(spec: PipelineRunSpec, pipeline: Pipeline) -> dict[str, ArtifactValue]:
    declared = pipeline.root.inputs.artifacts
    found: dict[str, ArtifactValue] = {}
    for name, given in spec.artifacts.items():
        title = declared[name].type.schema_title if name in declared else ""
        kind = title if title and title != "system.Artifact" else given.type or "system.Artifact"
        metadata = {key: whole_numbers(value) for key, value in given.metadata.items()}
        found[name] = Artifact(name, given.uri, kind, metadata, given.digest)
    return found


def _unfit(pipeline: Pipeline, configs: Mapping[str, KubernetesConfig]) -> list[Finding]:
    """What pods cannot do or must not have."""
    found: list[Finding] = []
    for label, executor in pipeline.executors.items():
        at = f"deploymentSpec.executors.{label}"
        config = configs.get(label)
        if config is not None and config.security_context and config.security_context.run_as_user == 0:
            where = f"platforms.kubernetes.deploymentSpec.executors.{label}.securityContext.runAsUser"
            hint = "leave it out: tasks run as user 1000 and can write to their home and /tmp"
            found.append(Finding(where, "asks to run as root, which pods may not", "root", hint))
        if not isinstance(executor, ContainerExecutor):
            continue
        if recognise_notebook(executor) is not None:
            own = [one for one in pipeline.components.values() if one.executor_label == label]
            if not any(STATE in one.outputs.artifacts for one in own):
                hint = "submit the notebook itself: mlplatform run NOTEBOOK.ipynb --backend kubernetes"
                message = "is a notebook's task, compiled for one machine: on a cluster its variables would be lost"
                found.append(Finding(at, message, "unsupported", hint))
        elif not executor.command and recognise(executor) is None and not volume_action(executor):
            hint = "write the image's entry point into the component's command"
            message = "has no command: what it runs stands in its image, which is not looked into"
            found.append(Finding(f"{at}.container.command", message, "missing", hint))
        found.extend(_ranks(pipeline, label, executor))
    return found


def _ranks(pipeline: Pipeline, label: str, executor: ContainerExecutor) -> list[Finding]:
    """What several ranks cannot run as a task."""
    spec = training_of(pipeline, label)
    if spec is None:
        return []
    at = f"platforms.{OWN}.deploymentSpec.executors.{label}.{MEMBER}"
    found: list[Finding] = []
    if recognise(executor) is None:
        message = "is for Python components: ranks of a task run no other"
        found.append(Finding(at, message, "unsupported", "make it a training job of its own (ml.TrainingJob)"))
    if spec["framework"] == "mpi":
        message = "starts its ranks over SSH, by an image of their own, which a task of a pipeline cannot do as yet"
        hint = "make it a training job of its own: mlplatform train FILE --framework mpi --backend kubernetes"
        found.append(Finding(f"{at}.framework", message, "unsupported", hint))
    return found
