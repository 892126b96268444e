"""Admission: which ready tasks of which runs may start now, given the machine's cores, memory and GPUs.

The choice itself is pure (``planning.admission``); this keeps who waits and who runs.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from mlplatform.core.model import TaskKey
from mlplatform.engine.gpus import Gpus
from mlplatform.engine.prepared import Prepared
from mlplatform.planning.admission import Capacity, Request, admit, shortages

if TYPE_CHECKING:
    from mlplatform.engine.run import RunDriver

_Id = tuple[str, TaskKey]
#: How names of holders of GPUs begin that are tasks.
_TASK: Final = "task:"
#: Ranks ask for no cores: they were never counted.
_NO_CORES: Final = 1e-12
_NOBODY: Final = TaskKey(())
#: So many running tasks are told by name.
_SHOWN = 200


def _holder(key: _Id) -> str:
    return f"{_TASK}{key[0]}:{key[1]}"


@dataclass(frozen=True, slots=True)
class _Waiting:
    driver: RunDriver
    prepared: Prepared
    request: Request


class Admission:
    """Shared by all runs of a service. A task holds its resources from :meth:`pump` until :meth:`release`."""

    def __init__(self, capacity: Capacity, gpus: Gpus | None = None) -> None:
        """``gpus``: the ledger of GPUs, where others than tasks hold some as well."""
        self._capacity = capacity
        self._gpus = gpus or Gpus(capacity.gpu_ids)
        self._waiting: dict[_Id, _Waiting] = {}
        self._running: dict[_Id, Request] = {}
        self._order = 0
        self._loop: asyncio.AbstractEventLoop | None = None

    def request(self, driver: RunDriver, prepared: Prepared) -> None:
        """Queue a prepared task."""
        key = (prepared.run_id, prepared.key)
        if self._loop is None:
            with contextlib.suppress(RuntimeError):  # there is none
                self._loop = asyncio.get_running_loop()
        self._waiting[key] = _Waiting(driver, prepared, self._to_request(prepared))

    def occupy(self, driver: RunDriver, prepared: Prepared) -> None:
        """Count an attempt that already runs (found again after a restart)."""
        self._running[(prepared.run_id, prepared.key)] = self._to_request(prepared)

    def pump(self) -> None:
        """Hand resources to as many waiting tasks as there is room for; each driver is told."""
        if not self._waiting:
            return
        ready = [waiting.request for waiting in self._waiting.values()]
        with self._gpus.lock:
            grants = admit(ready, self._holding(), self._capacity)
            for grant in grants:
                if grant.gpu_ids:
                    self._gpus.hold(_holder(grant.request.key), grant.gpu_ids)
        for grant in grants:
            key: Any = grant.request.key
            waiting = self._waiting.pop(key)
            self._running[key] = replace(grant.request, gpu_ids=grant.gpu_ids)
            gpus = grant.gpu_ids if self._capacity.gpu_ids else None
            notes = (*waiting.prepared.notes, *grant.notes)
            waiting.driver.admit(replace(waiting.prepared, gpu_ids=gpus, notes=notes))

    def soon(self) -> None:
        """Have :meth:`pump` called on the loop that tasks run on. From any thread; before there is such a loop,
        nothing waits."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # it is closed
                self._loop.call_soon_threadsafe(self.pump)

    def release(self, run_id: str, key: TaskKey) -> None:
        """A task is done with its resources."""
        if self._running.pop((run_id, key), None) is not None:
            self._gpus.free(_holder((run_id, key)))
        self.pump()

    def _holding(self) -> list[Request]:
        """What is held: by tasks, and GPUs by ranks of training jobs."""
        ranks = self._gpus.held(but=_TASK)
        others = [Request((name, _NOBODY), cores=_NO_CORES, gpus=len(ids), gpu_ids=ids) for name, ids in ranks.items()]
        return [*self._running.values(), *others]

    def withdraw(self, run_id: str, key: TaskKey) -> bool:
        """Take a task out of the queue; False if it was not waiting."""
        return self._waiting.pop((run_id, key), None) is not None

    def waiting(self, run_id: str) -> list[TaskKey]:
        return [key for owner, key in self._waiting if owner == run_id]

    def reasons(self, run_id: str, keys: Iterable[TaskKey]) -> dict[TaskKey, str]:
        """What those of these tasks that wait are waiting for, in words."""
        waiting = {key: self._waiting[run_id, key].request for key in keys if (run_id, key) in self._waiting}
        words = shortages(list(waiting.values()), self._holding(), self._capacity)
        return dict(zip(waiting, words, strict=True))

    def forget(self, run_id: str) -> None:
        """A run is over or gave up: nothing of it waits or holds anything."""
        for table in (self._waiting, self._running):
            for key in [key for key in table if key[0] == run_id]:
                table.pop(key)
                self._gpus.free(_holder(key))
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
