"""What stands beside the ranks of a training job: its Service, claims, keys, list of hosts, templates of devices."""

from __future__ import annotations

from typing import Any, Final

from mlplatform.apis.trainingjob import ReplicaGroup
from mlplatform.apis.trainingstatus import TrainingJob
from mlplatform.planning.training.facts import Ledger
from mlplatform.render.training.environment import ENVIRONMENT_FOLDER, SSH_FOLDER, SSH_PORT, hostfile
from mlplatform.render.training.names import (
    devices_name,
    hosts_name,
    job_claim,
    job_labels,
    rank_claim,
    secret_name,
    service_name,
)

Json = dict[str, Any]

_SSHD: Final = f"""\
Port {SSH_PORT}
HostKey {SSH_FOLDER}/id_ed25519
AuthorizedKeysFile {SSH_FOLDER}/authorized_keys
PasswordAuthentication no
KbdInteractiveAuthentication no
PidFile none
StrictModes no
UsePAM no
AcceptEnv *
ForceCommand [ ! -r {ENVIRONMENT_FOLDER}/variables ] || . {ENVIRONMENT_FOLDER}/variables; exec /bin/sh -c "$SSH_ORIGINAL_COMMAND"
"""  # noqa: E501 - a word of sshd's


def _metadata(job: TrainingJob, name: str, **more: Any) -> Json:
    return {"name": name, "namespace": job.namespace, "labels": job_labels(job.name), **more}


def needs_service(job: TrainingJob) -> bool:
    """Whether anybody looks for a rank by its name: but for a single Python process, a rank itself does already."""
    alone = sum(group.replicas for group in job.spec.groups) <= 1 and not any(one.elastic for one in job.spec.groups)
    return job.spec.framework != "python" or not alone


def service(job: TrainingJob) -> Json:
    """Ranks have names below it, also those that are not ready: they have to meet to become so."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _metadata(job, service_name(job.name)),
        "spec": {"clusterIP": "None", "publishNotReadyAddresses": True, "selector": job_labels(job.name)},
    }


def claims(job: TrainingJob) -> list[Json]:
    """The claims for checkpoints that the job makes."""
    asked = job.spec.checkpoint
    if asked is None or not asked.claim_spec:
        return []
    names = [job_claim(job.name)]
    if asked.scope == "Rank":
        names = [rank_claim(job.name, group.name, rank) for group in job.spec.groups for rank in range(group.replicas)]
    # Nobody's: it outlives the job (that of a task, as long as its run). Without a word about owners it is the job's
    # and goes with it.
    owner: Json = {"ownerReferences": _owners(job)} if asked.when_deleted == "Retain" else {}
    spec = {"accessModes": ["ReadWriteOnce"], **asked.claim_spec}
    return [
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": _metadata(job, name, **owner),
            "spec": spec,
        }
        for name in names
    ]


def _owners(job: TrainingJob) -> list[Json]:
    return [{**one, "controller": False, "blockOwnerDeletion": False} for one in job.owners] if job.held else []


def needs_keys(job: TrainingJob) -> bool:
    return job.spec.framework in ("mpi", "ray")


def keys(job: TrainingJob, private: str, public: str, token: str) -> Json:
    """The keys by which ranks know each other, made once."""
    data = {"ray-token": token}
    if job.spec.framework == "mpi":
        data = {"ssh-privatekey": private, "ssh-publickey": public}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": _metadata(job, secret_name(job.name)),
        "immutable": True,
        "type": "Opaque",
        "stringData": data,
    }


def hosts(job: TrainingJob, ledger: Ledger) -> list[Json]:
    """mpi's files, one object for each attempt that a group is in."""
    if job.spec.framework != "mpi":
        return []
    attempts = {ledger.attempts_of.get(group.name, ledger.attempt) for group in job.spec.groups}
    return [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": _metadata(job, hosts_name(job.name, attempt)),
            "immutable": True,
            "data": {"hostfile": hostfile(job, ledger), "sshd_config": _SSHD},
        }
        for attempt in sorted(attempts)
    ]


def devices(job: TrainingJob) -> list[Json]:
    """Templates of the ranks' claims on devices."""
    return [_devices(job, group) for group in job.spec.groups if _by_claim(group)]


def _by_claim(group: ReplicaGroup) -> bool:
    return group.accelerator is not None and group.accelerator.via == "DRA" and group.accelerator.count > 0


def _devices(job: TrainingJob, group: ReplicaGroup) -> Json:
    asked = group.accelerator
    assert asked is not None
    exactly: Json = {"deviceClassName": asked.device_class_name, "allocationMode": "ExactCount", "count": asked.count}
    if asked.selector:
        exactly["selectors"] = [{"cel": {"expression": asked.selector}}]
    return {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceClaimTemplate",
        "metadata": _metadata(job, devices_name(job.name, group.name)),
        "spec": {"spec": {"devices": {"requests": [{"name": "devices", "exactly": exactly}]}}},
    }
