"""Requests to the API server, in its own words.

The client holds no state but its transport; threads share one. Every method raises the errors of
:mod:`mlplatform.kube.errors`. Writes are never sent twice: after :class:`~mlplatform.kube.errors.Unavailable` nobody
knows whether they took effect, and whoever asked has to look. What the server refused for being busy (429),
or because it is still starting, is sent again, a few times, after the time that it names.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import msgspec

from mlplatform.kube.errors import Conflict, Gone, Invalid, TooManyRequests, Unavailable, error_of
from mlplatform.kube.objects import FIELD_MANAGER, Key, Object, Resource, key_of, metadata, uid_of
from mlplatform.kube.watch import Watch, lean
from mlplatform.kube.wire import (
    APPLY_PATCH,
    JSON_PATCH,
    MERGE_PATCH,
    STRATEGIC_PATCH,
    Answer,
    Request,
    Stream,
    Transport,
)

#: Objects a page of a list; the same as kubectl and client-go take.
PAGE: Final = 500

_PATCHES: Final = {"merge": MERGE_PATCH, "json": JSON_PATCH, "strategic": STRATEGIC_PATCH}


class _ListMeta(msgspec.Struct, rename="camel"):
    resource_version: str = ""
    continue_: str = msgspec.field(name="continue", default="")


class _RawList(msgspec.Struct):
    metadata: _ListMeta
    items: list[msgspec.Raw] | None = None


_decode_list = msgspec.json.Decoder(_RawList).decode
_decode = msgspec.json.Decoder(Object).decode
_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list: the objects' own JSON, and the resource version of the whole list."""

    items: tuple[bytes, ...]
    resource_version: str


@dataclass(frozen=True, slots=True)
class Listing:
    """A whole list. ``resource_version`` is where a watch goes on."""

    items: list[Object]
    resource_version: str


class Client:
    """One API server, as one user.

    ``sleep`` waits out what a busy server asks for; ``patience`` is how often.
    """

    def __init__(
        self,
        transport: Transport,
        *,
        field_manager: str = FIELD_MANAGER,
        patience: int = 3,
        sleep: Callable[[float], None] = time.sleep,
        person: Callable[[], str] | None = None,
    ) -> None:
        """``person``: in whose name it writes (the API server asks whether this user may impersonate them); empty: its
        own. It reads as itself."""
        self.transport = transport
        self._person = person
        self.field_manager = field_manager
        self._patience = patience
        self._sleep = sleep

    def acting(self, person: Callable[[], str]) -> Client:
        """The same client, writing in the name of whoever ``person`` tells."""
        return Client(
            self.transport, field_manager=self.field_manager, patience=self._patience, sleep=self._sleep, person=person
        )

    # Reading

    def get(self, resource: Resource, key: Key) -> Object:
        """Raises ObjectNotFound."""
        return _decode(self._ask(Request("GET", resource.path(*key)), f"get {resource.name} {key}").body)

    def pages(
        self, resource: Resource, namespace: str = "", *, labels: str = "", fields: str = "", limit: int = PAGE
    ) -> Iterator[Page]:
        """The objects there are now, page by page, undecoded. A list that takes longer than the server remembers is
        begun anew, unpaged; then pages may repeat objects."""
        query = _query(labelSelector=labels, fieldSelector=fields, limit=str(limit) if limit else "")
        doing = f"list {resource.name}"
        while True:
            request = Request("GET", resource.path(namespace), query, timeout=60.0)
            try:
                answer = self._ask(request, doing)
            except Gone:
                if "continue" not in query:
                    raise
                query = _query(labelSelector=labels, fieldSelector=fields)
                continue
            page = _decode_list(answer.body)
            yield Page(tuple(bytes(item) for item in page.items or ()), page.metadata.resource_version)
            if not page.metadata.continue_:
                return
            query = {**query, "continue": page.metadata.continue_}

    def list(
        self, resource: Resource, namespace: str = "", *, labels: str = "", fields: str = "", limit: int = PAGE
    ) -> Listing:
        """All objects of a kind, in one namespace or (empty) in all. Items have ``apiVersion`` and ``kind``."""
        found: dict[Key, Object] = {}
        version = ""
        for page in self.pages(resource, namespace, labels=labels, fields=fields, limit=limit):
            for raw in page.items:
                body = _decode(raw)
                body.setdefault("apiVersion", resource.api_version)
                body.setdefault("kind", resource.kind)
                found[key_of(body)] = body
            version = page.resource_version
        return Listing(list(found.values()), version)

    def watch(
        self,
        resource: Resource,
        namespace: str = "",
        *,
        resource_version: str,
        labels: str = "",
        fields: str = "",
        seconds: int = 300,
        silence: float = 90.0,
    ) -> Watch:
        """The changes after ``resource_version``, with bookmarks, for ``seconds`` (the server's limit on it).

        ``silence``: a connection that says nothing for so long is given up (the server sends a bookmark each minute).
        Raises Gone where the server no longer knows the version: list anew.
        """
        query = _query(
            watch="1",
            allowWatchBookmarks="true",
            resourceVersion=resource_version,
            labelSelector=labels,
            fieldSelector=fields,
            timeoutSeconds=str(seconds),
        )
        request = Request("GET", resource.path(namespace), query, timeout=min(silence, seconds + 15.0))
        return Watch(self._open(request, f"watch {resource.name}"), f"watch {resource.name}")

    def logs(self, key: Key, *, container: str = "", follow: bool = False, tail: int | None = None) -> Stream:
        """What a pod's container has written. Close it when done."""
        query = _query(
            container=container, follow="true" if follow else "", tailLines="" if tail is None else str(tail)
        )
        request = Request("GET", f"/api/v1/namespaces/{key.namespace}/pods/{key.name}/log", query, timeout=3600.0)
        return self._open(request, f"read the log of pod {key}")

    def last_lines(self, namespace: str, pod: str, container: str, lines: int) -> list[str]:
        """The last lines that a pod's container wrote. Raises ObjectNotFound, and Invalid while there is no log yet."""
        query = _query(container=container, tailLines=str(lines))
        request = Request("GET", f"/api/v1/namespaces/{namespace}/pods/{pod}/log", query)
        answer = self._ask(request, f"read the log of pod {namespace}/{pod}")
        return answer.body.decode("utf-8", "replace").splitlines()

    def read(self, path: str, **query: str) -> Object:
        """Any other document: ``/version``, ``/openapi/v3`` ..."""
        return _decode(self._ask(Request("GET", path, query), f"get {path}").body)

    # Writing

    def create(self, resource: Resource, body: Object, *, dry_run: bool = False) -> Object:
        """Raises AlreadyExists, Invalid, Forbidden. Also for reviews (``SubjectAccessReview`` ...)."""
        key = key_of(body)
        query = _query(fieldManager=self.field_manager, dryRun="All" if dry_run else "")
        request = Request("POST", resource.path(key.namespace), query, _body(resource, body))
        named = key.name or metadata(body).get("generateName", "")
        return self._write(request, f"create {resource.name} {Key(key.namespace, named)}")

    def apply(
        self, resource: Resource, body: Object, *, force: bool = True, subresource: str = "", dry_run: bool = False
    ) -> Object:
        """Server-side apply under our field manager: the object then has these fields, and those of others.

        Raises Conflict where another manager owns a field with another value and ``force`` is off.
        """
        key = key_of(body)
        query = _query(fieldManager=self.field_manager, force="true" if force else "", dryRun="All" if dry_run else "")
        path = resource.path(*key, subresource)
        request = Request("PATCH", path, query, _body(resource, body), content_type=APPLY_PATCH)
        return self._write(request, f"apply {resource.name} {key}")

    def replace(self, resource: Resource, body: Object, *, subresource: str = "") -> Object:
        """Put the whole object in place of the one with the same resource version. Raises Conflict."""
        key = key_of(body)
        query = {"fieldManager": self.field_manager}
        request = Request("PUT", resource.path(*key, subresource), query, _body(resource, body))
        return self._write(request, f"replace {resource.name} {key}")

    def replace_status(self, resource: Resource, body: Object) -> Object:
        """:meth:`replace` of the status alone. Raises Conflict where the object changed since it was read."""
        return self.replace(resource, body, subresource="status")

    def patch(
        self,
        resource: Resource,
        key: Key,
        patch: Mapping[str, Any] | Sequence[Mapping[str, Any]],
        *,
        kind: Literal["merge", "json", "strategic"] = "merge",
        subresource: str = "",
    ) -> Object:
        """Raises ObjectNotFound, Conflict (a resource version or UID in the patch is another one), Invalid."""
        query = {"fieldManager": self.field_manager}
        path = resource.path(*key, subresource)
        request = Request("PATCH", path, query, _encode(patch), content_type=_PATCHES[kind])
        return self._write(request, f"patch {resource.name} {key}")

    def delete(
        self,
        resource: Resource,
        key: Key,
        *,
        uid: str = "",
        resource_version: str = "",
        grace_period: int | None = None,
        propagation: Literal["Background", "Foreground", "Orphan"] = "Background",
    ) -> Object:
        """Ask for its deletion: with finalizers or a grace period it stays for a while (and is the answer).

        Raises ObjectNotFound, Conflict (``uid`` or ``resource_version`` is not what is there).
        """
        options: dict[str, Any] = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": propagation}
        preconditions = _query(uid=uid, resourceVersion=resource_version)
        if preconditions:
            options["preconditions"] = preconditions
        if grace_period is not None:
            options["gracePeriodSeconds"] = grace_period
        request = Request("DELETE", resource.path(*key), body=_encode(options))
        return self._write(request, f"delete {resource.name} {key}")

    def remove_finalizer(self, resource: Resource, body: Object, finalizer: str) -> Object | None:
        """Take ``finalizer`` off the object that was read as ``body``. None: the object is gone, or has not got it."""
        key, uid, current = key_of(body), uid_of(body), body
        for _ in range(5):
            names: list[str] = metadata(current).get("finalizers") or []
            if uid_of(current) != uid or finalizer not in names:
                return None
            place = f"/metadata/finalizers/{names.index(finalizer)}"
            patch = [
                {"op": "test", "path": "/metadata/uid", "value": uid},
                {"op": "test", "path": place, "value": finalizer},
                {"op": "remove", "path": place},
            ]
            try:
                return self.patch(resource, key, patch, kind="json")
            except (Invalid, Conflict):  # another finalizer came or went before it
                current = self.get(resource, key)
        raise Conflict(f"take finalizer {finalizer} off {resource.name} {key}: it changes all the time", status=409)

    # Sending

    def _write(self, request: Request, doing: str) -> Object:
        return _decode(lean(self._ask(request, doing).body))

    def _ask(self, request: Request, doing: str) -> Answer:
        if self._person is not None and request.writes and (person := self._person()):
            request = replace(request, headers={**request.headers, "Impersonate-User": person})
        for attempt in range(self._patience + 1):
            answer = self.transport.send(request)
            if answer.status < 300:
                return answer
            error = error_of(answer.status, answer.body, doing, _seconds(answer.headers.get("retry-after", "")))
            if isinstance(error, TooManyRequests) and attempt < self._patience and 0 < error.retry_after <= 5:
                self._sleep(error.retry_after)
                continue
            raise error
        raise Unavailable(f"{doing}: no answer", status=0)

    def _open(self, request: Request, doing: str) -> Stream:
        stream = self.transport.stream(request)
        if stream.status >= 300:
            body = stream.read()
            stream.close()
            raise error_of(stream.status, body, doing)
        return stream


def _query(**given: str) -> dict[str, str]:
    return {name: value for name, value in given.items() if value}


def _body(resource: Resource, body: Object) -> bytes:
    if "kind" in body and "apiVersion" in body:
        return _encode(body)
    return _encode({"apiVersion": resource.api_version, "kind": resource.kind, **body})


def _seconds(text: str) -> float:
    return float(text) if text.isdigit() else 0.0
