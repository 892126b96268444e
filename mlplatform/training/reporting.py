"""Telling the platform how far training is, from a thread that never gets in the way.

To ``MLP_PROGRESS_FILE`` (a file that each report replaces), or by POST to ``MLP_PROGRESS_URL`` with the bearer token of
``MLP_PROGRESS_TOKEN_FILE`` (read anew each time: it rotates) or ``MLP_PROGRESS_TOKEN``. The newest report replaces one
that was not sent yet; a checkpoint is told again until somebody heard it. Answers: ``stop`` asks for a checkpoint and
the end, ``dumpStacks`` for the stacks of all threads; 409 means that this attempt is over. With nothing to tell an
empty report is sent now and then, so that a stuck process still hears.

Metrics of rank 0 go to the MLflow run that ``MLFLOW_TRACKING_URI`` and ``MLFLOW_RUN_ID`` name; in a task of a pipeline,
to the task's. What its machine is doing goes there from each rank (``system``).
"""

from __future__ import annotations

import atexit
import contextlib
import faulthandler
import json
import math
import os
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from typing import Any, cast

from . import system
from .world import Rank

#: Seconds between two reports, between two looks of a process that has nothing to tell, and for one request.
_PAUSE, _HEARTBEAT, _PATIENCE = 1.0, 15.0, 4.0
_PAUSE_FILE = 0.2
#: Metrics that wait for MLflow, at most; and in one request.
_WAITING, _BATCH = 20_000, 500
_METRICS, _TEXT = 64, 64


class Reporter:
    """One process' reports. ``stop`` is set when the platform asks the process to end."""

    def __init__(self, me: Rank, environ: Mapping[str, str], stop: threading.Event) -> None:
        self._me = me
        self._stop = stop
        self._file = environ.get("MLP_PROGRESS_FILE", "")
        self._url = "" if self._file else environ.get("MLP_PROGRESS_URL", "")
        self._token_file = environ.get("MLP_PROGRESS_TOKEN_FILE", "")
        self._token = environ.get("MLP_PROGRESS_TOKEN", "")
        # Of the processes in one replica the first one speaks for it; all of them save checkpoints.
        self._speaks = me.local_rank == 0
        figures = Figures(environ) if self._speaks else None
        self._mlflow = figures if figures is not None and figures.wanted else None
        self._every = system.interval(environ) if self._mlflow is not None else 0.0
        self._system: system.System | None = None
        self._node = environ.get("MLFLOW_SYSTEM_METRICS_NODE_ID") or str(me.replica)
        self._sampled, self._samples = time.monotonic(), 0
        self._pause = _PAUSE_FILE if self._file else _PAUSE
        self._lock = threading.Condition()
        self._latest: dict[str, Any] | None = None
        self._news: dict[str, Any] | None = None
        self._checkpoint: tuple[int, str] | None = None
        self._checkpoint_told = True
        self._busy = False
        self._closing = False
        self._thread: threading.Thread | None = None
        self._began: tuple[int, float] | None = None

    def report(self, step: int, figures: Mapping[str, Any], total: int | None) -> None:
        numbers = {name: number for name, value in figures.items() if (number := _number(value)) is not None}
        if self._mlflow is not None and self._me.first:
            self._mlflow.add(step, numbers)
        with self._lock:
            if self._speaks and (self._file or self._url):
                self._news = self._body(step, numbers, total)
            elif self._mlflow is None:
                return
            self._wake()

    def saved(self, step: int, uri: str) -> None:
        with self._lock:
            if not (self._file or self._url):
                return
            self._checkpoint = (step, uri)
            self._checkpoint_told = False
            self._wake()

    def flush(self, seconds: float) -> None:
        """Wait until everything is told, at most so long."""
        end = time.monotonic() + seconds
        with self._lock:
            self._closing = True
            self._lock.notify_all()
            while self._pending() and self._thread is not None and time.monotonic() < end:
                self._lock.wait(0.05)
            self._closing = False

    # ------------------------------------------------------------------ the thread
    def _pending(self) -> bool:
        figures = self._mlflow is not None and self._mlflow.pending
        return self._news is not None or not self._checkpoint_told or self._busy or figures

    def _wake(self) -> None:
        if self._thread is None or not self._thread.is_alive() or self._thread_of != os.getpid():
            self._thread_of = os.getpid()
            self._thread = threading.Thread(target=self._run, name="mlplatform-progress", daemon=True)
            self._thread.start()
            atexit.register(self.flush, 3.0)
        self._lock.notify_all()

    _thread_of = 0

    def _run(self) -> None:
        failures = 0
        while True:
            with self._lock:
                if not self._pending():
                    self._lock.wait(min(_HEARTBEAT, self._every or _HEARTBEAT))
                body = self._next()
                self._busy = True
            heard = self._tell(body)
            self._sample()
            if self._mlflow is not None:
                self._mlflow.send()
            with self._lock:
                self._busy = False
                failures = 0 if heard else failures + 1
                if not heard and "checkpointStep" in body and failures < 20:
                    self._checkpoint_told = False
                self._lock.notify_all()
                if not self._closing:
                    self._lock.wait_for(lambda: self._closing, self._pause * min(8, 1 + failures))
            if self._closing and failures:
                time.sleep(0.2)

    def _sample(self) -> None:
        """What the machine is doing, now and then; of each of the job's nodes in the same run."""
        if self._mlflow is None or not self._every:
            return
        if self._system is None:
            self._system = system.System(self._node)
            if self._me.attempt > 1:
                self._samples = self._mlflow.steps(f"system/{self._node}/")
        elif time.monotonic() - self._sampled >= self._every:
            self._sampled = time.monotonic()
            self._mlflow.add(self._samples, self._system.sample())
            self._samples += 1

    def _next(self) -> dict[str, Any]:
        """What to tell now: the newest report; else the checkpoint beside the last one; else nothing."""
        if self._news is not None:
            self._latest, self._news = self._news, None
            body = dict(self._latest)
        elif not self._checkpoint_told:
            body = dict(self._latest or self._who())
        else:
            return {}
        if self._checkpoint is not None and (self._file or not self._checkpoint_told):
            step, uri = self._checkpoint
            body["checkpointStep"] = step
            if uri:
                body["checkpointUri"] = uri
            if body.get("step", step) < step:
                body["step"] = step
            self._checkpoint_told = True
        return body

    def _who(self) -> dict[str, Any]:
        return {"group": self._me.group, "rank": self._me.replica, "attempt": self._me.attempt}

    def _body(self, step: int, numbers: Mapping[str, float], total: int | None) -> dict[str, Any]:
        body: dict[str, Any] = {**self._who(), "step": step}
        now = time.monotonic()
        began = self._began = self._began or (step, now)
        if total:
            body["totalSteps"] = max(total, step)
            body["progressPercentage"] = min(100, 100 * (step + 1) // total)
            if step > began[0]:
                body["estimatedRemainingSeconds"] = int((now - began[1]) / (step - began[0]) * max(0, total - 1 - step))
        if numbers:
            shown = list(numbers.items())[:_METRICS]
            body["metrics"] = [{"name": name[:_TEXT], "value": repr(value)} for name, value in shown]
        return body

    def _tell(self, body: Mapping[str, Any]) -> bool:
        """Whether somebody heard (or never will)."""
        if self._file:
            return not body or self._write(body)
        return self._post(body) if self._url else True

    def _write(self, body: Mapping[str, Any]) -> bool:
        temporary = f"{self._file}.{os.getpid()}"
        try:
            with open(temporary, "w", encoding="utf-8") as file:
                json.dump(body, file)
            os.replace(temporary, self._file)
        except OSError:
            return False
        return True

    def _post(self, body: Mapping[str, Any]) -> bool:
        token = self._token
        with contextlib.suppress(OSError):
            if self._token_file:
                with open(self._token_file, encoding="ascii") as file:
                    token = file.read().strip()
        headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {token}"} if token else {})}
        data = json.dumps(body, allow_nan=False).encode()
        request = urllib.request.Request(self._url, data, headers, method="POST")  # noqa: S310 - the platform's own
        try:
            with urllib.request.urlopen(request, timeout=_PATIENCE) as answer:  # noqa: S310
                self._hear(answer.read(1 << 16))
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == 409:
                self._url = ""
            return error.code in (403, 409, 413, 422)
        except (OSError, ValueError):
            return False
        return True

    def _hear(self, answer: bytes) -> None:
        told: Any = None
        with contextlib.suppress(ValueError):
            told = json.loads(answer or b"{}")
        if not isinstance(told, dict):
            return
        told = cast("dict[str, Any]", told)
        if told.get("stop") is True:
            self._stop.set()
        if told.get("dumpStacks") is True:
            with contextlib.suppress(Exception):
                faulthandler.dump_traceback(sys.stderr, all_threads=True)


class Figures:
    """Metrics on their way into an MLflow run, over its REST interface."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        uri, run = environ.get("MLFLOW_TRACKING_URI", ""), environ.get("MLFLOW_RUN_ID", "")
        if not run and uri == environ.get("MLPLATFORM_MLFLOW_URI"):
            run = environ.get("MLPLATFORM_MLFLOW_RUN_ID", "")
        self.wanted = bool(run) and uri.startswith(("http://", "https://"))
        self._url = uri.rstrip("/") + "/api/2.0/mlflow/runs/log-batch"
        self._run = run
        self._token = environ.get("MLFLOW_TRACKING_TOKEN", "")
        self._waiting: list[dict[str, Any]] = []
        self._failures = 0

    @property
    def pending(self) -> bool:
        return bool(self._waiting)

    def add(self, step: int, numbers: Mapping[str, float]) -> None:
        if not self.wanted or not numbers:
            return
        at = int(time.time() * 1000)
        for name, value in numbers.items():
            told = value if math.isfinite(value) else str(value).replace("inf", "Infinity").replace("nan", "NaN")
            self._waiting.append({"key": name, "value": told, "timestamp": at, "step": step})
        del self._waiting[:-_WAITING]

    def steps(self, prefix: str) -> int:
        """How many steps the run has of metrics whose names begin so: an attempt goes on behind those before it."""
        url = f"{self._url.rpartition('/')[0]}/get?run_id={urllib.parse.quote(self._run)}"
        headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        try:
            request = urllib.request.Request(url, headers=headers)  # noqa: S310 - MLflow's
            with urllib.request.urlopen(request, timeout=_PATIENCE) as answer:  # noqa: S310
                told: Any = json.loads(answer.read())
            found = [int(one["step"]) for one in told["run"]["data"]["metrics"] if one["key"].startswith(prefix)]
        except (OSError, ValueError, KeyError, TypeError):
            return 0
        return max(found, default=-1) + 1

    def send(self) -> None:
        while self._waiting:
            batch = self._waiting[:_BATCH]
            headers = {"Content-Type": "application/json"}
            if self._token:
                headers["Authorization"] = f"Bearer {self._token}"
            data = json.dumps({"run_id": self._run, "metrics": batch}).encode()
            request = urllib.request.Request(self._url, data, headers, method="POST")  # noqa: S310
            try:
                with urllib.request.urlopen(request, timeout=_PATIENCE) as answer:  # noqa: S310
                    answer.read()
                self._failures = 0
            except (OSError, ValueError):
                self._failures += 1
                if self._failures < 5:
                    return
                self._failures = 0  # MLflow has been away for long: what it missed is given up
            del self._waiting[: len(batch)]


def _number(value: Any) -> float | None:
    """A figure as a float (a tensor of one element too); None: it is none."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return None
