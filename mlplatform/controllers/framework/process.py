"""An operator as a process: client, controllers, probes and metrics, signals, graceful stop."""

from __future__ import annotations

import contextlib
import logging
import os
import random
import signal
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from mlplatform.controllers.framework.loop import Loop, Parts
from mlplatform.controllers.framework.manager import STOP_SECONDS, Manager, Settings
from mlplatform.controllers.framework.model import Controller
from mlplatform.kube.client import Client
from mlplatform.kube.events import Recorder
from mlplatform.kube.health import HealthServer
from mlplatform.kube.metrics import Metered, Metrics

_log = logging.getLogger(__name__)

#: Who our events are from.
REPORTER: Final = "mlplatform.dev/operator"


class Beside(Protocol):
    """What an operator does beside its controllers."""

    def start(self) -> None: ...

    def stop(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Options:
    """``health``: host and port of probes and metrics (port 0: any; None: none). ``width``: writes at once;
    ``patience``: seconds that a status which only tells may wait.
    ``beside``: for a controller's name, what is to be done beside it, given the client and the controller's loop."""

    settings: Settings = field(default_factory=Settings)
    health: tuple[str, int] | None = ("0.0.0.0", 8080)  # noqa: S104 - probes come from the node
    width: int = 4
    patience: float = 0.5
    beside: Mapping[str, Callable[[Client, Loop[Any]], Beside]] = field(
        default_factory=dict[str, Callable[[Client, Loop[Any]], Beside]]
    )


def identity() -> str:
    """What this process is called among its replicas: the pod's name, else host and process."""
    return os.environ.get("POD_NAME") or f"{socket.gethostname()}-{os.getpid()}".lower()


class Process:
    """One operator. :meth:`start` and :meth:`stop` are for threads; :func:`serve` is a whole life."""

    def __init__(self, client: Client, controllers: Sequence[Controller[Any]], options: Options) -> None:
        self.metrics = Metrics()
        metered = Client(Metered(client.transport, self.metrics), field_manager=client.field_manager)
        chance = random.Random().random  # noqa: S311 - jitter
        recorder = Recorder(metered, REPORTER, identity())
        parts = Parts(metered, recorder, self.metrics, chance=chance, width=options.width, patience=options.patience)
        self.manager = Manager(metered, parts, controllers, options.settings)
        self.beside = [
            options.beside[loop.controller.name](metered, loop)
            for loop in self.manager.loops
            if loop.controller.name in options.beside
        ]
        self.health: HealthServer | None = None
        if options.health is not None:
            self.health = HealthServer(
                *options.health, alive=self.manager.alive, ready=self.manager.ready, metrics=self._measured
            )

    def start(self) -> None:
        if self.health is not None:
            self.health.start()
            _log.info("probes and metrics on port %d", self.health.port)
        self.manager.start()
        for one in self.beside:
            one.start()

    def stop(self, timeout: float = STOP_SECONDS) -> bool:
        """False: a worker did not finish in time."""
        for one in self.beside:
            one.stop()
        finished = self.manager.stop(timeout)
        if self.health is not None:
            self.health.stop()
        return finished

    def _measured(self) -> bytes:
        self.manager.measure()
        return self.metrics.text()


def serve(client: Client, controllers: Sequence[Controller[Any]], options: Options) -> int:
    """Run until SIGTERM or SIGINT, then stop gracefully; a second one stops at once. Returns the exit status."""
    asked = threading.Event()

    def stop(number: int, _: object) -> None:
        if asked.is_set():
            os._exit(128 + number)
        _log.info("asked to stop (%s)", signal.Signals(number).name)
        asked.set()

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    process = Process(client, controllers, options)
    starting = threading.Thread(target=process.start, name="start", daemon=True)
    starting.start()
    try:
        asked.wait()
        finished = process.stop()
        starting.join(5)
    finally:
        for number, handler in before.items():
            with contextlib.suppress(ValueError):
                signal.signal(number, handler)
    _log.info("stopped" if finished else "stopped with keys unfinished: the next process goes on with them")
    return 0 if finished else 1
