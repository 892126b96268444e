"""Finding and starting the service of a home, so that any number of clients at once end with exactly one.

The service's own lock decides who is the service. Clients take turns at starting by a lock of their own, and start
again if the process they started lost the race against one that was just leaving.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import sys
import time
from typing import TYPE_CHECKING, Any

from mlplatform.core.errors import InvalidInput, ServiceError
from mlplatform.engine.home import Home

if TYPE_CHECKING:
    import subprocess

#: Seconds after which a service that does not answer counts as failed.
START_LIMIT = 60.0
#: What ``python -m mlplatform.sdk.local`` exits with when another process is the service.
_OWNED = 3
#: Variables of a task or a debugger that must not reach a service.
_NOT_FOR_SERVICE = ("MLPLATFORM_ATTEMPT", "LD_PRELOAD", "PYTHONINSPECT", "PYTHONSTARTUP")

_launched: dict[str, subprocess.Popen[bytes]] = {}


def answers(home: Home) -> bool:
    """Whether a service listens on the home's socket now."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(5.0)
        try:
            probe.connect(str(home.socket))
        except OSError:
            return False
    return True


def locked(home: Home) -> bool:
    """Whether some process is the home's service, answering or not."""
    import fcntl

    try:
        with open(home.lock, "ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def prepare(home: Home) -> None:
    """Create the home folder.

    Raises:
        InvalidInput: it cannot be created or written.
    """
    try:
        home.prepare()
        if not os.access(home.root, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(home.root))
    except OSError as error:
        raise InvalidInput(
            f"The home folder {home.root} cannot be used: {error.strerror or error}.",
            hint="Name another one with --home DIR or MLPLATFORM_HOME, or make it writable for you.",
        ) from None


def launch(home: Home) -> subprocess.Popen[bytes]:
    """Start a service process and do not wait for it; one that this process started and that still runs is enough.

    Raises:
        InvalidInput: the home cannot be used.
        ServiceError: the process cannot be started.
    """
    known = _launched.get(str(home.root))
    if known is not None and known.poll() is None:
        return known
    import subprocess

    prepare(home)
    command = [sys.executable, "-m", "mlplatform.sdk.local", "--home", str(home.root)]
    env = {name: value for name, value in os.environ.items() if name not in _NOT_FOR_SERVICE}
    try:
        with open(home.service_log, "ab") as log:
            process = subprocess.Popen(
                command,
                env=env,
                cwd=home.root,  # not the caller's: "-m" puts it on sys.path, and it may hold a json.py
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
    except OSError as error:
        raise ServiceError(f"the service could not be started: {error}", hint="See `mlplatform doctor`.") from None
    _launched[str(home.root)] = process
    return process


def start(home: Home) -> None:
    """Start a service and wait until it answers; or until another client's does.

    Raises:
        InvalidInput: the home cannot be used.
        ServiceError: it ended, or did not answer in time.
    """
    import fcntl

    prepare(home)
    end = time.monotonic() + START_LIMIT
    with open(home.root / "service.start", "ab") as turn:
        while True:  # a turn is short; waiting for it in steps keeps Ctrl-C and the limit working
            try:
                fcntl.flock(turn, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if answers(home):
                    return
                _check_time(home, end)
                time.sleep(0.02)
        _start_in_turn(home, end)


def _start_in_turn(home: Home, end: float) -> None:
    offset = home.service_log.stat().st_size if home.service_log.exists() else 0
    process = None
    while not answers(home):
        if process is None:
            process = launch(home)
        code = process.poll()
        if code in (0, _OWNED):  # it was told to leave; or one that is leaving answers no more, but holds the lock
            process = None
            time.sleep(0.1)
        elif code is not None:
            raise _failed(home, code, offset)
        _check_time(home, end)
        time.sleep(0.01)


def _check_time(home: Home, end: float) -> None:
    if time.monotonic() < end:
        return
    about = _service_file(home)
    who = f"process {about.get('pid')} on {about.get('host')}" if about else "another process"
    if about and about.get("host") not in (None, socket.gethostname()):
        raise ServiceError(
            f"the home {home.root} is in use by {who}",
            hint="A home belongs to one machine at a time: stop that service, or use another --home.",
        )
    raise ServiceError(
        f"the service of {home.root} does not answer ({who} owns it)",
        hint=f"Look into {home.service_log}; end that process if it hangs. Runs go on with the next service.",
    )


def _service_file(home: Home) -> dict[str, Any]:
    try:
        return dict(json.loads(home.service_file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}


def _failed(home: Home, code: int, offset: int) -> ServiceError:
    with open(home.service_log, "rb") as log:
        log.seek(offset)
        text = log.read()[-20_000:].decode("utf-8", "replace")
    return ServiceError(
        f"the service could not start: {last_words(text) or f'exit status {code}'}",
        hint=f"All it said is in {home.service_log}.",
    )


def last_words(log: str) -> str:
    """The message of the last exception in a log, without the name of its class where that is ours; else its last
    line."""
    _, trace, tail = log.rpartition("Traceback (most recent call last):\n")
    lines = [line.rstrip() for line in tail.splitlines() if line.strip()]
    if trace:
        lines = [line for line in lines if not line.startswith(" ")][:1]
    return lines[-1].partition("mlplatform.core.errors.")[2].partition(": ")[2] or lines[-1] if lines else ""
