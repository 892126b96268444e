"""Admission: which ready tasks of which runs may start now, given the machine's cores, memory and GPUs.

The choice itself is pure (``planning.admission``); this keeps who waits and who runs.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any

from mlplatform.core.model import TaskKey
from mlplatform.engine.prepared import Prepared
from mlplatform.planning.admission import Capacity, Request, admit, shortages

if TYPE_CHECKING:
    from mlplatform.engine.run import RunDriver

_Id = tuple[str, TaskKey]
#: So many running tasks are told by name.
_SHOWN = 200


@dataclass(frozen=True, slots=True)
class _Waiting:
    driver: RunDriver
    prepared: Prepared
    request: Request


class Admission:
    """Shared by all runs of a service. A task holds its resources from :meth:`pump` until :meth:`release`."""

    def __init__(self, capacity: Capacity) -> None:
        self._capacity = capacity
        self._waiting: dict[_Id, _Waiting] = {}
        self._running: dict[_Id, Request] = {}
        self._order = 0

    def request(self, driver: RunDriver, prepared: Prepared) -> None:
        """Queue a prepared task."""
        key = (prepared.run_id, prepared.key)
        self._waiting[key] = _Waiting(driver, prepared, self._to_request(prepared))

    def occupy(self, driver: RunDriver, prepared: Prepared) -> None:
        """Count an attempt that already runs (found again after a restart)."""
        self._running[(prepared.run_id, prepared.key)] = self._to_request(prepared)

    def pump(self) -> None:
        """Hand resources to as many waiting tasks as there is room for; each driver is told."""
        if not self._waiting:
            return
        ready = [waiting.request for waiting in self._waiting.values()]
        for grant in admit(ready, list(self._running.values()), self._capacity):
            key: Any = grant.request.key
            waiting = self._waiting.pop(key)
            self._running[key] = replace(grant.request, gpu_ids=grant.gpu_ids)
            gpus = grant.gpu_ids if self._capacity.gpu_ids else None
            notes = (*waiting.prepared.notes, *grant.notes)
            waiting.driver.admit(replace(waiting.prepared, gpu_ids=gpus, notes=notes))

    def release(self, run_id: str, key: TaskKey) -> None:
        """A task is done with its resources."""
        self._running.pop((run_id, key), None)
        self.pump()

    def withdraw(self, run_id: str, key: TaskKey) -> bool:
        """Take a task out of the queue; False if it was not waiting."""
        return self._waiting.pop((run_id, key), None) is not None

    def waiting(self, run_id: str) -> list[TaskKey]:
        return [key for owner, key in self._waiting if owner == run_id]

    def reasons(self, run_id: str, keys: Iterable[TaskKey]) -> dict[TaskKey, str]:
        """What those of these tasks that wait are waiting for, in words."""
        waiting = {key: self._waiting[run_id, key].request for key in keys if (run_id, key) in self._waiting}
        words = shortages(list(waiting.values()), self._running.values(), self._capacity)
        return dict(zip(waiting, words, strict=True))

    def forget(self, run_id: str) -> None:
        """A run is over or gave up: nothing of it waits or holds anything."""
        for table in (self._waiting, self._running):
            for key in [key for key in table if key[0] == run_id]:
                table.pop(key)
        self.pump()

    def describe(self) -> dict[str, Any]:
        """For ``service status``."""
        return {
            "cores": self._capacity.cores,
            "memory": self._capacity.memory,
            "gpus": list(self._capacity.gpu_ids),
            "running": len(self._running),
            "waiting": len(self._waiting),
            "holders": [
                {
                    "run_id": run_id,
                    "task": key.name,
                    "iteration": list(key.iteration),
                    "cores": request.cores,
                    "memory": request.memory,
                    "gpus": request.gpus,
                }
                for (run_id, key), request in islice(self._running.items(), _SHOWN)
            ],
        }

    def _to_request(self, prepared: Prepared) -> Request:
        self._order += 1
        return Request(
            key=(prepared.run_id, prepared.key),
            cores=prepared.cpu,
            memory=prepared.memory,
            gpus=prepared.gpus,
            priority=prepared.priority,
            order=self._order,
        )
