"""Who holds which GPU of this machine: one ledger for tasks of pipelines and for ranks of training jobs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field


@dataclass
class Gpus:
    """A holder is told by a name of its own. Any thread may ask. ``freed``: told when some came back."""

    ids: tuple[int, ...] = ()
    freed: Callable[[], None] = lambda: None
    _held: dict[str, tuple[int, ...]] = field(default_factory=dict[str, tuple[int, ...]])
    #: Held while somebody looks at what is free and takes of it.
    lock: threading.RLock = field(default_factory=threading.RLock)

    def held(self, *, but: str = "") -> dict[str, tuple[int, ...]]:
        """Who holds what. ``but``: those whose name begins so are left out."""
        with self.lock:
            return {name: ids for name, ids in self._held.items() if ids and not (but and name.startswith(but))}

    def take(self, holder: str, gpus: int) -> tuple[int, ...] | str:
        """The GPUs that the holder has from now on, the same ones if it has them already; or why there are none."""
        with self.lock:
            if holder in self._held:
                return self._held[holder]
            taken = {number for ids in self._held.values() for number in ids}
            free = [number for number in self.ids if number not in taken]
            if len(free) < gpus:
                return f"{gpus} of this machine's {len(self.ids)} GPUs are asked for, {len(free)} are free"
            self._held[holder] = tuple(free[:gpus])
            return self._held[holder]

    def hold(self, holder: str, gpus: Sequence[int]) -> None:
        """One that was found again, or was given them by others, has these."""
        with self.lock:
            self._held[holder] = tuple(gpus)

    def free(self, holder: str) -> None:
        with self.lock:
            back = self._held.pop(holder, ())
        if back:
            self.freed()


@dataclass
class Within:
    """The GPUs that a task was given, for the ranks that it consists of."""

    all: Gpus
    ids: tuple[int, ...]
    _mine: dict[str, tuple[int, ...]] = field(default_factory=dict[str, tuple[int, ...]])

    def take(self, holder: str, gpus: int) -> tuple[int, ...] | str:
        with self.all.lock:
            if holder not in self._mine:
                taken = {number for ids in self._mine.values() for number in ids}
                free = [number for number in self.ids if number not in taken]
                if len(free) < gpus:
                    return f"{gpus} of the task's {len(self.ids)} GPUs are asked for, {len(free)} are free"
                self.hold(holder, free[:gpus])
            return self._mine[holder]

    def hold(self, holder: str, gpus: Sequence[int]) -> None:
        self._mine[holder] = tuple(gpus)
        self.all.hold(holder, gpus)

    def free(self, holder: str) -> None:
        self._mine.pop(holder, None)
        self.all.free(holder)
