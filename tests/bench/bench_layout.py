"""The graph's layout: ``python -m tests.bench.bench_layout``.

Prints one JSON object: medians of five in milliseconds of CPU time for 1,000 and 10,000 nodes (the bounds are 50 and
500) of graphs of several shapes, and their ratio (linear: 10).
"""

from __future__ import annotations

import gc
import json
import random
import statistics
import time
from collections.abc import Callable

from mlplatform.planning.layout import Edge, Node, layout

Graph = tuple[list[Node], list[Edge]]


def fan_out(size: int) -> Graph:
    """One task, many, one."""
    names = [f"f{n}" for n in range(size - 2)]
    edges = [Edge("start", n) for n in names] + [Edge(n, "end") for n in names]
    return [Node("start"), *map(Node, names), Node("end")], edges


def chains(size: int) -> Graph:
    """Chains of three between a first and a last task."""
    count = size // 3
    nodes = [Node("start"), *(Node(f"{row}{n}") for row in "abc" for n in range(count)), Node("end")]
    steps = [Edge(f"{x}{n}", f"{y}{n}") for n in range(count) for x, y in ("ab", "bc")]
    ends = [edge for n in range(count) for edge in (Edge("start", f"a{n}"), Edge(f"c{n}", "end"))]
    return nodes, steps + ends


def random_graph(size: int) -> Graph:
    """Each task needs one or two of those shortly before it."""
    chance = random.Random(1)
    edges = [
        Edge(f"n{max(0, at - 1 - int(chance.expovariate(1 / 8)))}", f"n{at}")
        for at in range(1, size)
        for _ in range(chance.randint(1, 2))
    ]
    return [Node(f"n{at}") for at in range(size)], edges


def loop(size: int) -> Graph:
    """An open loop, each iteration a group of two tasks."""
    count = size // 3
    nodes = [Node("loop"), *(Node(f"i{n}", parent="loop") for n in range(count))]
    nodes += [Node(f"{name}{n}", parent=f"i{n}") for n in range(count) for name in ("train", "test")]
    return nodes, [Edge(f"train{n}", f"test{n}") for n in range(count)]


def line(size: int) -> Graph:
    return [Node(str(n)) for n in range(size)], [Edge(str(n), str(n + 1)) for n in range(size - 1)]


def milliseconds(graph: Graph, rounds: int = 5) -> float:
    times: list[float] = []
    for _ in range(rounds):
        gc.collect()
        began = time.process_time()
        layout(*graph)
        times.append((time.process_time() - began) * 1000)
    return statistics.median(times)


def main() -> None:
    report: dict[str, object] = {}
    shapes: tuple[Callable[[int], Graph], ...] = (fan_out, chains, random_graph, loop, line)
    for make in shapes:
        small, large = milliseconds(make(1000)), milliseconds(make(10_000))
        report[make.__name__] = {
            "ms_1000": round(small, 1),
            "ms_10000": round(large, 1),
            "ratio": round(large / small, 1),
        }
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
