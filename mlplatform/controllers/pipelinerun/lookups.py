"""What is asked of the API server where the caches do not hold it: whether a node is still there, what the kubelet
warned of while it prepared a pod. Both are asked for pods that look odd only, so that neither all nodes nor all events
need be watched."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Protocol, TypeVar

from mlplatform.controllers.pipelinerun.doubts import NodeSeen, read_node
from mlplatform.controllers.pipelinerun.pods import PodSeen
from mlplatform.core.errors import KubernetesError
from mlplatform.kube.client import Client
from mlplatform.kube.errors import ObjectNotFound
from mlplatform.kube.objects import EVENTS, NODES, PODS, Key, Object

_log = logging.getLogger(__name__)

#: Seconds for which an answer is good.
KEPT: Final = 3.0
#: Seconds that a pod may be prepared before its events are looked at.
PATIENCE: Final = 1.5
#: Reasons of warnings that tell why a pod does not begin; some notes are but the word for what another event tells.
_TOLD: Final = frozenset({"FailedMount", "Failed"})
_NO_WORDS: Final = re.compile(r"Error: \w+")
_REMEMBERED: Final = 10_000

T = TypeVar("T")


class Lookups(Protocol):
    """What cannot be told is left out; asking never fails."""

    def nodes(self, names: Iterable[str]) -> Mapping[str, NodeSeen | None]:
        """The nodes of these names; None: there is none of that name."""
        ...

    def mounts(self, pods: Iterable[PodSeen]) -> Mapping[str, str]:
        """By the UID of pods that are being prepared: what the kubelet last warned of."""
        ...

    def pod(self, key: Key) -> Object | None:
        """A pod as it is this moment, whatever a cache says."""
        ...


class ServerLookups:
    """Asks the API server, each thing once in a few seconds. Threads share one."""

    def __init__(self, client: Client, clock: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._clock = clock
        self._lock = threading.Lock()
        self._nodes: dict[str, tuple[float, NodeSeen | None]] = {}
        self._mounts: dict[str, tuple[float, Mapping[str, str]]] = {}
        self._since: dict[str, float] = {}

    def nodes(self, names: Iterable[str]) -> Mapping[str, NodeSeen | None]:
        found: dict[str, NodeSeen | None] = {}
        for name in names:
            known = self._nodes.get(name)
            if known is None or self._clock() - known[0] > KEPT:
                try:
                    seen = read_node(self._client.get(NODES, Key("", name)))
                except ObjectNotFound:
                    seen = None
                except KubernetesError as error:
                    _log.info("node %s: %s", name, error)
                    continue
                known = (self._clock(), seen)
                with self._lock:
                    self._nodes = {**_bounded(self._nodes), name: known}
            found[name] = known[1]
        return found

    def mounts(self, pods: Iterable[PodSeen]) -> Mapping[str, str]:
        now = self._clock()
        with self._lock:
            self._since = _bounded(self._since)
            waiting = [pod for pod in pods if now - self._since.setdefault(pod.uid, now) >= PATIENCE]
        found: dict[str, str] = {}
        for namespace in sorted({pod.namespace for pod in waiting}):
            told = self._told(namespace)
            found |= {pod.uid: told[pod.uid] for pod in waiting if pod.uid in told}
        return found

    def pod(self, key: Key) -> Object | None:
        try:
            return self._client.get(PODS, key)
        except KubernetesError:
            return None

    def _told(self, namespace: str) -> Mapping[str, str]:
        """By UID of its pod, the last warning in this namespace."""
        known = self._mounts.get(namespace)
        if known is not None and self._clock() - known[0] <= KEPT:
            return known[1]
        found: dict[str, str] = {}
        try:
            events = self._client.list(EVENTS, namespace, fields="type=Warning").items
        except KubernetesError as error:
            _log.info("%s", error)
            return found
        for event in sorted(events, key=_when):
            regarding: Mapping[str, Any] = event.get("regarding") or {}
            note = str(event.get("note") or "")
            if event.get("reason") in _TOLD and not _NO_WORDS.fullmatch(note):
                found[str(regarding.get("uid") or "")] = note
        with self._lock:
            self._mounts = {**_bounded(self._mounts), namespace: (self._clock(), found)}
        return found


def _when(event: Mapping[str, Any]) -> str:
    series: Mapping[str, Any] = event.get("series") or {}
    times = (series.get("lastObservedTime"), event.get("deprecatedLastTimestamp"), event.get("eventTime"))
    return max((str(time) for time in times if time), default="")


def _bounded(table: dict[str, T]) -> dict[str, T]:
    return table if len(table) < _REMEMBERED else {}
