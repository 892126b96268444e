"""The client of a home's local service: finds it, starts it when needed, outlives its death.

Blocking and light: the standard library only, so that a command line starts fast.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from typing import IO, Any

from mlplatform.core.errors import (
    Finding,
    InvalidInput,
    MlPlatformError,
    ServiceError,
    Unsupported,
    error_classes,
)
from mlplatform.core.ids import new_run_id
from mlplatform.engine.home import Home

#: Seconds a service may take from its start to its first answer.
_START_PATIENCE = 20.0
#: How often in a row a watcher starts a service that dies before it says anything.
_RESTARTS = 5


def error_from_json(data: Mapping[str, Any]) -> MlPlatformError:
    """The error a service answered with, as the class its code names."""
    cls = error_classes().get(str(data.get("code", "")), ServiceError)
    findings = [
        Finding(str(f.get("path", "")), str(f.get("message", "")), str(f.get("code", "")), str(f.get("hint", "")))
        for f in data.get("findings") or ()
    ]
    try:
        return cls(str(data.get("message", "")), hint=str(data.get("hint", "")), findings=findings)
    except TypeError:
        return cls(str(data.get("message", "")), hint=str(data.get("hint", "")))


class _Line:
    """One connection: requests one after the other."""

    def __init__(self, home: Home) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        try:
            self._socket.connect(str(home.socket))
        except OSError:
            self._socket.close()
            raise
        self._file: IO[bytes] = self._socket.makefile("rb")
        self._number = 0

    def ask(self, operation: str, args: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
        """Yields ("event", ...) any number of times, then ("result", ...). Raises ConnectionError, MlPlatformError."""
        self._number += 1
        request = {"id": self._number, "op": operation, "args": dict(args)}
        self._socket.sendall(json.dumps(request, separators=(",", ":")).encode() + b"\n")
        while line := self._file.readline():
            answer = json.loads(line)
            if answer.get("id") != self._number:
                continue
            if "error" in answer:
                raise error_from_json(answer["error"])
            if "event" in answer:
                yield "event", answer["event"]
                continue
            yield "result", answer.get("result")
            return
        raise ConnectionError("the service closed the connection")

    def close(self) -> None:
        self._file.close()
        self._socket.close()


class LocalClient:
    """Talks to the service of one home."""

    def __init__(self, home: Home, *, start: bool = True) -> None:
        """``start``: start a service if none answers. Raises ServiceError, Unsupported (Windows)."""
        if os.name != "posix":
            raise Unsupported(
                "pipelines run on Linux and macOS; on Windows only `validate` and `compile` work",
                hint="Use WSL, or run on a cluster.",
            )
        self.home = home
        self._start = start
        self._line = self._connect()

    # ------------------------------------------------------------------ connection
    def _connect(self) -> _Line:
        try:
            return _Line(self.home)
        except OSError:
            if not self._start:
                raise ServiceError(f"no service runs for {self.home.root}") from None
        return self._launch()

    def _launch(self) -> _Line:
        """Start a service and wait for it. Two at once: one gets the lock, both get its socket."""
        try:
            self.home.prepare()
            log = self.home.service_log.open("ab")
        except OSError as error:
            raise ServiceError(
                f"the home folder {self.home.root} cannot be used: {error.strerror}",
                hint="Choose another one with --home or MLPLATFORM_HOME.",
            ) from None
        command = [sys.executable, "-m", "mlplatform.sdk.local", "--home", str(self.home.root)]
        with log:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd="/"
            )
        deadline = time.monotonic() + _START_PATIENCE
        while time.monotonic() < deadline:
            try:
                return _Line(self.home)
            except OSError:
                if process.poll() not in (None, 3):
                    break
                time.sleep(0.01)
        raise ServiceError(
            f"the service of {self.home.root} did not start",
            hint=f"Its last words are in {self.home.service_log}.",
        )

    def close(self) -> None:
        self._line.close()

    # ------------------------------------------------------------------ operations
    def call(self, operation: str, **args: Any) -> Any:
        """One request, one answer; asked once more if the service went away before it answered.

        Raises:
            MlPlatformError: what the service answered.
            ServiceError: it cannot be reached.
        """
        try:
            return self._call(operation, args)
        except (ConnectionError, BrokenPipeError, OSError):
            self._line.close()
            self._line = self._connect()
        try:
            return self._call(operation, args)
        except OSError as error:
            raise ServiceError(f"the service went away: {error}") from None

    def _call(self, operation: str, args: Mapping[str, Any]) -> Any:
        for kind, value in self._line.ask(operation, args):
            if kind == "result":
                return value
        raise ConnectionError("no answer")

    def submit(self, **submission: Any) -> str:
        """Start a run; returns its id. The id is chosen here, so that asking again after a lost answer starts nothing
        twice."""
        submission.setdefault("run_id", new_run_id(time.time(), os.urandom(6)))
        return str(self.call("submit", **submission)["run_id"])

    def watch(self, run_id: str, after: int = 0) -> Iterator[dict[str, Any]]:
        """Events of a run until it has finished. A service that dies meanwhile is started again, and the run goes on.

        Raises:
            ServiceError: services keep dying.
        """
        deaths = 0
        while True:
            try:
                for kind, value in self._line.ask("watch", {"run_id": run_id, "after": after}):
                    if kind == "event":
                        after = max(after, int(value["seq"]))
                        deaths = 0
                        yield value
                    else:
                        return
            except (ConnectionError, OSError) as error:
                deaths += 1
                if deaths > _RESTARTS:
                    raise ServiceError(
                        f"the service died {deaths} times in a row: {error}",
                        hint=f"Its last words are in {self.home.service_log}.",
                    ) from None
                self._line.close()
                self._line = self._connect()


def reachable(home: Home) -> LocalClient | None:
    """A client of a service that runs already, or None."""
    try:
        return LocalClient(home, start=False)
    except (ServiceError, InvalidInput):
        return None
