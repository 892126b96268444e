"""What became of a training job: how far it is, what its ranks say, and what may be asked of it."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Protocol

from mlplatform.core.errors import InvalidInput, TrainingFailed
from mlplatform.planning.training.status import ENDED
from mlplatform.planning.training.view import RankView

#: Seconds between two looks at a job that is waited for.
_LOOK: Final = 0.2
_TROUBLE: Final = ("Trouble", "True")


class Backend(Protocol):
    """Where jobs are. ``cluster``: not on this machine."""

    @property
    def cluster(self) -> bool: ...
    def create(self, body: Mapping[str, Any]) -> TrainingRun: ...
    def get(self, name: str) -> dict[str, Any]:
        """The TrainingJob object. Raises NotFound."""
        ...

    def list(self) -> list[dict[str, Any]]: ...
    def ranks(self, name: str) -> Sequence[RankView]:
        """Every rank that is known, of every attempt."""
        ...

    def change(self, name: str, spec: Mapping[str, Any]) -> None:
        """``suspend``, or ``replicas`` by group."""
        ...

    def delete(self, name: str) -> None: ...
    def log(self, name: str, group: str, rank: int, attempt: int) -> str:
        """All that a rank said; "": nothing yet. Raises NotFound: nobody keeps it."""
        ...

    def alive(self) -> None:
        """See that somebody looks after the jobs."""
        ...


class TrainingRun:
    """One training job. Every look at it asks anew."""

    def __init__(self, backend: Backend, name: str) -> None:
        self._backend = backend
        self.name = name

    def __repr__(self) -> str:
        return f"<training job {self.name}: {self.phase}>"

    def _repr_html_(self) -> str:
        """Its ranks as a table."""
        from mlplatform.sdk.training.table import job_html

        return job_html(self.object, self._backend.ranks(self.name), time.time())

    @property
    def object(self) -> dict[str, Any]:
        """The TrainingJob object: ``metadata``, ``spec``, ``status``. Raises NotFound."""
        return self._backend.get(self.name)

    @property
    def status(self) -> dict[str, Any]:
        """Its status document, the same on one machine and on a cluster."""
        return dict(self.object.get("status") or {})

    @property
    def phase(self) -> str:
        """Queued, Starting, Running, Restarting, Suspending, Suspended, Complete or Failed."""
        return str(self.status.get("phase") or "Queued")

    @property
    def progress(self) -> dict[str, Any]:
        """What the ranks reported last: ``step, totalSteps, percent, metrics, checkpointStep ...``"""
        return dict(self.status.get("progress") or {})

    @property
    def metrics(self) -> dict[str, float]:
        """The figures they reported last."""
        found: dict[str, float] = {}
        for one in self.progress.get("metrics") or ():
            try:
                found[str(one["name"])] = float(one["value"])
            except ValueError:
                continue
        return found

    @property
    def goodput(self) -> dict[str, Any]:
        """Where the time went, in seconds that add up to ``wallSeconds``."""
        return dict(self.status.get("goodput") or {})

    @property
    def attempts(self) -> list[dict[str, Any]]:
        """Each try, and how it ended."""
        return list(self.status.get("attempts") or ())

    # ------------------------------------------------------------------ waiting
    def wait(self, timeout: float | None = None, *, phase: str = "") -> TrainingRun:
        """Until it is complete (or in ``phase``).

        Raises:
            TrainingFailed: it failed.
            TimeoutError: it took longer than ``timeout`` seconds.
        """
        end = None if timeout is None else time.monotonic() + timeout
        warned = ""
        for status in self.watch():
            if (why := trouble(status)) and why != warned:
                warned = why
                warnings.warn(f"training job {self.name}: {why}", stacklevel=2)
            now = str(status.get("phase") or "")
            if phase and now == phase:
                return self
            if now == "Failed":
                raise TrainingFailed(
                    f"training job {self.name} failed: {status.get('message') or status.get('reason')}",
                    hint=f"See its logs: mlplatform training logs {self.name}",
                )
            if now == "Complete":
                if phase:
                    raise InvalidInput(f"training job {self.name} is complete and will not be {phase}")
                return self
            if end is not None and time.monotonic() > end:
                raise TimeoutError(f"training job {self.name} is {now or 'Queued'} after {timeout:g} seconds")
        return self

    def watch(self) -> Iterator[dict[str, Any]]:
        """Its status, again and again, until it has ended."""
        looked = 0.0
        while True:
            if time.monotonic() - looked > 2.0:
                self._backend.alive()
                looked = time.monotonic()
            status = self.status
            yield status
            if status.get("phase") in ENDED:
                return
            time.sleep(_LOOK)

    # ------------------------------------------------------------------ ranks
    def logs(self, rank: int = 0, *, group: str = "", attempt: int | None = None) -> str:
        """What a rank said.

        Args:
            group: by default the one that does the framework's work.
            attempt: by default the newest; -1: the one before it.

        Raises:
            NotFound: nobody keeps it.
        """
        body = self.object
        groups = {str(one["name"]): one for one in body["spec"]["groups"]}
        if not group:
            drivers = [name for name, one in groups.items() if one.get("role") in ("launcher", "head")]
            group = (drivers or list(groups))[0]
        if group not in groups:
            raise InvalidInput(f"there is no group {group!r}", hint=f"Groups: {', '.join(groups)}.")
        status: dict[str, Any] = body.get("status") or {}
        newest = int(status.get("attempt") or 1)
        number = newest if attempt is None else attempt if attempt > 0 else max(1, newest + attempt)
        return self._backend.log(self.name, group, rank, number)

    # ------------------------------------------------------------------ wishes
    def suspend(self) -> None:
        """Have its ranks save and give up their places."""
        self._backend.change(self.name, {"suspend": True})

    def resume(self) -> None:
        """Have it go on from the newest checkpoint."""
        self._backend.change(self.name, {"suspend": False})

    def scale(self, workers: int, *, group: str = "worker") -> None:
        """Change the size of an elastic group (or of any, while the job is suspended)."""
        self._backend.change(self.name, {"replicas": {group: workers}})

    def cancel(self) -> None:
        """End it for good: ranks save and end, checkpoints stay; the job is deleted."""
        self._backend.delete(self.name)

    delete = cancel


def trouble(status: Mapping[str, Any]) -> str:
    """What the platform itself fails at just now; "": nothing."""
    conditions: list[dict[str, Any]] = list(status.get("conditions") or ())
    return next((str(one.get("message")) for one in conditions if (one["type"], one["status"]) == _TROUBLE), "")
