"""Deaths on demand, for the tests that kill the service between any two lines.

Every place where the service has just made, or is about to make, something durable calls :func:`point`. With
``MLPLATFORM_FAULT_AT=N`` the N-th call kills the process with SIGKILL; with ``MLPLATFORM_FAULT_LOG=FILE`` every call
appends its name to FILE, which is how the tests enumerate the points. ``MLPLATFORM_FAULT_ONCE=FILE`` makes it one death
for all services of a test: who dies creates FILE, and nobody dies once it is there. Without them a call costs a
comparison.
"""

from __future__ import annotations

import os
import signal

_LOG = os.environ.get("MLPLATFORM_FAULT_LOG", "")
_ONCE = os.environ.get("MLPLATFORM_FAULT_ONCE", "")
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
    if _count == _AT and _first_death():
        os.kill(os.getpid(), signal.SIGKILL)


def _first_death() -> bool:
    if not _ONCE:
        return True
    try:
        os.close(os.open(_ONCE, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        return False
    return True
