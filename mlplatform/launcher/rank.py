"""The first process of a rank: starts the rank's command, waits for it, and writes down how it ended.

It outlives the service that started it and belongs to nobody but itself: a session of its own, and the parent of
whatever its command leaves behind. ``python .../launcher/__main__.py --rank FOLDER COOKIE COMMAND...``

- ``FOLDER/claim`` is created by whoever comes first; a second one for the same rank leaves at once.
- SIGTERM is handed on to every process below, once however often it is asked to; of ray to the command alone, as in a
  container: what it started has to be there until it has saved.
- When the command has ended, what it left running is ended, and ``FOLDER/exit.json`` says how it ended: a process
  that a signal ended counts as 128 and the signal's number, as in a container. 126, 127: it could not be started.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from typing import Any

from . import tree
from .identity import LINUX, boot_id, pid_start

_PR_SET_CHILD_SUBREAPER = 36
#: What one that finds its rank claimed ends with.
ALREADY = 111


def main(arguments: Sequence[str]) -> int:
    folder, cookie, command = arguments[0], arguments[1], list(arguments[2:])
    if not _claim(os.path.join(folder, "claim"), cookie):
        return ALREADY
    if LINUX:
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    told: list[float] = []
    started: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: _hand_on(told, started))
    signal.signal(signal.SIGINT, _nothing)  # a handler: what is ignored would be ignored by the command too
    signal.signal(signal.SIGHUP, _nothing)
    code = _run(command, told, started)
    tree.end_children()
    _write(os.path.join(folder, "exit.json"), {"code": code, "at": time.time(), "told": told[0] if told else None})
    return 0


def _claim(path: str, cookie: str) -> bool:
    """Whether this process is the one that runs the rank."""
    pid = os.getpid()
    body = {"pid": pid, "pid_start": pid_start(pid), "boot": boot_id(), "cookie": cookie}
    temporary = "%s.%d" % (path, pid)
    with open(temporary, "w", encoding="utf-8") as file:
        json.dump(body, file)
    try:
        os.link(temporary, path)
    except FileExistsError:
        return False
    finally:
        os.unlink(temporary)
    return True


def _run(command: Sequence[str], told: Sequence[float], started: list[int]) -> int:
    try:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    except OSError as error:
        name = error.filename or command[0]
        with contextlib.suppress(OSError):
            os.write(2, ("mlplatform: %s: %s\n" % (name, error.strerror)).encode("utf-8", "replace"))
        return 127 if isinstance(error, FileNotFoundError) else 126
    started.append(child.pid)
    if told:  # it came between the claim and the start
        child.terminate()
    status = child.wait()
    return status if status >= 0 else 128 - status


def _nothing(number: int, frame: Any) -> None:
    return None


def _hand_on(told: list[float], started: Sequence[int]) -> None:
    if told:
        return
    told.append(time.time())
    below = tree.below(os.getpid())
    if os.environ.get("MLP_FRAMEWORK") == "ray":
        below = [item for item in below if item.pid in started]
    tree.send(below, signal.SIGTERM)


def _write(path: str, body: Any) -> None:
    with open(path + ".new", "w", encoding="utf-8") as file:
        json.dump(body, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(path + ".new", path)
