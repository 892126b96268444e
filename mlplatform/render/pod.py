"""One attempt of a task as a pod: the user's image, our launcher beside it, and no more rights than it needs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from mlplatform.apis.names import (
    ANNOTATION_CACHE_KEY,
    ANNOTATION_KEY,
    ANNOTATION_TASK,
    ANNOTATION_WHY,
    FINALIZER_RESULT,
    LABEL_ATTEMPT,
    LABEL_MANAGED,
    LABEL_RUN,
    LABEL_TASK,
    MANAGER,
)
from mlplatform.apis.pipelinerun import PipelineRun
from mlplatform.core.errors import PlanningError
from mlplatform.ir.kubernetes import KubernetesConfig
from mlplatform.planning.sources import SourceValues
from mlplatform.render import places
from mlplatform.render.names import pod_name, run_label, task_hash, workspace_name
from mlplatform.render.parts import Json, PodParts, pod_parts
from mlplatform.render.request import Asked, Request, task_request
from mlplatform.render.resources import GPU, accelerator, container_resources, product_terms
from mlplatform.render.settings import PodSettings

MAIN: Final = "main"
LAUNCHER: Final = "launcher"
#: Bytes of a request that travels in the pod itself.
INLINE: Final = 24 * 1024
#: Bytes that an object of the API server can hold beside its metadata.
LARGEST: Final = 900 * 1024

REQUEST_VARIABLE: Final = "MLPLATFORM_REQUEST"
FILE_VARIABLE: Final = "MLPLATFORM_REQUEST_FILE"


@dataclass(frozen=True, slots=True)
class TaskPod:
    """What is to be created for an attempt. ``request``: the object that holds what the pod is told, where that is too
    much for the pod itself."""

    pod: Json
    request: Json | None = None


@dataclass(frozen=True, slots=True)
class Reuse:
    """Of a task's result: ``key``, under which it is kept; ``why`` the task runs; ``told``: an earlier result for its
    launcher to compare with what there is."""

    key: str = ""
    why: str = ""
    told: Mapping[str, Any] = field(default_factory=dict[str, Any])


def task_pod(
    run: PipelineRun,
    asked: Asked,
    config: KubernetesConfig,
    values: SourceValues,
    settings: PodSettings,
    *,
    workspace: bool = False,
    reuse: Reuse = Reuse(),
    ranks: Mapping[str, Any] | None = None,
    compare: bool = False,
) -> TaskPod:
    """The pod of one attempt, the same every time. ``ranks``: what its launcher is told beside, where it is a rank.
    ``compare``: it only looks whether an earlier result stands.

    Raises:
        PlanningError: a value is missing or of the wrong form; the text says which.
        InvalidParameters: it asks for what pods must not have.
    """
    key = asked.start.key
    request = task_request(asked)
    parts = pod_parts(config, values)
    name = pod_name(run.name, key, asked.start.attempt)
    told = _told(request, parts, run, reuse, asked.start.cache_key) | ({"ranks": ranks} if ranks else {})
    told |= {"compare": True} if compare else {}
    text = json.dumps(told, ensure_ascii=True, separators=(",", ":"), sort_keys=True)
    carried, own = _carry(run, name, text, asked)
    _places(parts, run, workspace)
    _gpus(parts, request)
    notes = {ANNOTATION_CACHE_KEY: reuse.key, ANNOTATION_WHY: reuse.why[:2000]}
    metadata: Json = {
        "name": name,
        "namespace": run.namespace,
        "labels": parts.labels | _labels(run, asked),
        "annotations": parts.annotations
        | {ANNOTATION_TASK: str(key), ANNOTATION_KEY: json.dumps([key.path, key.iteration])}
        | {name: text for name, text in notes.items() if text},
        "finalizers": [FINALIZER_RESULT],
    }
    if own is not None:
        parts.volume("mlplatform-request", {"configMap": {"name": name}})
        parts.mounts.append({"name": "mlplatform-request", "mountPath": places.REQUEST, "readOnly": True})
    guests = told["kind"] != "command" or bool(ranks)
    spec = _spec(run, request, parts, settings, carried, guests)
    return TaskPod({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}, own)


def _labels(run: PipelineRun, asked: Asked) -> dict[str, str]:
    return {
        LABEL_MANAGED: MANAGER,
        LABEL_RUN: run_label(run.name),
        LABEL_TASK: task_hash(asked.start.key),
        LABEL_ATTEMPT: str(asked.start.attempt),
        # KFP's own, which tasks read by the downward API
        "pipeline/runid": run.uid,
    }


def _told(request: Request, parts: PodParts, run: PipelineRun, reuse: Reuse, user_key: str) -> dict[str, Any]:
    body = dict(request.body)
    if reuse.told:
        body["reuse"] = {**reuse.told, "mounted": body.get("mounted", "")}
    if reuse.key and not user_key:  # an author who gives the key knows what the task talks to
        body["watch"] = True
    if parts.secret_env:
        body["secret_env"] = sorted(set(parts.secret_env))
    if run.spec.store is not None and run.spec.store.uri:
        body["store"] = {"endpoint": run.spec.store.endpoint, "region": run.spec.store.region}
    return body


def _carry(run: PipelineRun, name: str, text: str, asked: Asked) -> tuple[list[Json], Json | None]:
    """How the request gets to the launcher: (variables of the container, the object that holds it)."""
    size = len(text)
    if size <= INLINE:
        return [{"name": REQUEST_VARIABLE, "value": text.replace("$", "$$")}], None
    if size > LARGEST:
        raise PlanningError(
            f"what the task is told (its parameters and its source) is {size // 1024} KiB, more than the "
            f"{LARGEST // 1024} KiB that Kubernetes can hold",
            hint="Pass large values as artifacts.",
        )
    own: Json = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": run.namespace, "labels": _labels(run, asked)},
        "immutable": True,
        "data": {"request.json": text},
    }
    return [{"name": FILE_VARIABLE, "value": f"{places.REQUEST}/request.json"}], own


def _places(parts: PodParts, run: PipelineRun, workspace: bool) -> None:
    """Volumes of every pod; a user's mount at the same path goes before ours."""
    taken = {mount["mountPath"] for mount in parts.mounts}

    def ours(name: str, source: Json, path: str, **more: Any) -> None:
        if path in taken:
            return
        parts.volume(name, source)
        parts.mounts.append({"name": name, "mountPath": path, **more})

    ours("mlplatform-launcher", {"emptyDir": {}}, places.LAUNCHER, readOnly=True)
    ours("mlplatform-work", {"emptyDir": {}}, places.WORK)
    ours("mlplatform-tmp", {"emptyDir": {}}, "/tmp")  # noqa: S108 - where users expect it
    for scheme, path in places.KFP_FOLDERS.items():
        ours("mlplatform-kfp", {"emptyDir": {}}, path, subPath=scheme)
    store = run.spec.store
    if store is not None and store.claim_name:
        more = {"subPath": store.sub_path.strip("/")} if store.sub_path.strip("/") else {}
        claim = {"persistentVolumeClaim": {"claimName": store.claim_name}}
        ours("mlplatform-store", claim, places.STORE, **more)
    if store is not None and store.secret_name:
        ours("mlplatform-store", {"secret": {"secretName": store.secret_name}}, places.STORE_SECRET, readOnly=True)
    if workspace:
        claim = {"persistentVolumeClaim": {"claimName": workspace_name(run.name)}}
        ours("mlplatform-workspace", claim, places.WORKSPACE)


def _gpus(parts: PodParts, request: Request) -> None:
    asked = request.container.asked
    resource, count, product = accelerator(asked.accelerator if asked else None)
    if not resource or not count:
        return
    tolerations: list[Json] = parts.spec.setdefault("tolerations", [])
    if all(entry.get("key") != resource for entry in tolerations):
        tolerations.append({"key": resource, "operator": "Exists", "effect": "NoSchedule"})
    if product and resource == GPU:
        affinity = parts.spec.setdefault("affinity", {}).setdefault("nodeAffinity", {})
        required = affinity.setdefault("requiredDuringSchedulingIgnoredDuringExecution", {"nodeSelectorTerms": []})
        terms = product_terms(product)
        mine: list[Json] = required["nodeSelectorTerms"]
        # Terms are alternatives: each of the user's own must hold together with one of these.
        required["nodeSelectorTerms"] = [
            {**old, "matchExpressions": [*old.get("matchExpressions", []), *new["matchExpressions"]]}
            for old in mine or [{}]
            for new in terms
        ]


# ---------------------------------------------------------------------- the pod's spec
_RESTRICTED: Final[Mapping[str, Any]] = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}


def _spec(
    run: PipelineRun, request: Request, parts: PodParts, settings: PodSettings, carried: list[Json], guests: bool
) -> Json:
    user = parts.user or run.spec.run_as_user or settings.user
    group = parts.group or user
    if settings.server:
        token = {"audience": MANAGER, "expirationSeconds": 3600, "path": "token"}
        parts.volume("mlplatform-token", {"projected": {"sources": [{"serviceAccountToken": token}]}})
        parts.mounts.append({"name": "mlplatform-token", "mountPath": places.TOKEN, "readOnly": True})
    main: Json = {
        "name": MAIN,
        "image": request.container.image,
        "command": [f"{places.LAUNCHER}/bin/launcher", "run"],
        "env": _environment(run, request, parts, settings) + carried,
        "volumeMounts": parts.mounts,
        "securityContext": dict(_RESTRICTED),
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }
    resources = container_resources(request.container.asked)
    if parts.claims:
        resources["claims"] = parts.claims
    if resources:
        main["resources"] = resources
    if parts.pull_policy:
        main["imagePullPolicy"] = parts.pull_policy
    pulls = [*parts.spec.pop("imagePullSecrets", []), *({"name": name} for name in run.spec.image_pull_secrets)]
    spec: Json = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": settings.grace_seconds,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": user,
            "runAsGroup": group,
            "fsGroup": group,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "initContainers": [
            _launcher(settings, guests, parts),
            *({"securityContext": dict(_RESTRICTED), **own} for own in parts.init),
        ],
        "containers": [main],
        "volumes": parts.volumes,
        **parts.spec,
    }
    if pulls:
        spec["imagePullSecrets"] = pulls
    if run.spec.service_account_name:
        spec["serviceAccountName"] = run.spec.service_account_name
    if run.spec.priority_class_name:
        spec["priorityClassName"] = run.spec.priority_class_name
    return spec


def _launcher(settings: PodSettings, guests: bool, parts: PodParts) -> Json:
    # Every file that is copied counts: a task that is no Python wants nothing for the Python of its image.
    what = [] if guests else ["command"]
    # What is missing stops the pod here, before a large image is pulled for nothing.
    wanted = [entry for entry in parts.env if {"secretKeyRef", "configMapKeyRef"} & entry.get("valueFrom", {}).keys()]
    return {
        "name": LAUNCHER,
        "image": settings.launcher_image,
        "imagePullPolicy": settings.launcher_pull_policy,
        "command": ["/mlplatform/bin/launcher", "install", places.LAUNCHER, *what],
        "volumeMounts": [{"name": "mlplatform-launcher", "mountPath": places.LAUNCHER}],
        "securityContext": dict(_RESTRICTED),
        "resources": {"requests": {"cpu": "100m", "memory": "32Mi"}},
        **({"env": wanted} if wanted else {}),
    }


def _environment(run: PipelineRun, request: Request, parts: PodParts, settings: PodSettings) -> list[Json]:
    """Later ones win: the platform's, the run's, the component's, the configuration's."""
    table: dict[str, Json] = {}
    plain = {**settings.env, **{item.name: item.value for item in run.spec.env}, **request.container.env}
    for name, value in plain.items():
        table[name] = {"name": name, "value": value.replace("$", "$$")}
    if settings.server:
        table["MLPLATFORM_SERVER"] = {"name": "MLPLATFORM_SERVER", "value": settings.server}
    for entry in parts.env:
        table[entry["name"]] = entry
    return list(table.values())
