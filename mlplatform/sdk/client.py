"""A blocking client of the local service: finds it by its socket, starts it when needed, and never loses a run.

Every request has a connection of its own (microseconds on a Unix socket), so a client holds nothing that a killed
service could take along. Watching goes on over restarts of the service: a run always ends for its watcher.
Protocol: JSON lines, see ``engine/protocol.py`` and ``engine/ops.py``.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO, cast

from mlplatform import __version__
from mlplatform.core.errors import (
    Finding,
    InternalError,
    MlPlatformError,
    ServiceError,
    TaskFailed,
    Unsupported,
    error_classes,
)
from mlplatform.core.ids import new_run_id
from mlplatform.core.model import AttemptRecord, RunRecord
from mlplatform.engine.home import Home, open_home
from mlplatform.sdk import starting

#: Seconds a request may take that only asks or notes something. Submitting and collecting garbage have no limit.
ANSWER_LIMIT = 60.0
#: The service is started at most this often while a watched run makes no progress at all.
_RESTARTS = 8


class _Lost(Exception):
    """The service went away in the middle of an answer."""


def error_from_json(data: Mapping[str, Any]) -> MlPlatformError:
    """The error that ``MlPlatformError.to_json`` came from; of the root class where its code is not known here."""
    cls = error_classes().get(str(data.get("code", "")), MlPlatformError)
    message, hint = str(data.get("message", "")), str(data.get("hint") or "")
    if issubclass(cls, TaskFailed):
        return cls(message, hint=hint)
    findings = [
        Finding(item.get("path", ""), item.get("message", ""), item.get("code", "invalid"), item.get("hint", ""))
        for item in data.get("findings") or ()
    ]
    if cls is InternalError and not hint:
        hint = "This is a bug of mlplatform; please report it with that log."
    return cls(message, hint=hint, findings=findings)


def require_engine() -> None:
    """Raises Unsupported where the engine cannot run (Windows)."""
    if sys.platform == "win32" or not hasattr(socket, "AF_UNIX"):
        raise Unsupported(
            "Pipelines cannot be run on Windows itself: the engine needs Unix processes and sockets.",
            hint="Use WSL (Windows Subsystem for Linux). `mlplatform validate` and `mlplatform compile` work here.",
        )


class LocalClient:
    """Talks to the one service of a home folder.

    Args:
        home: the folder; default ``MLPLATFORM_HOME`` or ``~/.mlplatform``.

    Every operation raises ServiceError if the service cannot be reached or started, and the service's own errors.
    """

    def __init__(self, home: str | os.PathLike[str] | Home | None = None) -> None:
        self.home = home if isinstance(home, Home) else open_home(home)
        self._checked = False
        self._requests = 0

    # ------------------------------------------------------------------ the service
    def start_early(self) -> None:
        """Start the service if none answers, without waiting for it. Raises ServiceError if the home cannot be used."""
        require_engine()
        if not starting.answers(self.home):
            starting.launch(self.home)

    def ensure(self) -> None:
        """See that a service of a fitting version answers.

        An older one that is idle is replaced by this version's; one that is busy goes on and is used.
        """
        require_engine()
        if not starting.answers(self.home):
            starting.start(self.home)
            self._checked = False
        if self._checked:
            return
        try:
            told = self._ask("hello", {"version": __version__})
            if _older(str(told.get("version", "")), __version__) and not told.get("active"):
                self.stop()
                starting.start(self.home)
            self._checked = True
        except _Lost:
            starting.start(self.home)

    def running(self) -> bool:
        """Whether a service answers now."""
        return starting.answers(self.home)

    def status(self) -> dict[str, Any]:
        """Version, pid, active runs, capacity and trouble of the service; empty if none runs (none is started)."""
        try:
            return dict(self._ask("status", {}))
        except _Lost:
            return {}

    def stop(self, timeout: float = 30.0) -> int | None:
        """Stop the service and wait until it is gone; its pid, or None if none ran. Runs go on with the next one."""
        try:
            pid = int(self._ask("stop", {})["pid"])
        except _Lost:
            return None
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            if not starting.locked(self.home):
                self._checked = False
                return pid
            time.sleep(0.02)
        raise ServiceError(f"the service (process {pid}) does not leave", hint=f"Look into {self.home.service_log}.")

    # ------------------------------------------------------------------ operations
    def submit(self, submission: Mapping[str, Any]) -> str:
        """Have a pipeline run (see ``sdk.submit``); returns the run's id once it is durable.

        The id is chosen here: sent again after a service died before it answered, a submission still makes one run.
        """
        request = {"run_id": new_run_id(time.time(), os.urandom(6)), **submission}
        return str(self._call("submit", request, timeout=None)["run_id"])

    def plan(self, submission: Mapping[str, Any]) -> list[dict[str, Any]]:
        """What a run of this submission would do: ``task, action, why, cached_from`` of each task. Starts nothing."""
        return list(self._call("plan", submission, timeout=None)["tasks"])

    def watch(self, run_id: str, after: int = 0) -> Iterator[dict[str, Any]]:
        """Events of a run (``seq, at, kind, body``) until it is finished, whatever happens to the service meanwhile."""
        restarts = 0
        while True:
            self.ensure()
            try:
                for event in self._stream("watch", {"run_id": run_id, "after": after}):
                    after = max(after, int(event["seq"]))
                    restarts = 0
                    yield event
                return
            except _Lost:
                restarts += 1
                if restarts > _RESTARTS:
                    raise self._gone() from None
                time.sleep(min(1.0, 0.02 * 2**restarts))

    def cancel(self, run_id: str, *, force: bool = False) -> str:
        """Ask a run to end; ``force`` kills its processes at once."""
        return str(self._call("cancel", {"run_id": run_id, "force": force})["run_id"])

    def resume(
        self,
        run_id: str,
        document: str | None = None,
        *,
        env: Mapping[str, str],
        interpreter: Mapping[str, Any],
        artifacts: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> str:
        """Continue a failed or cancelled run, with a changed document and changed root artifacts if they are given."""
        args: dict[str, Any] = {"run_id": run_id, "document": document, "env": dict(env)}
        args |= {"interpreter": dict(interpreter), "artifacts": dict(artifacts or {})}
        for _ in range(_RESTARTS):
            self.ensure()
            try:
                return str(self._ask("resume", args, None)["run_id"])
            except _Lost:
                from mlplatform.sdk.records import open_records

                with open_records(self.home) as store:
                    run = store.find_run(run_id)
                if not run.state.finished:  # it was heard
                    return run.run_id
        raise self._gone()

    def delete(self, run_id: str) -> str:
        """Remove a finished run with its logs and artifacts."""
        return str(self._call("delete", {"run_id": run_id}, timeout=None)["run_id"])

    def annotate(self, run_id: str, *, tags: Mapping[str, str] | None = None, note: str | None = None) -> str:
        """Change tags (an empty value removes one) and the note of a run."""
        return str(self._call("annotate", {"run_id": run_id, "tags": dict(tags or {}), "note": note})["run_id"])

    def why(self, run_id: str, task: str) -> dict[str, Any]:
        """Why a task ran, was reused, waits or failed: ``run_id, task, state, why, cached_from``."""
        return dict(self._call("why", {"run_id": run_id, "task": task}))

    def look(self) -> None:
        """See that the store tells what is true now: here it always does."""

    def know(self, run: RunRecord) -> RunRecord:
        """See that this process finds the run's artifacts (those of this machine it always does); the run, with what
        is known besides."""
        return run

    def prepared(self, document: str) -> str:
        """A pipeline as it would be submitted: here as it is."""
        return document

    def bring_values(self, run: RunRecord) -> None:
        """See that the values that a notebook's run ended with are here: they always are."""

    def bring_log(self, run: RunRecord, attempt: AttemptRecord, *, wait: bool = True) -> None:
        """See that the file of an attempt's log has what the task wrote: here it always has."""

    def cache_clear(self, *, run_id: str = "", identity: str = "") -> int:
        """Forget reusable results: of a run, of a task identity, or all. Returns how many."""
        return int(self._call("cache_clear", {"run_id": run_id, "identity": identity})["removed"])

    def gc(self, older_than_days: float | None = None) -> dict[str, Any]:
        """Remove old runs and unknown folders: ``runs, bytes, environments, problems``."""
        return dict(self._call("gc", {"older_than_days": older_than_days}, timeout=None))

    def flush_tracking(self, timeout: float = 60.0) -> bool:
        """Wait until MLflow has everything; False if it did not come that far."""
        return bool(self._call("flush_tracking", {"timeout": timeout}, timeout=timeout + 10.0)["done"])

    def stay(self, on: bool = True) -> None:
        """Have the service stay however idle it is, until it is stopped (or told otherwise)."""
        self._call("stay", {"stay": on})

    def schedules_changed(self) -> None:
        """Tell the service that recurring runs are not what they were."""
        self._call("schedules_changed", {})

    # ------------------------------------------------------------------ training jobs
    def train(self, body: Mapping[str, Any], env: Mapping[str, str], *, script: bool = False) -> str:
        """Have a TrainingJob run; its name once it is durable. Asked again after a lost answer, it is still one job,
        as the object's ``metadata.uid`` was chosen by whoever asks."""
        return str(self._call("train", {"object": dict(body), "env": dict(env), "script": script})["name"])

    def train_change(self, name: str, spec: Mapping[str, Any]) -> str:
        """Set ``suspend``, or ``replicas`` by group, of a training job."""
        return str(self._call("train_change", {"name": name, "spec": dict(spec)})["name"])

    def train_delete(self, name: str) -> str:
        """Have a training job go away once its ranks have ended."""
        return str(self._call("train_delete", {"name": name})["name"])

    # ------------------------------------------------------------------ wire
    def _call(self, operation: str, args: Mapping[str, Any], timeout: float | None = ANSWER_LIMIT) -> Any:
        """Ask for something that may be done twice: again, if the service was lost before it answered."""
        for restart in range(_RESTARTS):
            self.ensure()
            try:
                return self._ask(operation, args, timeout)
            except _Lost:
                # A dying service takes connections for some milliseconds more: asking at once would use up all tries.
                time.sleep(min(1.0, 0.02 * 2**restart))
        raise self._gone()

    def _gone(self) -> ServiceError:
        return ServiceError(
            f"the service of {self.home.root} was started {_RESTARTS} times and went away each time",
            hint=f"Look into {self.home.service_log}. Runs are kept and go on with the next service.",
        )

    def _ask(self, operation: str, args: Mapping[str, Any], timeout: float | None = ANSWER_LIMIT) -> Any:
        """The result of one request. Raises :class:`_Lost` if the service went away, or its error."""
        for answer in self._answers(operation, args, timeout):
            if "event" not in answer:
                return answer.get("result")
        raise AssertionError("an answer ends with a result or an error")

    def _stream(self, operation: str, args: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        for answer in self._answers(operation, args, None):
            if "event" in answer:
                yield answer["event"]

    def _answers(self, operation: str, args: Mapping[str, Any], timeout: float | None) -> Iterator[dict[str, Any]]:
        """Every line the service says to one request, the result last. Raises :class:`_Lost` or the service's error."""
        self._requests += 1
        request = {"id": self._requests, "op": operation, "args": args}
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(timeout)
            try:
                connection.connect(str(self.home.socket))
                connection.sendall(json.dumps(request, separators=(",", ":")).encode() + b"\n")
                with cast(BinaryIO, connection.makefile("rb")) as lines:
                    while (line := lines.readline()).endswith(b"\n"):
                        answer: dict[str, Any] = json.loads(line)
                        if answer.get("error") is not None:
                            raise error_from_json(answer["error"])
                        yield answer
                        if "event" not in answer:
                            return
            except (ConnectionError, FileNotFoundError):
                pass
            except TimeoutError:
                raise ServiceError(
                    f"the service of {self.home.root} did not answer {operation!r} within {timeout:.0f} s",
                    hint=f"Look into {self.home.service_log}.",
                ) from None
        self._checked = False
        raise _Lost


def _older(version: str, than: str) -> bool:
    return _numbers(version) < _numbers(than)


def _numbers(version: str) -> tuple[int, ...]:
    """The leading numbers of each part of a version; enough to tell older from newer."""
    found: list[int] = []
    for part in version.split("+")[0].split("."):
        digits = part[: len(part) - len(part.lstrip("0123456789"))]
        if not digits:
            break
        found.append(int(digits))
    return tuple(found)
