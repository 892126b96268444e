"""Reading a pipeline's ``platforms:`` document, typed. See :mod:`mlplatform.ir.kubernetes` for what comes out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, TypeVar

from mlplatform.core.errors import Finding, InvalidPipeline
from mlplatform.ir import kubernetes as k8s
from mlplatform.ir.load_types import parameter_source
from mlplatform.ir.model import ParameterSource, Pipeline
from mlplatform.ir.reading import Message, Reading, fields

KUBERNETES: Final = "kubernetes"
#: What we keep of a compiled notebook; other runners pass over platforms that are not theirs.
OWN: Final = "mlplatform"
_T = TypeVar("_T")
_PLATFORM: Final = fields("deploymentSpec platform config pipelineConfig")
_DEPLOYMENT: Final = fields("executors")
_PIPELINE_CONFIG: Final = fields(
    "resourceTtl resourceTtlOnCompletion resourceTtlOnSuccess resourceTtlOnFailure activeDeadlineSeconds workspace "
    "semaphoreKey mutexName"
)
_WORKSPACE: Final = fields("size kubernetes")
_WORKSPACE_KUBERNETES: Final = fields("pvcSpecPatch")
_EXECUTOR: Final = fields(
    "secretAsVolume secretAsEnv pvcMount nodeSelector podMetadata imagePullSecret imagePullPolicy configMapAsVolume "
    "configMapAsEnv activeDeadlineSeconds fieldPathAsEnv tolerations genericEphemeralVolume nodeAffinity podAffinity "
    "enabledSharedMemory emptyDirMounts securityContext initContainers podResourceClaims"
)
_SECRET_VOLUME: Final = fields("secretName mountPath optional secretNameParameter")
_SECRET_ENV: Final = fields("secretName keyToEnv optional secretNameParameter")
_SECRET_KEY: Final = fields("secretKey envVar")
_MAP_VOLUME: Final = fields("configMapName mountPath optional configMapNameParameter")
_MAP_ENV: Final = fields("configMapName keyToEnv optional configMapNameParameter")
_MAP_KEY: Final = fields("configMapKey envVar")
_PVC: Final = fields("taskOutputParameter constant componentInputParameter mountPath pvcNameParameter subPath")
_SELECTOR: Final = fields("labels nodeSelectorJson")
_METADATA: Final = fields("labels annotations")
_PULL_SECRET: Final = fields("secretName secretNameParameter")
_FIELD_PATH: Final = fields("name fieldPath")
_TOLERATION: Final = fields("key operator value effect tolerationSeconds tolerationJson")
_EPHEMERAL: Final = fields("volumeName mountPath accessModes size defaultStorageClass storageClassName metadata")
_NODE_AFFINITY: Final = fields("matchExpressions matchFields weight nodeAffinityJson")
_POD_AFFINITY: Final = fields(
    "matchPodExpressions matchPodLabels topologyKey namespaces matchNamespaceExpressions matchNamespaceLabels weight "
    "anti"
)
_REQUIREMENT: Final = fields("key operator values")
_SHARED_MEMORY: Final = fields("volumeName size")
_EMPTY_DIR: Final = fields("volumeName mountPath medium sizeLimit")
_SECURITY: Final = fields("runAsUser runAsGroup runAsNonRoot")
_INIT: Final = fields("name image command args env volumeMounts restartPolicy resources")
_ENV: Final = fields("name value")
_MOUNT: Final = fields("volumeName mountPath")
_RESOURCES: Final = fields("requests limits")
_CLAIM: Final = fields("resourceClaimTemplateName resourceClaimJson")


def kubernetes_config(pipeline: Pipeline, executor_label: str) -> k8s.KubernetesConfig:
    """What the pipeline's platform document says about one executor; all defaults if nothing.

    Raises:
        InvalidPipeline: with every finding about this executor.
    """
    reading = Reading()
    config = k8s.KubernetesConfig()
    for name, path, item in _executors(reading, pipeline):
        if name == executor_label:
            config = _config(_Strict(reading, item, path, _EXECUTOR))
    _raise(reading)
    return config


def workspace_config(pipeline: Pipeline) -> k8s.WorkspaceConfig | None:
    """The run's shared workspace, or None.

    Raises:
        InvalidPipeline: with every finding about the run's settings.
    """
    return pipeline_config(pipeline).workspace


def pipeline_config(pipeline: Pipeline) -> k8s.PlatformPipelineConfig:
    """What the platform document says about the whole run.

    Raises:
        InvalidPipeline: with every finding about it.
    """
    reading = Reading()
    config = _pipeline_config(_platform(reading, pipeline))
    _raise(reading)
    return config


def all_configs(pipeline: Pipeline) -> tuple[dict[str, k8s.KubernetesConfig], tuple[Finding, ...]]:
    """Every executor's configuration by its label, and everything wrong with the platform documents."""
    reading = Reading()
    for name in pipeline.platforms:
        if name not in (KUBERNETES, OWN):
            reading.add(f"platforms.{name}", "this platform is not known", "unsupported", "only kubernetes is")
    platform = _platform(reading, pipeline)
    if platform.raw("config"):
        reading.add(platform.at("config"), "this cannot be carried out here", "unsupported", "remove it")
    _pipeline_config(platform)
    configs = {
        name: _config(_Strict(reading, item, path, _EXECUTOR)) for name, path, item in _executors(reading, pipeline)
    }
    return configs, reading.all_findings()


def sources(config: k8s.KubernetesConfig) -> Iterator[tuple[str, ParameterSource]]:
    """The parameter sources of a configuration, each with the name of the field it stands in."""
    named = (
        ("secretAsVolume", config.secrets_as_volume),
        ("secretAsEnv", config.secrets_as_env),
        ("pvcMount", config.pvc_mounts),
        ("configMapAsVolume", config.config_maps_as_volume),
        ("configMapAsEnv", config.config_maps_as_env),
    )
    for name, items in named:
        yield from ((f"{name}[{index}]", item.name) for index, item in enumerate(items))
    for index, source in enumerate(config.image_pull_secrets):
        yield f"imagePullSecret[{index}]", source
    jsons = (
        ("tolerations", config.tolerations),
        ("nodeAffinity", config.node_affinity),
        ("podResourceClaims", config.resource_claims),
    )
    for name, items in jsons:
        yield from ((f"{name}[{index}]", item.json) for index, item in enumerate(items) if item.json is not None)
    if config.node_selector is not None and config.node_selector.json is not None:
        yield "nodeSelector.nodeSelectorJson", config.node_selector.json


def _raise(reading: Reading) -> None:
    if reading.findings:
        raise InvalidPipeline("The platforms document cannot be used.", findings=reading.all_findings())


class _Strict(Message):
    """A message whose unknown fields are findings, as are those of the messages inside it."""

    __slots__ = ("is_mapping",)

    def __init__(self, reading: Reading, value: Any, path: str, table: Mapping[str, str]) -> None:
        self.is_mapping = value is None or isinstance(value, dict)
        message = reading.strict_message(value, path, table)
        super().__init__(reading, path, message.values, message.written)

    def inner(self, name: str, table: Mapping[str, str]) -> _Strict:
        return _Strict(self.reading, self.raw(name), self.at(name), table)

    def all(self, name: str, table: Mapping[str, str], read: Callable[[_Strict], _T]) -> tuple[_T, ...]:
        return tuple(read(_Strict(self.reading, item, path, table)) for path, item in self.items(name))

    def source(self, name: str) -> ParameterSource | None:
        return parameter_source(self.reading, self.raw(name), self.at(name)) if self.has(name) else None

    def named(self, plain: str) -> ParameterSource:
        """A name by parameter (``secretNameParameter``), or as plain text in the older field (``secretName``)."""
        source = self.source(f"{plain}Parameter")
        if source is not None:
            self.text(plain)
            return source
        if not self.text(plain) and self.is_mapping:
            self.reading.add(self.path, f"{plain}Parameter is missing", "missing")
        return _constant(self.text(plain))

    def needed(self, name: str) -> str:
        return super().needed(name) if self.is_mapping else ""

    def maybe_flag(self, name: str) -> bool | None:
        return self.flag(name) if self.has(name) else None


def _constant(text: str) -> ParameterSource:
    return ParameterSource(constant=text, has_constant=True)


def _platform(reading: Reading, pipeline: Pipeline) -> _Strict:
    return _Strict(reading, pipeline.platforms.get(KUBERNETES), f"platforms.{KUBERNETES}", _PLATFORM)


def _executors(reading: Reading, pipeline: Pipeline) -> Iterator[tuple[str, str, Any]]:
    quiet = Reading()  # what is wrong around the executors is reported by whoever reads the platform itself
    platform = _platform(quiet, pipeline)
    return _Strict(reading, platform.raw("deploymentSpec"), platform.at("deploymentSpec"), _DEPLOYMENT).entries(
        "executors"
    )


def _pipeline_config(platform: _Strict) -> k8s.PlatformPipelineConfig:
    config = platform.inner("pipelineConfig", _PIPELINE_CONFIG)
    workspace = None
    if config.has("workspace"):
        made = config.inner("workspace", _WORKSPACE)
        patch = made.inner("kubernetes", _WORKSPACE_KUBERNETES).struct("pvcSpecPatch")
        workspace = k8s.WorkspaceConfig(made.needed("size"), patch)
    completion = config.integer("resourceTtlOnCompletion")
    return k8s.PlatformPipelineConfig(
        workspace=workspace,
        ttl_on_completion=completion if completion is not None else config.integer("resourceTtl"),
        ttl_on_success=config.integer("resourceTtlOnSuccess"),
        ttl_on_failure=config.integer("resourceTtlOnFailure"),
        active_deadline=config.integer("activeDeadlineSeconds"),
        semaphore_key=config.text("semaphoreKey"),
        mutex_name=config.text("mutexName"),
    )


def _config(m: _Strict) -> k8s.KubernetesConfig:
    return k8s.KubernetesConfig(
        secrets_as_volume=m.all("secretAsVolume", _SECRET_VOLUME, _secret_volume),
        secrets_as_env=m.all("secretAsEnv", _SECRET_ENV, _secret_env),
        pvc_mounts=m.all("pvcMount", _PVC, _pvc_mount),
        node_selector=_node_selector(m.inner("nodeSelector", _SELECTOR)) if m.has("nodeSelector") else None,
        pod_metadata=_metadata(m, "podMetadata"),
        image_pull_secrets=m.all("imagePullSecret", _PULL_SECRET, lambda item: item.named("secretName")),
        image_pull_policy=_one_of(m, "imagePullPolicy", "Always", "Never", "IfNotPresent"),
        config_maps_as_volume=m.all("configMapAsVolume", _MAP_VOLUME, _map_volume),
        config_maps_as_env=m.all("configMapAsEnv", _MAP_ENV, _map_env),
        active_deadline=m.integer("activeDeadlineSeconds"),
        field_paths_as_env=m.all("fieldPathAsEnv", _FIELD_PATH, _field_path),
        tolerations=m.all("tolerations", _TOLERATION, _toleration),
        ephemeral_volumes=m.all("genericEphemeralVolume", _EPHEMERAL, _ephemeral),
        node_affinity=m.all("nodeAffinity", _NODE_AFFINITY, _node_affinity),
        pod_affinity=m.all("podAffinity", _POD_AFFINITY, _pod_affinity),
        shared_memory=_shared_memory(m.inner("enabledSharedMemory", _SHARED_MEMORY))
        if m.has("enabledSharedMemory")
        else None,
        empty_dirs=m.all("emptyDirMounts", _EMPTY_DIR, _empty_dir),
        security_context=_security(m.inner("securityContext", _SECURITY)) if m.has("securityContext") else None,
        init_containers=m.all("initContainers", _INIT, _init_container),
        resource_claims=m.all(
            "podResourceClaims",
            _CLAIM,
            lambda item: k8s.PodResourceClaim(item.text("resourceClaimTemplateName"), item.source("resourceClaimJson")),
        ),
    )


def _one_of(m: _Strict, name: str, *words: str) -> str:
    value = m.text(name)
    if value and value not in words:
        m.reading.add(m.at(name), f"{value!r} is none of {', '.join(words)}", "invalid-value")
    return value


def _secret_volume(m: _Strict) -> k8s.SecretAsVolume:
    return k8s.SecretAsVolume(m.named("secretName"), m.needed("mountPath"), m.flag("optional"))


def _secret_env(m: _Strict) -> k8s.SecretAsEnv:
    keys = m.all("keyToEnv", _SECRET_KEY, lambda item: k8s.KeyToEnv(item.needed("secretKey"), item.needed("envVar")))
    return k8s.SecretAsEnv(m.named("secretName"), keys, m.flag("optional"))


def _map_volume(m: _Strict) -> k8s.ConfigMapAsVolume:
    return k8s.ConfigMapAsVolume(m.named("configMapName"), m.needed("mountPath"), m.flag("optional"))


def _map_env(m: _Strict) -> k8s.ConfigMapAsEnv:
    keys = m.all("keyToEnv", _MAP_KEY, lambda item: k8s.KeyToEnv(item.needed("configMapKey"), item.needed("envVar")))
    return k8s.ConfigMapAsEnv(m.named("configMapName"), keys, m.flag("optional"))


def _pvc_mount(m: _Strict) -> k8s.PvcMount:
    source = m.source("pvcNameParameter")
    if source is None:
        m.only_one("taskOutputParameter", "constant", "componentInputParameter")
        if m.has("constant"):
            source = _constant(m.text("constant"))
        else:
            names = ("taskOutputParameter", "componentInputParameter")
            old = {m.written[name]: m.raw(name) for name in names if m.has(name)}
            source = parameter_source(m.reading, old, m.path)
    return k8s.PvcMount(source, m.needed("mountPath"), m.text("subPath"))


def _node_selector(m: _Strict) -> k8s.NodeSelector:
    return k8s.NodeSelector(m.text_map("labels"), m.source("nodeSelectorJson"))


def _metadata(m: _Strict, name: str) -> k8s.PodMetadata | None:
    if not m.has(name):
        return None
    metadata = m.inner(name, _METADATA)
    return k8s.PodMetadata(metadata.text_map("labels"), metadata.text_map("annotations"))


def _field_path(m: _Strict) -> k8s.FieldPathAsEnv:
    return k8s.FieldPathAsEnv(m.needed("name"), m.needed("fieldPath"))


def _toleration(m: _Strict) -> k8s.Toleration:
    return k8s.Toleration(
        key=m.text("key"),
        operator=_one_of(m, "operator", "Exists", "Equal", "Lt", "Gt"),
        value=m.text("value"),
        effect=_one_of(m, "effect", "NoSchedule", "PreferNoSchedule", "NoExecute"),
        seconds=m.integer("tolerationSeconds"),
        json=m.source("tolerationJson"),
    )


def _ephemeral(m: _Strict) -> k8s.GenericEphemeralVolume:
    return k8s.GenericEphemeralVolume(
        volume_name=m.needed("volumeName"),
        mount_path=m.needed("mountPath"),
        access_modes=m.texts("accessModes"),
        size=m.text("size"),
        default_storage_class=m.flag("defaultStorageClass"),
        storage_class_name=m.text("storageClassName"),
        metadata=_metadata(m, "metadata"),
    )


def _requirement(m: _Strict) -> k8s.SelectorRequirement:
    return k8s.SelectorRequirement(m.needed("key"), m.needed("operator"), m.texts("values"))


def _node_affinity(m: _Strict) -> k8s.NodeAffinityTerm:
    return k8s.NodeAffinityTerm(
        match_expressions=m.all("matchExpressions", _REQUIREMENT, _requirement),
        match_fields=m.all("matchFields", _REQUIREMENT, _requirement),
        weight=m.integer("weight"),
        json=m.source("nodeAffinityJson"),
    )


def _pod_affinity(m: _Strict) -> k8s.PodAffinityTerm:
    return k8s.PodAffinityTerm(
        match_pod_expressions=m.all("matchPodExpressions", _REQUIREMENT, _requirement),
        match_pod_labels=m.text_map("matchPodLabels"),
        topology_key=m.text("topologyKey"),
        namespaces=m.texts("namespaces"),
        match_namespace_expressions=m.all("matchNamespaceExpressions", _REQUIREMENT, _requirement),
        match_namespace_labels=m.text_map("matchNamespaceLabels"),
        weight=m.integer("weight"),
        anti=m.flag("anti"),
    )


def _shared_memory(m: _Strict) -> k8s.SharedMemory:
    return k8s.SharedMemory(m.text("volumeName"), m.text("size"))


def _empty_dir(m: _Strict) -> k8s.EmptyDirMount:
    return k8s.EmptyDirMount(m.needed("volumeName"), m.needed("mountPath"), m.text("medium"), m.text("sizeLimit"))


def _security(m: _Strict) -> k8s.SecurityContext:
    return k8s.SecurityContext(m.integer("runAsUser"), m.integer("runAsGroup"), m.maybe_flag("runAsNonRoot"))


def _init_container(m: _Strict) -> k8s.InitContainer:
    variables = m.all("env", _ENV, lambda item: (item.needed("name"), item.text("value")))
    resources = m.inner("resources", _RESOURCES)
    return k8s.InitContainer(
        name=m.needed("name"),
        image=m.needed("image"),
        command=m.texts("command"),
        args=m.texts("args"),
        env=dict(variables),
        volume_mounts=m.all(
            "volumeMounts", _MOUNT, lambda item: k8s.VolumeMount(item.needed("volumeName"), item.needed("mountPath"))
        ),
        restart_policy=_one_of(m, "restartPolicy", "Always"),
        requests=resources.text_map("requests"),
        limits=resources.text_map("limits"),
    )
