"""The local service of one home: owns its runs, answers clients, leaves when idle.

``python -m mlplatform.sdk.local --home DIR`` (clients start it; see ``sdk.client``). The lock file makes sure that one
home has one service; the socket is the user's alone.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import fcntl
import json
import logging
import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any

from mlplatform import __version__
from mlplatform.core.errors import ServiceError
from mlplatform.engine.home import Home, open_home
from mlplatform.engine.manager import Manager
from mlplatform.engine.ops import Operations
from mlplatform.engine.protocol import LINE_LIMIT, Connection
from mlplatform.engine.schedules import Schedules
from mlplatform.engine.training.trainings import Trainings
from mlplatform.engine.webdoor import WebDoor
from mlplatform.planning.cel import check as check_expression

_log = logging.getLogger(__name__)

#: Seconds without a run or a client after which the service leaves.
IDLE_SECONDS = 30 * 60.0
#: The same after runs that came from a script or CI, so that fresh homes do not pile up services.
IDLE_SECONDS_SCRIPT = 5.0


class SystemClock:
    """Seconds since the epoch."""

    def now(self) -> float:
        return time.time()


def take_lock(home: Home) -> IO[bytes]:
    """Become the service of this home.

    Raises:
        ServiceError: another process is.
    """
    file = home.lock.open("ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise ServiceError(f"another service owns {home.root}") from None
    return file


def announce(home: Home) -> None:
    """Write service.json, atomically."""
    body = {
        "pid": os.getpid(),
        "version": __version__,
        "socket": str(home.socket),
        "host": socket.gethostname(),
        "started_at": time.time(),
    }
    temporary = home.service_file.with_suffix(".tmp")
    temporary.write_text(json.dumps(body), encoding="utf-8")
    temporary.replace(home.service_file)


class Service:
    """The event loop's root object."""

    def __init__(
        self,
        home: Home,
        manager: Manager,
        operations: Operations,
        schedules: Schedules | None = None,
        door: WebDoor | None = None,
        trainings: Trainings | None = None,
    ) -> None:
        self._home = home
        self._manager = manager
        self._operations = operations
        self._schedules = schedules
        self._door = door
        self._trainings = trainings
        self._clients = 0
        self._last_used = time.monotonic()
        self._stop = asyncio.Event()

    def stop(self) -> None:
        self._stop.set()

    async def serve(self) -> None:
        """Until told to stop or idle."""
        path = self._home.socket
        path.unlink(missing_ok=True)
        old = os.umask(0o177)
        try:
            server = await asyncio.start_unix_server(self._client, path=str(path), limit=LINE_LIMIT)
        finally:
            os.umask(old)
        async with server:
            if self._door is not None:
                self._door.open()
            announce(self._home)
            background = [asyncio.ensure_future(self._leave_when_idle())]
            if self._schedules is not None:
                background.append(asyncio.ensure_future(self._schedules.run()))
            await self._stop.wait()
            for task in background:
                task.cancel()
            if self._door is not None:
                self._door.close()
        path.unlink(missing_ok=True)
        self._home.service_file.unlink(missing_ok=True)

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._clients += 1
        try:
            handlers, streams = self._operations.tables()
            await Connection(reader, writer, handlers, streams, self._crash).serve()
        finally:
            self._clients -= 1
            self._last_used = time.monotonic()

    async def _leave_when_idle(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            scheduled = self._schedules is not None and self._schedules.enabled
            training = self._trainings is not None and self._trainings.active
            if self._clients or self._manager.active or training or self._operations.stays or scheduled:
                self._last_used = time.monotonic()
                continue
            limit = IDLE_SECONDS_SCRIPT if self._operations.only_scripts else IDLE_SECONDS
            limit = float(os.environ.get("MLPLATFORM_IDLE_SECONDS") or limit)
            if time.monotonic() - self._last_used > limit:
                _log.info("idle for %.0f s: leaving", limit)
                self.stop()

    def _crash(self, error: BaseException) -> str:
        _log.error("internal error\n%s", "".join(traceback.format_exception(error)))
        return f"the service failed: {error!r}; details are in {self._home.service_log}"


async def run_service(home: Home, compose: Callable[[Home], Any]) -> None:
    """Compose the service of a home, take up what is unfinished, serve."""
    composition = compose(home)
    core, manager = composition.core, composition.manager
    schedules: Schedules | None = composition.schedules
    trainings: Trainings | None = composition.trainings
    operations = Operations(core, manager, __version__, schedules, trainings)
    door = WebDoor(home, composition.web_server, operations.looked_at) if composition.web_server is not None else None
    service = Service(home, manager, operations, schedules, door, trainings)
    operations.on_stop = service.stop
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, service.stop)
    check_expression("true")  # loads the expression library here, before threads could do so at the same time
    await manager.recover()
    if trainings is not None:
        await trainings.recover()
    try:
        await service.serve()
    finally:
        await manager.close()
        if trainings is not None:
            await trainings.close()
        for executor in core.ports.executors.values():
            await executor.close()
        core.tracker.close()
        core.close_threads()
        core.store.close()


def main(argv: Sequence[str] | None, compose: Callable[[Home], Any]) -> int:
    """The service's process; ``compose`` puts the ports together (``sdk.local``)."""
    parser = argparse.ArgumentParser(prog="mlplatform-service")
    parser.add_argument("--home", required=True, type=Path)
    args = parser.parse_args(argv)
    home = open_home(args.home)
    home.prepare()
    logging.basicConfig(
        filename=home.service_log, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    try:
        lock = take_lock(home)
    except ServiceError as error:
        print(error, file=sys.stderr)  # noqa: T201 - a process of its own
        return 3
    with lock, contextlib.suppress(KeyboardInterrupt):
        asyncio.run(run_service(home, compose))
    return 0
