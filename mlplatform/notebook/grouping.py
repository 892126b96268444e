"""A notebook without headings or tags: which cells belong together, by what they do."""

from __future__ import annotations

from collections.abc import Sequence

from mlplatform.notebook.effects import Effects
from mlplatform.notebook.flow import CellFlow

#: A notebook is cut into about so many tasks at most, however many cells it has.
_MOST = 12


def group(flows: Sequence[CellFlow], effects: Sequence[Effects]) -> list[list[int]]:
    """Positions of cells that form a task each, in order.

    Long work is kept apart, so that a change after it does not repeat it, and so is what does not use what the cells
    above it made. What shows or checks a result stays with it; imports and definitions at the top are one task. A cut
    depends on the cells near it only, so that an edit moves no other.
    """
    smallest = -(-len(flows) // _MOST)
    made: list[list[int]] = []
    for position, flow in enumerate(flows):
        if made and not _begins(position, flow, made[-1], flows, effects, smallest):
            made[-1].append(position)
        else:
            made.append([position])
    return made


def _begins(
    position: int,
    flow: CellFlow,
    current: Sequence[int],
    flows: Sequence[CellFlow],
    effects: Sequence[Effects],
    smallest: int,
) -> bool:
    if flow.empty:
        return False
    if all(_prepares(flows[other]) for other in current):
        return not _prepares(flow)
    if len(current) < smallest or _prepares(flow):
        return False
    has_work = any(flows[other].heavy for other in current)
    made = frozenset[str]().union(*(effects[other].binds for other in current))
    independent = bool(made) and bool(flow.binds) and not (effects[position].reads & made)
    return has_work and (flow.heavy or independent)


def _prepares(flow: CellFlow) -> bool:
    """Imports, definitions, magics, comments: what a notebook begins with."""
    return flow.definitions or flow.empty or (not flow.binds and not flow.loads and not flow.foreign)
