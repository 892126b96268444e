"""Which ready tasks may start on a machine, given what runs already. Pure; the engine keeps who waits and who runs.

Order is priority, then age. A task that does not fit keeps its place: what it waits for is set aside, and later ones
may go ahead only with what it does not need. So nothing starves within a priority; and since a request gains one level
of priority for every :data:`AGEING` requests that came after it, nothing starves between priorities either.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from mlplatform.core.model import TaskKey

#: Later requests after which an older one counts one level more.
AGEING: Final = 10_000

#: Cores that a task takes which did not say what it needs: twice as many tasks as cores, since most of them wait a lot.
DEFAULT_CORES: Final = 0.5

_TOLERANCE: Final = 1e-9


@dataclass(frozen=True, slots=True)
class Capacity:
    """``cores`` (may be a fraction), ``memory`` in bytes, and the ids of usable GPUs."""

    cores: float
    memory: float
    gpu_ids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Request:
    """What one task asks for. Zero cores or memory: it did not say. A higher ``priority`` goes first; ``order`` grows
    with every request. ``gpu_ids``: the GPUs a running one holds."""

    key: tuple[str, TaskKey]
    cores: float = 0.0
    memory: float = 0.0
    gpus: int = 0
    priority: int = 0
    order: int = 0
    gpu_ids: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class Grant:
    """``gpu_ids``: the GPUs it may use. ``notes``: what it asked for beyond this machine (it runs all the same)."""

    request: Request
    gpu_ids: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(slots=True)
class _Free:
    """What is left, including what is set aside for tasks that wait in front."""

    cores: float
    memory: float
    gpus: list[int]
    set_aside: int = field(default=0)

    @property
    def exhausted(self) -> bool:
        return self.cores <= _TOLERANCE


def admit(ready: Sequence[Request], running: Iterable[Request], capacity: Capacity) -> tuple[Grant, ...]:
    """The requests that may start now, in the order they should.

    Args:
        ready: tasks that wait.
        running: tasks that hold resources.
        capacity: the machine.
    """
    if not ready:
        return ()
    free = _free(running, capacity)
    idle = free.cores >= capacity.cores - _TOLERANCE
    newest = max(request.order for request in ready)
    grants: list[Grant] = []
    for request in _foremost(ready, newest, free, capacity):
        if free.exhausted and not idle:
            break
        cores, memory, gpus = _clamped(request, capacity)
        fits = cores <= free.cores + _TOLERANCE and memory <= free.memory + _TOLERANCE
        fits = fits and gpus <= len(free.gpus) - free.set_aside
        free.cores = max(0.0, free.cores - cores)
        free.memory = max(0.0, free.memory - memory)
        if fits:
            ids, free.gpus = tuple(free.gpus[:gpus]), free.gpus[gpus:]
            grants.append(Grant(request, ids, _notes(request, capacity)))
            idle = False
        else:
            free.set_aside = min(len(free.gpus), free.set_aside + gpus)
    return tuple(grants)


def shortages(waiting: Sequence[Request], running: Iterable[Request], capacity: Capacity) -> list[str]:
    """For each request that may not start now: of what there is too little, how much it needs, how much is free."""
    free = _free(running, capacity)
    return [_shortage(request, free, capacity) for request in waiting]


def _shortage(request: Request, free: _Free, capacity: Capacity) -> str:
    cores, memory, gpus = _clamped(request, capacity)
    words: list[str] = []
    if cores > free.cores + _TOLERANCE:
        words.append(f"cores (needs {cores:g}, {free.cores:g} of {capacity.cores:g} free)")
    if memory > free.memory + _TOLERANCE:
        words.append(f"memory (needs {_gib(memory)}, {_gib(free.memory)} of {_gib(capacity.memory)} GiB free)")
    if gpus > len(free.gpus):
        words.append(f"GPUs (needs {gpus}, {len(free.gpus)} of {len(capacity.gpu_ids)} free)")
    return ", ".join(words) or "its turn: what is free is kept for tasks in front of it"


def _gib(value: float) -> str:
    return f"{value / 2**30:.3g}"


def _foremost(ready: Sequence[Request], newest: int, free: _Free, capacity: Capacity) -> list[Request]:
    """The requests in order, as many as can matter: each one looked at takes (or sets aside) some of the free cores,
    so thousands that wait are not sorted each time one starts."""
    smallest = min(_clamped(request, capacity)[0] for request in ready)
    matter = int(free.cores / smallest) + 2 if smallest > _TOLERANCE else len(ready)
    return heapq.nsmallest(matter, ready, key=lambda r: (-(r.priority + (newest - r.order) // AGEING), r.order))


def _free(running: Iterable[Request], capacity: Capacity) -> _Free:
    free = _Free(capacity.cores, capacity.memory, list(capacity.gpu_ids))
    for request in running:
        cores, memory, _ = _clamped(request, capacity)
        free.cores -= cores
        free.memory -= memory
        for held in request.gpu_ids or ():
            if held in free.gpus:
                free.gpus.remove(held)
    free.cores, free.memory = max(0.0, free.cores), max(0.0, free.memory)
    return free


def _clamped(request: Request, capacity: Capacity) -> tuple[float, float, int]:
    """What the request takes of this machine: never more than all of it."""
    cores = request.cores or min(DEFAULT_CORES, capacity.cores / 2)
    return (
        min(cores, capacity.cores),
        min(request.memory, capacity.memory),
        min(request.gpus, len(capacity.gpu_ids)),
    )


def _notes(request: Request, capacity: Capacity) -> tuple[str, ...]:
    notes: list[str] = []
    if request.cores > capacity.cores:
        notes.append(f"asked for {request.cores:g} cores, this machine has {capacity.cores:g}")
    if request.memory > capacity.memory:
        notes.append(
            f"asked for {request.memory / 2**30:.1f} GiB of memory, this machine has {capacity.memory / 2**30:.1f}"
        )
    if request.gpus > len(capacity.gpu_ids):
        notes.append(f"asked for {request.gpus} GPUs, this machine has {len(capacity.gpu_ids)}")
    return tuple(notes)
