"""A cluster as a place for training: nodes and accelerators, what of them is taken and by whom, who waits and why."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from mlplatform.apis.names import LABEL_JOB, LABEL_RUN
from mlplatform.core.errors import InvalidInput
from mlplatform.core.quantities import parse_quantity
from mlplatform.core.values import child

Json = dict[str, Any]

#: Extended resources that compute, by a part of their name.
_COMPUTES: Final = ("gpu", "/mig-", "tpu", "neuron", "habana")
_PRODUCT: Final = ("nvidia.com/gpu.product", "amd.com/gpu.product-name", "gpu.intel.com/product")
_MEMORY: Final = "nvidia.com/gpu.memory"
_OVER: Final = ("Succeeded", "Failed")


def is_accelerator(resource: str) -> bool:
    return "/" in resource and any(word in resource for word in _COMPUTES)


def nodes_view(nodes: Iterable[Mapping[str, Any]], pods: Iterable[Mapping[str, Any]], namespace: str) -> list[Json]:
    """Each node with what it has and who uses it. Of pods of other namespaces only their number is told."""
    by_node: dict[str, list[Mapping[str, Any]]] = {}
    for pod in pods:
        name = child(pod, "spec").get("nodeName")
        if name and child(pod, "status").get("phase") not in _OVER:
            by_node.setdefault(str(name), []).append(pod)
    return [_node(node, by_node.get(_name(node), []), namespace) for node in sorted(nodes, key=_name)]


def _name(body: Mapping[str, Any]) -> str:
    return str(child(body, "metadata").get("name") or "")


def _node(node: Mapping[str, Any], pods: list[Mapping[str, Any]], namespace: str) -> Json:
    labels, spec, status = child(child(node, "metadata"), "labels"), child(node, "spec"), child(node, "status")
    has = {str(name): _number(value) for name, value in child(status, "allocatable").items()}
    used = _sum(_requests(pod) for pod in pods)
    kinds = [name for name in sorted(has) if is_accelerator(name) and has[name] > 0]
    conditions: list[Json] = status.get("conditions") or []
    ready = next((one.get("status") == "True" for one in conditions if one.get("type") == "Ready"), False)
    taints: list[Json] = spec.get("taints") or []
    return {
        "name": _name(node),
        "ready": ready,
        "schedulable": not spec.get("unschedulable"),
        "taints": [f"{one.get('key')}:{one.get('effect')}" for one in taints],
        "product": next((str(labels[name]) for name in _PRODUCT if labels.get(name)), ""),
        "accelerator_memory_mib": int(labels[_MEMORY]) if str(labels.get(_MEMORY, "")).isdecimal() else None,
        "zone": str(labels.get("topology.kubernetes.io/zone") or ""),
        "accelerators": [
            {
                "resource": name,
                "total": int(has[name]),
                "used": int(used.get(name, 0)),
                "by": _users(pods, name, namespace),
            }
            for name in kinds
        ],
        "cpu": has.get("cpu", 0.0),
        "cpu_used": used.get("cpu", 0.0),
        "memory": has.get("memory", 0.0),
        "memory_used": used.get("memory", 0.0),
        "pods": len(pods),
    }


def _users(pods: list[Mapping[str, Any]], resource: str, namespace: str) -> list[Json]:
    """Who has how many: our pods by name, those of others together."""
    found: dict[tuple[str, str], int] = {}
    for pod in pods:
        count = int(_requests(pod).get(resource, 0))
        if not count:
            continue
        meta = child(pod, "metadata")
        ours = meta.get("namespace") == namespace
        labels = child(meta, "labels")
        job = str(labels.get(LABEL_JOB) or "") if ours else ""
        name = _name(pod) if ours else ""
        found[name, job] = found.get((name, job), 0) + count
    return [{"pod": name, "training_job": job, "count": count} for (name, job), count in sorted(found.items())]


def _requests(pod: Mapping[str, Any]) -> dict[str, float]:
    """What a pod takes of its node: its containers together, or the largest of those that run before them."""
    spec = child(pod, "spec")
    main = _sum(_asked(one) for one in spec.get("containers") or ())
    for one in spec.get("initContainers") or ():
        for name, value in _asked(one).items():
            main[name] = max(main.get(name, 0.0), value)
    return main


def _asked(container: Mapping[str, Any]) -> dict[str, float]:
    resources = child(container, "resources")
    return {
        str(name): _number(value)
        for name, value in {**child(resources, "limits"), **child(resources, "requests")}.items()
    }


def _sum(tables: Iterable[Mapping[str, float]]) -> dict[str, float]:
    found: dict[str, float] = {}
    for table in tables:
        for name, value in table.items():
            found[name] = found.get(name, 0.0) + value
    return found


def _number(value: Any) -> float:
    try:
        return float(parse_quantity(str(value)))
    except InvalidInput:
        return 0.0


def waiting_view(pods: Iterable[Mapping[str, Any]]) -> list[Json]:
    """Pods without a place, and why."""
    rows: list[Json] = []
    for pod in pods:
        if child(pod, "spec").get("nodeName") or child(pod, "status").get("phase") != "Pending":
            continue
        conditions: list[Json] = child(pod, "status").get("conditions") or []
        why = next(
            (str(one.get("message") or one.get("reason")) for one in conditions if one.get("type") == "PodScheduled"),
            "",
        )
        labels = child(child(pod, "metadata"), "labels")
        rows.append({
            "pod": _name(pod),
            "training_job": str(labels.get(LABEL_JOB) or ""),
            "run": str(labels.get(LABEL_RUN) or ""),
            "accelerators": int(sum(value for name, value in _requests(pod).items() if is_accelerator(name))),
            "why": why,
        })  # fmt: skip
    return sorted(rows, key=lambda row: str(row["pod"]))


def quotas_view(quotas: Iterable[Mapping[str, Any]]) -> list[Json]:
    """What the namespace may use and uses, in Kubernetes' own words."""
    return [
        {
            "quota": _name(quota),
            "resource": str(name),
            "hard": str(hard),
            "used": str(child(child(quota, "status"), "used").get(name, "0")),
        }
        for quota in quotas
        for name, hard in sorted(child(child(quota, "status"), "hard").items())
    ]
