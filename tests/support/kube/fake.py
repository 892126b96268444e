"""An API server in memory: a transport for the client.

It does what the platform relies on, as the real one does it (tests/kube/test_contract.py runs on both); a request for
anything else ends with 501, so that no test passes on a guess.
"""

from __future__ import annotations

import copy
import json
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from mlplatform.kube import objects
from mlplatform.kube.errors import Unavailable
from mlplatform.kube.objects import (
    BUILT_IN,
    CUSTOM_RESOURCES,
    NAMESPACES,
    PODS,
    Key,
    Object,
    Resource,
    key_of,
    metadata,
)
from mlplatform.kube.wire import APPLY_PATCH, JSON_PATCH, MERGE_PATCH, Answer, Request
from tests.support.kube import patches, selectors
from tests.support.kube.apply import Ownership
from tests.support.kube.refusals import Refused, check_metadata, refuse
from tests.support.kube.store import Logged, Store, Stored

WITH_STATUS = {PODS, NAMESPACES, CUSTOM_RESOURCES, objects.NODES, objects.CLAIMS, objects.SERVICES}
WITH_STATUS |= {objects.DEPLOYMENTS, objects.STATEFUL_SETS, objects.DISRUPTION_BUDGETS}


@dataclass
class Fault:
    """What happens to the next requests that ``matches`` picks."""

    matches: Callable[[Request], bool]
    status: int
    times: int = 1
    reason: str = ""
    retry_after: int = 0
    after: bool = False
    seen: int = field(default=0)


class FakeServer:
    """``now`` gives the server's time. ``down``: no request gets an answer."""

    def __init__(self, now: Callable[[], float] = time.time, namespaces: tuple[str, ...] = ("default",)) -> None:
        self.store = Store(now)
        self.resources = {(r.api_version, r.plural): r for r in BUILT_IN}
        self.with_status = set(WITH_STATUS)
        self.requests: list[Request] = []
        self.before: list[Callable[[Request], None]] = []
        self.after: list[Callable[[Request], None]] = []
        self.faults: list[Fault] = []
        self.admit: list[Callable[[str, Resource, Object], None]] = []
        self.down = False
        self.collects = True
        self._streams: list[FakeStream] = []
        for name in namespaces:
            self.add_namespace(name)

    # For tests

    def register(self, *resources: Resource, status: bool = True) -> None:
        """Kinds whose CRD is there."""
        for resource in resources:
            self.resources[resource.api_version, resource.plural] = resource
            if status:
                self.with_status.add(resource)

    def add_namespace(self, name: str) -> None:
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}, "status": {"phase": "Active"}}
        with self.store.lock:
            self.store.add(NAMESPACES, body, Ownership())

    def fail(self, status: int, method: str = "", path: str = "", **more: Any) -> Fault:
        """Answer the next request of that method whose path has ``path`` in it with an error (``after=True``: done, but
        told as lost)."""
        fault = Fault(lambda r: (not method or r.method == method) and path in r.path, status, **more)
        self.faults.append(fault)
        return fault

    def disconnect(self) -> None:
        """Cut all watches in the middle."""
        with self.store.lock:
            for stream in self._streams:
                stream.cut = True
            self.store.changed.notify_all()

    def bookmark(self) -> None:
        """Send every watch a bookmark."""
        with self.store.lock:
            for stream in self._streams:
                stream.bookmarks += 1
            self.store.changed.notify_all()

    def writes(self) -> list[Request]:
        return [request for request in self.requests if request.writes]

    # Transport

    def send(self, request: Request) -> Answer:
        self._begin(request)
        fault = self._fault(request, after=False)
        if fault:
            return fault
        try:
            with self.store.lock:
                status, body = self._answer(request)
                if self.collects and request.writes:
                    self.store.collect()
                data = json.dumps(body).encode()
        except Refused as refused:
            return refused.answer()
        lost = self._fault(request, after=True)
        for hook in self.after:
            hook(request)
        return lost or Answer(status, data)

    def stream(self, request: Request) -> FakeStream:
        self._begin(request)
        fault = self._fault(request, after=False)
        if fault:
            return FakeStream(self, request, None, fault)
        try:
            resource, key, _ = self._route(request)
            if key.name:
                raise refuse(501, f"no stream of {request.path}")
            version = int(request.query.get("resourceVersion") or 0)
            if version < self.store.oldest:
                raise refuse(410, f"too old resource version: {version} ({self.store.oldest})", "Expired")
        except Refused as refused:
            return FakeStream(self, request, None, refused.answer())
        return FakeStream(self, request, resource, None)

    def close(self) -> None:
        self.disconnect()

    def _begin(self, request: Request) -> None:
        for hook in self.before:
            hook(request)
        if self.down:
            raise Unavailable(f"{request.method} {request.path}: connection refused")
        self.requests.append(request)

    def _fault(self, request: Request, *, after: bool) -> Answer | None:
        for fault in self.faults:
            if fault.after == after and fault.seen < fault.times and fault.matches(request):
                fault.seen += 1
                if fault.status == 0:
                    raise Unavailable(f"{request.method} {request.path}: the connection was lost")
                return refuse(fault.status, "injected", fault.reason, retry_after=fault.retry_after).answer()
        return None

    # Routing

    def _route(self, request: Request) -> tuple[Resource, Key, str]:
        matched = re.fullmatch(r"/(?:api/(v1)|apis/([^/]+/[^/]+))(?:/namespaces/([^/]+)(?=/.))?/(.+)", request.path)
        if not matched:
            raise refuse(404, f"the server could not find the requested resource {request.path}")
        core, group, namespace, rest = matched.groups()
        parts = rest.split("/")
        if core and namespace is not None and parts[0] in ("status", "finalize"):
            namespace, parts = None, ["namespaces", namespace or "", *parts]
        resource = self.resources.get((core or group, parts[0]))
        if resource is None:
            raise refuse(404, "the server could not find the requested resource", "NotFound")
        name, subresource = [*parts[1:], "", ""][:2]
        return resource, Key(namespace or "", name), subresource

    def _answer(self, request: Request) -> tuple[int, Object]:
        if request.path == "/version":
            return 200, {"major": "1", "minor": "36", "gitVersion": "v1.36.0-fake"}
        resource, key, subresource = self._route(request)
        if subresource and (subresource != "status" or resource not in self.with_status):
            raise refuse(404, "the server could not find the requested resource", "NotFound")
        match request.method, bool(key.name):
            case "GET", True:
                return 200, copy.deepcopy(self._stored(resource, key).body)
            case "GET", False:
                return 200, self._list(resource, key.namespace, request)
            case "POST", False:
                return 201, self._create(resource, key.namespace, request)
            case "PUT", True:
                return 200, self._replace(resource, key, subresource, request)
            case "PATCH", True:
                return self._patch(resource, key, subresource, request)
            case "DELETE", True:
                return 200, self._delete(resource, key, request)
            case _:
                raise refuse(501, f"the fake has no {request.method} of {request.path}")

    def _stored(self, resource: Resource, key: Key) -> Stored:
        stored = self.store.find(resource, key)
        if stored is None:
            raise refuse(404, f'{resource.name} "{key.name}" not found', "NotFound")
        return stored

    # Verbs

    def _list(self, resource: Resource, namespace: str, request: Request) -> Object:
        picks = selectors.matcher(request.query)
        kept = self.store.objects.get(resource, {})
        keys = sorted(key for key in kept if not namespace or key.namespace == namespace)
        found = [kept[key].body for key in keys if picks(kept[key].body)]
        version, start = self.store.version, 0
        if token := request.query.get("continue"):
            then, start = (int(part) for part in token.split("-"))
            if then < self.store.oldest:
                raise refuse(410, "The provided continue parameter is too old", "Expired")
            version = then
        limit = int(request.query.get("limit") or 0) or len(found)
        page = found[start : start + limit]
        meta: dict[str, Any] = {"resourceVersion": str(version)}
        if start + limit < len(found):
            meta["continue"] = f"{version}-{start + limit}"
            meta["remainingItemCount"] = len(found) - start - limit
        items = [self._item(resource, body) for body in page]
        return {"apiVersion": resource.api_version, "kind": f"{resource.kind}List", "metadata": meta, "items": items}

    def _item(self, resource: Resource, body: Object) -> Object:
        built_in = "." not in resource.group or resource.group.endswith("k8s.io")
        return {k: v for k, v in body.items() if not built_in or k not in ("apiVersion", "kind")}

    def _create(self, resource: Resource, namespace: str, request: Request) -> Object:
        body = self._body(resource, request)
        meta = body.setdefault("metadata", {})
        if resource.namespaced:
            if not namespace or meta.setdefault("namespace", namespace) != namespace:
                raise refuse(
                    400, "the namespace of the provided object does not match the namespace sent on the request"
                )
            self._check_namespace(namespace)
        if not meta.get("name") and meta.get("generateName"):
            meta["name"] = f"{meta['generateName']}{self.store.version:05d}"
        check_metadata(resource, body)
        if self.store.find(resource, key_of(body)):
            raise refuse(409, f'{resource.name} "{meta["name"]}" already exists', "AlreadyExists")
        self._admit("create", resource, body)
        for given in (
            "uid",
            "resourceVersion",
            "creationTimestamp",
            "generation",
            "deletionTimestamp",
            "managedFields",
        ):
            if given == "resourceVersion" and meta.get(given):
                raise refuse(400, "resourceVersion should not be set on objects to be created", "BadRequest")
            meta.pop(given, None)
        if resource in self.with_status:
            body.pop("status", None)
        if resource == PODS:
            body["status"] = {"phase": "Pending", "qosClass": "BestEffort"}
        ownership = Ownership()
        ownership.update(request.query.get("fieldManager", "unknown"), "", {}, _fields(body))
        if request.query.get("dryRun"):
            return body
        self.store.add(resource, body, ownership)
        if resource == CUSTOM_RESOURCES:
            self._establish(body)
        return copy.deepcopy(body)

    def _establish(self, crd: Object) -> None:
        spec = crd["spec"]
        for version in spec["versions"]:
            names, scope = spec["names"], spec["scope"]
            resource = Resource(spec["group"], version["name"], names["plural"], names["kind"], scope == "Namespaced")
            self.register(resource, status="status" in (version.get("subresources") or {}))
        crd["status"] = {"conditions": [{"type": "Established", "status": "True"}]}

    def _replace(self, resource: Resource, key: Key, subresource: str, request: Request) -> Object:
        stored = self._stored(resource, key)
        body = self._body(resource, request)
        given = metadata(body).get("resourceVersion")
        if not given and (resource.group not in ("", "apps") or subresource):
            raise refuse(
                422, f'{resource.name} "{key.name}" is invalid: metadata.resourceVersion: Invalid value: 0x0', "Invalid"
            )
        self._guard(resource, stored, metadata(body))
        return self._store(resource, stored, body, subresource, request)

    def _patch(self, resource: Resource, key: Key, subresource: str, request: Request) -> tuple[int, Object]:
        stored = self.store.find(resource, key)
        if request.content_type == APPLY_PATCH:
            return self._apply(resource, key, subresource, stored, request)
        stored = self._stored(resource, key)
        patch = json.loads(request.body or b"")
        if request.content_type == MERGE_PATCH:
            body = patches.merge(stored.body, patch)
        elif request.content_type == JSON_PATCH:
            body = patches.json_patch(stored.body, patch)
        else:
            raise refuse(501, f"the fake has no {request.content_type}")
        self._guard(resource, stored, metadata(body))
        return 200, self._store(resource, stored, body, subresource, request)

    def _apply(
        self, resource: Resource, key: Key, subresource: str, stored: Stored | None, request: Request
    ) -> tuple[int, Object]:
        body = self._body(resource, request)
        if metadata(body).get("managedFields"):
            raise refuse(400, "metadata.managedFields must be nil", "BadRequest")
        if stored is None:
            if subresource:
                raise refuse(404, f'{resource.name} "{key.name}" not found', "NotFound")
            if metadata(body).get("uid") or metadata(body).get("resourceVersion"):
                raise refuse(409, "the object does not exist", "Conflict")
            create = Request("POST", resource.path(key.namespace), request.query, request.body)
            made = self._create(resource, key.namespace, create)
            kept = self.store.find(resource, key)
            if kept is not None:
                kept.ownership = Ownership()
                kept.ownership.apply(request.query["fieldManager"], "", {}, _fields(body), True)
            return 201, made
        self._guard(resource, stored, metadata(body))
        wanted = _fields(body)
        if subresource:
            wanted = {key: value for key, value in wanted.items() if key == "status"}
        elif resource in self.with_status:
            wanted.pop("status", None)
        ownership = copy.deepcopy(stored.ownership)
        force = request.query.get("force") == "true"
        manager = request.query["fieldManager"]
        merged, conflicts = ownership.apply(manager, subresource, copy.deepcopy(stored.body), wanted, force)
        if conflicts:
            raise refuse(409, f"Apply failed with {len(conflicts)} conflicts: {'; '.join(conflicts)}", "Conflict")
        stored.ownership = ownership
        return 200, self._store(resource, stored, merged, subresource, request, owned=True)

    def _store(
        self, resource: Resource, stored: Stored, body: Object, subresource: str, request: Request, owned: bool = False
    ) -> Object:
        """Keep the part of ``body`` that this endpoint writes."""
        before = stored.body
        after = copy.deepcopy(body)
        if subresource == "status":
            kept_meta = dict(before["metadata"])
            after = {**copy.deepcopy(before), "metadata": kept_meta}
            after.pop("status", None)
            if "status" in body:
                after["status"] = copy.deepcopy(body["status"])
        elif resource in self.with_status:
            after.pop("status", None)
            if "status" in before:
                after["status"] = copy.deepcopy(before["status"])
        for fixed in (
            "uid",
            "resourceVersion",
            "creationTimestamp",
            "generation",
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
        ):
            after["metadata"].pop(fixed, None)
            if fixed in before["metadata"]:
                after["metadata"][fixed] = before["metadata"][fixed]
        after["apiVersion"], after["kind"] = before["apiVersion"], before["kind"]
        check_metadata(resource, after, before)
        if resource == PODS and not subresource:
            patches.check_pod_update(before, after)
        self._admit("update", resource, after)
        if not owned:
            stored.ownership.update(
                request.query.get("fieldManager", "unknown"), subresource, _fields(before), _fields(after)
            )
        if request.query.get("dryRun"):
            return after
        return copy.deepcopy(self.store.put(resource, stored, after))

    def _delete(self, resource: Resource, key: Key, request: Request) -> Object:
        stored = self._stored(resource, key)
        options = json.loads(request.body or b"{}")
        if options.get("propagationPolicy") not in (None, "Background"):
            raise refuse(501, f"the fake has no propagation {options['propagationPolicy']}")
        self._guard(resource, stored, options.get("preconditions") or {}, "Precondition failed: ")
        grace = 0
        if resource == PODS:
            spec, status = stored.body.get("spec") or {}, stored.body.get("status") or {}
            grace = int(options.get("gracePeriodSeconds", spec.get("terminationGracePeriodSeconds", 30)))
            if not spec.get("nodeName") or status.get("phase") in ("Succeeded", "Failed"):
                grace = 0
        body, gone = self.store.delete(resource, stored, grace)
        if gone and resource != PODS:
            return {"apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Success"}
        return copy.deepcopy(body)

    # What they share

    def _body(self, resource: Resource, request: Request) -> Object:
        try:
            body: Object = json.loads(request.body or b"")
        except ValueError:
            raise refuse(400, "the body is no JSON", "BadRequest") from None
        if (body.get("apiVersion"), body.get("kind")) != (resource.api_version, resource.kind):
            raise refuse(400, f"{body.get('apiVersion')} {body.get('kind')} does not match the endpoint", "BadRequest")
        return body

    def _guard(self, resource: Resource, stored: Stored, given: dict[str, Any], words: str = "") -> None:
        have = stored.body["metadata"]
        if not words and given.get("uid") not in (None, have["uid"]):
            cause = {"reason": "FieldValueInvalid", "field": "metadata.uid", "message": "field is immutable"}
            raise refuse(422, "metadata.uid: Invalid value: field is immutable", "Invalid", causes=[cause])
        for name in ("uid", "resourceVersion"):
            if given.get(name) and given[name] != have[name]:
                what = f'{resource.name} "{have["name"]}"'
                told = f"Operation cannot be fulfilled on {what}: {words}the object has been modified"
                raise refuse(409, told, "Conflict")

    def _check_namespace(self, name: str) -> None:
        namespace = self.store.find(NAMESPACES, Key("", name))
        if namespace is None:
            raise refuse(404, f'namespaces "{name}" not found', "NotFound")
        if metadata(namespace.body).get("deletionTimestamp"):
            raise refuse(
                403, f"namespace {name} is being terminated", "Forbidden", causes=[{"reason": "NamespaceTerminating"}]
            )

    def _admit(self, verb: str, resource: Resource, body: Object) -> None:
        for admit in self.admit:
            admit(verb, resource, body)


def _fields(body: Object) -> Object:
    """What managers own: all but identity and what the server keeps."""
    fixed = {"name", "namespace", "uid", "resourceVersion", "generation", "creationTimestamp", "deletionTimestamp"}
    fixed |= {"deletionGracePeriodSeconds", "managedFields", "generateName"}
    meta = {key: value for key, value in metadata(body).items() if key not in fixed}
    rest = {key: value for key, value in body.items() if key not in ("apiVersion", "kind", "metadata")}
    return {**rest, **({"metadata": meta} if meta else {})}


class FakeStream:
    """A watch. It ends after ``timeoutSeconds`` (0.2 s of silence where a test sets ``FakeStream.patience``)."""

    patience: float | None = None

    def __init__(self, server: FakeServer, request: Request, resource: Resource | None, error: Answer | None) -> None:
        self._server = server
        self._request = request
        self._resource = resource
        self._error = error
        self._closed = False
        self.cut = False
        self.bookmarks = 0
        if error is None:
            server._streams.append(self)

    @property
    def status(self) -> int:
        return self._error.status if self._error else 200

    def read(self) -> bytes:
        return self._error.body if self._error else b"".join(self.chunks())

    def close(self) -> None:
        with self._server.store.lock:
            self._closed = True
            self._server.store.changed.notify_all()

    def chunks(self) -> Iterator[bytes]:
        try:
            yield from self._chunks()
        finally:
            if self in self._server._streams:
                self._server._streams.remove(self)

    def _chunks(self) -> Iterator[bytes]:
        store = self._server.store
        at = int(self._request.query.get("resourceVersion") or store.version)
        end = time.monotonic() + (self.patience or float(self._request.query.get("timeoutSeconds") or 300))
        picks = selectors.matcher(self._request.query)
        while True:
            with store.lock:
                if self._closed:
                    return
                if self.cut or self._server.down:
                    raise Unavailable(f"{self._request.path}: the connection was lost")
                if at < store.oldest:
                    told = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old resource version"}
                    yield json.dumps({"type": "ERROR", "object": told}).encode() + b"\n"
                    return
                news = [logged for logged in store.log if logged.version > at and logged.resource == self._resource]
                at = max([at, store.version])
                lines = [line for logged in news if (line := self._line(logged, picks))]
                if self.bookmarks:
                    self.bookmarks = 0
                    lines.append(self._bookmark(at))
                if not lines:
                    left = end - time.monotonic()
                    if left <= 0:
                        return
                    store.changed.wait(min(left, 1.0))
            if lines:
                yield b"".join(lines)

    def _line(self, logged: Logged, picks: Callable[[Object], bool]) -> bytes:
        namespace = self._request.path.rpartition("/namespaces/")[2].partition("/")[0]
        if "/namespaces/" in self._request.path and metadata(logged.body).get("namespace") != namespace:
            return b""
        was = logged.before is not None and picks(logged.before)
        now = picks(logged.body)
        kind = logged.type
        if kind == "MODIFIED":
            kind = "MODIFIED" if was and now else "ADDED" if now else "DELETED" if was else ""
        elif not now and not (kind == "DELETED" and was):
            kind = ""
        return json.dumps({"type": kind, "object": logged.body}).encode() + b"\n" if kind else b""

    def _bookmark(self, version: int) -> bytes:
        assert self._resource is not None
        meta = {"resourceVersion": str(version), "creationTimestamp": None}
        body = {"apiVersion": self._resource.api_version, "kind": self._resource.kind, "metadata": meta}
        return json.dumps({"type": "BOOKMARK", "object": body}).encode() + b"\n"
