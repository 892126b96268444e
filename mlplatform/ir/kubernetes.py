"""kfp-kubernetes' executor configuration as frozen dataclasses.

Field meanings are those of the public ``kubernetes_executor_config.proto``. Where a value may come from a parameter its
type is :class:`~mlplatform.ir.model.ParameterSource`; the older plain spelling is read as a constant. A source's
``component_input`` and ``producer_task`` are looked up where the task stands, not inside its component.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mlplatform.core.values import JsonValue
from mlplatform.ir.model import ParameterSource


@dataclass(frozen=True, slots=True)
class SecretAsVolume:
    name: ParameterSource
    mount_path: str
    optional: bool = False


@dataclass(frozen=True, slots=True)
class KeyToEnv:
    """``key`` of a secret or config map becomes the environment variable ``variable``."""

    key: str
    variable: str


@dataclass(frozen=True, slots=True)
class SecretAsEnv:
    name: ParameterSource
    keys: tuple[KeyToEnv, ...]
    optional: bool = False


@dataclass(frozen=True, slots=True)
class ConfigMapAsVolume:
    name: ParameterSource
    mount_path: str
    optional: bool = False


@dataclass(frozen=True, slots=True)
class ConfigMapAsEnv:
    name: ParameterSource
    keys: tuple[KeyToEnv, ...]
    optional: bool = False


@dataclass(frozen=True, slots=True)
class PvcMount:
    """The claim called ``name`` at ``mount_path``; ``sub_path`` is the folder in it, empty for all of it."""

    name: ParameterSource
    mount_path: str
    sub_path: str = ""


@dataclass(frozen=True, slots=True)
class NodeSelector:
    """``json`` (a mapping of labels), where given, wins over ``labels``."""

    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    json: ParameterSource | None = None


@dataclass(frozen=True, slots=True)
class PodMetadata:
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    annotations: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class FieldPathAsEnv:
    """A field of the pod, such as ``metadata.labels['a']``, as the environment variable ``variable``."""

    variable: str
    field_path: str


@dataclass(frozen=True, slots=True)
class Toleration:
    """``json``, where given, wins over the other fields. ``seconds`` None: for ever."""

    key: str = ""
    operator: str = ""
    value: str = ""
    effect: str = ""
    seconds: int | None = None
    json: ParameterSource | None = None


@dataclass(frozen=True, slots=True)
class GenericEphemeralVolume:
    volume_name: str
    mount_path: str
    access_modes: tuple[str, ...] = ()
    size: str = ""
    default_storage_class: bool = False
    storage_class_name: str = ""
    metadata: PodMetadata | None = None


@dataclass(frozen=True, slots=True)
class SelectorRequirement:
    key: str
    operator: str
    values: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class NodeAffinityTerm:
    """``weight`` None: required, else preferred. ``json``, where given, wins over the other fields."""

    match_expressions: tuple[SelectorRequirement, ...] = ()
    match_fields: tuple[SelectorRequirement, ...] = ()
    weight: int | None = None
    json: ParameterSource | None = None


@dataclass(frozen=True, slots=True)
class PodAffinityTerm:
    """``weight`` None: required, else preferred. ``anti``: keep away from the pods that match."""

    match_pod_expressions: tuple[SelectorRequirement, ...] = ()
    match_pod_labels: Mapping[str, str] = field(default_factory=dict[str, str])
    topology_key: str = ""
    namespaces: tuple[str, ...] = ()
    match_namespace_expressions: tuple[SelectorRequirement, ...] = ()
    match_namespace_labels: Mapping[str, str] = field(default_factory=dict[str, str])
    weight: int | None = None
    anti: bool = False


@dataclass(frozen=True, slots=True)
class SharedMemory:
    """A memory-backed ``/dev/shm``; ``size`` is a Kubernetes quantity, empty for no limit."""

    volume_name: str = ""
    size: str = ""


@dataclass(frozen=True, slots=True)
class EmptyDirMount:
    volume_name: str
    mount_path: str
    medium: str = ""
    size_limit: str = ""


@dataclass(frozen=True, slots=True)
class SecurityContext:
    """None: as the container's runtime has it."""

    run_as_user: int | None = None
    run_as_group: int | None = None
    run_as_non_root: bool | None = None


@dataclass(frozen=True, slots=True)
class VolumeMount:
    volume_name: str
    mount_path: str


@dataclass(frozen=True, slots=True)
class InitContainer:
    """A container that runs before the task's; ``restart_policy`` ``Always`` keeps it running beside it."""

    name: str
    image: str
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    volume_mounts: tuple[VolumeMount, ...] = ()
    restart_policy: str = ""
    requests: Mapping[str, str] = field(default_factory=dict[str, str])
    limits: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class PodResourceClaim:
    """A claim made from a template; ``json``, where given, wins."""

    template_name: str = ""
    json: ParameterSource | None = None


@dataclass(frozen=True, slots=True)
class KubernetesConfig:
    """Everything kfp-kubernetes can say about one executor. ``active_deadline`` is in seconds."""

    secrets_as_volume: tuple[SecretAsVolume, ...] = ()
    secrets_as_env: tuple[SecretAsEnv, ...] = ()
    pvc_mounts: tuple[PvcMount, ...] = ()
    node_selector: NodeSelector | None = None
    pod_metadata: PodMetadata | None = None
    image_pull_secrets: tuple[ParameterSource, ...] = ()
    image_pull_policy: str = ""
    config_maps_as_volume: tuple[ConfigMapAsVolume, ...] = ()
    config_maps_as_env: tuple[ConfigMapAsEnv, ...] = ()
    active_deadline: int | None = None
    field_paths_as_env: tuple[FieldPathAsEnv, ...] = ()
    tolerations: tuple[Toleration, ...] = ()
    ephemeral_volumes: tuple[GenericEphemeralVolume, ...] = ()
    node_affinity: tuple[NodeAffinityTerm, ...] = ()
    pod_affinity: tuple[PodAffinityTerm, ...] = ()
    shared_memory: SharedMemory | None = None
    empty_dirs: tuple[EmptyDirMount, ...] = ()
    security_context: SecurityContext | None = None
    init_containers: tuple[InitContainer, ...] = ()
    resource_claims: tuple[PodResourceClaim, ...] = ()


@dataclass(frozen=True, slots=True)
class WorkspaceConfig:
    """A folder shared by all tasks of a run. ``size`` is a Kubernetes quantity; ``pvc_spec_patch`` as in KFP."""

    size: str
    pvc_spec_patch: Mapping[str, JsonValue] = field(default_factory=dict[str, JsonValue])


@dataclass(frozen=True, slots=True)
class PlatformPipelineConfig:
    """Settings of the whole run. Times are in seconds, None where unset.

    ``semaphore_key`` and ``mutex_name`` (of KFP 2.14) keep runs from running at the same time.
    """

    workspace: WorkspaceConfig | None = None
    ttl_on_completion: int | None = None
    ttl_on_success: int | None = None
    ttl_on_failure: int | None = None
    active_deadline: int | None = None
    semaphore_key: str = ""
    mutex_name: str = ""
