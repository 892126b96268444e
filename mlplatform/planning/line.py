"""Leaves that wait for an attempt: ready ones in document order, failed ones until their retry is due."""

from __future__ import annotations

import heapq

from mlplatform.planning.nodes import Leaf, Order


class Line:
    """Counts what runs as well: ``running`` leaves, at most ``limit`` (None: any number).

    Entries are dropped lazily: a leaf that ended or changed its mind meanwhile is passed over.
    """

    def __init__(self, limit: int | None) -> None:
        self.limit = limit
        self.running = 0
        self._ready: list[tuple[Order, int, Leaf]] = []
        self._delayed: list[tuple[float, Order, int, Leaf]] = []
        self._pushed = 0  # only to keep the heaps from comparing leaves

    def enqueue(self, leaf: Leaf) -> None:
        """The leaf's next attempt may start."""
        leaf.due = None
        leaf.queued = True
        self._pushed += 1
        heapq.heappush(self._ready, (leaf.order, self._pushed, leaf))

    def delay(self, leaf: Leaf, until: float) -> None:
        """The leaf's next attempt may start at this time."""
        leaf.due = until
        self._pushed += 1
        heapq.heappush(self._delayed, (until, leaf.order, self._pushed, leaf))

    def release(self, now: float) -> None:
        """Whatever is due joins the ready ones."""
        while self._delayed and self._delayed[0][0] <= now:
            due, _, _, leaf = heapq.heappop(self._delayed)
            if leaf.due == due:
                self.enqueue(leaf)

    def take(self) -> Leaf | None:
        """The first ready leaf, if one more may run; it counts as running from now on."""
        while self._ready and (self.limit is None or self.running < self.limit):
            leaf = heapq.heappop(self._ready)[2]
            if leaf.queued:
                leaf.queued = False
                self.running += 1
                return leaf
        return None

    def wake_at(self) -> float | None:
        """When the next delayed leaf is due."""
        while self._delayed and self._delayed[0][3].due != self._delayed[0][0]:
            heapq.heappop(self._delayed)
        return self._delayed[0][0] if self._delayed else None
