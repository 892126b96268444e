"""Deaths on demand, for the tests that kill the service between any two lines.

Every place where the service has just made, or is about to make, something durable calls :func:`point`. With
``MLPLATFORM_FAULT_AT=N`` the N-th call kills the process with SIGKILL; with ``MLPLATFORM_FAULT_LOG=FILE`` every call
appends its name to FILE, which is how the tests enumerate the points. Without them a call costs a comparison.
"""

from __future__ import annotations

import os
import signal

_LOG = os.environ.get("MLPLATFORM_FAULT_LOG", "")
_AT = int(os.environ.get("MLPLATFORM_FAULT_AT", "0") or 0)
_count = 0


def point(name: str) -> None:
    """Mark a place where dying must change nothing."""
    global _count
    if not _LOG and not _AT:
        return
    _count += 1
    if _LOG:
        with open(_LOG, "a", encoding="utf-8") as log:
            log.write(name + "\n")
    if _count == _AT:
        os.kill(os.getpid(), signal.SIGKILL)
