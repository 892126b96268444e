"""Which row a node of a graph is drawn in, and where in its row: the half of the layout without coordinates. Pure.

Rows come from longest paths, with a cap on their width: what no longer fits goes into the next row that has room, whole
chains after each other, so that a fan-out of 200 becomes a grid and not a line. An edge over several rows runs along a
*trunk*, a chain of thin points, one a row; the edges of a busy node share one trunk, which keeps a fan-out quiet and
the number of points small. The order within rows is the barycentre one. Everything is linear or nearly so, and ties are
broken by the order of the input, so the same graph is always drawn the same.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

#: Sweeps down and up; more change little.
_SWEEPS: Final = 4
#: Up to this many joints of neighbouring rows, crossings are counted and the best of all sweeps is kept.
_COUNTED: Final = 1500


@dataclass(frozen=True, slots=True)
class Trunk:
    """Point ``point + n`` stands in row ``first + n``, to row ``last``."""

    point: int
    first: int
    last: int


@dataclass(slots=True)
class Rows:
    """The rows of one level of a graph.

    Points below ``count`` are the nodes themselves, the others belong to trunks. ``row`` holds each point's row,
    ``order`` the points of each row from left to right, ``above`` and ``below`` each point's neighbours in the rows
    next to its own. ``along`` is, for each edge, the trunk it takes between the rows of its ends; an edge that is
    longer than one row and has none was not worth a trunk and is drawn straight.
    """

    count: int
    row: list[int]
    order: list[list[int]]
    above: list[list[int]] = field(default_factory=list[list[int]])
    below: list[list[int]] = field(default_factory=list[list[int]])
    trunks: list[Trunk] = field(default_factory=list[Trunk])
    along: list[Trunk | None] = field(default_factory=list["Trunk | None"])


def arrange(widths: Sequence[float], edges: Sequence[tuple[int, int]], limit: float) -> Rows:
    """Rows, trunks and the order within rows.

    Args:
        widths: of each node, its share of the gaps included.
        edges: pairs of node numbers, without repetition and loops; one that closes a cycle is drawn upwards.
        limit: the width that a row should not exceed (a single node may).
    """
    count = len(widths)
    succ: list[list[int]] = [[] for _ in range(count)]
    pred: list[list[int]] = [[] for _ in range(count)]
    for source, target in edges:
        succ[source].append(target)
        pred[target].append(source)
    placed = _placing_order(succ, pred)
    row = _rows(widths, placed, pred, limit)
    _pull_down(widths, placed, succ, pred, row, limit)
    order: list[list[int]] = [[] for _ in range(max(row, default=-1) + 1)]
    for node in placed:
        order[row[node]].append(node)
    rows = Rows(count, row, [line for line in order if line])
    for number, line in enumerate(rows.order):
        for node in line:
            row[node] = number
    _join(rows, edges, succ, pred)
    _order(rows)
    return rows


def _placing_order(succ: list[list[int]], pred: list[list[int]]) -> list[int]:
    """Every node after those above it, chain by chain; of a cycle, the first of the input first."""
    waiting = [len(before) for before in pred]
    ready = [node for node in range(len(succ) - 1, -1, -1) if not waiting[node]]
    done = bytearray(len(succ))
    found: list[int] = []
    start = 0
    while len(found) < len(succ):
        if not ready:
            while done[start]:
                start += 1
            ready.append(start)
        node = ready.pop()
        if done[node]:
            continue
        done[node] = 1
        found.append(node)
        for after in reversed(succ[node]):
            waiting[after] -= 1
            if waiting[after] == 0 and not done[after]:
                ready.append(after)
    return found


def _rows(widths: Sequence[float], placed: list[int], pred: list[list[int]], limit: float) -> list[int]:
    """The first row below everything above it that still has room. ``skip`` jumps over full rows."""
    smallest = min(widths, default=0.0)
    used: list[float] = []
    skip: list[int] = []
    row = [-1] * len(widths)
    for node in placed:
        at = 0
        for before in pred[node]:
            if row[before] >= at:
                at = row[before] + 1
        width = widths[node]
        while True:
            while at >= len(used):
                used.append(0.0)
                skip.append(len(skip))
            root = at
            while skip[root] != root:
                root = skip[root]
            while skip[at] != root:
                skip[at], at = root, skip[at]
            at = root
            if not used[at] or used[at] + width <= limit:
                break
            at += 1
        row[node] = at
        used[at] += width
        if used[at] + smallest > limit:
            if at + 1 >= len(used):
                used.append(0.0)
                skip.append(len(skip))
            skip[at] = at + 1
    return row


def _pull_down(
    widths: Sequence[float],
    placed: list[int],
    succ: list[list[int]],
    pred: list[list[int]],
    row: list[int],
    limit: float,
) -> None:
    """Nodes with more edges below than above move next to what needs them, where there is room."""
    used = [0.0] * (max(row, default=-1) + 1)
    for node, at in enumerate(row):
        used[at] += widths[node]
    for node in reversed(placed):
        if len(succ[node]) <= len(pred[node]):
            continue
        lowest = min(row[after] for after in succ[node]) - 1
        for at in range(lowest, max(row[node], lowest - 20), -1):
            if used[at] + widths[node] <= limit:
                used[row[node]] -= widths[node]
                used[at] += widths[node]
                row[node] = at
                break


def _join(rows: Rows, edges: Sequence[tuple[int, int]], succ: list[list[int]], pred: list[list[int]]) -> None:
    """Trunks for long edges, and who is joined with whom in neighbouring rows."""
    row = rows.row
    reach: dict[tuple[bool, int], tuple[int, int]] = {}
    owners: list[tuple[bool, int] | None] = []
    for source, target in edges:
        if row[target] - row[source] < 2:
            owners.append(None)
            continue
        from_source = len(succ[source]) >= len(pred[target])
        owner = (from_source, source if from_source else target)
        first, last = reach.get(owner, (row[source] + 1, row[target] - 1))
        reach[owner] = (min(first, row[source] + 1), max(last, row[target] - 1))
        owners.append(owner)
    made: dict[tuple[bool, int], Trunk] = {}
    budget = max(2000, 4 * rows.count)
    for owner, (first, last) in sorted(reach.items(), key=lambda item: item[1][1] - item[1][0]):
        budget -= last - first + 1
        if budget < 0:
            break
        made[owner] = Trunk(len(row), first, last)
        row.extend(range(first, last + 1))
    rows.trunks = list(made.values())
    rows.along = [made.get(owner) if owner else None for owner in owners]
    rows.above = [[] for _ in row]
    rows.below = [[] for _ in row]
    for trunk in rows.trunks:
        for number in range(trunk.first, trunk.last + 1):
            point = trunk.point + number - trunk.first
            line = rows.order[number]
            line.insert(len(line) // 2, point)
            if number < trunk.last:
                rows.below[point].append(point + 1)
                rows.above[point + 1].append(point)
    joints: dict[tuple[int, int], None] = {}
    for (source, target), trunk in zip(edges, rows.along, strict=True):
        if trunk is not None:
            joints[source, trunk.point + row[source] + 1 - trunk.first] = None
            joints[trunk.point + row[target] - 1 - trunk.first, target] = None
        elif row[target] - row[source] == 1:
            joints[source, target] = None
    for upper, lower in joints:
        rows.below[upper].append(lower)
        rows.above[lower].append(upper)


def _order(rows: Rows) -> None:
    """Sort each row by where its neighbours stand, down and up again."""
    if len(rows.order) < 2:
        return
    place = [0.0] * len(rows.row)
    for line in rows.order:
        for at, point in enumerate(line):
            place[point] = at
    counted = sum(map(len, rows.below)) <= _COUNTED
    best, kept = (_crossings(rows, place), [list(line) for line in rows.order]) if counted else (0, rows.order)
    for sweep in range(_SWEEPS):
        if counted and best == 0:
            break
        down = sweep % 2 == 0
        neighbours = rows.above if down else rows.below
        lines = range(1, len(rows.order)) if down else range(len(rows.order) - 2, -1, -1)
        for number in lines:
            line = rows.order[number]
            wish: dict[int, float] = {}
            for point in line:
                beside = neighbours[point]
                wish[point] = sum([place[other] for other in beside]) / len(beside) if beside else place[point]
            line.sort(key=wish.__getitem__)
            for at, point in enumerate(line):
                place[point] = at
        if counted and (now := _crossings(rows, place)) < best:
            best, kept = now, [list(line) for line in rows.order]
    rows.order = kept


def _crossings(rows: Rows, place: list[float]) -> int:
    found = 0
    for line in rows.order:
        seen: list[float] = []
        for point in line:
            ends = sorted(place[other] for other in rows.below[point])
            for end in ends:
                found += len(seen) - bisect_right(seen, end)
            for end in ends:
                insort(seen, end)
    return found
