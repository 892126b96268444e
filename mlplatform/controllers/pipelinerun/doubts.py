"""What a pod cannot tell itself: whether its node is still there, and what its volumes wait for. Pure.

A pod on a node that is silent may be running or not. Its task begins again only where it is known not to: the node is
gone from the cluster, or somebody vouches that the machine is off (the taint ``node.kubernetes.io/out-of-service``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from mlplatform.controllers.pipelinerun.message import Elsewhere
from mlplatform.controllers.pipelinerun.pods import Lost, PodSeen
from mlplatform.controllers.pipelinerun.trouble import WAITING_FOR_NODE, of_event, of_node
from mlplatform.core.values import child
from mlplatform.kube.objects import Object

OUT_OF_SERVICE: Final = "node.kubernetes.io/out-of-service"


@dataclass(frozen=True, slots=True)
class NodeSeen:
    """A node, as far as it matters whether its pods may still run. One that is gone is None instead."""

    ready: bool = True
    #: Somebody vouches that it is off.
    fenced: bool = False


def read_node(body: Object) -> NodeSeen:
    taints: list[dict[str, Any]] = child(body, "spec").get("taints") or []
    conditions: list[dict[str, Any]] = child(body, "status").get("conditions") or []
    fenced = any(taint.get("key") == OUT_OF_SERVICE for taint in taints)
    ready = next((one.get("status") for one in conditions if one.get("type") == "Ready"), "True")
    return NodeSeen(ready == "True", fenced)


def doubtful(pod: PodSeen) -> bool:
    """Whether the pod's node should be looked at."""
    if not pod.node:
        return False
    return isinstance(pod.end, Elsewhere) or (pod.end is None and (pod.deleting or pod.unready))


def settled(pod: PodSeen, nodes: Mapping[str, NodeSeen | None], mounts: Mapping[str, str]) -> PodSeen:
    """The pod, knowing its node and what the kubelet last warned of."""
    if doubtful(pod) and pod.node in nodes:
        return _on(pod, nodes[pod.node])
    if pod.preparing and pod.uid in mounts:
        return replace(pod, trouble=of_event(mounts[pod.uid], pod.pull_secrets))
    return pod


def _on(pod: PodSeen, node: NodeSeen | None) -> PodSeen:
    if node is None:
        return replace(pod, end=Lost(f"node {pod.node} is gone"), fenced=True, trouble=None)
    if node.ready:
        passing = pod.trouble is not None and pod.trouble.reason == WAITING_FOR_NODE
        return replace(pod, trouble=None) if passing else pod
    if node.fenced:
        return replace(pod, end=Lost(f"node {pod.node} was taken out of service"), fenced=True, trouble=None)
    if pod.end is None:
        return replace(pod, trouble=of_node(pod.node))
    return pod
