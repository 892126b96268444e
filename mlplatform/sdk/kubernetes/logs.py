"""Logs of pods, kept as files so that they outlive the pods.

The log of an attempt that is over is fetched once, whole. That of a running one is followed while somebody looks at it:
its file grows as the pod writes. The whole one takes its place in the end, and begins with the same bytes.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Final

from mlplatform.core.errors import KubernetesError
from mlplatform.kube.client import Client
from mlplatform.kube.objects import Key
from mlplatform.sdk.records import LOG_NAME

_log = logging.getLogger(__name__)

#: The container that runs the task.
MAIN: Final = "main"
#: Logs fetched at once; logs followed at once.
FETCHERS: Final = 4
FOLLOWERS: Final = 64
#: A longer log is cut here (bytes), as the kubelet does with its own.
LONGEST: Final = 1 << 30


class Logs:
    """Threads share one. ``client`` may read pods' logs; ``container`` tells which one of a pod writes it."""

    def __init__(self, client: Client, container: Callable[[Key], str] = lambda _: MAIN) -> None:
        self._client = client
        self._container = container
        self._fetchers = ThreadPoolExecutor(FETCHERS, thread_name_prefix="logs")
        self._lock = threading.RLock()
        self._followed: set[Path] = set()
        self._wanted: dict[Path, Future[None]] = {}
        self._closed = False

    def close(self) -> None:
        self._closed = True
        self._fetchers.shutdown(wait=False, cancel_futures=True)

    def ended(self, pod: Key, folder: Path) -> None:
        """The attempt in this pod is over: fetch its log, unless it is there."""
        with self._lock:
            if self._closed or folder in self._wanted or (folder / "complete").exists():
                return
            self._wanted[folder] = self._fetchers.submit(self._guarded, self.fetch, pod, folder)
            self._wanted[folder].add_done_callback(lambda _: self._wanted.pop(folder, None))

    def wait(self, seconds: float) -> None:
        """Until every log that was asked for has been fetched, or for so long."""
        wait(list(self._wanted.values()), seconds)

    def follow(self, pod: Key, folder: Path) -> None:
        """Somebody looks at the log of a running attempt."""
        with self._lock:
            if self._closed or folder in self._followed or len(self._followed) >= FOLLOWERS:
                return
            if (folder / "complete").exists():
                return
            self._followed.add(folder)
        thread = threading.Thread(
            target=self._guarded, args=(self._follow, pod, folder), daemon=True, name=f"log {pod}"
        )
        thread.start()

    def _guarded(self, work: Callable[[Key, Path], None], pod: Key, folder: Path) -> None:
        try:
            work(pod, folder)
        except KubernetesError as error:
            _log.info("the log of pod %s cannot be had: %s", pod, error)
        except OSError:
            _log.exception("the log of pod %s cannot be kept", pod)

    # ------------------------------------------------------------------ one log
    def fetch(self, pod: Key, folder: Path) -> None:
        """Fetch a whole log into its place. Raises KubernetesError, OSError."""
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        temporary = folder / f".fetched-{threading.get_ident()}"
        try:
            with temporary.open("wb") as file:
                self._copy(pod, file.write, follow=False)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, _file(folder))
        finally:
            temporary.unlink(missing_ok=True)
        (folder / "complete").touch()

    def _follow(self, pod: Key, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            place = _file(folder)
            known = place.stat().st_size if place.exists() else 0
            with place.open("ab", buffering=0) as file:
                seen = 0

                def write(data: bytes) -> int:
                    """What is in the file already is not written again."""
                    nonlocal seen
                    fresh = data[max(0, known - seen) :]
                    seen += len(data)
                    return file.write(fresh) or 0

                self._copy(pod, write, follow=True)
        finally:
            with self._lock:
                self._followed.discard(folder)

    def _copy(self, pod: Key, write: Callable[[bytes], int], *, follow: bool) -> None:
        stream = self._client.logs(pod, container=self._container(pod), follow=follow)
        left = LONGEST
        try:
            for data in stream.chunks():
                write(data[:left])
                left -= len(data)
                if left <= 0 or self._closed:
                    return
        finally:
            stream.close()


def _file(folder: Path) -> Path:
    return folder / LOG_NAME
