"""Carries out the plan of one key: which writes, in which order, and what their refusal means."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from mlplatform.controllers.framework.caches import InformerCaches
from mlplatform.controllers.framework.differences import DIGEST, contains, digest, merge_patch, stripped
from mlplatform.controllers.framework.model import Delete, Plan, Ref, Refusal, Tell
from mlplatform.core.errors import InternalError, KubernetesError
from mlplatform.kube.client import Client
from mlplatform.kube.errors import AlreadyExists, Conflict, Forbidden, Invalid, ObjectNotFound, Unavailable
from mlplatform.kube.expectations import Expectations
from mlplatform.kube.objects import (
    BUILT_IN,
    Key,
    Object,
    Resource,
    being_deleted,
    controller_of,
    key_of,
    metadata,
    owner_reference,
    uid_of,
    version_of,
)

_log = logging.getLogger(__name__)

T = TypeVar("T")

#: After so many refused objects of one plan the others are not tried: a full quota refuses a thousand pods as well.
_ENOUGH_REFUSALS: Final = 3


class NotOurs(KubernetesError):
    """The key's shard was lost while it was worked on: nothing more is written for it."""

    retryable = True


@dataclass(slots=True)
class Outcome:
    """What was done for one key."""

    writes: int = 0
    refusals: list[Refusal] = field(default_factory=list[Refusal])
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def wrote(self) -> None:
        with self._lock:
            self.writes += 1


class Writer:
    """Writes for one controller. ``may_write`` is asked before each write; ``width`` writes of a kind go at once."""

    def __init__(
        self,
        client: Client,
        resource: Resource,
        kinds: Iterable[Resource],
        *,
        finalizer: str,
        caches: InformerCaches,
        expectations: Expectations[Key],
        may_write: Callable[[Key], bool],
        width: int = 1,
    ) -> None:
        self._client = client
        self._resource = resource
        self._kinds = {(kind.api_version, kind.kind): kind for kind in (*BUILT_IN, *kinds)}
        self._finalizer = finalizer
        self._caches = caches
        self._expectations = expectations
        self._may_write = may_write
        self._pool = ThreadPoolExecutor(width, "writes") if width > 1 else None
        self._applied: dict[tuple[Resource, Key], tuple[str, str]] = {}
        self._settled: dict[Key, tuple[str, str]] = {}

    def make(self, key: Key, primary: Object, plan: Plan) -> Outcome:
        """``apply`` and ``create`` of a plan. Raises KubernetesError for what may go better next time."""
        outcome = Outcome()
        for body in plan.apply:
            self._apply(key, primary, self._complete(primary, body), outcome)
        wanted = [self._complete(primary, body) for body in plan.create]

        def create(body: Object) -> None:
            if len(outcome.refusals) < _ENOUGH_REFUSALS:
                self._create(key, primary, body, outcome)

        self._each(create, wanted)
        return outcome

    def differs(self, primary: Object, wanted: Mapping[str, Any]) -> bool:
        """Whether :meth:`status` would have something to write."""
        before: Mapping[str, Any] = primary.get("status") or {}
        return bool(merge_patch(before, stripped(wanted)))

    def status(self, key: Key, primary: Object, wanted: Mapping[str, Any], outcome: Outcome) -> bool:
        """Write the status where it differs from what was observed: whether it did. Raises Conflict where that is not
        what is there."""
        status = stripped(wanted)
        before: Mapping[str, Any] = primary.get("status") or {}
        patch = merge_patch(before, status)
        if not patch:
            return False
        mark = digest(status)
        if self._settled.get(key) == (mark, version_of(primary)):
            return False  # the server keeps less of it than we say; writing it again would change nothing
        guard = {"resourceVersion": version_of(primary)}
        self._ask(key)
        written = self._client.patch(self._resource, key, {"metadata": guard, "status": patch}, subresource="status")
        outcome.wrote()
        self._expectations.wrote(key, self._resource, version_of(written))
        if written.get("status") != status:
            _log.warning("%s %s: the server does not keep all of its status", self._resource.name, key)
            self._settled[key] = (mark, version_of(written))
        return True

    def finish(self, key: Key, plan: Plan, outcome: Outcome) -> None:
        """``tell``, ``release`` and ``delete`` of a plan."""
        for one in plan.tell:
            self._tell(key, one, outcome)
        self._each(lambda ref: self._release(key, ref, outcome), plan.release)
        self._each(lambda one: self._delete(key, one, outcome), plan.delete)

    def release_orphan(self, key: Key, resource: Resource, body: Object) -> None:
        """Take our finalizer off an object whose primary is gone."""
        ref = Ref(resource, key_of(body), uid_of(body))
        self._release(key, ref, Outcome())

    def forget(self, key: Key) -> None:
        self._settled.pop(key, None)

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True)

    # One write each

    def _apply(self, key: Key, primary: Object, body: Object, outcome: Outcome) -> None:
        resource = self._kind(body)
        mark = digest(body)
        annotations: dict[str, str] = dict(metadata(body).get("annotations") or {}, **{DIGEST: mark})
        body = {**body, "metadata": {**metadata(body), "annotations": annotations}}
        place = (resource, key_of(body))
        live = self._live(resource, place[1])
        if live is not None:
            owner = controller_of(live)
            ours = controller_of(body)
            if owner is not None and ours is not None and owner.get("uid") != ours["uid"]:
                outcome.refusals.append(Refusal(body, _taken(resource, live)))
                return
            if contains(live, body) or self._applied.get(place) == (mark, version_of(live)):
                return
        self._ask(key)
        try:
            written = self._client.apply(resource, body)
        except (Invalid, Forbidden, ObjectNotFound) as error:
            outcome.refusals.append(Refusal(body, error))
            return
        outcome.wrote()
        self._applied[place] = (mark, version_of(written))
        if live is None or version_of(live) != version_of(written):
            self._expectations.wrote(key, resource, version_of(written))

    def _create(self, key: Key, primary: Object, body: Object, outcome: Outcome) -> None:
        resource = self._kind(body)
        self._ask(key)
        try:
            written = self._client.create(resource, body)
            outcome.wrote()
        except AlreadyExists as error:
            written = self._existing(resource, key_of(body), error)
            owner, ours = controller_of(written), controller_of(body)
            if ours is not None and (owner or {}).get("uid") != ours["uid"]:
                if being_deleted(written) or _of_a_predecessor(owner, ours):
                    raise Conflict(
                        f"create {resource.name} {key_of(body)}: an older one of that name is still going away",
                        status=409,
                        retry_after=1.0,
                    ) from error
                outcome.refusals.append(Refusal(body, _taken(resource, written)))
                return
        except (Invalid, Forbidden, ObjectNotFound) as error:
            outcome.refusals.append(Refusal(body, error))
            return
        self._expectations.wrote(key, resource, version_of(written))

    def _existing(self, resource: Resource, key: Key, error: AlreadyExists) -> Object:
        try:
            return self._client.get(resource, key)
        except ObjectNotFound:
            raise Conflict(f"{error}; then it was gone", status=409) from error

    def _tell(self, key: Key, tell: Tell, outcome: Outcome) -> None:
        ref = tell.ref
        self._ask(key)
        body = {"metadata": {"resourceVersion": tell.version}, "status": tell.status}
        written = self._client.patch(ref.resource, ref.key, body, subresource="status")
        outcome.wrote()
        self._expectations.wrote(key, ref.resource, version_of(written))

    def _release(self, key: Key, ref: Ref, outcome: Outcome) -> None:
        live = self._live(ref.resource, ref.key)
        if live is None or (ref.uid and uid_of(live) != ref.uid):
            return
        if self._finalizer not in (metadata(live).get("finalizers") or ()):
            return
        self._ask(key)
        try:
            written = self._client.remove_finalizer(ref.resource, live, self._finalizer)
        except ObjectNotFound:
            return
        if written is not None:
            outcome.wrote()
        self._expectations.will_change(key, ref.resource, ref.key, uid_of(live), version_of(live))

    def _delete(self, key: Key, delete: Delete, outcome: Outcome) -> None:
        ref = delete.ref
        cache = self._caches.cache(ref.resource)
        live = cache.get(ref.key) if cache is not None else None
        if live is not None and delete.grace_period is None and being_deleted(live) and ref.uid in ("", uid_of(live)):
            return  # somebody's finalizer holds it: asking again would change nothing
        self._ask(key)
        try:
            self._client.delete(ref.resource, ref.key, uid=ref.uid, grace_period=delete.grace_period)
        except (ObjectNotFound, Conflict):  # gone, or another one of that name by now
            return
        outcome.wrote()
        if live is not None and not being_deleted(live):
            self._expectations.will_change(key, ref.resource, ref.key, uid_of(live), version_of(live))

    # What they share

    def _live(self, resource: Resource, key: Key) -> Object | None:
        cache = self._caches.cache(resource)
        if cache is not None:
            return cache.get(key)
        try:
            return self._client.get(resource, key)
        except ObjectNotFound:
            return None

    def _ask(self, key: Key) -> None:
        if not self._may_write(key):
            raise NotOurs(f"{self._resource.name} {key} belongs to another replica now.")

    def _kind(self, body: Object) -> Resource:
        found = self._kinds.get((body["apiVersion"], body["kind"]))
        if found is None:
            raise InternalError(
                f"A plan has a {body['kind']} ({body['apiVersion']}), which its controller does not name."
            )
        return found

    def _complete(self, primary: Object, body: Object) -> Object:
        meta = dict(metadata(body))
        if self._kind(body).namespaced:
            meta.setdefault("namespace", key_of(primary).namespace)
        if "ownerReferences" not in meta:
            meta["ownerReferences"] = [owner_reference(primary)]
        return {**body, "metadata": meta}

    def _each(self, write: Callable[[T], None], items: Sequence[T]) -> None:
        if self._pool is None or len(items) < 2:
            for item in items:
                write(item)
            return
        failures: list[KubernetesError] = []
        for future in [self._pool.submit(write, item) for item in items]:
            try:
                future.result()
            except KubernetesError as error:
                failures.append(error)
        if failures:
            raise next((one for one in failures if isinstance(one, Unavailable)), failures[0])


def _taken(resource: Resource, body: Object) -> AlreadyExists:
    owner = controller_of(body)
    whose = f"belongs to {owner['kind']} {owner['name']}" if owner else "was made by somebody else"
    return AlreadyExists(
        f"{resource.kind} {key_of(body)} is there already and {whose}.", status=409, reason="AlreadyExists"
    )


def _of_a_predecessor(owner: Mapping[str, Any] | None, ours: Mapping[str, Any]) -> bool:
    """Did it belong to an older primary of the same name? Then the garbage collector is about to remove it."""
    return owner is not None and (owner.get("kind"), owner.get("name")) == (ours["kind"], ours["name"])
