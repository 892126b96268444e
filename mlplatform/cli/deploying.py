"""Putting the platform into a cluster, and taking it out again."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from mlplatform.apis.names import FINALIZER_RESULT, GROUP, LABEL_MANAGED, LABEL_RUN, MANAGER, PIPELINE_RUN, VERSION
from mlplatform.cli.manifests import resource_of
from mlplatform.core.errors import KubernetesError, Unsupported
from mlplatform.kube.client import Client
from mlplatform.kube.errors import Conflict, Gone, ObjectNotFound
from mlplatform.kube.objects import (
    BUILT_IN,
    CLAIMS,
    CUSTOM_RESOURCES,
    DEPLOYMENTS,
    EVENTS,
    NAMESPACES,
    NODES,
    PODS,
    STATEFUL_SETS,
    Key,
    Object,
    Resource,
    key_of,
    metadata,
    uid_of,
)

#: Marks what an installation made; what is marked and no longer in the manifests goes.
LABEL: Final = "mlplatform.dev/installed-by"
OLDEST: Final = (1, 33)

#: What people put into these is theirs: they go when everything goes.
_KEPT: Final = (NAMESPACES, CUSTOM_RESOURCES, CLAIMS)
_NEVER_PRUNED: Final = {*_KEPT, PODS, NODES, EVENTS}
_RUNS: Final = Resource(GROUP, VERSION, "pipelineruns", PIPELINE_RUN)

Say = Callable[[str], None]


@dataclass(slots=True)
class Report:
    """What was done: names such as ``deployments.apps mlplatform-system/mlplatform-operator``."""

    made: list[str] = field(default_factory=list[str])
    changed: list[str] = field(default_factory=list[str])
    same: list[str] = field(default_factory=list[str])
    removed: list[str] = field(default_factory=list[str])
    kept: list[str] = field(default_factory=list[str])


class Deployer:
    """Works on one cluster. ``say`` tells what is waited for; ``timeout`` is for each wait, in seconds."""

    def __init__(self, client: Client, say: Say, timeout: float = 300.0) -> None:
        self._client = Client(client.transport, field_manager="mlplatform-install")
        self._say = say
        self._timeout = timeout
        self.report = Report()

    def check_version(self) -> str:
        """Raises Unsupported for a cluster that is too old."""
        told = self._client.read("/version")
        found = tuple(int(re.sub(r"\D.*", "", str(told.get(part))) or 0) for part in ("major", "minor"))
        if found < OLDEST:
            raise Unsupported(
                f"This cluster is Kubernetes {told.get('gitVersion')}; {OLDEST[0]}.{OLDEST[1]} or later is needed.",
                hint="Upgrade the cluster, or name another one with --context.",
            )
        return str(told.get("gitVersion"))

    def install(self, objects: Sequence[Object], group: str, *, wait: bool = True) -> None:
        """Apply everything in order, remove what an older version had, wait until it runs. Raises KubernetesError."""
        marked = [_marked(body, group) for body in objects]
        for body in marked:
            self._apply(body)
            if resource_of(body) == CUSTOM_RESOURCES:
                self._until(f"{metadata(body)['name']} to be served", lambda body=body: self._established(body))
        wanted = {(resource_of(body), key_of(body)) for body in marked}
        self._remove(found for found in self._installed(group) if found not in wanted and found[0] not in _NEVER_PRUNED)
        if wait:
            for body in marked:
                if resource_of(body) in (DEPLOYMENTS, STATEFUL_SETS):
                    self._roll_out(resource_of(body), key_of(body))

    def uninstall(self, group: str, *, everything: bool) -> None:
        """Take the platform out. Kinds, runs, claims (history) and the namespace stay unless ``everything``.

        Raises KubernetesError.
        """
        found = list(self._installed(group))
        if everything and (CUSTOM_RESOURCES, Key("", _RUNS.name)) in found:  # another installation's runs are not ours
            self._delete_runs()
        order = {resource: -place for place, resource in enumerate(BUILT_IN)}
        found.sort(key=lambda one: order[one[0]])
        stays = () if everything else _KEPT
        self.report.kept += [f"{resource.name} {key}" for resource, key in found if resource in stays]
        self._remove(one for one in found if one[0] not in stays)
        for resource, key in found:
            if resource not in stays and resource in (NAMESPACES, CUSTOM_RESOURCES):
                self._until(f"{resource.name} {key} to go", lambda r=resource, k=key: self._gone(r, k))

    def unfinished_runs(self) -> int:
        """How many runs have not ended."""
        try:
            runs = self._client.list(_RUNS).items
        except ObjectNotFound:
            return 0
        return sum(1 for run in runs if not _status(run).get("finishedAt"))

    def _apply(self, body: Object) -> None:
        resource, key = resource_of(body), key_of(body)
        try:
            before: Object | None = self._client.get(resource, key)
        except ObjectNotFound:
            before = None
        after = self._client.apply(resource, body)
        same = before is not None and metadata(before)["resourceVersion"] == metadata(after)["resourceVersion"]
        place = self.report.made if before is None else self.report.same if same else self.report.changed
        place.append(f"{resource.name} {key}")

    def _installed(self, group: str) -> Iterable[tuple[Resource, Key]]:
        for resource in BUILT_IN:
            if resource not in (PODS, NODES, EVENTS):
                for body in self._client.list(resource, labels=f"{LABEL}={group}").items:
                    yield resource, key_of(body)

    def _remove(self, found: Iterable[tuple[Resource, Key]]) -> None:
        for resource, key in list(found):
            with contextlib.suppress(ObjectNotFound):
                self._client.delete(resource, key)
                self.report.removed.append(f"{resource.name} {key}")

    def _delete_runs(self) -> None:
        """Delete all runs while the operator is there to let their pods go; what is held afterwards is let go here."""
        try:
            runs = self._client.list(_RUNS).items
        except ObjectNotFound:
            return
        for run in runs:
            with contextlib.suppress(ObjectNotFound):
                self._client.delete(_RUNS, key_of(run))
                self.report.removed.append(f"{_RUNS.name} {key_of(run)}")
        selector = f"{LABEL_MANAGED}={MANAGER},{LABEL_RUN}"
        end = time.monotonic() + min(self._timeout, 60.0)
        while runs and time.monotonic() < end and self._held(selector):
            time.sleep(0.5)
        for pod in self._held(selector):
            with contextlib.suppress(ObjectNotFound, Conflict):
                self._client.remove_finalizer(PODS, pod, FINALIZER_RESULT)
                self._client.delete(PODS, key_of(pod), uid=uid_of(pod))

    def _held(self, selector: str) -> list[Object]:
        pods = self._client.list(PODS, labels=selector).items
        return [pod for pod in pods if FINALIZER_RESULT in (metadata(pod).get("finalizers") or ())]

    def _established(self, body: Object) -> str:
        found = self._client.get(CUSTOM_RESOURCES, key_of(body))
        for one in _status(found).get("conditions") or ():
            if one["type"] == "Established" and one["status"] == "True":
                return ""
            if one["type"] == "NamesAccepted" and one["status"] == "False":
                raise KubernetesError(f"{metadata(body)['name']}: {one.get('message')}")
        return "not established yet"

    def _gone(self, resource: Resource, key: Key) -> str:
        try:
            self._client.get(resource, key)
        except (ObjectNotFound, Gone):
            return ""
        return "still there"

    def _roll_out(self, resource: Resource, key: Key) -> None:
        self._until(f"{resource.kind} {key} to be available", lambda: self._rolling(resource, key))

    def _rolling(self, resource: Resource, key: Key) -> str:
        body = self._client.get(resource, key)
        status, spec = _status(body), body["spec"]
        wanted = int(spec.get("replicas", 1))
        if int(status.get("observedGeneration") or 0) < int(metadata(body).get("generation") or 0):
            return "not looked at yet"
        ready = int(status.get("updatedReplicas") or 0), int(status.get("readyReplicas") or 0)
        if min(ready) >= wanted and int(status.get("replicas") or 0) == wanted:
            return ""
        return self._why(key.namespace, spec["selector"]["matchLabels"]) or f"{min(ready)} of {wanted} ready"

    def _why(self, namespace: str, labels: Mapping[str, str]) -> str:
        """What keeps the pods from being ready, in the words of the cluster."""
        pods = self._client.list(PODS, namespace, labels=",".join(f"{k}={v}" for k, v in labels.items())).items
        for pod in pods:
            for container in _status(pod).get("containerStatuses") or ():
                state: dict[str, Any] = container.get("state") or {}
                waiting: dict[str, str] = state.get("waiting") or {}
                if waiting.get("reason") not in (None, "ContainerCreating", "PodInitializing"):
                    return f"pod {metadata(pod)['name']}: {waiting.get('reason')}: {waiting.get('message', '')}"
            for condition in _status(pod).get("conditions") or ():
                if condition["type"] == "PodScheduled" and condition["status"] == "False":
                    return f"pod {metadata(pod)['name']}: {condition.get('message')}"
        return ""

    def _until(self, what: str, trouble: Callable[[], str]) -> None:
        end = time.monotonic() + self._timeout
        told = False
        while words := trouble():
            if time.monotonic() > end:
                raise KubernetesError(f"Waited {self._timeout:.0f} s for {what}: {words}.")
            if not told:
                self._say(f"waiting for {what}")
                told = True
            time.sleep(0.3)


def _marked(body: Object, group: str) -> Object:
    meta = metadata(body)
    return {**body, "metadata": {**meta, "labels": {**(meta.get("labels") or {}), LABEL: group}}}


def _status(body: Object) -> dict[str, Any]:
    found: dict[str, Any] | None = body.get("status")
    return found or {}
