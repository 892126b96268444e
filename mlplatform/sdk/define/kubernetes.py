"""kfp-kubernetes' helpers: what a task wants of Kubernetes, in the platform document of the IR."""

# Placeholders keep public names free for outputs of the user's: what the modules of this package share is private.
# pyright: reportPrivateUsage=false

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from mlplatform.core.errors import InvalidPipeline
from mlplatform.core.values import ParameterType
from mlplatform.ir.model import (
    Component,
    ContainerExecutor,
    InputDefinitions,
    InputParameterSpec,
    OutputDefinitions,
    OutputParameterSpec,
)
from mlplatform.sdk.define.calls import plain_task
from mlplatform.sdk.define.channels import as_channel
from mlplatform.sdk.define.executors import SPREAD, Implementation
from mlplatform.sdk.define.tasks import InputSpec, Interface, OutputSpec, Task
from mlplatform.sdk.define.types import STRING, ValueType
from mlplatform.sdk.define.where import user_line


def _config(task: Any) -> dict[str, Any]:
    if not isinstance(task, Task):
        raise InvalidPipeline(f"Kubernetes settings are set on a task, not on {type(task).__name__} ({user_line()}).")
    return task._settings.platform.setdefault("kubernetes", {})


def _add(task: Task, key: str, entry: Mapping[str, Any]) -> Task:
    _config(task).setdefault(key, []).append(_set(entry))
    return task


def _set(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Fields that are given."""
    found: dict[str, Any] = {}
    for name, value in entry.items():
        if as_channel(value) is not None or not (value is None or value == "" or value == [] or value == {}):
            found[name] = value
    return found


def _texts(task: Task, place: str, key: Any, value: Any) -> Task:
    """A label or annotation, which a run cannot decide."""
    if not isinstance(key, str) or not isinstance(value, str):
        raise InvalidPipeline(
            f"Labels and annotations are texts, known when the pipeline is compiled ({user_line()}).",
            hint="add_node_selector_json takes a parameter." if place == "nodeSelector" else "",
        )
    words = "annotations" if place == "annotations" else "labels"
    place = "nodeSelector" if place == "nodeSelector" else "podMetadata"
    _config(task).setdefault(place, {}).setdefault(words, {})[key] = value
    return task


def _long(value: int | None) -> str | None:
    """Whole numbers of 64 bits are texts in the JSON of protocol buffers."""
    return None if value is None else str(int(value))


def _named(key: str, value: Any) -> dict[str, Any]:
    """A name that may be a constant or a parameter, as today's and yesterday's readers want it."""
    if as_channel(value) is not None:
        return {f"{key}Parameter": value}
    return {f"{key}Parameter": {"runtimeValue": {"constant": str(value)}}, key: str(value)}


def use_secret_as_env(
    task: Task, secret_name: Any, secret_key_to_env: Mapping[str, str], optional: bool = False
) -> Task:
    """Keys of a secret as environment variables."""
    keys = [{"secretKey": key, "envVar": variable} for key, variable in secret_key_to_env.items()]
    return _add(task, "secretAsEnv", {**_named("secretName", secret_name), "keyToEnv": keys, "optional": optional})


def use_secret_as_volume(task: Task, secret_name: Any, mount_path: str, optional: bool = False) -> Task:
    """A secret as files."""
    return _add(
        task, "secretAsVolume", {**_named("secretName", secret_name), "mountPath": mount_path, "optional": optional}
    )


def use_config_map_as_env(
    task: Task, config_map_name: Any, config_map_key_to_env: Mapping[str, str], optional: bool = False
) -> Task:
    keys = [{"configMapKey": key, "envVar": variable} for key, variable in config_map_key_to_env.items()]
    return _add(
        task, "configMapAsEnv", {**_named("configMapName", config_map_name), "keyToEnv": keys, "optional": optional}
    )


def use_config_map_as_volume(task: Task, config_map_name: Any, mount_path: str, optional: bool = False) -> Task:
    return _add(
        task,
        "configMapAsVolume",
        {**_named("configMapName", config_map_name), "mountPath": mount_path, "optional": optional},
    )


def mount_pvc(task: Task, pvc_name: Any, mount_path: str, sub_path: str = "") -> Task:
    """A claim as a folder; ``pvc_name`` may be the output of :class:`CreatePVC`."""
    entry = {"mountPath": mount_path, "subPath": sub_path}
    # Backends from before KFP 2.5 read only what stands beside the parameter.
    if as_channel(pvc_name) is not None:
        return _add(task, "pvcMount", {"pvcNameParameter": pvc_name, SPREAD: pvc_name, **entry})
    name = {"constant": str(pvc_name), "pvcNameParameter": {"runtimeValue": {"constant": str(pvc_name)}}}
    return _add(task, "pvcMount", {**name, **entry})


def add_ephemeral_volume(
    task: Task,
    volume_name: str,
    mount_path: str,
    access_modes: Sequence[str],
    size: str,
    storage_class_name: str | None = None,
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
) -> Task:
    entry = {
        "volumeName": volume_name, "mountPath": mount_path, "accessModes": list(access_modes), "size": size,
        "storageClassName": storage_class_name, "defaultStorageClass": storage_class_name is None or None,
        "metadata": _set({"labels": dict(labels or {}), "annotations": dict(annotations or {})}),
    }  # fmt: skip
    return _add(task, "genericEphemeralVolume", entry)


def empty_dir_mount(
    task: Task, volume_name: str, mount_path: str, medium: str | None = None, size_limit: str | None = None
) -> Task:
    entry = {"volumeName": volume_name, "mountPath": mount_path, "medium": medium, "sizeLimit": size_limit}
    return _add(task, "emptyDirMounts", entry)


def enable_shared_memory(task: Task, volume_name: str = "shm", size: str = "") -> Task:
    _config(task)["enabledSharedMemory"] = _set({"volumeName": volume_name, "size": size})
    return task


def add_node_selector(task: Task, label_key: str, label_value: str) -> Task:
    return _texts(task, "nodeSelector", label_key, label_value)


def add_node_selector_json(task: Task, node_selector_json: Any) -> Task:
    """Labels that a run decides (a STRUCT parameter)."""
    value = (
        node_selector_json
        if as_channel(node_selector_json) is not None
        else {"runtimeValue": {"constant": node_selector_json}}
    )
    _config(task).setdefault("nodeSelector", {})["nodeSelectorJson"] = value
    return task


def add_node_affinity(
    task: Task,
    match_expressions: Sequence[Mapping[str, Any]] = (),
    match_fields: Sequence[Mapping[str, Any]] = (),
    weight: int | None = None,
) -> Task:
    entry = {"matchExpressions": list(match_expressions), "matchFields": list(match_fields), "weight": weight}
    return _add(task, "nodeAffinity", entry)


def add_node_affinity_json(task: Task, node_affinity_json: Any) -> Task:
    value = (
        node_affinity_json
        if as_channel(node_affinity_json) is not None
        else {"runtimeValue": {"constant": node_affinity_json}}
    )
    config = _config(task)  # the last one counts
    kept = [entry for entry in config.get("nodeAffinity", []) if "nodeAffinityJson" not in entry]
    config["nodeAffinity"] = kept
    return _add(task, "nodeAffinity", {"nodeAffinityJson": value})


def add_toleration(
    task: Task,
    key: str | None = None,
    operator: str | None = None,
    value: str | None = None,
    effect: str | None = None,
    toleration_seconds: int | None = None,
) -> Task:
    entry = {
        "key": key,
        "operator": operator,
        "value": value,
        "effect": effect,
        "tolerationSeconds": _long(toleration_seconds),
    }
    return _add(task, "tolerations", entry)


def add_toleration_json(task: Task, toleration_json: Any) -> Task:
    """One toleration or a list of them, as Kubernetes writes them; a placeholder is read when the task runs."""
    if as_channel(toleration_json) is not None:
        return _add(task, "tolerations", {"tolerationJson": toleration_json})
    given = cast("Any", toleration_json if isinstance(toleration_json, (list, tuple)) else [toleration_json])
    for entry in cast("Sequence[Mapping[str, Any]]", given):
        entry = dict(entry)
        seconds = entry.pop("toleration_seconds", None)  # kfp's word; Kubernetes' own is dropped there
        seconds = entry.get("tolerationSeconds", seconds)
        _add(task, "tolerations", {**entry, "tolerationSeconds": _long(seconds)})
    return task


def add_pod_label(task: Task, label_key: str, label_value: str) -> Task:
    return _texts(task, "labels", label_key, label_value)


def add_pod_annotation(task: Task, annotation_key: str, annotation_value: str) -> Task:
    return _texts(task, "annotations", annotation_key, annotation_value)


def use_field_path_as_env(task: Task, env_name: str, field_path: str) -> Task:
    return _add(task, "fieldPathAsEnv", {"name": env_name, "fieldPath": field_path})


def set_image_pull_policy(task: Task, policy: str) -> Task:
    if policy not in ("Always", "Never", "IfNotPresent"):
        raise InvalidPipeline(
            f"{policy!r} is no image pull policy ({user_line()}).", hint="Always, Never or IfNotPresent."
        )
    _config(task)["imagePullPolicy"] = policy
    return task


def set_image_pull_secrets(task: Task, secret_names: Sequence[Any]) -> Task:
    for name in secret_names:
        _add(task, "imagePullSecret", _named("secretName", name))
    return task


def set_timeout(task: Task, seconds: int) -> Task:
    """Longest time of the task's pod; 0: no limit, also where one was set before."""
    if seconds < 0:
        raise InvalidPipeline(f"A timeout of {seconds} s cannot be ({user_line()}).")
    config = _config(task)
    config.pop("activeDeadlineSeconds", None)
    if seconds:
        config["activeDeadlineSeconds"] = _long(seconds)
    return task


def set_security_context(
    task: Task, run_as_user: int | None = None, run_as_group: int | None = None, run_as_non_root: bool | None = None
) -> Task:
    """Whom the task's container runs as; what is not given stays as it was set before."""
    for name, number in (("run_as_user", run_as_user), ("run_as_group", run_as_group)):
        if isinstance(number, bool) or (number is not None and number < 0):
            raise InvalidPipeline(f"{name} is a number from 0 on, not {number!r} ({user_line()}).")
    context = {"runAsUser": _long(run_as_user), "runAsGroup": _long(run_as_group), "runAsNonRoot": run_as_non_root}
    given = {name: value for name, value in context.items() if value is not None}
    if not given:
        raise InvalidPipeline(
            f"set_security_context sets nothing ({user_line()}).",
            hint="Give run_as_user, run_as_group or run_as_non_root.",
        )
    _config(task).setdefault("securityContext", {}).update(given)
    return task


class _Volume:
    """CreatePVC and DeletePVC: components without code of their own, known to KFP by their image's name."""

    executed = False

    def __init__(self, name: str, image: str, interface: Interface) -> None:
        self.name = name
        self.interface = interface
        self._image = image

    def implement(self, task: Task, arguments: Mapping[str, Any]) -> Implementation:
        inputs = {
            key: InputParameterSpec(
                spec.type.parameter or ParameterType.STRING, spec.default, spec.has_default, spec.optional
            )
            for key, spec in self.interface.inputs.items()
        }
        outputs = {key: OutputParameterSpec(ParameterType.STRING) for key in self.interface.outputs}
        component = Component(InputDefinitions(inputs), OutputDefinitions(outputs))
        return Implementation(arguments, ContainerExecutor(self._image), component=component)


_STRUCT = ValueType(ParameterType.STRUCT)


def CreatePVC(
    access_modes: Any,
    size: Any,
    pvc_name: Any = None,
    pvc_name_suffix: Any = None,
    storage_class_name: Any = None,
    volume_name: Any = None,
    annotations: Mapping[str, str] | None = None,
    data_source: Mapping[str, str] | None = None,
) -> Task:
    """Make a claim; its name is ``task.outputs["name"]``.

    Args:
        data_source: what it is filled from (``apiGroup``, ``kind`` and ``name`` of a snapshot or another claim).

    Raises:
        InvalidPipeline: not one of ``pvc_name`` and ``pvc_name_suffix``.
    """
    if (pvc_name is None) == (pvc_name_suffix is None):
        raise InvalidPipeline(f"CreatePVC takes pvc_name or pvc_name_suffix, one of them ({user_line()}).")
    inputs = {
        "pvc_name": InputSpec(STRING, optional=True),
        "pvc_name_suffix": InputSpec(STRING, optional=True),
        "access_modes": InputSpec(ValueType(ParameterType.LIST)),
        "size": InputSpec(STRING),
        "storage_class_name": InputSpec(STRING, "", True, True),
        "volume_name": InputSpec(STRING, optional=True),
        "annotations": InputSpec(_STRUCT, optional=True),
        "data_source": InputSpec(_STRUCT, optional=True),
    }
    component = _Volume("createpvc", "argostub/createpvc", Interface(inputs, {"name": OutputSpec(STRING)}))
    given = {
        "pvc_name": pvc_name, "pvc_name_suffix": pvc_name_suffix, "access_modes": access_modes, "size": size,
        "storage_class_name": storage_class_name, "volume_name": volume_name,
        "annotations": dict(annotations) if annotations else None,
        "data_source": dict(data_source) if data_source else None,
    }  # fmt: skip
    return plain_task(component, (), {key: value for key, value in given.items() if value is not None})


def DeletePVC(pvc_name: Any) -> Task:
    """Remove a claim."""
    component = _Volume("deletepvc", "argostub/deletepvc", Interface({"pvc_name": InputSpec(STRING)}))
    return plain_task(component, (), {"pvc_name": pvc_name})
