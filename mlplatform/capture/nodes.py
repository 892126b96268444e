"""One piece of the captured text, and the order pieces must stand in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field


@dataclass
class Node:
    """One binding of the generated module.

    Attributes:
        name: what it binds there.
        text: statements that bind it (whole lines).
        needs: names that must be bound before the text is executed.
        uses: names that its functions look up when called.
        late: statements for the end of the module, when everything is bound (endless structures, shared cells).
        file, line: where the text was written (1-based), if it is somebody's own.
        rank: imports come first (0), then values (1), then definitions (2), where nothing says otherwise.
    """

    name: str
    text: str = ""
    needs: set[str] = field(default_factory=set[str])
    uses: set[str] = field(default_factory=set[str])
    late: str = ""
    file: str = ""
    line: int = 0
    rank: int = 2


def ordered(nodes: Mapping[str, Node], last: str) -> list[Node]:
    """Nodes so that what a node needs stands before it, with all that this may call; ``last`` ends the list.

    Where needing goes round in circles, what is needed at once wins over what is only called later.
    """
    groups = _components(nodes)
    found: list[Node] = []
    for group in groups:
        found += _by_need([nodes[name] for name in group])
    found.sort(key=lambda node: node.rank > 0)  # imports first: they need nothing
    if last in nodes and not any(last in node.needs for node in found):
        found.sort(key=lambda node: node.name == last)
    return found


def _by_need(group: list[Node]) -> list[Node]:
    members = {node.name: node for node in group}
    done: dict[str, Node] = {}
    open_: set[str] = set()

    def visit(node: Node) -> None:
        if node.name in done or node.name in open_:
            return
        open_.add(node.name)
        for name in sorted(node.needs & members.keys()):
            visit(members[name])
        open_.discard(node.name)
        done[node.name] = node

    for node in sorted(group, key=lambda n: (n.rank, n.file, n.line, n.name)):
        visit(node)
    return list(done.values())


def _components(nodes: Mapping[str, Node]) -> list[list[str]]:
    """Strongly connected components, those that others depend on first (Tarjan, without recursion)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    on_stack: set[str] = set()
    found: list[list[str]] = []

    def successors(name: str) -> list[str]:
        node = nodes[name]
        names: Iterable[str] = (n for n in node.needs | node.uses if n in nodes and n != name)
        return sorted(names, key=lambda n: (nodes[n].rank, nodes[n].file, nodes[n].line, n))

    for start in sorted(nodes, key=lambda n: (nodes[n].rank, nodes[n].file, nodes[n].line, n)):
        if start in index:
            continue
        work = [(start, iter(successors(start)))]
        index[start] = low[start] = len(index)
        stack.append(start)
        on_stack.add(start)
        while work:
            name, rest = work[-1]
            following = next(rest, None)
            if following is None:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[name])
                if low[name] == index[name]:
                    at = stack.index(name)
                    found.append(stack[at:])
                    on_stack.difference_update(stack[at:])
                    del stack[at:]
            elif following not in index:
                index[following] = low[following] = len(index)
                stack.append(following)
                on_stack.add(following)
                work.append((following, iter(successors(following))))
            elif following in on_stack:
                low[name] = min(low[name], index[following])
    return found
