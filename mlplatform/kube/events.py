"""Events: what users read under ``kubectl describe`` and ``kubectl events``.

They are a courtesy. Nothing waits for them, and one that cannot be written is forgotten. The same event again within
some minutes is counted in one object (``series``); an object that has much to say is cut short.
"""

from __future__ import annotations

import hashlib
import logging
import queue
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from mlplatform.core.errors import KubernetesError
from mlplatform.kube.client import Client
from mlplatform.kube.errors import AlreadyExists, Forbidden, ObjectNotFound
from mlplatform.kube.objects import EVENTS, Key, Object, metadata
from mlplatform.kube.queue import RateLimit
from mlplatform.kube.times import micro_timestamp

_log = logging.getLogger(__name__)

#: The API server allows notes of so many bytes.
_NOTE_LIMIT: Final = 1024
#: The same event within this time is counted (seconds).
_SERIES: Final = 360.0
#: Each object: so many events at once, then one in five minutes (client-go's numbers).
_OBJECT_RATE: Final = (1 / 300, 25)
#: All objects together: a second, at once.
_TOTAL_RATE: Final = (20.0, 100)
_REMEMBERED: Final = 4096


@dataclass(frozen=True, slots=True)
class Told:
    """One event about ``regarding`` (an object, of which kind, name and UID are used)."""

    regarding: Mapping[str, Any]
    type: Literal["Normal", "Warning"]
    reason: str
    note: str
    action: str


@dataclass(slots=True)
class _Series:
    key: Key
    count: int
    last: float


class Recorder:
    """Writes events from a thread of its own. ``reporter`` is the controller, ``instance`` this process."""

    def __init__(self, client: Client, reporter: str, instance: str, *, now: Callable[[], float] = time.time) -> None:
        self._client = client
        self._reporter = reporter
        self._instance = instance
        self._now = now
        self._queue: queue.Queue[Told | None] = queue.Queue(maxsize=1000)
        self._series: OrderedDict[tuple[str, ...], _Series] = OrderedDict()
        self._limits: OrderedDict[str, RateLimit] = OrderedDict()
        self._total = RateLimit(*_TOTAL_RATE, now)
        self._thread: threading.Thread | None = None
        self.dropped = 0

    def record(
        self,
        regarding: Mapping[str, Any],
        type: Literal["Normal", "Warning"],
        reason: str,
        note: str,
        action: str = "Reconcile",
    ) -> None:
        """Say it. Returns at once."""
        try:
            self._queue.put_nowait(Told(regarding, type, reason, _cut(note), action))
        except queue.Full:
            self.dropped += 1

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="events", daemon=True)
        self._thread.start()

    def stop(self, timeout: float = 5.0) -> None:
        """Write what is waiting, for so long at most."""
        if self._thread is not None:
            try:
                self._queue.put(None, timeout=timeout)
            except queue.Full:
                return
            self._thread.join(timeout)

    def flush(self) -> None:
        """Write what is waiting, in this thread (for tests and commands that have no thread)."""
        while True:
            try:
                told = self._queue.get_nowait()
            except queue.Empty:
                return
            if told is not None:
                self._write(told)

    def _run(self) -> None:
        while (told := self._queue.get()) is not None:
            self._write(told)

    def _write(self, told: Told) -> None:
        meta = metadata(told.regarding)
        uid = str(meta.get("uid") or "")
        what = (uid, told.type, told.reason, told.action, told.note)
        now = self._now()
        limit = self._limits.setdefault(uid, RateLimit(*_OBJECT_RATE, self._now))
        self._limits.move_to_end(uid)
        if not limit.take() or not self._total.take():
            self.dropped += 1
            return
        series = self._series.get(what)
        try:
            if series is not None and now - series.last < _SERIES:
                self._again(series, now)
            else:
                self._series[what] = self._first(told, meta, now)
        except Forbidden as error:
            _log.debug("%s", error)  # a namespace that is going away takes no events
        except KubernetesError as error:
            self.dropped += 1
            _log.info("an event could not be written: %s", error)
        for remembered in (self._series, self._limits):
            while len(remembered) > _REMEMBERED:
                remembered.popitem(last=False)

    def _first(self, told: Told, meta: Mapping[str, Any], now: float) -> _Series:
        words = f"{meta.get('uid')}/{told.type}/{told.reason}/{told.note}/{now}".encode()
        name = f"{str(meta['name'])[:200]}.{hashlib.sha256(words).hexdigest()[:16]}"
        namespace = str(meta.get("namespace") or "default")
        body: Object = {
            "metadata": {"name": name, "namespace": namespace},
            "eventTime": micro_timestamp(now),
            "reportingController": self._reporter,
            "reportingInstance": self._instance,
            "action": told.action,
            "reason": told.reason,
            "type": told.type,
            "note": told.note,
            "regarding": {
                "apiVersion": told.regarding.get("apiVersion"),
                "kind": told.regarding.get("kind"),
                "namespace": meta.get("namespace") or "",
                "name": meta["name"],
                "uid": meta.get("uid") or "",
            },
        }
        try:
            self._client.create(EVENTS, body)
        except AlreadyExists:
            pass
        return _Series(Key(namespace, name), 1, now)

    def _again(self, series: _Series, now: float) -> None:
        series.count += 1
        series.last = now
        patch = {"series": {"count": series.count, "lastObservedTime": micro_timestamp(now)}}
        try:
            self._client.patch(EVENTS, series.key, patch)
        except ObjectNotFound:  # the server forgets events after an hour
            series.last = 0.0


def _cut(note: str) -> str:
    data = note.encode()
    return note if len(data) <= _NOTE_LIMIT else data[: _NOTE_LIMIT - 3].decode("utf-8", "ignore") + "..."
