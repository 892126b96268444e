"""One MLflow server as the gateway sees it: a thread that delivers, and a way through for what must be read there."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import threading
import time
from collections.abc import Generator, Mapping

from mlplatform.core.errors import TrackingError
from mlplatform.tracking.deliver import Deliverer, Uploader
from mlplatform.tracking.queue import Queue
from mlplatform.tracking.server import RealServer
from mlplatform.tracking.settings import Settings, Target
from mlplatform.tracking.upstream import Connection, Response, Unavailable

_log = logging.getLogger(__name__)
#: While nothing urgent waits, our own server is started only after this much quiet, so that it does not compete with
#: the tasks that are logging (seconds), and not later than the second figure after the first record.
QUIET = 2.0
PATIENCE = 15.0
_RETRY_FIRST, _RETRY_MOST = 0.5, 60.0


class Station:
    """Thread-safe. ``close`` ends its thread and its server."""

    def __init__(self, queue: Queue, settings: Settings, target: Target, uploader: Uploader | None = None) -> None:
        self.target = target
        lasting = bool(settings.server_options().get("lasting"))
        self.deliverer = Deliverer(queue, target.name, uploader, lasting=lasting)
        self.server = None if target.remote else RealServer(settings, target)
        self._queue = queue
        self._news = threading.Event()
        self._urgent_until = 0.0
        self._stopping = False
        self._retry = _RETRY_FIRST
        self.trouble = ""
        self.last_used = time.monotonic()
        self._thread = threading.Thread(target=self._deliver_for_ever, daemon=True, name=f"deliver-{target.name}")
        self._thread.start()

    # ------------------------------------------------------------------ what others ask
    @property
    def url(self) -> str:
        """The server's address if it can be asked now without waiting."""
        return self.target.uri if self.server is None else self.server.url

    @property
    def healthy(self) -> bool:
        """Whether the last thing we asked of it worked (our own server: whether it runs)."""
        return bool(self.url) and not self.trouble

    def wake(self, urgent: bool = False, seconds: float = 30.0) -> None:
        """There is something to deliver; ``urgent``: somebody waits for it."""
        if urgent:
            if self.server is not None:
                self.server.wanted = True
            self._urgent_until = max(self._urgent_until, time.monotonic() + seconds)
            self._retry = _RETRY_FIRST
        self._news.set()

    def drain(self, timeout: float, up_to: int | None = None) -> bool:
        """Wait until everything queued by now is delivered; False if it is not within ``timeout`` seconds."""
        last = self._queue.last_seq() if up_to is None else up_to
        end = time.monotonic() + timeout
        self.wake(urgent=True, seconds=timeout)
        while self._queue.pending(self.target.name, last):
            if time.monotonic() > end or self._stopping:
                return False
            time.sleep(0.02)
        return True

    def ready(self, timeout: float) -> str:
        """The server's address, started if it is ours; empty if it does not answer within ``timeout`` seconds."""
        end = time.monotonic() + timeout
        self.wake(urgent=True, seconds=timeout)
        while not self.url:
            if time.monotonic() > end or (self.server is not None and self.server.hopeless):
                return ""
            time.sleep(0.05)
        return self.url

    def forward(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes, timeout: float = 30.0
    ) -> Response:
        """Send a task's request to the server and translate the answer. Raises Unavailable or Refused."""
        self.last_used = time.monotonic()
        with self.connection(timeout) as server:
            answer = self.deliverer.forward(server, method, target, headers, body)
        if "json" in answer.headers.get("content-type", ""):
            text = self.deliverer.ids.back(answer.body.decode("utf-8", "replace"))
            answer = Response(answer.status, answer.headers, text.encode())
        return answer

    @contextlib.contextmanager
    def connection(self, timeout: float = 30.0) -> Generator[Connection]:
        """A connection of the caller's own. Raises Unavailable if there is no server now."""
        url = self.url
        if not url:
            raise Unavailable((self.server.trouble if self.server else "") or "MLflow's server is not running")
        with contextlib.closing(Connection(url, self.target.env, timeout)) as connection:
            yield connection

    def close(self) -> None:
        self._stopping = True
        self._news.set()
        self._thread.join(10.0)
        if self.server is not None:
            self.server.stop()

    # ------------------------------------------------------------------ the thread
    def _deliver_for_ever(self) -> None:
        while not self._stopping:
            try:
                self._await_work()
                if not self._stopping:
                    self._deliver()
            except (TrackingError, OSError, sqlite3.Error) as error:
                self.trouble = str(error)
                _log.warning("%s; trying again in %.1f s", error, self._retry)
                self._news.wait(self._retry)
                self._news.clear()
                self._retry = min(_RETRY_MOST, self._retry * 2)

    def _await_work(self) -> None:
        """Until there is something to do and it is time to do it."""
        since = quiet_since = time.monotonic()
        seen = -1
        while not self._stopping:
            now = time.monotonic()
            urgent = now < self._urgent_until
            last = self._waiting()
            if last != seen:
                quiet_since = now
                since = since if seen > 0 else now
                seen = last
            if urgent and (last or (self.server is not None and not self.server.url)):
                return
            if last and (self.url or now - quiet_since > QUIET or now - since > PATIENCE):
                return
            self._news.wait(0.25)
            self._news.clear()

    def _waiting(self) -> int:
        """The place of the newest waiting operation; 0 if none waits."""
        row = self._queue.row("SELECT max(seq) FROM ops WHERE upstream = ? AND rejected = ''", self.target.name)
        return (row[0] if row else 0) or 0

    def _deliver(self) -> None:
        if self.server is not None and not self.server.url and not self.server.wait(timeout=200.0):
            raise Unavailable(self.server.trouble or "MLflow's server did not start")
        with self.connection() as server:
            while not self._stopping and self.deliverer.step(server):
                self.last_used = time.monotonic()
                self.trouble = ""
                self._retry = _RETRY_FIRST
