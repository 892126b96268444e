"""Where the nodes and edges of a pipeline's graph are drawn: the same in the web page and in a notebook's output. Pure.

A layered layout: every edge leads downwards (or to the right), rows that would be too wide are wrapped, groups (a
sub-pipeline, a condition, a loop, an iteration) are boxes around what is in them or, collapsed, nodes like others. Each
group is laid out on its own and stands as one box in its parent. The same input always gives the same picture.

>>> drawn = layout([Node("load"), Node("train"), Node("test")], [Edge("load", "train"), Edge("load", "test")])
>>> drawn.boxes["load"].y < drawn.boxes["train"].y == drawn.boxes["test"].y
True
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any, Final, Literal

from mlplatform.planning.layers import Rows, Trunk, arrange
from mlplatform.planning.placing import centres

#: Pixels a trunk takes in a row.
_TRUNK: Final = 10.0
#: Rows are never capped below this many pixels: about ten nodes of the usual size.
_READABLE: Final = 2400.0
#: Beyond that, a level grows as a rectangle of this shape.
_ASPECT: Final = 1.7


@dataclass(frozen=True, slots=True)
class Node:
    """A task or a group. ``parent`` is the group it is in. The size in pixels is the node's own; a group's is used
    while it is collapsed or empty. A node is a group if another names it as its parent."""

    id: str
    width: float = 208
    height: float = 44
    parent: str = ""


@dataclass(frozen=True, slots=True)
class Edge:
    """``target`` waits for ``source``. Ends that do not stand side by side are joined through the groups around them
    that do; an edge between a group and something in it is not drawn."""

    source: str
    target: str


@dataclass(frozen=True, slots=True)
class Spacing:
    """Pixels. ``across`` and ``along`` separate nodes in a row and rows; ``header`` is a group's title,
    ``padding`` the rest of its frame."""

    across: float = 24
    along: float = 40
    header: float = 36
    padding: float = 16


@dataclass(frozen=True, slots=True)
class Box:
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Route:
    """``points`` lead from the source's lower side to the target's upper side; between two points of different x the
    line is meant as a curve that starts and ends vertically (horizontally where the graph leads to the right)."""

    source: str
    target: str
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Layout:
    """``boxes`` holds every node that is seen, ``groups`` the open groups (outer before inner), all in pixels from the
    upper left corner of a picture of ``width`` by ``height``."""

    boxes: dict[str, Box]
    groups: dict[str, Box]
    edges: tuple[Route, ...]
    width: float
    height: float

    def to_json(self) -> dict[str, Any]:
        """Whole pixels: ``{"width", "height", "nodes": {id: [x, y, width, height]}, "groups": the same, "edges":
        [[source, target, [x, y, x, y, ...]]]}``."""
        return {
            "width": round(self.width),
            "height": round(self.height),
            "nodes": {name: _whole(box) for name, box in self.boxes.items()},
            "groups": {name: _whole(box) for name, box in self.groups.items()},
            "edges": [[e.source, e.target, [round(v) for point in e.points for v in point]] for e in self.edges],
        }


_SPACING: Final = Spacing()


def layout(
    nodes: Iterable[Node],
    edges: Iterable[Edge],
    *,
    collapsed: Collection[str] = (),
    direction: Literal["down", "right"] = "down",
    spacing: Spacing = _SPACING,
) -> Layout:
    """Coordinates for everything that is seen.

    Args:
        nodes: with unique ids; parents may come after their children. A parent that does not exist is no parent.
        edges: repeated ones count once, those with unknown ends not at all.
        collapsed: groups drawn as one node, without what is in them.

    Raises:
        ValueError: an id is given twice, or groups contain each other in a circle.
    """
    return _Drawing(nodes, edges, collapsed, direction == "right", spacing).draw()


def _whole(box: Box) -> list[int]:
    return [round(box.x), round(box.y), round(box.width), round(box.height)]


@dataclass(slots=True)
class _Level:
    """The inside of one group, with coordinates of its own."""

    members: list[str]
    boxes: list[Box]
    routes: list[Route]
    width: float
    height: float


class _Drawing:
    """One call of :func:`layout`. Sizes and places are held as if the graph led downwards, and turned at the end."""

    def __init__(
        self,
        nodes: Iterable[Node],
        edges: Iterable[Edge],
        collapsed: Collection[str],
        turned: bool,
        spacing: Spacing,
    ) -> None:
        self._nodes: dict[str, Node] = {}
        for node in nodes:
            if node.id in self._nodes:
                raise ValueError(f"two nodes are called {node.id!r}")
            self._nodes[node.id] = node
        self._turned = turned
        self._spacing = spacing
        self._children: dict[str, list[str]] = {"": []}
        for node in self._nodes.values():
            self._children.setdefault(self._parent(node.id), []).append(node.id)
        self._order = self._visible(set(collapsed))
        self._edges = self._lifted(edges)

    def draw(self) -> Layout:
        levels: dict[str, _Level] = {}
        sizes: dict[str, tuple[float, float]] = {}
        for group in reversed(self._order):
            level = levels[group] = self._level(group, sizes)
            if group:
                left, top, right, bottom = self._frame()
                sizes[group] = (level.width + left + right, level.height + top + bottom)
        return self._assemble(levels)

    def _parent(self, name: str) -> str:
        parent = self._nodes[name].parent
        return parent if parent in self._nodes else ""

    def _visible(self, collapsed: set[str]) -> list[str]:
        """Open groups, outer before inner, the whole picture ("") first; nodes that are not seen are forgotten."""
        found = [""]
        for group in found:  # grows while it is read
            found.extend(name for name in self._children[group] if name in self._children and name not in collapsed)
        seen = {name for group in found for name in self._children[group]}
        if not collapsed and len(seen) < len(self._nodes):
            raise ValueError("groups contain each other in a circle: " + ", ".join(sorted(self._nodes.keys() - seen)))
        self._seen = seen
        return found

    def _lifted(self, edges: Iterable[Edge]) -> dict[str, list[tuple[str, str]]]:
        """For each group the edges between its members."""
        chains: dict[str, list[str]] = {}

        def chain(name: str) -> list[str]:
            """The node and the groups around it, outermost first."""
            found = chains.get(name)
            if found is None:
                found = [name]
                while (parent := self._parent(found[-1])) and len(found) <= len(self._nodes):
                    found.append(parent)
                found.reverse()
                chains[name] = found
            return found

        lifted: dict[str, dict[tuple[str, str], None]] = {}
        for edge in edges:
            if edge.source not in self._nodes or edge.target not in self._nodes:
                continue
            source, target = self._nodes[edge.source], self._nodes[edge.target]
            if source.parent == target.parent:
                pair, parent = (edge.source, edge.target), self._parent(edge.source)
            else:
                ours, theirs = chain(edge.source), chain(edge.target)
                depth = next((n for n, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), -1)
                if depth < 0:
                    continue
                pair, parent = (ours[depth], theirs[depth]), ours[depth - 1] if depth else ""
            if pair[0] != pair[1] and pair[0] in self._seen:
                lifted.setdefault(parent, {})[pair] = None
        return {group: list(pairs) for group, pairs in lifted.items()}

    def _frame(self) -> tuple[float, float, float, float]:
        """Left, top, right and bottom of a group's frame; the header stays on top when the picture is turned."""
        header, padding = self._spacing.header, self._spacing.padding
        return (header, padding, padding, padding) if self._turned else (padding, header, padding, padding)

    def _size(self, name: str, sizes: dict[str, tuple[float, float]]) -> tuple[float, float]:
        if name in sizes:
            return sizes[name]
        node = self._nodes[name]
        return (node.height, node.width) if self._turned else (node.width, node.height)

    def _level(self, group: str, sizes: dict[str, tuple[float, float]]) -> _Level:
        members = self._children[group]
        measured = [self._size(name, sizes) for name in members]
        if not members:
            return _Level([], [], [], 0.0, 0.0)
        if len(members) == 1:
            width, height = measured[0]
            return _Level(members, [Box(0, 0, width, height)], [], width, height)
        pairs = self._edges.get(group, [])
        number = {name: at for at, name in enumerate(members)}
        edges = [(number[source], number[target]) for source, target in pairs]
        across, along = self._spacing.across, self._spacing.along
        area = sum((width + across) * (height + along) for width, height in measured)
        shape = 1 / _ASPECT if self._turned else _ASPECT
        limit = max(_READABLE * (0.4 if self._turned else 1), math.sqrt(area * shape))
        widths = [width + across for width, _ in measured]
        rows = arrange(widths, edges, limit)
        widths.extend([_TRUNK] * (len(rows.row) - rows.count))
        places = centres(rows, widths)
        tops, heights = self._heights(rows, [height for _, height in measured])
        trunks = range(rows.count, len(rows.row))
        left = min([places[at] - width / 2 for at, (width, _) in enumerate(measured)])
        left = min([left, *(places[point] for point in trunks)])  # a trunk may stand outside all nodes
        places = [x - left for x in places]
        boxes = [
            Box(places[at] - width / 2, tops[rows.row[at]], width, height)
            for at, (width, height) in enumerate(measured)
        ]
        bottoms = [top + height for top, height in zip(tops, heights, strict=True)]
        bends = {trunk: _bends(trunk, places, tops, bottoms) for trunk in rows.trunks}
        routes: list[Route] = []
        for (source, target), (a, b), trunk in zip(pairs, edges, rows.along, strict=True):
            low = bottoms[rows.row[a]]
            path = _between(bends[trunk], tops[rows.row[a] + 1], bottoms[rows.row[b] - 1]) if trunk else []
            routes.append(Route(source, target, _path(boxes[a], low, path, boxes[b])))
        right = max([*(box.x + box.width for box in boxes), *(places[point] for point in trunks)])
        return _Level(members, boxes, routes, right, bottoms[-1])

    def _heights(self, rows: Rows, heights: list[float]) -> tuple[list[float], list[float]]:
        """Top and height of each row; rows with nothing between them stand closer."""
        tops: list[float] = []
        tallest: list[float] = []
        y = 0.0
        for line in rows.order:
            tops.append(y)
            tallest.append(max((heights[point] for point in line if point < rows.count), default=0.0))
            gap = self._spacing.along if any(rows.below[point] for point in line) else self._spacing.across
            y += tallest[-1] + gap
        return tops, tallest

    def _assemble(self, levels: dict[str, _Level]) -> Layout:
        boxes: dict[str, Box] = {}
        groups: dict[str, Box] = {}
        edges: list[Route] = []
        frame_left, frame_top, _, _ = self._frame()
        for group in self._order:
            dx, dy = (groups[group].x + frame_left, groups[group].y + frame_top) if group else (0.0, 0.0)
            level = levels[group]
            for name, box in zip(level.members, level.boxes, strict=True):
                placed = Box(box.x + dx, box.y + dy, box.width, box.height)
                (groups if name in levels else boxes)[name] = placed
            edges += [Route(r.source, r.target, tuple((x + dx, y + dy) for x, y in r.points)) for r in level.routes]
        whole = levels[""]
        if not self._turned:
            return Layout(boxes, groups, tuple(edges), whole.width, whole.height)
        return Layout(
            {name: Box(box.y, box.x, box.height, box.width) for name, box in boxes.items()},
            {name: Box(box.y, box.x, box.height, box.width) for name, box in groups.items()},
            tuple(Route(r.source, r.target, tuple((y, x) for x, y in r.points)) for r in edges),
            whole.height,
            whole.width,
        )


def _bends(
    trunk: Trunk, places: list[float], tops: list[float], bottoms: list[float]
) -> list[tuple[float, float, float]]:
    """The straight pieces of a trunk: x, top and bottom."""
    found: list[tuple[float, float, float]] = []
    for offset in range(trunk.last - trunk.first + 1):
        x, top, bottom = places[trunk.point + offset], tops[trunk.first + offset], bottoms[trunk.first + offset]
        if found and abs(found[-1][0] - x) < 0.5:
            found[-1] = (found[-1][0], found[-1][1], bottom)
        else:
            found.append((x, top, bottom))
    return found


def _between(bends: list[tuple[float, float, float]], top: float, bottom: float) -> list[tuple[float, float, float]]:
    """That part of a trunk which lies between two heights."""
    return [(x, max(a, top), min(b, bottom)) for x, a, b in bends if a <= bottom and b >= top]


def _path(
    source: Box, bottom: float, along: list[tuple[float, float, float]], target: Box
) -> tuple[tuple[float, float], ...]:
    """Down from the source past its own row (to ``bottom``), along a trunk, and in at the target's top."""
    x, y = source.x + source.width / 2, source.y + source.height
    end = (target.x + target.width / 2, target.y)
    if end[1] < y:  # closes a cycle
        return ((x, y), end)
    path = [(x, y)]
    for point in ((x, bottom), *(p for at, top, low in along for p in ((at, top), (at, low))), end):
        if len(path) > 1 and path[-1][0] == path[-2][0] == point[0]:
            path[-1] = point  # only lengthens a straight line
        elif path[-1] != point:
            path.append(point)
    return tuple(path)
