"""What a task's kfp-kubernetes configuration means for its pod: every field of it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, Final, cast

from mlplatform.core.errors import Finding, InvalidParameters, PlanningError
from mlplatform.core.quantities import count_bytes
from mlplatform.ir.kubernetes import (
    InitContainer,
    KeyToEnv,
    KubernetesConfig,
    NodeAffinityTerm,
    PodAffinityTerm,
    PodMetadata,
    SelectorRequirement,
)
from mlplatform.ir.model import ParameterSource
from mlplatform.planning.sources import SourceValues
from mlplatform.render.places import BASE

Json = dict[str, Any]
#: Where users' mounts would take the launcher's place.
_RESERVED: Final = PurePosixPath(BASE)


@dataclass
class PodParts:
    """Parts of a pod that a task's configuration asks for, gathered."""

    env: list[Json] = field(default_factory=list[Json])
    secret_env: list[str] = field(default_factory=list[str])
    volumes: list[Json] = field(default_factory=list[Json])
    mounts: list[Json] = field(default_factory=list[Json])
    init: list[Json] = field(default_factory=list[Json])
    labels: dict[str, str] = field(default_factory=dict[str, str])
    annotations: dict[str, str] = field(default_factory=dict[str, str])
    spec: Json = field(default_factory=dict[str, Any])
    claims: list[Json] = field(default_factory=list[Json])
    pull_policy: str = ""
    user: int | None = None
    group: int | None = None

    def volume(self, name: str, source: Json) -> None:
        """Add a volume once."""
        if all(entry["name"] != name for entry in self.volumes):
            self.volumes.append({"name": name, **source})

    def mount(self, name: str, path: str, **more: Any) -> None:
        """Mount a volume. Raises PlanningError for a path that cannot be one."""
        self.mounts.append({"name": name, "mountPath": absolute(path), **{k: v for k, v in more.items() if v}})


def absolute(path: str) -> str:
    """A mount path in its plain form. Raises PlanningError for one that is none, or the launcher's."""
    pure = PurePosixPath(path)
    if not pure.is_absolute() or ".." in pure.parts or len(pure.parts) < 2:
        raise PlanningError(f"a volume cannot be mounted at {path!r}: an absolute path below / is needed")
    plain = PurePosixPath("/", *pure.parts[1:])
    if plain == _RESERVED or _RESERVED in plain.parents or plain in _RESERVED.parents:
        raise PlanningError(f"a volume cannot be mounted at {path!r}: the launcher is there")
    return str(plain)


def pod_parts(config: KubernetesConfig, values: SourceValues) -> PodParts:
    """What the configuration asks for.

    Raises:
        PlanningError: a source has no value, or one of another form.
        InvalidParameters: what a pod must not have, with every finding.
    """
    parts = PodParts()
    _security(config, parts)
    _secrets(config, values, parts)
    _config_maps(config, values, parts)
    _claims(config, values, parts)
    _fresh_volumes(config, parts)
    _metadata(config, parts)
    _placement(config, values, parts)
    _resource_claims(config, values, parts)
    for container in config.init_containers:
        parts.init.append(_init(container))
    for source in config.image_pull_secrets:
        entry = {"name": values.text(source, "the name of an image pull secret")}
        parts.spec.setdefault("imagePullSecrets", []).append(entry)
    if config.active_deadline is not None:
        parts.spec["activeDeadlineSeconds"] = config.active_deadline
    parts.pull_policy = config.image_pull_policy
    return parts


def _security(config: KubernetesConfig, parts: PodParts) -> None:
    security = config.security_context
    if security is None:
        return
    findings: list[Finding] = []
    hint = "Leave it out: tasks run as user 1000, with a home folder and the folders kfp writes to."
    if security.run_as_user == 0:
        findings.append(Finding("securityContext.runAsUser", "asks to run as root, which is not allowed", "root", hint))
    if findings:
        raise InvalidParameters("the task asks for rights that pods do not get", findings=findings)
    parts.user, parts.group = security.run_as_user, security.run_as_group


# ---------------------------------------------------------------------- secrets and config maps
def _secrets(config: KubernetesConfig, values: SourceValues, parts: PodParts) -> None:
    for item in config.secrets_as_env:
        name = values.text(item.name, "the name of a secret")
        parts.env += [_from(entry, "secretKeyRef", name, item.optional) for entry in item.keys]
        parts.secret_env += [entry.variable for entry in item.keys]
    for index, item in enumerate(config.secrets_as_volume):
        name = values.text(item.name, "the name of a secret")
        source: Json = {"secretName": name} | ({"optional": True} if item.optional else {})
        parts.volume(f"secret-{index}", {"secret": source})
        parts.mount(f"secret-{index}", item.mount_path, readOnly=True)


def _config_maps(config: KubernetesConfig, values: SourceValues, parts: PodParts) -> None:
    for item in config.config_maps_as_env:
        name = values.text(item.name, "the name of a config map")
        parts.env += [_from(entry, "configMapKeyRef", name, item.optional) for entry in item.keys]
    for index, item in enumerate(config.config_maps_as_volume):
        name = values.text(item.name, "the name of a config map")
        source: Json = {"name": name} | ({"optional": True} if item.optional else {})
        parts.volume(f"config-map-{index}", {"configMap": source})
        parts.mount(f"config-map-{index}", item.mount_path, readOnly=True)


def _from(entry: KeyToEnv, kind: str, name: str, optional: bool) -> Json:
    reference: Json = {"name": name, "key": entry.key} | ({"optional": True} if optional else {})
    return {"name": entry.variable, "valueFrom": {kind: reference}}


# ---------------------------------------------------------------------- volumes
def _claims(config: KubernetesConfig, values: SourceValues, parts: PodParts) -> None:
    seen: dict[str, str] = {}
    for item in config.pvc_mounts:
        name = values.text(item.name, "the name of a volume claim")
        sub = PurePosixPath(item.sub_path)
        if sub.is_absolute() or ".." in sub.parts:
            raise PlanningError(f"sub-path {item.sub_path!r} of claim {name} leaves the claim")
        volume = seen.setdefault(name, f"claim-{len(seen)}")
        parts.volume(volume, {"persistentVolumeClaim": {"claimName": name}})
        parts.mount(volume, item.mount_path, subPath=item.sub_path)


def _fresh_volumes(config: KubernetesConfig, parts: PodParts) -> None:
    for item in config.empty_dirs:
        source = {"medium": item.medium, "sizeLimit": item.size_limit}
        parts.volume(item.volume_name, {"emptyDir": {k: v for k, v in source.items() if v}})
        parts.mount(item.volume_name, item.mount_path)
    for item in config.ephemeral_volumes:
        claim: Json = {
            "accessModes": list(item.access_modes) or ["ReadWriteOnce"],
            "resources": {"requests": {"storage": item.size}},
        }
        if item.storage_class_name and not item.default_storage_class:
            claim["storageClassName"] = item.storage_class_name
        template: Json = {"spec": claim}
        if item.metadata is not None:
            template["metadata"] = _plain_metadata(item.metadata)
        parts.volume(item.volume_name, {"ephemeral": {"volumeClaimTemplate": template}})
        parts.mount(item.volume_name, item.mount_path)
    if config.shared_memory is not None:
        memory = config.shared_memory
        source: Json = {"medium": "Memory"}
        if memory.size.strip():
            _quantity(memory.size, "the size of shared memory")
            source["sizeLimit"] = memory.size
        name = memory.volume_name or "shm"
        parts.volume(name, {"emptyDir": source})
        parts.mount(name, "/dev/shm")  # noqa: S108 - where shared memory is


def _quantity(text: str, what: str) -> None:
    try:
        count_bytes(text)
    except ValueError as error:
        raise PlanningError(f"{what}: {error}") from None


# ---------------------------------------------------------------------- metadata and fields
def _plain_metadata(metadata: PodMetadata) -> Json:
    told = {"labels": dict(metadata.labels), "annotations": dict(metadata.annotations)}
    return {name: table for name, table in told.items() if table}


def _metadata(config: KubernetesConfig, parts: PodParts) -> None:
    if config.pod_metadata is not None:
        parts.labels |= config.pod_metadata.labels
        parts.annotations |= config.pod_metadata.annotations
    for item in config.field_paths_as_env:
        parts.env.append({"name": item.variable, "valueFrom": {"fieldRef": {"fieldPath": item.field_path}}})


# ---------------------------------------------------------------------- where it runs
def _placement(config: KubernetesConfig, values: SourceValues, parts: PodParts) -> None:
    selector = config.node_selector
    if selector is not None:
        wanted: Any = dict(selector.labels)
        if selector.json is not None:
            wanted = _json(values, selector.json, "the node selector", dict)
        parts.spec["nodeSelector"] = {str(key): str(value) for key, value in wanted.items()}
    tolerations: list[Json] = []
    for index, item in enumerate(config.tolerations):
        if item.json is not None:
            found = _json(values, item.json, f"toleration {index}", (dict, list))
            tolerations += cast("list[Json]", found) if isinstance(found, list) else [found]
            continue
        told = {"key": item.key, "operator": item.operator, "value": item.value, "effect": item.effect}
        entry: Json = {name: text for name, text in told.items() if text}
        tolerations.append(entry | ({"tolerationSeconds": item.seconds} if item.seconds is not None else {}))
    if tolerations:
        parts.spec["tolerations"] = tolerations
    affinity = _affinity(config, values)
    if affinity:
        parts.spec["affinity"] = affinity


def _affinity(config: KubernetesConfig, values: SourceValues) -> Json:
    found: Json = {}
    for term in config.node_affinity:
        if term.json is not None:
            _merge(found.setdefault("nodeAffinity", {}), _json(values, term.json, "the node affinity", dict))
        else:
            _node_term(found.setdefault("nodeAffinity", {}), term)
    for term in config.pod_affinity:
        _pod_term(found.setdefault("podAntiAffinity" if term.anti else "podAffinity", {}), term)
    return found


def _merge(into: Json, more: Json) -> None:
    for name, value in more.items():
        if isinstance(value, list) and isinstance(into.get(name), list):
            into[name] = [*into[name], *cast("list[Any]", value)]
        elif isinstance(value, dict) and isinstance(into.get(name), dict):
            _merge(into[name], cast(Json, value))
        else:
            into[name] = value


def _requirements(items: Iterable[SelectorRequirement]) -> list[Json]:
    return [
        {"key": item.key, "operator": item.operator} | ({"values": list(item.values)} if item.values else {})
        for item in items
    ]


def _node_term(into: Json, term: NodeAffinityTerm) -> None:
    told = {"matchExpressions": _requirements(term.match_expressions), "matchFields": _requirements(term.match_fields)}
    body = {name: entries for name, entries in told.items() if entries}
    if term.weight is None:
        required = into.setdefault("requiredDuringSchedulingIgnoredDuringExecution", {"nodeSelectorTerms": []})
        required["nodeSelectorTerms"].append(body)
    else:
        preferred = into.setdefault("preferredDuringSchedulingIgnoredDuringExecution", [])
        preferred.append({"weight": term.weight, "preference": body})


def _pod_term(into: Json, term: PodAffinityTerm) -> None:
    body: Json = {"topologyKey": term.topology_key or "kubernetes.io/hostname"}
    pods = _label_selector(term.match_pod_expressions, term.match_pod_labels)
    if pods:
        body["labelSelector"] = pods
    if term.namespaces:
        body["namespaces"] = list(term.namespaces)
    namespaces = _label_selector(term.match_namespace_expressions, term.match_namespace_labels)
    if namespaces:
        body["namespaceSelector"] = namespaces
    if term.weight is None:
        into.setdefault("requiredDuringSchedulingIgnoredDuringExecution", []).append(body)
    else:
        preferred = into.setdefault("preferredDuringSchedulingIgnoredDuringExecution", [])
        preferred.append({"weight": term.weight, "podAffinityTerm": body})


def _label_selector(expressions: Iterable[SelectorRequirement], labels: Any) -> Json:
    told: Json = {"matchExpressions": _requirements(expressions), "matchLabels": dict(labels)}
    return {name: value for name, value in told.items() if value}


# ---------------------------------------------------------------------- the rest
def _resource_claims(config: KubernetesConfig, values: SourceValues, parts: PodParts) -> None:
    entries: list[Json] = []
    for index, item in enumerate(config.resource_claims):
        if item.json is not None:
            found = _json(values, item.json, "a resource claim", (dict, list))
            entries += cast("list[Json]", found) if isinstance(found, list) else [found]
        else:
            entries.append({"name": f"claim-{index}", "resourceClaimTemplateName": item.template_name})
    if entries:
        for index, entry in enumerate(entries):
            entry.setdefault("name", f"claim-{index}")
        parts.spec["resourceClaims"] = entries
        parts.claims = [{"name": entry["name"]} for entry in entries]


def _init(container: InitContainer) -> Json:
    told: Json = {
        "name": container.name,
        "image": container.image,
        "command": list(container.command),
        "args": list(container.args),
        "env": [{"name": name, "value": value} for name, value in container.env.items()],
        "volumeMounts": [
            {"name": mount.volume_name, "mountPath": mount.mount_path} for mount in container.volume_mounts
        ],
        "restartPolicy": container.restart_policy,
        "resources": {k: dict(v) for k, v in (("requests", container.requests), ("limits", container.limits)) if v},
    }
    return {name: value for name, value in told.items() if value}


def _json(values: SourceValues, source: ParameterSource, what: str, kinds: type | tuple[type, ...]) -> Any:
    """The JSON value of a source. Raises PlanningError."""
    value: Any = values.value(source, what)
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            raise PlanningError(f"{what} is not JSON") from None
    if not isinstance(value, kinds):
        raise PlanningError(f"{what} is of another form than expected")
    return value
