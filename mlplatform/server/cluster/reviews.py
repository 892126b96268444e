"""Who a token belongs to, and what they may do: asked of the API server, whose word it is (TokenReview and
SubjectAccessReview), and remembered for a short while."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from mlplatform.core.values import child
from mlplatform.kube.client import Client
from mlplatform.kube.objects import Resource
from mlplatform.kube.ours import PIPELINE_RUNS, TRAINING_JOBS
from mlplatform.server.cluster.kinds import ACCESS_REVIEWS, TOKEN_REVIEWS

#: What a token must be made for. The first is what a stock kfp.Client asks its cluster for.
AUDIENCES: Final = ("pipelines.kubeflow.org", "mlplatform")
#: Seconds that an answer is good for.
WHO_SECONDS: Final = 60.0
MAY_SECONDS: Final = 10.0
_MOST: Final = 10_000


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody that the API server knows: a user or a service account."""

    name: str
    uid: str = ""
    groups: tuple[str, ...] = ()
    extra: tuple[tuple[str, tuple[str, ...]], ...] = ()


class Reviews:
    """Threads share one. ``namespace`` is the one whose runs this server shows."""

    def __init__(self, client: Client, namespace: str, clock: Callable[[], float]) -> None:
        self._client = client
        self._namespace = namespace
        self._clock = clock
        self._lock = threading.Lock()
        self._who: dict[str, tuple[float, Person | None]] = {}
        self._may: dict[tuple[Person, str, Resource], tuple[float, bool]] = {}

    def who(self, token: str) -> Person | None:
        """Whose token this is; None: nobody's, or it is not meant for us.

        Raises:
            KubernetesError: the API server could not be asked.
        """
        name = hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()  # the token itself is not kept
        known = self._known(self._who, name)
        if known is not None:
            return known[0]
        review = {"metadata": {}, "spec": {"token": token, "audiences": list(AUDIENCES)}}
        status = child(self._client.create(TOKEN_REVIEWS, review), "status")
        person = _person(status) if status.get("authenticated") else None
        self._keep(self._who, name, person, WHO_SECONDS)
        return person

    def may(self, person: Person, verb: str, kind: Resource = PIPELINE_RUNS) -> bool:
        """Whether they may do this to objects of a kind in the namespace.

        Raises:
            KubernetesError: the API server could not be asked.
        """
        known = self._known(self._may, (person, verb, kind))
        if known is not None:
            return known[0]
        review = {
            "metadata": {},
            "spec": {
                "user": person.name,
                "uid": person.uid,
                "groups": list(person.groups),
                "extra": {name: list(values) for name, values in person.extra},
                "resourceAttributes": {
                    "namespace": self._namespace,
                    "verb": verb,
                    "group": kind.group,
                    "resource": kind.plural,
                },
            },
        }
        allowed = bool(child(self._client.create(ACCESS_REVIEWS, review), "status").get("allowed"))
        self._keep(self._may, (person, verb, kind), allowed, MAY_SECONDS)
        return allowed

    def _known(self, table: Mapping[Any, tuple[float, Any]], name: Any) -> tuple[Any] | None:
        with self._lock:
            found = table.get(name)
        return (found[1],) if found is not None and self._clock() < found[0] else None

    def _keep(self, table: dict[Any, tuple[float, Any]], name: Any, value: Any, seconds: float) -> None:
        with self._lock:
            if len(table) >= _MOST:
                table.clear()
            table[name] = (self._clock() + seconds, value)


def _person(status: Mapping[str, Any]) -> Person | None:
    user = child(status, "user")
    if not set(status.get("audiences") or ()) & set(AUDIENCES):
        return None  # an authenticator that knows no audiences: its tokens may be anybody's
    extra = child(user, "extra")
    return Person(
        str(user.get("username") or ""),
        str(user.get("uid") or ""),
        tuple(user.get("groups") or ()),
        tuple((name, tuple(values)) for name, values in sorted(extra.items())),
    )


def kind_of(path: str) -> Resource:
    """What a request is about: rights to training jobs are rights of their own."""
    return TRAINING_JOBS if path.startswith("/api/v1/training-jobs") else PIPELINE_RUNS


def verb_of(method: str, path: str) -> str:
    """What a request means for PipelineRuns, in the words of RBAC."""
    if method in ("GET", "HEAD", "OPTIONS") or (path.startswith("/mlflow/") and path.endswith(_READS)):
        return "get"
    if method == "DELETE":
        return "delete"
    tail = path.rpartition("/")[2].rpartition(":")[2]
    if method in ("PATCH", "PUT") or tail in _CHANGES:
        return "update"
    return "create"


#: What MLflow's clients read by POST.
_READS: Final = ("/search", "/get-history-bulk", "/batchGetInfos", "/search-datasets", "/graphql")
_CHANGES: Final = frozenset(
    {"suspend", "cancel", "resume", "terminate", "retry", "archive", "unarchive", "enable", "disable", "tags", "note"}
)
