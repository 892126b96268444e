"""Statuses that are decided and wait to be written together with what follows.

A status write is by far the dearest request of a job: the API server reads the whole object, applies every rule of its
schema again, and tells everybody who watches. What only tells (a rank got its place, the gang works) and lets nothing
else happen may therefore wait a moment, and what is decided meanwhile is planned from it as if it were written: clocks
go on from where they were. A process that dies forgets what waited; the next one decides it anew.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from mlplatform.kube.objects import Key, Object, key_of, uid_of, version_of


@dataclass(frozen=True, slots=True)
class _Waits:
    uid: str
    version: str
    status: Mapping[str, Any]
    since: float


class Waiting:
    """The statuses of one kind of object that wait. Threads share one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._all: dict[Key, _Waits] = {}

    def __len__(self) -> int:
        return len(self._all)

    def of(self, body: Object) -> Mapping[str, Any] | None:
        """What waits for this object as it is now. None: nothing, or it was changed since then."""
        found = self._all.get(key_of(body))
        if found is None or (found.uid, found.version) != (uid_of(body), version_of(body)):
            return None
        return found.status

    def wait(self, key: Key, primary: Object, status: Mapping[str, Any], now: float) -> float:
        """Let ``status`` wait. Returns since when (of the clock that ``now`` is of) something has waited for it."""
        uid = uid_of(primary)
        with self._lock:
            found = self._all.get(key)
            since = found.since if found is not None and found.uid == uid else now
            self._all[key] = _Waits(uid, version_of(primary), status, since)
        return since

    def hurry(self, key: Key) -> None:
        """What waits for it has waited long enough."""
        with self._lock:
            found = self._all.get(key)
            if found is not None:
                self._all[key] = replace(found, since=float("-inf"))

    def done(self, key: Key) -> None:
        """It is written, or nobody wants it any more."""
        with self._lock:
            self._all.pop(key, None)
