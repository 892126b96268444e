"""What each cell may read and write when the others are known: through functions of other cells, star imports and
texts that name variables."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from mlplatform.notebook.flow import BUILTINS, CellFlow

_HISTORY: Final = re.compile(r"_{1,3}|_i{1,3}|_i?\d+|_[ho]h|_dh")


@dataclass(frozen=True, slots=True)
class Effects:
    """``reads``: names whose values before the cell may matter to it. ``writes``: names that it may bind, delete or
    change. ``binds``: names that it may bind; ``sure``: that it binds whatever happens;
    ``deletes``: that it may delete. ``whole``: why it may touch any
    name, or ""."""

    reads: frozenset[str]
    writes: frozenset[str]
    binds: frozenset[str]
    sure: frozenset[str] = frozenset()
    deletes: frozenset[str] = frozenset()
    whole: str = ""


class NotebookFlow:
    """The flows of a notebook's cells, in order, put together."""

    def __init__(self, flows: Sequence[CellFlow]) -> None:
        self.flows = tuple(flows)

    @cached_property
    def bound(self) -> frozenset[str]:
        """Every name that the notebook binds, as far as its text tells."""
        return frozenset(name for flow in self.flows for name in flow.binds)

    @cached_property
    def unknown(self) -> frozenset[str]:
        """Names that cells take and none binds: a star import, or what runs text as code, may bring them."""
        taken = {name for flow in self.flows for name in flow.reads}
        deferred = {name for flow in self.flows for names in flow.deferred.values() for name in names}
        return frozenset((taken | deferred) - self.bound - {"__builtins__"})

    @cached_property
    def reach(self) -> Mapping[str, frozenset[str]]:
        """Name -> what may be read and changed by calling what it names, through however many functions."""
        deferred: dict[str, set[str]] = {}
        holds: dict[str, set[str]] = {}
        for flow in self.flows:
            for name, names in flow.deferred.items():
                deferred.setdefault(name, set()).update(names)
            for name, names in flow.holds.items():
                holds.setdefault(name, set()).update(names)
        found = {name: set(names) for name, names in deferred.items()}
        changed = True
        while changed:
            changed = False
            for name in deferred.keys() | holds.keys():
                mine = found.get(name, set[str]())
                more = set(mine)
                for other in deferred.get(name, set[str]()) | holds.get(name, set[str]()):
                    more |= found.get(other, set[str]())
                for other in mine:
                    more |= found.get(other, set[str]())
                if len(more) > len(mine):
                    found[name] = more
                    changed = True
        return {name: frozenset(names) for name, names in found.items() if names}

    @cached_property
    def effects(self) -> tuple[Effects, ...]:
        """One for each cell, in order."""
        return tuple(self._effects(flow) for flow in self.flows)

    def _effects(self, flow: CellFlow) -> Effects:
        reads: set[str] = set()
        called: set[str] = set()
        for name, count in flow.loads:
            own = flow.kills[:count]
            called |= self.reach.get(name, frozenset())
            reads |= ({name} | self.reach.get(name, frozenset())).difference(own)
        reads |= flow.strings & self.bound
        binds = set(flow.binds)
        if flow.star:
            binds |= self.unknown | (BUILTINS & self._mentioned)
        writes = binds | flow.deletes | flow.changes | {name for name in called if name in self.bound}
        whole = flow.whole
        if not whole and any(_HISTORY.fullmatch(name) and name not in self.bound for name in flow.reads):
            whole = "it reads the history of results"
        known = self.bound | self.unknown
        sure = frozenset(flow.kills) - flow.deletes
        written = frozenset(writes & (known | binds))
        return Effects(self._variables(reads), written, frozenset(binds), sure, flow.deletes, whole)

    @cached_property
    def _mentioned(self) -> frozenset[str]:
        return frozenset(name for flow in self.flows for name, _ in flow.loads)

    @cached_property
    def _has_star(self) -> bool:
        return any(flow.star for flow in self.flows)

    def _variables(self, names: set[str]) -> frozenset[str]:
        """Without builtins, unless the notebook may bind a name of that kind itself."""
        if self._has_star:
            return frozenset(names)
        return frozenset(name for name in names if name in self.bound or name not in BUILTINS)


def dependencies(effects: Sequence[Effects]) -> tuple[tuple[int, ...], ...]:
    """For each of a series of parts that run in this order: the earlier ones it may depend on.

    A part depends on every one that perhaps wrote what it reads, back to the last that surely bound it. Only direct
    dependencies: what another one implies is left out.
    """
    direct: list[set[int]] = []
    for position, mine in enumerate(effects):
        found: set[int] = set()
        wanted = set(mine.reads | (mine.writes - mine.sure))
        for earlier in range(position - 1, -1, -1):
            other = effects[earlier]
            if mine.whole or other.whole or wanted & other.writes:
                found.add(earlier)
                wanted -= other.sure
        direct.append(found)
    return tuple(tuple(sorted(_reduced(position, direct))) for position in range(len(direct)))


def _reduced(position: int, direct: Sequence[set[int]]) -> set[int]:
    implied: set[int] = set()
    for other in direct[position]:
        implied |= _ancestors(other, direct)
    return direct[position] - implied


def _ancestors(position: int, direct: Sequence[set[int]]) -> set[int]:
    seen: set[int] = set()
    todo = list(direct[position])
    while todo:
        other = todo.pop()
        if other not in seen:
            seen.add(other)
            todo += direct[other]
    return seen


def together(parts: Sequence[Effects]) -> Effects:
    """The effects of parts that run one after another, as one."""
    reads: set[str] = set()
    sure: set[str] = set()
    for part in parts:
        reads |= part.reads - sure
        sure |= part.sure
        sure -= part.deletes
    writes = frozenset[str]().union(*(part.writes for part in parts))
    binds = frozenset[str]().union(*(part.binds for part in parts))
    whole = next((part.whole for part in parts if part.whole), "")
    deletes = frozenset[str]().union(*(part.deletes for part in parts))
    return Effects(frozenset(reads), writes, binds, frozenset(sure), deletes, whole)
