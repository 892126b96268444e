"""Which pod a request comes from, by the token that the kubelet gave it: made for us, bound to that pod, and gone with
it. What the pod belongs to stands in the pod itself, which only its maker could write."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from mlplatform.core.values import child
from mlplatform.kube.callers import bound_pod
from mlplatform.kube.client import Client
from mlplatform.kube.errors import Forbidden, ObjectNotFound
from mlplatform.kube.objects import PODS, Key, metadata, uid_of
from mlplatform.server.cluster.reviews import Reviews

#: Seconds that an answer is good for.
KEPT_SECONDS: Final = 60.0
_MOST: Final = 10_000


@dataclass(frozen=True, slots=True)
class PodCaller:
    """A pod that calls us. ``owners``: (kind, name, uid) of what it belongs to."""

    namespace: str
    pod: str
    uid: str
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    annotations: Mapping[str, str] = field(default_factory=dict[str, str])
    owners: tuple[tuple[str, str, str], ...] = ()

    def owner(self, kind: str) -> tuple[str, str]:
        """(name, uid) of its owner of this kind; empty: it has none."""
        return next(((name, uid) for found, name, uid in self.owners if found == kind), ("", ""))


class Pods:
    """Threads share one. ``client`` may get pods of the namespaces whose pods are to be known."""

    def __init__(self, client: Client, reviews: Reviews, clock: Callable[[], float]) -> None:
        self._client = client
        self._reviews = reviews
        self._clock = clock
        self._lock = threading.Lock()
        self._known: dict[str, tuple[float, PodCaller | None]] = {}

    def of(self, token: str) -> PodCaller | None:
        """The pod whose token this is; None: it is nobody's, no pod's, or of a pod that is gone.

        Raises:
            KubernetesError: the API server could not be asked.
        """
        name = hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()  # the token itself is not kept
        with self._lock:
            found = self._known.get(name)
        if found is not None and self._clock() < found[0]:
            return found[1]
        caller = self._ask(token)
        with self._lock:
            if len(self._known) >= _MOST:
                self._known.clear()
            self._known[name] = (self._clock() + KEPT_SECONDS, caller)
        return caller

    def _ask(self, token: str) -> PodCaller | None:
        person = self._reviews.who(token)
        bound = bound_pod(person.name, dict(person.extra)) if person is not None else None
        if bound is None:
            return None
        try:
            body = self._client.get(PODS, Key(bound.namespace, bound.name))
        except (ObjectNotFound, Forbidden):  # gone, or of a namespace that is not ours to serve
            return None
        return _caller(body, bound.namespace, bound.name) if uid_of(body) == bound.uid else None


def _caller(body: Mapping[str, Any], namespace: str, pod: str) -> PodCaller:
    meta = metadata(body)
    owners: list[dict[str, Any]] = meta.get("ownerReferences") or []
    return PodCaller(
        namespace,
        pod,
        uid_of(body),
        {str(name): str(value) for name, value in child(meta, "labels").items()},
        {str(name): str(value) for name, value in child(meta, "annotations").items()},
        tuple((str(one.get("kind")), str(one.get("name")), str(one.get("uid"))) for one in owners),
    )
