"""Dependencies, order and cycles."""

from __future__ import annotations

import graphlib
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from mlplatform.core.errors import InvalidPipeline
from mlplatform.ir.graph import (
    component_graph,
    cycles,
    dependencies,
    dependents,
    describe_cycle,
    platform_producers,
    topological_order,
)
from mlplatform.ir.load import loads

GRAPHS = st.integers(0, 9).flatmap(
    lambda size: st.fixed_dictionaries(
        {str(n): st.lists(st.integers(0, max(size - 1, 0)).map(str), max_size=4) for n in range(size)}
    )
)


def test_dependencies_come_from_everything_a_task_names(document: dict[str, Any]) -> None:
    tasks = document["root"]["dag"]["tasks"]
    tasks["loop"]["inputs"] = {"parameters": {"s": {"taskFinalStatus": {"producerTask": "use"}}}}
    tasks["use"]["dependentTasks"] = ["make", "nowhere"]
    tasks["other"] = {"componentRef": {"name": "comp-use"}}
    mount = {"pvcNameParameter": {"taskOutputParameter": {"producerTask": "other", "outputParameterKey": "name"}}}
    executors = {"exec-make": {"pvcMount": [{**mount, "mountPath": "/data"}]}}
    platforms = {"platforms": {"kubernetes": {"deploymentSpec": {"executors": executors}}}}
    pipeline = loads(yaml.safe_dump_all([document, platforms]))
    assert pipeline.root.dag is not None
    assert dependencies(pipeline.root.dag) == {"make": (), "use": ("make",), "loop": ("use",), "other": ()}
    found = dependencies(pipeline.root.dag, pipeline)
    assert found == {"make": ("other",), "use": ("make",), "loop": ("use",), "other": ()}
    assert topological_order(found) == ("other", "make", "use", "loop")
    assert dependents(found) == {"other": ("make",), "make": ("use",), "use": ("loop",), "loop": ()}
    assert platform_producers(pipeline, "exec-make") == (("other", "name"),)
    assert component_graph(pipeline)[""] == ("comp-loop", "comp-make", "comp-use")
    assert component_graph(pipeline)["comp-loop"] == ("comp-make",)


@given(GRAPHS)
def test_order_and_cycles_agree_with_the_standard_library(graph: dict[str, list[str]]) -> None:
    try:
        graphlib.TopologicalSorter(graph).prepare()
        acyclic = True
    except graphlib.CycleError:
        acyclic = False
    found = cycles(graph)
    assert bool(found) is not acyclic
    for cycle in found:
        assert len(set(cycle)) == len(cycle)
        for name, following in zip(cycle, (*cycle[1:], cycle[0]), strict=True):
            assert following in graph[name]
    if acyclic:
        order = topological_order(graph)
        assert sorted(order) == sorted(graph)
        assert all(order.index(name) > order.index(other) for name in graph for other in graph[name])
    else:
        with pytest.raises(InvalidPipeline) as caught:
            topological_order(graph)
        assert len(caught.value.findings) == len(found)


def test_cycles_in_words() -> None:
    found = cycles({"a": ["c"], "b": ["a"], "c": ["b"], "d": ["d"], "e": ["a"]})
    assert found == (("a", "c", "b"), ("d",))
    assert [describe_cycle(cycle) for cycle in found] == ["a -> c -> b -> a", "d -> d"]
    assert describe_cycle([str(n) for n in range(50)]) == "0 -> 1 -> 2 -> 3 -> 4 -> 5 -> 6 -> 7 -> 8 -> 9 -> ... -> 0"


def test_long_chains_do_not_recurse() -> None:
    size = 50_000
    chain = {str(n): [str(n - 1)] if n else [] for n in range(size)}
    assert topological_order(chain)[-1] == str(size - 1)
    chain["0"] = [str(size - 1)]
    assert [len(cycle) for cycle in cycles(chain)] == [size]
