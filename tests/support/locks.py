"""Waiting for what another process is making (standard library only: .ci/run uses it before all else)."""

from __future__ import annotations

import fcntl
import time
from typing import IO


def taken(lock: IO[str], seconds: float) -> bool:
    """Have a file locked for as long as it is open; False: somebody else had it for all of the seconds."""
    end = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() > end:
                return False
            time.sleep(0.5)
