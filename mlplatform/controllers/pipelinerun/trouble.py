"""What keeps a pod from running, in words that say what to do. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from mlplatform.core.values import child
from mlplatform.kube.objects import Object, being_deleted


@dataclass(frozen=True, slots=True)
class Trouble:
    """``reason`` is a word for programs; ``serious``: it will not go away by itself soon."""

    reason: str
    message: str
    hint: str = ""
    serious: bool = True

    def __str__(self) -> str:
        return f"{self.message} ({self.hint.rstrip('.')})" if self.hint else self.message


WAITING_FOR_NODE: Final = "WaitingForNode"

_CLAIM: Final = re.compile(r'persistentvolumeclaim "[^"]*" not found')
_PULL: Final = frozenset(
    {"ImagePullBackOff", "ErrImagePull", "InvalidImageName", "ErrImageNeverPull", "RegistryUnavailable"}
)
_PULLING: Final = re.compile(r'Failed to pull image "([^"]*)": (.*)', re.DOTALL)
_CONFIG: Final = frozenset({"CreateContainerConfigError", "CreateContainerError", "RunContainerError"})


def trouble_of(pod: Object) -> Trouble | None:
    """What a living pod waits for, None if it runs or merely has not begun."""
    status = child(pod, "status")
    if being_deleted(pod) and status.get("phase") == "Running" and not_ready(status):
        return of_node(str(child(pod, "spec").get("nodeName") or ""))
    for condition in _list(status, "conditions"):
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            return _unscheduled(str(condition.get("reason") or ""), str(condition.get("message") or ""))
    for kind in ("initContainerStatuses", "containerStatuses"):
        for entry in _list(status, kind):
            waiting = child(child(entry, "state"), "waiting")
            words = str(waiting.get("reason") or ""), str(waiting.get("message") or "")
            found = _waiting(entry, *words, pull_secrets(pod))
            if found is not None:
                return found
    return None


def pull_secrets(pod: Object) -> tuple[str, ...]:
    """Names of the secrets that its images are pulled with."""
    return tuple(str(entry.get("name")) for entry in _list(child(pod, "spec"), "imagePullSecrets"))


def of_node(name: str) -> Trouble:
    """A pod on a node that is silent."""
    off = f"kubectl taint node {name} node.kubernetes.io/out-of-service=off:NoExecute"
    return Trouble(
        WAITING_FOR_NODE,
        f"node {name} does not answer, so it is not known whether the pod still runs there",
        f"It goes on when the node is back. If the machine is off: kubectl delete node {name}, or {off}",
    )


def of_event(message: str, pull_secrets: Sequence[str] = ()) -> Trouble | None:
    """What the kubelet's last warning says of a pod that is being prepared: it comes ten seconds before its status."""
    if not message or "failed to sync" in message:
        return None  # the kubelet has not seen the object yet, and does in a moment
    pull = _PULLING.match(message)
    if pull:
        return _image(pull[1], pull[2], pull_secrets)
    own = message.removeprefix("Error: ")
    found = _missing(own)
    if found is not None:
        return found
    if own != message:
        return Trouble("ContainerConfig", own)
    return Trouble("VolumeNotMounted", message, "It is tried again and again: the task goes on once it succeeds.")


def _missing(message: str) -> Trouble | None:
    """What somebody has to make."""
    if "secret" in message and "not found" in message:
        return Trouble("SecretMissing", message, "Create it in this namespace: the task goes on by itself.")
    if "configmap" in message and "not found" in message:
        return Trouble("ConfigMapMissing", message, "Create it in this namespace: the task goes on by itself.")
    if "couldn't find key" in message or "references non-existent" in message:
        return Trouble("KeyMissing", message, "Add the key: the task goes on by itself.")
    return None


def _list(status: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    return status.get(name) or []


def not_ready(status: Mapping[str, Any]) -> bool:
    """Whether somebody said that the pod is not."""
    return any(item.get("type") == "Ready" and item.get("status") != "True" for item in _list(status, "conditions"))


def _unscheduled(reason: str, message: str) -> Trouble | None:
    if reason == "SchedulingGated":
        return Trouble("SchedulingGated", "the pod waits for its turn", serious=False)
    if not message and reason != "Unschedulable":
        return None
    if "persistentvolumeclaim" in message.lower():
        missing = _CLAIM.search(message)  # the scheduler says it of all nodes, and says half of it twice
        if missing:
            hint = "Create the claim in this namespace, or correct its name: the task goes on by itself."
            return Trouble("ClaimMissing", missing[0], hint)
        hint = "`kubectl describe pvc` tells why a claim has no volume (its storage class, size or access mode)."
        return Trouble("ClaimUnbound", f"a claim of the task has no volume: {message}", hint)
    hint = "Ask for less, or add nodes that fit; the task starts as soon as one does."
    if "taint" in message or "affinity" in message or "selector" in message:
        hint = "Compare the task's node selector, tolerations and accelerator with `kubectl get nodes --show-labels`."
    return Trouble("Unschedulable", f"no node can take it: {message}", hint)


def _waiting(entry: Mapping[str, Any], reason: str, message: str, pulls: Sequence[str]) -> Trouble | None:
    if reason in _PULL:
        return _image(str(entry.get("image")), message or reason, pulls)
    if reason in _CONFIG:
        return _missing(message) or Trouble("ContainerConfig", message or reason)
    return None


def _image(name: str, why: str, pulls: Sequence[str]) -> Trouble:
    hint = "Check the image's name, and that the cluster may pull it (image_pull_secrets)."
    if pulls:
        which = ", ".join(pulls)
        hint = f"Check the image's name, and that this namespace has the image pull secret {which} for its registry."
    return Trouble("ImagePull", f"image {name} cannot be pulled: {why}", hint)
