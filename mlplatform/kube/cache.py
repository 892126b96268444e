"""A copy of the objects of one kind, with indexes.

What is kept is each object's own JSON, without the server's bookkeeping of fields, and the few facts of its metadata
that queues and indexes need: it is decoded when it is asked for (20 to 60 microseconds), so ten thousand objects take
the memory of their text, and everybody gets a copy to change.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Final, Literal, NamedTuple

import msgspec

from mlplatform.kube.objects import Key, Object, Resource
from mlplatform.kube.watch import Meta, lean

#: From an object's metadata to the values under which an index finds it.
Indexer = Callable[[Meta], Iterable[str]]

#: The index by the UID of the controller, which every cache has.
BY_OWNER: Final = "owner"
#: The one by the controller's kind and name, whichever UID that has.
BY_OWNER_NAME: Final = "owner name"

#: The one by the namespace.
BY_NAMESPACE: Final = "namespace"

_decode = msgspec.json.Decoder(Object).decode


class Entry(NamedTuple):
    meta: Meta
    raw: bytes


class Change(NamedTuple):
    """``before`` is None for a new object, ``after`` for a deleted one."""

    kind: Literal["added", "modified", "deleted"]
    key: Key
    before: Meta | None
    after: Meta | None

    @property
    def meta(self) -> Meta:
        """The newest that is known."""
        found = self.after or self.before
        assert found is not None
        return found


def owner_uid(meta: Meta) -> Iterable[str]:
    """The UID of the controller, if there is one."""
    return (owner.uid for owner in meta.owner_references or () if owner.controller)


def owner_name(resource: Resource, key: Key) -> str:
    """Under what :data:`BY_OWNER_NAME` has the objects of a primary."""
    return f"{resource.group}/{resource.kind}/{key}"


def _owner_names(meta: Meta) -> Iterable[str]:
    for owner in meta.owner_references or ():
        if owner.controller:
            key = Key(meta.namespace, owner.name)
            yield f"{owner.api_version.rpartition('/')[0]}/{owner.kind}/{key}"


def by_label(label: str) -> Indexer:
    """An index by the value of a label."""

    def index(meta: Meta) -> Iterable[str]:
        value = (meta.labels or {}).get(label)
        return () if value is None else (value,)

    return index


class Cache:
    """Threads may read while one writes."""

    def __init__(self, resource: Resource, indexers: Mapping[str, Indexer] | None = None) -> None:
        self.resource = resource
        self._indexers: dict[str, Indexer] = {
            BY_OWNER: owner_uid,
            BY_OWNER_NAME: _owner_names,
            BY_NAMESPACE: lambda meta: (meta.namespace,),
            **(indexers or {}),
        }
        self._indexes: dict[str, dict[str, set[Key]]] = {name: {} for name in self._indexers}
        self._entries: dict[Key, Entry] = {}
        self._lock = threading.RLock()

    def __len__(self) -> int:
        return len(self._entries)

    def all_keys(self) -> list[Key]:
        with self._lock:
            return list(self._entries)

    def meta(self, key: Key) -> Meta | None:
        entry = self._entries.get(key)
        return entry.meta if entry else None

    def get(self, key: Key) -> Object | None:
        """A copy of the object."""
        entry = self._entries.get(key)
        return self._object(entry) if entry else None

    def indexed(self, index: str, value: str) -> list[Object]:
        """Copies of the objects that the index has under ``value``, in the order of their keys."""
        return [self._object(entry) for entry in self._found(index, value)]

    def indexed_meta(self, index: str, value: str) -> list[Meta]:
        return [entry.meta for entry in self._found(index, value)]

    def put(self, meta: Meta, raw: bytes) -> Change | None:
        """Keep an object as it is now. None: nothing has changed."""
        key = Key(meta.namespace, meta.name)
        with self._lock:
            before = self._entries.get(key)
            if before is not None:
                if before.meta.resource_version == meta.resource_version and before.meta.uid == meta.uid:
                    return None
                self._unindex(key, before.meta)
            self._entries[key] = Entry(meta, lean(raw))
            for name, indexer in self._indexers.items():
                for value in indexer(meta):
                    self._indexes[name].setdefault(value, set()).add(key)
        return Change("modified" if before else "added", key, before.meta if before else None, meta)

    def remove(self, key: Key) -> Change | None:
        with self._lock:
            entry = self._entries.pop(key, None)
            if entry is None:
                return None
            self._unindex(key, entry.meta)
        return Change("deleted", key, entry.meta, None)

    def _found(self, index: str, value: str) -> list[Entry]:
        with self._lock:
            return [self._entries[key] for key in sorted(self._indexes[index].get(value, ()))]

    def _unindex(self, key: Key, meta: Meta) -> None:
        for name, indexer in self._indexers.items():
            index = self._indexes[name]
            for value in indexer(meta):
                keys = index.get(value)
                if keys is not None:
                    keys.discard(key)
                    if not keys:
                        del index[value]

    def _object(self, entry: Entry) -> Object:
        body = _decode(entry.raw)
        body.setdefault("apiVersion", self.resource.api_version)  # the items of built-in lists leave them out
        body.setdefault("kind", self.resource.kind)
        return body
