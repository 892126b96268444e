"""The task's log: to the container's own, and kept, so that it outlives the pod."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable

#: Seconds between two copies of a growing log; they grow with it.
_FIRST_COPY = 20.0
_SLOWEST = 300.0


class Pump:
    """Passes what the task writes on to our standard output and into a file."""

    def __init__(self, path: str, keep: Callable[[str], None]) -> None:
        """``keep``: called with ``path`` now and then, and at the end."""
        self.path = path
        self._keep = keep
        self._read, self.write = os.pipe()
        os.set_inheritable(self.write, True)
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._pump, name="log", daemon=True)
        self._copier = threading.Thread(target=self._copy, name="log-copy", daemon=True)

    def start(self) -> None:
        self._thread.start()
        self._copier.start()

    def close_ours(self) -> None:
        """The task has its own end of the pipe by now."""
        os.close(self.write)

    def ended(self, seconds: float) -> bool:
        """Whether the last writer is gone, after at most so many seconds."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def finish(self, patience: float = 2.0) -> None:
        """Wait for the last bytes: until the last writer is gone, or for a moment."""
        self._thread.join(patience)
        self._done.set()
        self._keep(self.path)

    def _pump(self) -> None:
        with open(self.path, "ab", buffering=0) as file:
            while True:
                try:
                    piece = os.read(self._read, 1 << 16)
                except OSError:
                    return
                if not piece:
                    return
                file.write(piece)
                _write_all(1, piece)

    def _copy(self) -> None:
        wait, size = _FIRST_COPY, 0
        while not self._done.wait(wait):
            began = time.monotonic()
            now = os.path.getsize(self.path) if os.path.exists(self.path) else 0
            if now != size:
                size = now
                self._keep(self.path)
            wait = min(_SLOWEST, max(wait * 1.5, 10 * (time.monotonic() - began)))


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        try:
            data = data[os.write(descriptor, data) :]
        except OSError:
            return
