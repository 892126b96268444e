"""The port of a home's web server: known and open from the service's beginning, costing nothing until somebody comes.

The service listens on the port. When the first connection waits in the socket's queue, it starts the server and hands
it the socket; when the server has left, it watches the socket again. A server outlives its service: a new service that
finds one leaves the port to it until it has gone. (The MLflow gateway has a door of the same kind: ``tracking.door``.)
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import hashlib
import logging
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence

from mlplatform.engine.home import Home

_log = logging.getLogger(__name__)
#: Homes get ports from here on, by their paths.
_FIRST, _COUNT = 21_000, 9_000
#: Seconds: how often a server is looked at; how long a port may be taken by a server that is only starting.
_LOOK, _STARTING = 0.5, 3.0
#: Variables that must not reach a server.
_NOT_FOR_SERVER = ("MLPLATFORM_ATTEMPT", "LD_PRELOAD", "PYTHONINSPECT", "PYTHONSTARTUP")


def default_port(home: Home) -> int:
    """The port a home asks for first: the same for the same folder, rarely that of another."""
    return _FIRST + int.from_bytes(hashlib.sha256(os.fsencode(home.root)).digest()[:4]) % _COUNT


def server_pid(home: Home) -> int:
    """The process that serves this home's port now; 0 if none does."""
    try:
        with (home.server / "server.lock").open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return int(file.read() or b"0") or -1
    except (OSError, ValueError):
        pass
    return 0


def stop_server(home: Home) -> None:
    """Ask the server of a home to leave, if there is one."""
    pid = server_pid(home)
    if pid > 0:
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGTERM)


class WebDoor:
    """Lives on the service's event loop. ``command``: starts a server, given the descriptor of the socket.
    ``knocked``: told whenever somebody comes while no server runs."""

    def __init__(
        self, home: Home, command: Callable[[int], Sequence[str]], knocked: Callable[[], None] | None = None
    ) -> None:
        self._home = home
        self._command = command
        self._told = knocked
        self._listener: socket.socket | None = None
        self._watched = False
        self._server: subprocess.Popen[bytes] | None = None
        self._started = 0.0
        self._failures = 0
        self._timer: asyncio.TimerHandle | None = None
        self._taken_since = 0.0
        self._closed = False

    @property
    def port(self) -> int:
        return self._home.web_port()

    def open(self) -> None:
        """Take the port, or leave it to the server that has it. A machine without a free port has no pages."""
        try:
            self._settle()
        except OSError as error:
            _log.error("no port for the pages: %s", error)
            self._later(5.0, self.open)

    def close(self) -> None:
        """Let the port go. A server that runs stays, and has the port."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        self._unwatch()
        if self._listener is not None:
            self._listener.close()

    # ------------------------------------------------------------------ the port
    def _settle(self) -> None:
        kept = self._home.web_port()
        if kept and server_pid(self._home):
            self._later(_LOOK, self.open)
            return
        wanted = kept or default_port(self._home)
        try:
            self._listener = _bind(wanted)
        except OSError as error:
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise
            self._taken_since = self._taken_since or time.monotonic()
            if kept and time.monotonic() - self._taken_since < _STARTING:
                self._later(0.1, self.open)  # perhaps a server that has not come so far as to say so
                return
            self._listener = _bind(0)
        self._taken_since = 0.0
        self._home.server.mkdir(mode=0o700, exist_ok=True)
        temporary = self._home.server / f".port-{os.getpid()}"
        temporary.write_text(str(self._listener.getsockname()[1]), encoding="ascii")
        temporary.replace(self._home.server / "port")
        self._watch()

    def _watch(self) -> None:
        if self._listener is not None and not self._watched:
            asyncio.get_running_loop().add_reader(self._listener.fileno(), self._knocked)
            self._watched = True

    def _unwatch(self) -> None:
        if self._listener is not None and self._watched:
            asyncio.get_running_loop().remove_reader(self._listener.fileno())
            self._watched = False

    def _later(self, seconds: float, what: Callable[[], None]) -> None:
        if not self._closed:
            self._timer = asyncio.get_running_loop().call_later(seconds, what)

    # ------------------------------------------------------------------ the server
    def _knocked(self) -> None:
        """Somebody waits at the door."""
        self._unwatch()
        if self._told is not None:
            self._told()
        if self._listener is None:
            return
        number = self._listener.fileno()
        env = {name: value for name, value in os.environ.items() if name not in _NOT_FOR_SERVER}
        try:
            with open(self._home.root / "logs" / "server.log", "ab") as log:
                self._server = subprocess.Popen(
                    self._command(number),
                    pass_fds=(number,),
                    cwd=self._home.root,
                    env=env,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
        except OSError as error:
            _log.error("the web server could not be started: %s", error)
            self._again()
            return
        self._started = time.monotonic()
        self._later(_LOOK, self._mind)

    def _mind(self) -> None:
        """Until the server has left."""
        if self._server is not None and self._server.poll() is None:
            self._later(_LOOK, self._mind)
            return
        if self._server is not None and self._server.returncode:
            _log.error("the web server ended with status %s; see logs/server.log", self._server.returncode)
        if time.monotonic() - self._started < 5.0:
            self._again()
            return
        self._failures = 0
        self._watch()

    def _again(self) -> None:
        """Watch again, after a while that grows with every failure."""
        self._failures += 1
        self._later(min(10.0, 0.2 * 2**self._failures), self._watch)


def _bind(port: int) -> socket.socket:
    """A listening loopback socket. Raises OSError."""
    listener = socket.socket()
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(256)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener
