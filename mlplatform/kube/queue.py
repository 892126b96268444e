"""The queue of keys to look at.

A key is in it once, however often it was added; it is handed to one worker at a time, and what was added while that one
worked comes again afterwards. New keys and those that were seen before take turns: what is at work does not wait for
thousands that have just come. A failed key comes back later and later, all failures together at a limited rate. No key
is ever dropped.
"""

from __future__ import annotations

import heapq
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable
from typing import Final, Generic, TypeVar

K = TypeVar("K", bound=Hashable)

#: The first wait after a failure and the longest one, seconds.
BACK_OFF: Final = (0.2, 120.0)
#: A thread can wait for so long at most; somebody's deadline may be later than that, by any number of seconds.
_LONGEST_WAIT: Final = 3600.0
#: Failed keys that come back a second, and how many may at once.
RATE: Final = (10.0, 100)


class RateLimit:
    """A token bucket: ``rate`` a second, ``burst`` at once."""

    def __init__(self, rate: float, burst: float, clock: Callable[[], float]) -> None:
        self._rate = rate
        self._burst = burst
        self._clock = clock
        self._tokens = float(burst)
        self._at = clock()

    def reserve(self) -> float:
        """Take one; how many seconds from now it may be used."""
        self._fill()
        self._tokens -= 1
        return max(0.0, -self._tokens / self._rate)

    def take(self) -> bool:
        """Take one if there is one."""
        self._fill()
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def _fill(self) -> None:
        now = self._clock()
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
        self._at = now


class Queue(Generic[K]):
    """``clock`` is monotonic, in seconds; ``chance`` gives numbers in [0, 1)."""

    def __init__(
        self, *, clock: Callable[[], float] = time.monotonic, chance: Callable[[], float] = lambda: 0.5
    ) -> None:
        self._clock = clock
        self._chance = chance
        self._condition = threading.Condition()
        self._ready: deque[K] = deque()
        self._new: deque[K] = deque()
        self._turn_of_new = False
        self._wanted: set[K] = set()
        self._busy: set[K] = set()
        self._due: dict[K, float] = {}
        self._later: list[tuple[float, int, K]] = []
        self._order = 0
        self._failures: dict[K, int] = {}
        self._limit = RateLimit(*RATE, clock)
        self._closed = False
        #: Threads in :meth:`wait_idle`.
        self._idlers = 0

    def __len__(self) -> int:
        """Keys that wait for a worker now (not those for later)."""
        return len(self._wanted)

    @property
    def busy(self) -> int:
        return len(self._busy)

    def add(self, key: K, *, new: bool = False) -> None:
        """``new``: nothing was ever done for it."""
        with self._condition:
            self._add(key, new)

    def add_after(self, key: K, seconds: float) -> None:
        """Later; of several times the earliest counts."""
        if seconds <= 0:
            self.add(key)
            return
        with self._condition:
            due = self._clock() + seconds
            if due < self._due.get(key, float("inf")):
                self._due[key] = due
                self._order += 1
                heapq.heappush(self._later, (due, self._order, key))
                self._condition.notify()

    def retry(self, key: K, at_least: float = 0.0) -> float:
        """Again after a failure: the wait doubles with each in a row. Returns the wait in seconds."""
        with self._condition:
            failures = self._failures.get(key, 0)
            self._failures[key] = failures + 1
            wait = min(BACK_OFF[1], BACK_OFF[0] * 2.0 ** min(failures, 30)) * (0.75 + 0.5 * self._chance())
            wait = max(wait, at_least, self._limit.reserve())
        self.add_after(key, wait)
        return wait

    def forget(self, key: K) -> None:
        """It went well: the next failure is the first again."""
        if key in self._failures:  # mostly it is not, and whoever has the key is the only one who writes it
            with self._condition:
                self._failures.pop(key, None)

    def failures(self, key: K) -> int:
        return self._failures.get(key, 0)

    def get(self, timeout: float | None = None) -> K | None:
        """The next key, which is the caller's until :meth:`done`. None: closed, or none came in ``timeout`` seconds."""
        end = None if timeout is None else self._clock() + timeout
        with self._condition:
            while not self._closed:
                self._ripen()
                if self._ready or self._new:
                    key = self._next().popleft()
                    self._wanted.discard(key)
                    self._busy.add(key)
                    return key
                now = self._clock()
                if end is not None and now >= end:
                    return None
                waits = [end - now] if end is not None else []
                if self._later:
                    waits.append(min(_LONGEST_WAIT, self._later[0][0] - now))
                self._condition.wait(min(waits) if waits else None)
            return None

    def done(self, key: K) -> None:
        """The worker is through with it."""
        with self._condition:
            self._busy.discard(key)
            if key in self._wanted:
                self._ready.append(key)
                self._condition.notify()
            if self._idlers:
                self._condition.notify_all()

    def next_due(self) -> float | None:
        """Seconds until the next key for later; None: there is none."""
        with self._condition:
            self._ripen()
            return max(0.0, self._later[0][0] - self._clock()) if self._later else None

    def wait_idle(self, busy: Callable[[K], bool], timeout: float) -> bool:
        """Wait until no worker has a key that ``busy`` picks. False: some still has."""
        end = self._clock() + timeout
        with self._condition:
            self._idlers += 1
            try:
                while any(busy(key) for key in self._busy):
                    left = end - self._clock()
                    if left <= 0:
                        return False
                    self._condition.wait(min(left, 0.5))
                return True
            finally:
                self._idlers -= 1

    def close(self) -> None:
        """Hand out nothing more; workers that wait return."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()

    def _next(self) -> deque[K]:
        """Where the next key is taken from."""
        if not self._ready or not self._new:
            return self._ready or self._new
        self._turn_of_new = not self._turn_of_new
        return self._new if self._turn_of_new else self._ready

    def _add(self, key: K, new: bool = False) -> None:
        if key in self._wanted:
            return
        self._wanted.add(key)
        if key not in self._busy:
            (self._new if new else self._ready).append(key)
            self._condition.notify()

    def _ripen(self) -> None:
        now = self._clock()
        while self._later and self._later[0][0] <= now:
            due, _, key = heapq.heappop(self._later)
            if self._due.get(key) == due:
                del self._due[key]
                self._add(key)
