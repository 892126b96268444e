"""Loops: items, order, limits, what they collect."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mlplatform.core.model import Artifact, TaskError, Values
from mlplatform.core.states import TaskState
from mlplatform.core.values import ParameterType as T
from mlplatform.ir.model import (
    ArtifactIterator,
    ArtifactSource,
    InputArtifactSpec,
    InputParameterSpec,
    OutputArtifactSpec,
    ParameterIterator,
    PipelineTask,
)
from mlplatform.planning.model import FinishRun, Limits, RunView, StartTask, TaskFact
from mlplatform.planning.planner import Planner
from tests.unit.planning.build import (
    DATASET,
    INT,
    LIST,
    TEXT,
    artifact,
    const,
    given,
    group,
    leaf,
    maybe,
    need,
    pipeline,
)
from tests.unit.planning.runs import Run, echo


def loop(limit: int = 0, **iterator: Any) -> PipelineTask:
    return PipelineTask("body", parameter_iterator=ParameterIterator("item", **iterator), parallelism_limit=limit)


BODY = group(
    {"t": PipelineTask("c", parameters={"x": given("item")})}, {"item": maybe()}, {"o": "t.Output"}, types={"o": LIST}
)


def test_a_loop_collects_in_iteration_order() -> None:
    root = group({"for": loop(items_raw="[30, 10, 20]")}, outputs={"all": "for.o"})
    run = Run(pipeline(root, body=BODY, c=leaf({"x": need()})), echo)
    assert run.order == ["for/t[0]", "for/t[1]", "for/t[2]"]
    assert run.finish.outputs.parameters == {"all": [30, 10, 20]}
    assert run.records["for[1]"].is_group
    assert run.records["for[1]"].outputs.parameters == {"o": 10}


@pytest.mark.parametrize("limit", [1, 2])
def test_a_loop_keeps_its_limit_and_begins_iterations_in_order(limit: int) -> None:
    made = pipeline(
        group({"for": loop(limit, items_raw="[1, 2, 3, 4]")}, outputs={"all": "for.o"}),
        body=BODY,
        c=leaf({"x": need()}),
    )
    planner = Planner(made, RunView("r", "j"), Limits())
    running = [a for a in planner.advance((), 0).actions if isinstance(a, StartTask)]
    seen: list[int] = []
    while running:
        assert len(running) <= limit
        last = running.pop()
        seen.append(last.key.iteration[0])
        fact = TaskFact(last.key, TaskState.SUCCEEDED, 1, outputs=Values({"Output": last.inputs.parameters["x"]}))
        decision = planner.advance([fact], 0)
        running += [a for a in decision.actions if isinstance(a, StartTask)]
        finished = [a for a in decision.actions if isinstance(a, FinishRun)]
    assert finished[0].outputs.parameters == {"all": [1, 2, 3, 4]}
    assert sorted(seen) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("value", "expected"),
    [([1, 2], [1, 2]), ("[3, 4]", [3, 4]), ([], []), ('["5.0"]', "5.0"), ([2.0], [2])],
)
def test_loops_over_what_comes_at_run_time(value: Any, expected: Any) -> None:
    items = {"things": LIST if isinstance(value, list) else TEXT}
    body = group(
        {"t": PipelineTask("c", parameters={"x": given("item")})},
        {"item": InputParameterSpec(TEXT if isinstance(expected, str) else INT)},
        {"o": "t.Output"},
    )
    task = replace(loop(items_input="things"), parameters={"things": given("things")})
    root = group({"for": task}, {"things": maybe(items["things"])}, {"all": "for.o"})
    component = leaf({"x": InputParameterSpec(TEXT if isinstance(expected, str) else INT)})
    run = Run(pipeline(root, body=body, c=component), echo, {"things": value})
    assert run.finish.outputs.parameters == {"all": expected if isinstance(expected, list) else [expected]}


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "input 'things', which has no value"),
        ("[1", 'which is no list: "[1"'),
        ("7", "which is no list: 7"),
        ({"a": 1}, 'which is no list: {"a": 1}'),
    ],
)
def test_a_loop_without_a_list_fails(value: Any, reason: str) -> None:
    task = replace(loop(items_input="things"), parameters={"things": given("things")})
    kind = T.STRUCT if isinstance(value, dict) else TEXT
    root = group({"for": task}, {"things": maybe(kind)})
    run = Run(pipeline(root, body=BODY, c=leaf({"x": need()})), None, {"things": value})
    assert run.state("for") is TaskState.FAILED
    assert run.records["for"].error is not None
    assert reason in run.records["for"].error.message


def test_nested_loops_nest_what_they_collect_and_struct_fields_keep_their_types() -> None:
    inner = group(
        {"t": PipelineTask("c", parameters={"x": given("n"), "y": given("row", 'parseJson(string_value)["name"]')})},
        {"n": maybe(TEXT), "row": maybe(TEXT)},
        {"o": "t.Output"},
    )
    outer = group(
        {
            "for-2": PipelineTask(
                "inner",
                parameters={"ns": given("row", 'parseJson(string_value)["ns"]'), "row": given("row")},
                parameter_iterator=ParameterIterator("n", items_input="ns"),
            )
        },
        {"row": maybe(TEXT)},
        {"o": "for-2.o"},
    )
    rows = '[{"name": "a", "ns": [1, 2.5]}, {"name": "b", "ns": []}, {"name": "c", "ns": [3.0]}]'
    root = group(
        {"for-1": PipelineTask("outer", parameter_iterator=ParameterIterator("row", items_raw=rows))},
        outputs={"all": "for-1.o"},
    )
    run = Run(
        pipeline(root, outer=outer, inner=inner, c=leaf({"x": InputParameterSpec(T.NUMBER_DOUBLE), "y": need(TEXT)})),
        lambda s: Values({"Output": [s.inputs.parameters["y"], s.inputs.parameters["x"]]}),
    )
    assert run.finish.outputs.parameters == {"all": [[["a", 1.0], ["a", 2.5]], [], [["c", 3.0]]]}
    assert "for-1/for-2/t[0][1]" in run.order


def test_skipped_iterations_are_left_out() -> None:
    inner = group({"t": PipelineTask("c", parameters={"x": given("item")})}, {"item": maybe()}, {"o": "t.Output"})
    body = group(
        {
            "condition-2": PipelineTask(
                "inner", parameters={"item": given("item")}, condition="int(inputs.parameter_values['item']) > 1"
            )
        },
        {"item": maybe()},
        {"o": "condition-2.o"},
    )
    root = group({"for": loop(items_raw="[3, 1, 2]")}, outputs={"all": "for.o"})
    run = Run(pipeline(root, body=body, inner=inner, c=leaf({"x": need()})), echo)
    assert run.finish.outputs.parameters == {"all": [3, 2]}


def test_other_iterations_run_when_one_fails() -> None:
    root = group(
        {
            "for": loop(1, items_raw="[1, 2, 3]"),
            "after": PipelineTask("c", parameters={"x": const(1)}, dependent_tasks=("for",)),
        }
    )
    run = Run(
        pipeline(root, body=BODY, c=leaf({"x": need()})),
        lambda s: "two" if s.inputs.parameters["x"] == 2 else echo(s),
    )
    assert run.order == ["for/t[0]", "for/t[1]", "for/t[2]"]
    assert run.state("after") is TaskState.SKIPPED
    assert run.finish.error == TaskError("TASK_FAILED", "task for/t[1] failed: two")


def test_a_leaf_may_be_a_loop_itself() -> None:
    task = PipelineTask("c", parameter_iterator=ParameterIterator("x", items_raw="[1, 2]"))
    root = group({"t": task}, outputs={"all": "t.Output"})
    run = Run(pipeline(root, c=leaf({"x": need()})), echo)
    assert run.order == ["t[0]", "t[1]"]
    assert run.finish.outputs.parameters == {"all": [1, 2]}


def test_loops_over_artifacts_collect_one_flat_list() -> None:
    body = group(
        {"t": PipelineTask("c", artifacts={"data": ArtifactSource(component_input="one")})}, artifacts={"o": "t.data"}
    )
    task = PipelineTask(
        "body",
        artifacts={"many": artifact("make")},
        artifact_iterator=ArtifactIterator("one", "many"),
    )
    root = group(
        {"make": PipelineTask("m"), "for": task, "use": PipelineTask("u", artifacts={"all": artifact("for", "o")})}
    )
    made = pipeline(
        root,
        body=body,
        m=leaf(outputs={}, artifacts_out={"data": OutputArtifactSpec(DATASET, is_list=True)}),
        c=leaf(
            outputs={},
            artifacts_in={"data": InputArtifactSpec(DATASET)},
            artifacts_out={"data": OutputArtifactSpec(DATASET)},
        ),
        u=leaf(outputs={}, artifacts_in={"all": InputArtifactSpec(DATASET, is_list=True)}),
    )

    def behave(start: StartTask) -> Values:
        if start.key.path[-1] == "make":
            return Values(artifacts={"data": (Artifact("a", "/a"), Artifact("b", "/b"))})
        if start.key.path[-1] == "t":
            value = start.inputs.artifacts["data"]
            assert isinstance(value, Artifact)
            return Values(artifacts={"data": Artifact("x", value.uri + "/x")})
        return Values()

    run = Run(made, behave)
    assert run.starts["use"].inputs.artifacts["all"] == (Artifact("x", "/a/x"), Artifact("x", "/b/x"))
