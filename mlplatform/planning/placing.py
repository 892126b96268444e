"""Coordinates for the rows of a graph: no two boxes meet, neighbours stand as straight as they can. Pure.

Within a row the order is fixed, so the best places are a least-squares problem with a chain of constraints (each box
right of the one before it), which pooling adjacent violators solves exactly in one pass. Rows are solved in turn, down
and up, each against the one solved before.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from mlplatform.planning.layers import Rows

#: Passes over all rows: up, down, up, down.
_PASSES: Final = 4
#: A trunk is straight, whatever the nodes beside it would like: small shifts would add up from row to row. So would
#: those of two trunks that push each other, so of the longest ones each is stiffer than the next.
_STRAIGHT: Final = 1000.0
_STIFFER: Final = 8.0
_RANKED: Final = 60
#: A box with no neighbour keeps its place, if nobody needs it; so do those of a wrapped row, all hung on one trunk.
_LOOSE: Final = 0.05
_CROWD: Final = 4


def centres(rows: Rows, widths: Sequence[float]) -> list[float]:
    """The centre of every point, from 0 to the right.

    Args:
        widths: of every point, its share of the gaps included.
    """
    at = [0.0] * len(rows.row)
    joined = any(rows.below)
    for line in rows.order:
        total = sum([widths[point] for point in line])
        left = -total / 2 if joined else 0.0
        for point in line:
            at[point] = left + widths[point] / 2
            left += widths[point]
    if joined:
        stiff = _stiffness(rows)
        crowded = {point for point in stiff if max(len(rows.below[point]), len(rows.above[point])) > _CROWD}
        for number in range(_PASSES):
            upwards = number % 2 == 0
            neighbours = rows.below if upwards else rows.above
            for line in reversed(rows.order) if upwards else rows.order:
                _settle(line, neighbours, widths, at, stiff, crowded)
    least = min((at[point] - widths[point] / 2 for point in range(rows.count)), default=0.0)
    return [x - least for x in at]


def _stiffness(rows: Rows) -> dict[int, float]:
    """For each point of a trunk how much it counts to be straight there."""
    found: dict[int, float] = {}
    longest = sorted(rows.trunks, key=lambda trunk: (trunk.first - trunk.last, trunk.point))
    for rank, trunk in enumerate(longest):
        weight = _STRAIGHT * _STIFFER ** max(0, _RANKED - rank)
        found.update(dict.fromkeys(range(trunk.point, trunk.point + trunk.last - trunk.first + 1), weight))
    return found


def _settle(
    line: list[int],
    neighbours: list[list[int]],
    widths: Sequence[float],
    at: list[float],
    stiff: dict[int, float],
    crowded: set[int],
) -> None:
    """Move the points of one row as near to their neighbours as the row allows.

    With the widths before it taken off, every place must be at least the one before it: isotonic regression. A pool is
    (weight, weighted sum, points) of places that became one.
    """
    weights: list[float] = []
    sums: list[float] = []
    sizes: list[int] = []
    offset = 0.0
    for point in line:
        half = widths[point] / 2
        offset += half
        beside = neighbours[point]
        if point in stiff:
            own = [other for other in beside if other in stiff]
            beside, weight = (own, stiff[point]) if own else (beside, 1.0)
        else:
            weight = 1.0
            if crowded:
                beside = [other for other in beside if other not in crowded]
        if beside:
            wish = sum([at[other] for other in beside]) / len(beside)
        else:
            weight, wish = _LOOSE, at[point]
        total, size = weight * (wish - offset), 1
        while weights and sums[-1] * weight >= total * weights[-1]:
            weight += weights.pop()
            total += sums.pop()
            size += sizes.pop()
        weights.append(weight)
        sums.append(total)
        sizes.append(size)
        offset += half
    offset, next_ = 0.0, 0
    for weight, total, size in zip(weights, sums, sizes, strict=True):
        place = total / weight
        for point in line[next_ : next_ + size]:
            half = widths[point] / 2
            offset += half
            at[point] = place + offset
            offset += half
        next_ += size
