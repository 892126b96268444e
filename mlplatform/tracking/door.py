"""The gateway's port: known before the gateway runs, and the same after anything died.

The service listens on the port from its beginning. That costs nothing; connections wait in the socket's queue. When the
first one comes (or something is to be delivered), the door starts the gateway and hands it the socket. When the gateway
has left, the door watches the socket again.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import logging
import os
import select
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from mlplatform.core.errors import TrackingError
from mlplatform.tracking.ids import admin_token, load_secret
from mlplatform.tracking.upstream import Connection, Unavailable

_log = logging.getLogger(__name__)
#: Whoever listens on our port and has brought no gateway up after this long is none of ours (seconds).
_STRANGE = 5.0


def read_port(folder: Path) -> int:
    """The port this home has used before; 0 if none."""
    try:
        return int(json.loads((folder / "gateway.json").read_text(encoding="utf-8"))["port"])
    except (OSError, ValueError, KeyError):
        return 0


def write_port(folder: Path, port: int) -> None:
    temporary = folder / f".gateway-{os.getpid()}.json"
    temporary.write_text(json.dumps({"port": port}), encoding="utf-8")
    temporary.replace(folder / "gateway.json")


def bind(port: int) -> socket.socket:
    """A listening loopback socket on ``port`` (0: a new one). Raises OSError if it is taken."""
    listener = socket.socket()
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(256)
    except OSError:
        listener.close()
        raise
    return listener


def gateway_runs(folder: Path) -> bool:
    """Whether some process is this home's gateway now."""
    try:
        with open(folder / "gateway.lock", "a+", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False


def spawn(folder: Path, listener: socket.socket | None = None) -> subprocess.Popen[bytes]:
    """Start a gateway, detached; with ``listener`` it takes over that socket."""
    command = [sys.executable, "-m", "mlplatform.tracking.gateway", "--folder", str(folder)]
    descriptors: tuple[int, ...] = ()
    if listener is not None:
        descriptors = (listener.fileno(),)
        command += ["--listener", str(listener.fileno())]
    with open(folder / "gateway.log", "ab") as log:
        return subprocess.Popen(
            command,
            pass_fds=descriptors,
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={k: v for k, v in os.environ.items() if k not in ("MLPLATFORM_ATTEMPT", "LD_PRELOAD")},
        )


class Door:
    """Owns the port while no gateway runs. Thread-safe; one in each service."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._wanted = threading.Event()
        self._stopping = False
        self._wake_read, self._wake_write = os.pipe()
        self._listener: socket.socket | None = None
        self._port = 0
        self._settle()
        self._thread = threading.Thread(target=self._watch, daemon=True, name="gateway-door")
        self._thread.start()

    @property
    def url(self) -> str:
        """What tasks get as MLFLOW_TRACKING_URI."""
        return f"http://127.0.0.1:{self._port}"

    def want(self) -> None:
        """A gateway should run: something is to be delivered. Returns at once."""
        self._wanted.set()
        self._poke()

    def close(self, hand_over: bool = False) -> None:
        """Let the port go; a gateway that runs stays. ``hand_over``: one shall run, to deliver what is left."""
        self._stopping = True
        self._poke()
        self._thread.join(5.0)
        if hand_over and self._listener is not None and not gateway_runs(self._folder):
            spawn(self._folder, self._listener)
        if self._listener is not None:
            self._listener.close()
        os.close(self._wake_read)
        os.close(self._wake_write)

    def _poke(self) -> None:
        with contextlib.suppress(OSError):
            os.write(self._wake_write, b".")

    def _settle(self) -> None:
        """Hold the port, or know the port of a gateway that outlived an earlier service."""
        if self._listener is not None:
            return
        if gateway_runs(self._folder) and (port := read_port(self._folder)):
            self._port = port
            return
        try:
            self._listener = bind(self._port or read_port(self._folder))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            if self._gateway_comes():
                self._port = read_port(self._folder)
                return
            self._listener = bind(0)  # the port belongs to a stranger now
        self._port = self._listener.getsockname()[1]
        write_port(self._folder, self._port)

    def _gateway_comes(self) -> bool:
        """Whether our port is taken because a gateway (of a service that has just left) is starting on it."""
        end = time.monotonic() + _STRANGE
        while not gateway_runs(self._folder):
            if time.monotonic() > end:
                return False
            time.sleep(0.02)
        return True

    def _watch(self) -> None:
        delay = 0.1
        while not self._stopping:
            self._settle()
            if self._listener is None:  # a gateway runs that is not our child
                self._sleep(0.5)
                continue
            ready, _, _ = select.select([self._listener, self._wake_read], [], [])
            if self._wake_read in ready:
                os.read(self._wake_read, 4096)
            if self._stopping or (self._listener not in ready and not self._wanted.is_set()):
                continue
            self._wanted.clear()
            started = time.monotonic()
            self._mind(spawn(self._folder, self._listener))
            failed = time.monotonic() - started < 1.0  # it died at once: do not spin
            delay = min(10.0, delay * 2) if failed else 0.1
            if failed and not self._stopping:
                self._sleep(delay)

    def _mind(self, process: subprocess.Popen[bytes]) -> None:
        """Until the gateway we started has left."""
        while process.poll() is None and not self._stopping:
            self._sleep(0.2)
            self._wanted.clear()

    def _sleep(self, seconds: float) -> None:
        ready, _, _ = select.select([self._wake_read], [], [], seconds)
        if ready:
            os.read(self._wake_read, 4096)


def ask(folder: Path, path: str, timeout: float) -> dict[str, Any]:
    """One request of the engine or the CLI to this home's gateway, which is started if it does not run.

    Raises:
        TrackingError: it cannot be started, or does not answer in time.
    """
    env = {"MLFLOW_TRACKING_TOKEN": admin_token(load_secret(folder))}
    body = json.dumps({"timeout": timeout}).encode()
    end = time.monotonic() + timeout
    started: subprocess.Popen[bytes] | None = None
    strange = 0.0
    while True:
        port = read_port(folder)
        if port and _listens(port):  # a gateway, or a door that starts one for whoever connects
            connection = Connection(f"http://127.0.0.1:{port}", env, timeout=max(1.0, end - time.monotonic()) + 5.0)
            with contextlib.closing(connection), contextlib.suppress(Unavailable, ValueError):
                answer = connection.send("POST", f"/mlplatform/{path}", body)
                if answer.status == 200:
                    return answer.json()
            strange = strange or time.monotonic()
            if not gateway_runs(folder) and time.monotonic() - strange > _STRANGE:
                write_port(folder, 0)  # the port belongs to some other program now
        elif (started is None or started.poll() is not None) and not gateway_runs(folder):
            started = spawn(folder)
        if time.monotonic() > end:
            raise TrackingError(
                "the MLflow gateway of this home does not answer", hint=f"Look into {folder / 'gateway.log'}."
            )
        time.sleep(0.05)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(5.0)
        return probe.connect_ex(("127.0.0.1", port)) == 0
