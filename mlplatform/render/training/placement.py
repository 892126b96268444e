"""Where a rank may run: accelerators, topology, nodes to avoid. What the user's template says holds as well."""

from __future__ import annotations

from typing import Any, Final

from mlplatform.apis.names import LABEL_GROUP, LABEL_JOB, LABEL_JOB_UID
from mlplatform.apis.trainingjob import Accelerator, ReplicaGroup, Topology
from mlplatform.apis.trainingstatus import TrainingJob
from mlplatform.render.training.names import devices_name

Json = dict[str, Any]

GPU: Final = "nvidia.com/gpu"
HOSTNAME: Final = "kubernetes.io/hostname"
_REQUIRED: Final = "requiredDuringSchedulingIgnoredDuringExecution"
_PREFERRED: Final = "preferredDuringSchedulingIgnoredDuringExecution"


def place(
    spec: Json, rank: Json, owner: TrainingJob, group: ReplicaGroup, avoid: tuple[str, ...], one_node: bool
) -> None:
    """Add to a pod's ``spec``, whose container ``rank`` computes. ``one_node``: all ranks of the job ``owner`` share a
    node (a claim that only one node can mount)."""
    job = owner.name
    if group.accelerator is not None and group.accelerator.count:
        _accelerate(spec, rank, job, group, group.accelerator)
    if avoid:
        require_nodes(spec, [{"key": HOSTNAME, "operator": "NotIn", "values": sorted(avoid)}])
    if group.topology is not None and group.topology.key:
        _near(spec, owner, group, group.topology)
    if one_node:
        _pods(spec, "podAffinity", True, {"topologyKey": HOSTNAME, "labelSelector": {"matchLabels": {LABEL_JOB: job}}})


def _accelerate(spec: Json, rank: Json, job: str, group: ReplicaGroup, wanted: Accelerator) -> None:
    resources: Json = rank.setdefault("resources", {})
    if wanted.via == "DRA":
        claim = {"name": "devices", "resourceClaimTemplateName": devices_name(job, group.name)}
        spec["resourceClaims"] = [*spec.get("resourceClaims", []), claim]
        resources["claims"] = [*resources.get("claims", []), {"name": "devices"}]
        return
    resources["limits"] = {**resources.get("limits", {}), wanted.resource_name: str(wanted.count)}
    if "requests" in resources:
        resources["requests"] = {**resources["requests"], wanted.resource_name: str(wanted.count)}
    taint = GPU if wanted.resource_name.startswith("nvidia.com/") else wanted.resource_name
    tolerations: list[Json] = spec.setdefault("tolerations", [])
    if all(entry.get("key") != taint for entry in tolerations):
        tolerations.append({"key": taint, "operator": "Exists", "effect": "NoSchedule"})
    needs: list[Json] = []
    if wanted.products:
        needs.append({"key": f"{GPU}.product", "operator": "In", "values": list(wanted.products)})
    if wanted.min_memory_mi_b:
        needs.append({"key": f"{GPU}.memory", "operator": "Gt", "values": [str(wanted.min_memory_mi_b - 1)]})
    if needs:
        require_nodes(spec, needs)


def require_nodes(spec: Json, needs: list[Json]) -> None:
    """Nodes must meet these, with whatever else is required of them: terms are alternatives, so each gets them all."""
    affinity: Json = spec.setdefault("affinity", {}).setdefault("nodeAffinity", {})
    required: Json = affinity.setdefault(_REQUIRED, {"nodeSelectorTerms": []})
    terms: list[Json] = required.get("nodeSelectorTerms") or [{}]
    required["nodeSelectorTerms"] = [
        {**term, "matchExpressions": [*term.get("matchExpressions", []), *needs]} for term in terms
    ]


def _near(spec: Json, job: TrainingJob, group: ReplicaGroup, topology: Topology) -> None:
    own = {"matchLabels": {LABEL_JOB: job.name, LABEL_GROUP: group.name}}
    _pods(spec, "podAffinity", topology.mode == "Required", {"topologyKey": topology.key, "labelSelector": own})
    if topology.exclusive:
        # By the UID, since jobs of other namespaces may be called the same. (The scheduler of Kubernetes 1.36 takes
        # every namespace for one that a namespaceSelector with NotIn selects.)
        others = {
            "matchExpressions": [
                {"key": LABEL_JOB, "operator": "Exists"},
                {"key": LABEL_JOB_UID, "operator": "NotIn", "values": [job.uid]},
            ]
        }
        term = {"topologyKey": topology.key, "labelSelector": others, "namespaceSelector": {}}
        _pods(spec, "podAntiAffinity", True, term)


def _pods(spec: Json, kind: str, must: bool, term: Json) -> None:
    affinity: Json = spec.setdefault("affinity", {}).setdefault(kind, {})
    if must:
        affinity[_REQUIRED] = [*affinity.get(_REQUIRED, []), term]
    else:
        affinity[_PREFERRED] = [*affinity.get(_PREFERRED, []), {"weight": 100, "podAffinityTerm": term}]
