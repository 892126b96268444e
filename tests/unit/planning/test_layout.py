"""Layout: nothing overlaps, edges lead on, groups hold what is theirs, the same graph is drawn the same."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlplatform.planning.layout import Box, Edge, Layout, Node, layout

EPSILON = 1e-6


def apart(a: Box, b: Box) -> bool:
    return (
        a.x + a.width <= b.x + EPSILON
        or b.x + b.width <= a.x + EPSILON
        or a.y + a.height <= b.y + EPSILON
        or b.y + b.height <= a.y + EPSILON
    )


def inside(a: Box, b: Box) -> bool:
    return (
        a.x >= b.x - EPSILON
        and a.y >= b.y - EPSILON
        and a.x + a.width <= b.x + b.width + EPSILON
        and a.y + a.height <= b.y + b.height + EPSILON
    )


def check(drawn: Layout, nodes: Sequence[Node]) -> None:
    """What holds for every picture of an acyclic graph that leads downwards."""
    parents = {node.id: node.parent for node in nodes}
    everything = {**drawn.boxes, **drawn.groups}
    whole = Box(0, 0, drawn.width, drawn.height)
    by_parent: dict[str, list[Box]] = {}
    for name, box in everything.items():
        by_parent.setdefault(parents[name], []).append(box)
        assert inside(box, drawn.groups[parents[name]] if parents[name] else whole), name
    for boxes in by_parent.values():
        for a, b in itertools.combinations(boxes, 2):
            assert apart(a, b), (a, b)
    for route in drawn.edges:
        source, target = everything[route.source], everything[route.target]
        assert route.points[0] == pytest.approx((source.x + source.width / 2, source.y + source.height))
        assert route.points[-1] == pytest.approx((target.x + target.width / 2, target.y))
        heights = [round(y, 6) for _, y in route.points]
        assert heights == sorted(heights), route
        assert source.y + source.height < target.y
        for x, y in route.points:
            assert -EPSILON <= x <= drawn.width + EPSILON
            assert -EPSILON <= y <= drawn.height + EPSILON


@st.composite
def graphs(draw: st.DrawFn) -> tuple[list[Node], list[Edge]]:
    """Nodes in groups in groups; edges from earlier to later nodes, wherever these are."""
    size = draw(st.integers(1, 60))
    seed = random.Random(draw(st.integers(0, 2**32)))
    groups = draw(st.integers(0, 8))
    nodes: list[Node] = []
    for at in range(groups):
        parent = f"g{seed.randrange(at)}" if at and seed.random() < 0.5 else ""
        nodes.append(Node(f"g{at}", seed.randrange(40, 300), seed.randrange(20, 80), parent))
    for at in range(size):
        parent = f"g{seed.randrange(groups)}" if groups and seed.random() < 0.6 else ""
        nodes.append(Node(f"n{at}", seed.randrange(40, 300), seed.randrange(20, 80), parent))
    edges: list[Edge] = []
    if groups == 0:
        for _ in range(draw(st.integers(0, 3 * size))):
            a, b = seed.randrange(size), seed.randrange(size)
            if a != b:
                edges.append(Edge(f"n{min(a, b)}", f"n{max(a, b)}"))
    else:
        # between siblings only: edges between groups could otherwise close cycles
        by_parent: dict[str, list[str]] = {}
        for node in nodes:
            by_parent.setdefault(node.parent, []).append(node.id)
        for names in by_parent.values():
            for _ in range(len(names)):
                a, b = sorted((seed.randrange(len(names)), seed.randrange(len(names))))
                if a != b:
                    edges.append(Edge(names[a], names[b]))
    return nodes, edges


@settings(max_examples=150, deadline=None)
@given(graphs())
def test_every_picture(graph: tuple[list[Node], list[Edge]]) -> None:
    nodes, edges = graph
    drawn = layout(nodes, edges)
    check(drawn, nodes)
    assert drawn == layout(nodes, edges)
    assert drawn.boxes.keys() | drawn.groups.keys() == {node.id for node in nodes}
    assert {(r.source, r.target) for r in drawn.edges} == {(e.source, e.target) for e in edges}


@settings(max_examples=60, deadline=None)
@given(graphs(), st.integers(0, 255))
def test_collapsed_groups_are_nodes_and_hide_what_is_in_them(graph: tuple[list[Node], list[Edge]], bits: int) -> None:
    nodes, edges = graph
    collapsed = {f"g{at}" for at in range(8) if bits >> at & 1}
    drawn = layout(nodes, edges, collapsed=collapsed)
    check(drawn, nodes)
    parents = {node.id: node.parent for node in nodes}
    sizes = {node.id: (node.width, node.height) for node in nodes}
    for name in parents:
        around: list[str] = []
        while parents[(around or [name])[-1]]:
            around.append(parents[(around or [name])[-1]])
        assert (name in drawn.boxes or name in drawn.groups) == (not collapsed & set(around))
    for name in collapsed & drawn.boxes.keys():
        assert (drawn.boxes[name].width, drawn.boxes[name].height) == pytest.approx(sizes[name])


def test_to_the_right_is_the_same_turned() -> None:
    nodes = [Node("a"), Node("b"), Node("c", parent="g"), Node("g"), Node("d", parent="g")]
    edges = [Edge("a", "b"), Edge("b", "g"), Edge("c", "d")]
    drawn = layout(nodes, edges, direction="right")
    a, b, group = drawn.boxes["a"], drawn.boxes["b"], drawn.groups["g"]
    assert (a.width, a.height) == (208, 44)
    assert a.x + a.width < b.x
    assert b.x + b.width < group.x
    assert drawn.boxes["c"].y - group.y == pytest.approx(36)  # the title is above, not beside
    (route,) = (r for r in drawn.edges if r.target == "b")
    (x, y), (end, _) = route.points
    assert (x, end) == (208, 248)
    assert y == a.y + 22 == b.y + 22


def test_a_chain_is_a_straight_line() -> None:
    drawn = layout([Node(str(n)) for n in range(5)], [Edge(str(n), str(n + 1)) for n in range(4)])
    assert {box.x for box in drawn.boxes.values()} == {0}
    assert all(len(route.points) == 2 for route in drawn.edges)
    assert [drawn.boxes[str(n)].y for n in range(5)] == [0, 84, 168, 252, 336]


def test_a_diamond_is_symmetric() -> None:
    drawn = layout([Node(n) for n in "abcd"], [Edge("a", "b"), Edge("a", "c"), Edge("b", "d"), Edge("c", "d")])
    boxes = drawn.boxes
    assert boxes["a"].x == pytest.approx(boxes["d"].x)
    assert boxes["b"].x + boxes["c"].x == pytest.approx(2 * boxes["a"].x)
    assert boxes["b"].y == boxes["c"].y


def test_a_source_stands_next_to_what_needs_it() -> None:
    nodes = [Node(n) for n in ("late", "a", "b", "c")]
    drawn = layout(nodes, [Edge("a", "b"), Edge("b", "c"), Edge("late", "c")])
    assert drawn.boxes["late"].y == drawn.boxes["b"].y


@pytest.mark.parametrize("count", [200, 1000])
def test_a_fan_out_becomes_a_readable_block(count: int) -> None:
    names = [f"f{n}" for n in range(count)]
    edges = [Edge("start", n) for n in names] + [Edge(n, "end") for n in names]
    nodes = [Node("start"), *map(Node, names), Node("end")]
    drawn = layout(nodes, edges)
    check(drawn, nodes)
    assert drawn.width < 3.5 * drawn.height
    assert drawn.height < 1.5 * drawn.width
    assert drawn.boxes["end"].y == max(box.y for box in drawn.boxes.values())


def test_chains_side_by_side_are_wrapped_whole() -> None:
    nodes = [Node(f"{row}{n}") for n in range(40) for row in "abc"]
    drawn = layout(nodes, [Edge(f"{x}{n}", f"{y}{n}") for n in range(40) for x, y in ("ab", "bc")])
    check(drawn, nodes)
    for n in range(40):
        assert drawn.boxes[f"c{n}"].y - drawn.boxes[f"a{n}"].y == 168


def test_edges_across_groups_are_drawn_where_these_stand_side_by_side() -> None:
    nodes = [Node("g"), Node("x", parent="g"), Node("h"), Node("y", parent="h"), Node("z")]
    drawn = layout(nodes, [Edge("x", "y"), Edge("g", "h"), Edge("x", "z"), Edge("g", "x"), Edge("nobody", "z")])
    assert sorted((r.source, r.target) for r in drawn.edges) == [("g", "h"), ("g", "z")]


def test_a_cycle_is_drawn_all_the_same() -> None:
    drawn = layout([Node(n) for n in "abc"], [Edge("a", "b"), Edge("b", "c"), Edge("c", "a"), Edge("b", "b")])
    assert {(r.source, r.target) for r in drawn.edges} == {("a", "b"), ("b", "c"), ("c", "a")}
    assert drawn.boxes["a"].y < drawn.boxes["b"].y < drawn.boxes["c"].y


def test_what_cannot_be_drawn() -> None:
    with pytest.raises(ValueError, match="two nodes are called 'a'"):
        layout([Node("a"), Node("a")], [])
    with pytest.raises(ValueError, match="circle: a, b"):
        layout([Node("a", parent="b"), Node("b", parent="a"), Node("c")], [])


def test_nothing_and_json() -> None:
    assert layout([], []).to_json() == {"width": 0, "height": 0, "nodes": {}, "groups": {}, "edges": []}
    drawn = layout([Node("a", 100.4, 20), Node("b", 100.4, 20)], [Edge("a", "b")])
    assert drawn.to_json() == {
        "width": 100,
        "height": 80,
        "nodes": {"a": [0, 0, 100, 20], "b": [0, 60, 100, 20]},
        "groups": {},
        "edges": [["a", "b", [50, 20, 50, 60]]],
    }
