"""Deaths on demand in the tracking processes, for the tests that kill the gateway between any two durable writes.

With ``MLPLATFORM_TRACKING_FAULT_AT=N`` the N-th call of :func:`point` kills the process with SIGKILL; with
``MLPLATFORM_TRACKING_FAULT_LOG=FILE`` every call appends its name to FILE. Without them a call costs one comparison.
(The engine has points of its own, counted apart, in its own process.)
"""

from __future__ import annotations

import os
import signal
import threading

_LOG = os.environ.get("MLPLATFORM_TRACKING_FAULT_LOG", "")
_AT = int(os.environ.get("MLPLATFORM_TRACKING_FAULT_AT", "0") or 0)
_lock = threading.Lock()
_count = 0


def point(name: str) -> None:
    """Mark a place where dying must lose and double nothing."""
    global _count
    if not _LOG and not _AT:
        return
    with _lock:
        _count += 1
        if _LOG:
            with open(_LOG, "a", encoding="utf-8") as log:
                log.write(name + "\n")
        if _count == _AT:
            os.kill(os.getpid(), signal.SIGKILL)
