"""One watch: a stream of JSON lines, decoded as far as a cache needs it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

import msgspec

from mlplatform.kube.errors import Unavailable, error_of
from mlplatform.kube.wire import Stream


class OwnerReference(msgspec.Struct, rename="camel", frozen=True, gc=False):
    """Who an object belongs to."""

    api_version: str
    kind: str
    name: str
    uid: str
    controller: bool = False


class Meta(msgspec.Struct, rename="camel", frozen=True):
    """The metadata that caches, indexes and queues need of every object."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    deletion_timestamp: str | None = None
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    finalizers: list[str] | None = None
    owner_references: list[OwnerReference] | None = None


class _Head(msgspec.Struct):
    metadata: Meta


class _Event(msgspec.Struct):
    type: str
    object: msgspec.Raw


class _Failure(msgspec.Struct):
    code: int = 0
    reason: str = ""
    message: str = ""


_decode_head: Final = msgspec.json.Decoder(_Head).decode
_decode_event: Final = msgspec.json.Decoder(_Event).decode
_decode_failure: Final = msgspec.json.Decoder(_Failure).decode
_decode_members: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_encode: Final = msgspec.json.Encoder().encode


class WatchEvent(NamedTuple):
    """``type``: ADDED, MODIFIED, DELETED or BOOKMARK. ``raw``: the object's own JSON."""

    type: str
    meta: Meta
    raw: bytes


def lean(raw: bytes) -> bytes:
    """An object's JSON without ``metadata.managedFields``: the API server's bookkeeping of who wrote what is up to half
    of an object, and takes three quarters of the time to decode it."""
    if b'"managedFields"' not in raw:
        return raw
    body = _decode_members(raw)
    meta = _decode_members(body.get("metadata") or b"{}")
    if meta.pop("managedFields", None) is None:
        return raw  # it only speaks of them
    body["metadata"] = msgspec.Raw(_encode(meta))
    return _encode(body)


def meta_of(raw: bytes) -> Meta:
    """The metadata of an object's JSON."""
    return _decode_head(raw).metadata


class Watch:
    """Iterates over the changes; ends when the server ends it. ``close`` (from any thread) ends it as well."""

    def __init__(self, stream: Stream, doing: str) -> None:
        self._stream = stream
        self._doing = doing

    def __iter__(self) -> Iterator[WatchEvent]:
        """Raises Gone (list anew), Unavailable (connection lost, or what came is no event)."""
        for line in self._lines():
            try:
                event = _decode_event(line)
                if event.type == "ERROR":
                    told = _decode_failure(event.object)
                    code = 410 if told.reason in ("Expired", "Gone") else told.code or 500
                    raise error_of(code, {"reason": told.reason, "message": told.message}, self._doing)
                raw = bytes(event.object)
                yield WatchEvent(event.type, meta_of(raw), raw)
            except (msgspec.DecodeError, msgspec.ValidationError) as error:
                raise Unavailable(f"{self._doing}: what came is not an event: {error}") from error

    def _lines(self) -> Iterator[bytes]:
        rest = b""
        for chunk in self._stream.chunks():
            if b"\n" not in chunk:
                rest += chunk
                continue
            *lines, last = (rest + chunk).split(b"\n")
            rest = last
            yield from (line for line in lines if line)
        if rest.strip():
            raise Unavailable(f"{self._doing}: the connection broke within an event")

    def close(self) -> None:
        self._stream.close()

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
