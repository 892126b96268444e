"""A rank's pod: the user's template, with the name, the environment and the place that the platform gives it."""

from __future__ import annotations

import copy
import json
from typing import Any, Final

from mlplatform.apis.names import FINALIZER_RANK, LABEL_JOB_UID, MANAGER, PROGRESS_AUDIENCE
from mlplatform.apis.trainingjob import Checkpoint, Preemption, ReplicaGroup
from mlplatform.apis.trainingstatus import TrainingJob
from mlplatform.planning.training.facts import Ledger, Start
from mlplatform.render.training.environment import (
    ENVIRONMENT_FOLDER,
    LIBRARY,
    LIBRARY_FOLDER,
    MPI_FOLDER,
    SSH_FOLDER,
    TOKEN_FOLDER,
    TrainingSettings,
    asks_server,
    environment,
)
from mlplatform.render.training.names import (
    checkpoint_claim,
    hosts_name,
    pod_name,
    rank_labels,
    secret_name,
    service_name,
)
from mlplatform.render.training.placement import place

Json = dict[str, Any]

#: What a container without a name is called.
MAIN: Final = "main"


def rank_pod(job: TrainingJob, start: Start, ledger: Ledger, settings: TrainingSettings) -> Json:
    """The pod of one rank of one attempt, the same every time."""
    group = next(one for one in job.spec.groups if one.name == start.key.group)
    given: Json = group.template.get("metadata") or {}
    name = pod_name(job.name, start.key)
    metadata: Json = {
        "name": name,
        "namespace": job.namespace,
        "labels": {**(given.get("labels") or {}), **rank_labels(job.name, start.key), LABEL_JOB_UID: job.uid},
        "finalizers": [FINALIZER_RANK],
    }
    if given.get("annotations"):
        metadata["annotations"] = dict(given["annotations"])
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": _spec(job, group, start, ledger, settings)}


def _spec(job: TrainingJob, group: ReplicaGroup, start: Start, ledger: Ledger, settings: TrainingSettings) -> Json:
    spec: Json = copy.deepcopy(dict(group.template.get("spec") or {}))
    containers: list[Json] = spec.get("containers") or [{}]
    rank = containers[0]
    rank.setdefault("name", MAIN)
    # Why it failed is read from what it said last.
    rank.setdefault("terminationMessagePolicy", "FallbackToLogsOnError")
    if not rank.get("image") and settings.default_image:
        rank["image"] = settings.default_image
    library = bool(settings.launcher_image) and _asks_for_library(job, group)
    told = environment(job, group, start, ledger, settings)
    # The user's come last, so that they may refer to ours; names that matter to the platform are not theirs to set.
    rank["env"] = [*([{"name": LIBRARY, "value": LIBRARY_FOLDER}] if library else []), *told, *(rank.get("env") or [])]
    spec |= {
        "containers": containers,
        "restartPolicy": "Never",
        "hostname": pod_name(job.name, start.key),
        "subdomain": service_name(job.name),
    }
    if job.spec.preemption is not None or "terminationGracePeriodSeconds" not in spec:
        spec["terminationGracePeriodSeconds"] = (job.spec.preemption or Preemption()).grace_period_seconds
    spec.setdefault("enableServiceLinks", False)
    spec.setdefault("automountServiceAccountToken", False)
    if library:
        _library(spec, rank, settings)
    _restrict(spec, settings)
    _checkpoints(spec, rank, job, start)
    _volumes(spec, rank, job, group, ledger, settings)
    place(spec, rank, job, group, start.avoid_nodes, one_node(job))
    return spec


def _asks_for_library(job: TrainingJob, group: ReplicaGroup) -> bool:
    """Its container names the variable; what mpirun is told to run is run by the workers."""
    for one in job.spec.groups if job.spec.framework == "mpi" else (group,):
        spec: Json = dict(one.template.get("spec") or {})
        if LIBRARY in json.dumps([(spec.get("containers") or [{}])[0], spec.get("initContainers")]):
            return True
    return False


def _library(spec: Json, rank: Json, settings: TrainingSettings) -> None:
    """``mlplatform.training`` comes with the launcher's image, since the rank's own need not have it."""
    brings: Json = {
        "name": "mlplatform-library",
        "image": settings.launcher_image,
        "imagePullPolicy": settings.launcher_pull_policy,
        "command": ["/mlplatform/bin/launcher", "library", LIBRARY_FOLDER],
        "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}},
    }
    spec["initContainers"] = [brings, *(spec.get("initContainers") or [])]
    source: Json = {"emptyDir": {"sizeLimit": "16Mi"}}
    _mount(spec, brings, "mlplatform-library", source, LIBRARY_FOLDER)
    _mount(spec, rank, "mlplatform-library", source, LIBRARY_FOLDER, readOnly=True)


def _restrict(spec: Json, settings: TrainingSettings) -> None:
    """The rights of the restricted Pod Security level, unless the template says otherwise; whether it may is for the
    namespace to say."""
    own: Json = spec.get("securityContext") or {}
    user = own.get("runAsUser", settings.user)
    spec["securityContext"] = {
        "runAsNonRoot": user != 0,
        "runAsUser": user,
        "runAsGroup": own.get("runAsGroup", user),
        "fsGroup": own.get("fsGroup", user),
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
        **own,
    }
    containers: list[Json] = [*spec["containers"], *(spec.get("initContainers") or [])]
    for container in containers:
        container["securityContext"] = {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            **(container.get("securityContext") or {}),
        }


def _mount(spec: Json, container: Json, name: str, source: Json, path: str, **more: Any) -> None:
    """A volume of ours, unless the user mounts one there."""
    mounts: list[Json] = container.setdefault("volumeMounts", [])
    if any(str(mount.get("mountPath")).rstrip("/") == path.rstrip("/") for mount in mounts):
        return
    volumes: list[Json] = spec.setdefault("volumes", [])
    if all(volume.get("name") != name for volume in volumes):
        volumes.append({"name": name, **source})
    mounts.append({"name": name, "mountPath": path, **more})


def _checkpoints(spec: Json, rank: Json, job: TrainingJob, start: Start) -> None:
    asked = job.spec.checkpoint
    source: Json = {"emptyDir": {}}
    if claim := checkpoint_claim(job, start.key):
        source = {"persistentVolumeClaim": {"claimName": claim}}
    _mount(spec, rank, "mlplatform-checkpoint", source, (asked or Checkpoint()).mount_path)


def one_node(job: TrainingJob) -> bool:
    """Whether ranks share a claim that only one node can mount."""
    asked = job.spec.checkpoint
    if asked is None or asked.scope != "Job" or not asked.claim_spec:
        return False
    modes: list[str] = list(asked.claim_spec.get("accessModes") or ["ReadWriteOnce"])
    return "ReadWriteMany" not in modes and sum(group.replicas for group in job.spec.groups) > 1


def _volumes(
    spec: Json, rank: Json, job: TrainingJob, group: ReplicaGroup, ledger: Ledger, settings: TrainingSettings
) -> None:
    if job.spec.framework in ("torch", "ray", "jax"):
        # 64 MiB of shared memory, the container runtime's default, end data loaders and object stores
        _mount(spec, rank, "mlplatform-shm", {"emptyDir": {"medium": "Memory"}}, "/dev/shm")  # noqa: S108
    if job.spec.framework == "mpi":
        keys = {"secretName": secret_name(job.name), "defaultMode": 0o440, "items": _SSH_FILES}
        _mount(spec, rank, "mlplatform-ssh", {"secret": keys}, SSH_FOLDER, readOnly=True)
        hosts = {"name": hosts_name(job.name, ledger.attempts_of.get(group.name, ledger.attempt))}
        _mount(spec, rank, "mlplatform-mpi", {"configMap": hosts}, MPI_FOLDER, readOnly=True)
        _mpi(spec, rank, group)
    tokens = [{"audience": PROGRESS_AUDIENCE, "path": "token"}] if settings.progress else []
    tokens += [{"audience": MANAGER, "path": "server"}] if asks_server(job, settings) else []
    if tokens:
        told = [{"serviceAccountToken": {"expirationSeconds": 3600, **token}} for token in tokens]
        source = {"projected": {"sources": told}}
        _mount(spec, rank, "mlplatform-token", source, TOKEN_FOLDER, readOnly=True)


def _mpi(spec: Json, rank: Json, group: ReplicaGroup) -> None:
    if group.role == "worker" and not rank.get("command") and not rank.get("args"):
        rank["command"] = ["/bin/sh", "-c", _SERVE]
        source: Json = {"emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}}
        _mount(spec, rank, "mlplatform-environment", source, ENVIRONMENT_FOLDER)
    if group.role == "launcher" and not rank.get("lifecycle"):
        # Told to end, mpirun has its processes killed within two seconds. The workers have been told as well: they hand
        # it on, and when the processes have saved and ended, so does mpirun.
        grace = int(spec.get("terminationGracePeriodSeconds") or 0)
        if grace > 2 * _LAST:
            rank["lifecycle"] = {"preStop": {"exec": {"command": ["/bin/sh", "-c", f"exec sleep {grace - _LAST}"]}}}


#: Seconds of a launcher's grace that are left to mpirun.
_LAST: Final = 5
#: A worker of mpi: serves SSH, with the variables of its pod for whoever comes. Told to end, it tells the processes
#: that mpirun started here, and waits until they have: they may have to save.
_SERVE: Final = f"""\
umask 077
export -p > {ENVIRONMENT_FOLDER}/variables
_ranks() {{
  for one in /proc/[0-9]*; do
    tr '\\0' '\\n' < "$one/environ" 2>/dev/null | grep -q -E '^(OMPI_COMM_WORLD_RANK|PMIX_RANK|PMI_RANK)=' && echo "${{one#/proc/}}"
  done
}}
ended() {{
  trap '' TERM
  for one in $(_ranks); do kill -TERM "$one"; done 2>/dev/null
  while [ -n "$(_ranks)" ]; do sleep 0.2; done
  kill "$server"
  exit 0
}}
trap ended TERM
/usr/sbin/sshd -D -e -f {MPI_FOLDER}/sshd_config &
server=$!
wait "$server"
"""  # noqa: E501 - a line of the shell's

_SSH_FILES: Final = [
    {"key": "ssh-privatekey", "path": "id_ed25519"},
    {"key": "ssh-publickey", "path": "id_ed25519.pub"},
    {"key": "ssh-publickey", "path": "authorized_keys"},
]
