"""What the result of a task in a pod depends on: the parts of its key, as on one machine. Pure.

A pod sees its image and what is mounted, and nothing else of any machine, so there is nothing to trace: where a
one-machine task is known by its interpreter and what it read, a pod is known by its image's digest (which the kubelet
tells when it has begun), and one that mounts what changes unseen is not reused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from mlplatform.apis.pipelinerun import PipelineRun
from mlplatform.core.large import by_content
from mlplatform.core.values import JsonValue, digest_json
from mlplatform.ir.kubernetes import KubernetesConfig
from mlplatform.planning.cachekey import Parts, Uncacheable, command_code, make_parts, python_code
from mlplatform.planning.python_component import PythonComponent, recognise
from mlplatform.planning.render import render_image
from mlplatform.planning.sources import SourceValues
from mlplatform.planning.training.task import answer_parts
from mlplatform.render.request import Asked

_DIGEST: Final = re.compile(r"@(sha256:[0-9a-f]{64})$")
_KEYED: Final = re.compile(r"metadata\.(labels|annotations)\['(.+)'\]")


def pinned(image: str) -> str:
    """The digest that an image's name holds, "" where it holds none."""
    found = _DIGEST.search(image)
    return found[1] if found else ""


def asked_anew(image: str, policy: str) -> bool:
    """Whether a kubelet asks the registry what a name stands for each time, so that nobody knows it before."""
    if pinned(image):
        return False
    if policy:
        return policy == "Always"
    last = image.rpartition("/")[2]
    return ":" not in last or last.endswith(":latest")


def task_parts(
    run: PipelineRun, asked: Asked, config: KubernetesConfig, values: SourceValues, *, workspace: bool = False
) -> Parts | Uncacheable:
    """The parts of a task's key, the image by its name; or why its result is not reused.

    Raises:
        PlanningError: a value is missing.
    """
    start, executor = asked.start, asked.executor
    unseen = _unseen(config, values, workspace)
    if unseen and not start.cache_key:
        return Uncacheable(unseen)
    python = recognise(executor)
    code = command_code(executor) if python is None else python_code(executor, python, python.kfp_version)
    if asked.training is not None:
        code = {**code, "training": answer_parts(asked.training)}
    outputs = asked.component.outputs
    return make_parts(
        code=code,
        inputs=replace(start.inputs, parameters=by_content(start.inputs.parameters)),
        outputs={name: str(spec.type) for name, spec in outputs.parameters.items()}
        | {name: spec.type.schema_title or "system.Artifact" for name, spec in outputs.artifacts.items()},
        packages=_packages(python),
        image=render_image(executor, start.inputs, asked.context),
        environment=_environment(run, config),
        secrets=_secrets(config, values),
        user_key=start.cache_key,
    )


def _packages(python: PythonComponent | None) -> str:
    if python is None or not python.packages:
        return ""
    options: dict[str, JsonValue] = {name: list(words) for name, words in python.pip_options.items()}
    return digest_json({"packages": list(python.packages), "options": options})


def _environment(run: PipelineRun, config: KubernetesConfig) -> dict[str, str]:
    """Variables that a run or its platform part sets. Those of a pod's own name and node differ each time."""
    found = {item.name: item.value for item in run.spec.env}
    tables: dict[str, Mapping[str, str]] = {}
    if config.pod_metadata is not None:
        tables = {"labels": config.pod_metadata.labels, "annotations": config.pod_metadata.annotations}
    for item in config.field_paths_as_env:
        keyed = _KEYED.fullmatch(item.field_path)
        if keyed and (value := tables.get(keyed[1], {}).get(keyed[2])) is not None:
            found[item.variable] = value
    return found


def _secrets(config: KubernetesConfig, values: SourceValues) -> list[str]:
    found: list[str] = []
    for item in config.secrets_as_env:
        name = values.text(item.name, "the name of a secret")
        found += [f"{name}/{entry.key}" for entry in item.keys]
    return found


def _unseen(config: KubernetesConfig, values: SourceValues, workspace: bool) -> str:
    """What it reads that changes without anybody here being told."""
    found: list[str] = []
    for item in config.secrets_as_volume:
        found.append(f"it reads secret {values.text(item.name, 'the name of a secret')} as files")
    for item in config.config_maps_as_volume:
        found.append(f"it reads config map {values.text(item.name, 'the name of a config map')} as files")
    for item in config.config_maps_as_env:
        name = values.text(item.name, "the name of a config map")
        found.append(f"it reads config map {name}, whose values the operator does not look at")
    for item in config.pvc_mounts:
        name = values.text(item.name, "the name of a volume claim")
        found.append(f"it uses the volume claim {name}, which changes unseen")
    if config.init_containers:
        found.append("its init containers may change what it reads")
    if workspace:
        found.append("it can read the run's workspace, which changes unseen")
    return "; ".join(found)
