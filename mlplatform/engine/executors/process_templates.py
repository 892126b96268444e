"""The engine's end of warm interpreters: templates that fork, and spares that become one attempt."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import count
from pathlib import Path
from typing import IO, Any

from mlplatform.core.errors import EnvironmentFailed
from mlplatform.engine.executors.process_end import ended
from mlplatform.launcher import preload
from mlplatform.launcher.identity import pid_start
from mlplatform.launcher.trace import preload_value

#: Variables that take effect when an interpreter or a library starts, not when they are looked at: attempts that differ
#: in them cannot come from one template.
_STARTUP = (
    "PYTHON", "LD_", "DYLD_", "LC_", "LANG", "GLIBC_", "MALLOC_", "NPY_", "NUMPY_", "PANDAS_", "SCIPY_", "SKLEARN_",
    "JOBLIB_", "ARROW_", "POLARS_", "TORCH", "PYTORCH_", "HDF5_", "KMP_", "GOMP_",
)  # fmt: skip
_CARRIED = ("PATH", "HOME", "USER", "LOGNAME", "VIRTUAL_ENV", "CONDA_PREFIX", "SYSTEMROOT")


@dataclass(frozen=True, slots=True)
class Key:
    """What one warm interpreter serves. ``light``: tasks that use no large package; forking a process that has imported
    some costs several times as much."""

    executable: str
    digest: str
    kfp_path: str
    env: tuple[tuple[str, str], ...]
    extra_path: tuple[str, ...] = ()
    light: bool = False


def startup_environment(env: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """The part of a task's environment its interpreter has to start with."""
    return tuple(sorted((name, value) for name, value in env.items() if _carried(name)))


@lru_cache(maxsize=4096)
def _carried(name: str) -> bool:
    return name in _CARRIED or name.startswith(_STARTUP)


@dataclass(slots=True)
class Started:
    """An attempt's process. ``status`` resolves to its wait status, or None if its template died before it."""

    pid: int
    pid_start: str
    status: Callable[[], Awaitable[int | None]]


def start_launcher(
    executable: str,
    flag: str,
    words: Sequence[str],
    environment: Mapping[str, str],
    library: Path | None,
    said: IO[bytes],
) -> tuple[subprocess.Popen[bytes], socket.socket]:
    """Start the launcher in an interpreter, in a session of its own, and give our end of the socket that it listens to.

    Args:
        flag: which of its ways (``launcher/__main__.py``); ``words`` stand behind it.
        library: the tracing interposer.
        said: takes what it prints; closed if it cannot be started.

    Raises:
        EnvironmentFailed: it cannot be started.
    """
    ours, theirs = socket.socketpair()
    whole = dict(environment)
    if library is not None:
        whole["LD_PRELOAD"] = preload_value(str(library), whole.get("LD_PRELOAD", ""))
    try:
        process = subprocess.Popen(
            [executable, preload.DOOR, flag, str(theirs.fileno()), *words],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            cwd="/",
            env=whole,
            start_new_session=True,
        )
    except OSError as error:
        ours.close()
        said.close()
        raise EnvironmentFailed(
            f"the interpreter {executable or '(none)'} cannot be started: {error.strerror}",
            hint="Is its virtual environment still there? Submit the run again from a working one.",
        ) from error
    finally:
        theirs.close()
    ours.setblocking(False)
    return process, ours


class Warm:
    """One warm process and the socket to it."""

    def __init__(self, key: Key, flag: str, modules: Sequence[str], library: Path | None) -> None:
        """Start it. ``library``: the tracing interposer. Raises EnvironmentFailed if it cannot be started."""
        self.key = key
        self._flag = flag
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as the process
        environment = dict(key.env)
        if key.kfp_path:
            environment["MLPLATFORM_KFP_PATH"] = key.kfp_path
        if key.extra_path:
            environment["MLPLATFORM_EXTRA_PATH"] = os.pathsep.join(key.extra_path)
        self.process, self.socket = start_launcher(key.executable, flag, modules, environment, library, self._said)

    def words(self) -> str:
        """The end of what the process said."""
        return tail(self._said)

    def close(self) -> None:
        self.socket.close()
        self._said.close()


def tail(file: IO[bytes], size: int = 2000) -> str:
    """The last ``size`` bytes of a file as text."""
    try:
        end = file.seek(0, 2)
        file.seek(max(0, end - size))
        return file.read().decode("utf-8", "replace").strip()
    except (OSError, ValueError):
        return ""


class Template:
    """A template process: any number of attempts, each a fork."""

    def __init__(self, key: Key, modules: Sequence[str], library: Path | None = None) -> None:
        """Start it on the running event loop. Raises EnvironmentFailed."""
        self.key = key
        self._warm = Warm(key, "--template", modules, library)
        self._ids = count()
        self._starting: dict[str, asyncio.Future[tuple[int, str]]] = {}
        self._running: dict[str, asyncio.Future[int | None]] = {}
        self.preloaded: list[str] = []
        self.refused: dict[str, str] = {}
        self.dead = False
        self.used_at = time.monotonic()
        self._task = asyncio.create_task(self._listen())
        self._writer: asyncio.StreamWriter | None = None
        self._connected = asyncio.Event()

    @property
    def pid(self) -> int:
        return self._warm.process.pid

    @property
    def busy(self) -> bool:
        return bool(self._starting or self._running)

    async def start(self, spec: str, hooks: Sequence[str] = ()) -> Started:
        """Fork for the attempt whose spec.json is at ``spec``; ``hooks``: those it names. Raises EnvironmentFailed."""
        loop = asyncio.get_running_loop()
        identifier = str(next(self._ids))
        future: asyncio.Future[tuple[int, str]] = loop.create_future()
        exited: asyncio.Future[int | None] = loop.create_future()
        self._starting[identifier] = future
        self._running[identifier] = exited
        self.used_at = time.monotonic()
        await self._send({"op": "run", "id": identifier, "spec": spec, "hooks": list(hooks)})
        try:
            pid, start = await future
        except EnvironmentFailed:
            self._running.pop(identifier, None)
            raise

        async def status() -> int | None:
            found = await exited
            if found is None:
                # The template died; its children are on their own, and go on.
                await ended(pid, start)
            return found

        return Started(pid, start, status)

    async def _send(self, message: Mapping[str, Any]) -> None:
        await self._connected.wait()
        if self.dead or self._writer is None:
            self._lose()
            return
        with contextlib.suppress(ConnectionError):
            self._writer.write(json.dumps(message).encode() + b"\n")
            await self._writer.drain()

    async def _listen(self) -> None:
        reader, self._writer = await asyncio.open_unix_connection(sock=self._warm.socket)
        self._connected.set()
        try:
            while line := await reader.readline():
                self._hear(json.loads(line))
        except (ConnectionError, ValueError):
            pass
        self.dead = True
        self._lose()
        self._writer.close()
        await ended(self._warm.process.pid, pid_start(self._warm.process.pid))
        self._warm.process.wait()
        self._warm.close()

    def _hear(self, message: Mapping[str, Any]) -> None:
        identifier = message.get("id", "")
        match message["event"]:
            case "started":
                self._starting.pop(identifier).set_result((message["pid"], message["pid_start"]))
            case "exited":
                self.used_at = time.monotonic()
                future = self._running.pop(identifier, None)
                if future is not None and not future.done():
                    future.set_result(message["status"])
            case "error":
                words = f"a process for the task could not be forked: {message['message']}"
                self._starting.pop(identifier).set_exception(EnvironmentFailed(words))
            case "preloaded":
                self.preloaded.append(message["module"])
            case "refused":
                self.refused[message["module"]] = message["reason"]
            case _:
                pass

    def _lose(self) -> None:
        words = self._warm.words().splitlines()[-1:] or ["it said nothing"]
        for future in self._starting.values():
            if not future.done():
                future.set_exception(
                    EnvironmentFailed(f"the warm interpreter of {self.key.executable} ended: {words[0]}")
                )
        for future in self._running.values():
            if not future.done():
                future.set_result(None)
        self._starting.clear()
        self._running.clear()

    async def close(self) -> None:
        """It leaves when its children have ended; nothing of theirs is lost."""
        if not self.dead:
            await self._send({"op": "close"})
            if not self.busy:
                await self._task
                return
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        self._warm.close()


class Spare:
    """A fresh interpreter that waits for the one attempt it will become."""

    def __init__(self, key: Key, modules: Sequence[str], library: Path | None = None) -> None:
        """Raises EnvironmentFailed."""
        self.key = key
        self._warm = Warm(key, "--spare", modules, library)

    async def start(self, spec: str) -> Started:
        """Raises EnvironmentFailed if it died while it waited."""
        loop = asyncio.get_running_loop()
        warm = self._warm
        pid = warm.process.pid
        start = pid_start(pid)
        try:
            await loop.sock_sendall(warm.socket, json.dumps({"op": "run", "id": "0", "spec": spec}).encode() + b"\n")
            said = b""
            while b'"started"' not in said:
                piece = await loop.sock_recv(warm.socket, 4096)
                if not piece:
                    raise ConnectionError
                said += piece
        except ConnectionError:
            words = warm.words().splitlines()[-1:] or ["it said nothing"]
            self.discard()
            raise EnvironmentFailed(f"the interpreter {self.key.executable} ended: {words[0]}") from None

        async def status() -> int | None:
            await ended(pid, start)
            code = warm.process.wait()
            warm.close()
            return -code if code < 0 else code << 8

        return Started(pid, start, status)

    def discard(self) -> None:
        """End a spare that was not used."""
        self._warm.close()
        self._warm.process.kill()
        self._warm.process.wait()
