"""Values on their way from producers and constants to consumers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mlplatform.core.model import Artifact, TaskError, Values
from mlplatform.core.states import RunState, TaskState
from mlplatform.core.values import ParameterType as T
from mlplatform.ir.model import (
    ArtifactSource,
    CachingOptions,
    ImporterExecutor,
    InputArtifactSpec,
    InputParameterSpec,
    OutputArtifactSpec,
    ParameterSource,
    PipelineTask,
)
from tests.unit.planning.build import (
    DATASET,
    LIST,
    TEXT,
    const,
    given,
    group,
    leaf,
    need,
    out,
    pipeline,
)
from tests.unit.planning.runs import Run


@pytest.mark.parametrize(
    ("value", "type_", "expected"),
    [
        (3, T.NUMBER_DOUBLE, 3.0),
        (3.0, T.NUMBER_INTEGER, 3),
        (3, T.STRING, "3"),
        (True, T.STRING, "true"),
        ([1, "a"], T.STRING, '[1, "a"]'),
        ({"a": 2.0}, T.STRUCT, {"a": 2}),
        ("text", T.STRING, "text"),
    ],
)
def test_values_arrive_in_the_declared_type(value: Any, type_: T, expected: Any) -> None:
    root = group({"a": PipelineTask("a"), "b": PipelineTask("b", parameters={"x": out("a")})})
    made = pipeline(root, a=leaf(), b=leaf({"x": InputParameterSpec(type_)}))
    run = Run(made, lambda s: Values({"Output": value}))
    assert run.inputs("b") == {"x": expected}
    assert type(run.inputs("b")["x"]) is type(expected)


@pytest.mark.parametrize(
    ("value", "type_"), [("3", T.NUMBER_INTEGER), (1, T.BOOLEAN), ("[1]", T.LIST), (2.5, T.NUMBER_INTEGER)]
)
def test_values_that_do_not_fit_fail_their_consumer(value: Any, type_: T) -> None:
    root = group({"a": PipelineTask("a"), "b": PipelineTask("b", parameters={"x": out("a")})})
    run = Run(pipeline(root, a=leaf(), b=leaf({"x": InputParameterSpec(type_)})), lambda s: Values({"Output": value}))
    assert run.state("b") is TaskState.FAILED
    assert run.records["b"].error is not None
    assert f"input 'x': expected {type_.value}" in run.records["b"].error.message


def test_only_constants_are_templates() -> None:
    evil = "{{$.inputs.parameters['n']}} {{$}}"
    parameters = {
        "a": ParameterSource(component_input="evil"),
        "n": const(3),
        "text": const("<{{$.inputs.parameters['a']}}|{{$.inputs.parameters['b']}}>"),
        "b": given("flag"),
        "whole": const("{{$.inputs.parameters['b']}}"),
        "deep": const(["{{$.inputs.parameters['b']}}", {"k": "x{{$.inputs.parameters['b']}}"}]),
        "job": const("{{$.pipeline_job_name}}/{{$.pipeline_task_name}}/{{$.pipeline_job_create_time_utc}}"),
    }
    root = group({"t": PipelineTask("c", parameters=parameters)}, {"evil": need(TEXT), "flag": need(T.BOOLEAN)})
    component = leaf({"text": need(TEXT), "whole": need(TEXT), "deep": need(LIST), "job": need(TEXT)})
    run = Run(pipeline(root, c=component), None, {"evil": evil, "flag": True})
    found = run.inputs("t")
    assert found["text"] == f"<{evil}|true>"
    assert found["whole"] == "true"
    assert found["deep"] == [True, {"k": "xtrue"}]
    assert found["job"] == "test-pipeline-run-1/t/1970-01-01T00:00:00Z"
    assert found["a"] == evil


def test_a_run_placeholder_without_a_value_fails_its_task() -> None:
    root = group({"t": PipelineTask("c", parameters={"x": const("{{$.workspace_path}}/a")})})
    run = Run(pipeline(root, c=leaf({"x": need(TEXT)})))
    assert run.records["t"].error == TaskError("UNRESOLVABLE", "placeholder {{$.workspace_path}} has no value here")


def test_literals_are_kept_to() -> None:
    spec = InputParameterSpec(TEXT, literals=("a", "b"))
    root = group({"t": PipelineTask("c", parameters={"x": const("z")})})
    run = Run(pipeline(root, c=leaf({"x": spec})))
    assert run.records["t"].error == TaskError("UNRESOLVABLE", 'input \'x\': "z" is not one of "a", "b"')


@pytest.mark.parametrize(
    ("is_list", "value", "expected"),
    [
        (False, Artifact("a", "/a"), Artifact("a", "/a")),
        (True, Artifact("a", "/a"), (Artifact("a", "/a"),)),
        (True, (), ()),
        (False, (Artifact("a", "/a"),), Artifact("a", "/a")),
        (False, (Artifact("a", "/a"), Artifact("b", "/b")), "expected one artifact, got a list of 2"),
    ],
)
def test_artifacts_and_lists_of_them(is_list: bool, value: Any, expected: Any) -> None:
    root = group({"t": PipelineTask("c", artifacts={"data": ArtifactSource(component_input="data")})})
    root = replace(
        root,
        inputs=replace(root.inputs, artifacts={"data": InputArtifactSpec(DATASET, is_list=isinstance(value, tuple))}),
    )
    made = pipeline(root, c=leaf(outputs={}, artifacts_in={"data": InputArtifactSpec(DATASET, is_list=is_list)}))
    run = Run(made, lambda s: Values(), artifacts={"data": value})
    if isinstance(expected, str):
        error = run.records["t"].error
        assert error is not None
        assert expected in error.message
    else:
        assert run.starts["t"].inputs.artifacts == {"data": expected}


def test_importers_are_leaves_that_are_never_cached() -> None:
    component = replace(leaf(outputs={}, artifacts_out={"artifact": OutputArtifactSpec(DATASET)}), executor_label="imp")
    task = PipelineTask("i", caching=CachingOptions(enable_cache=True, cache_key="k"))
    made = pipeline(group({"importer": task, "t": replace(task, component="c")}), i=component, c=leaf())
    made = replace(made, executors={**made.executors, "imp": ImporterExecutor(DATASET, uri="/x")})
    run = Run(made, lambda s: Values())
    assert (run.starts["importer"].executor, run.starts["importer"].cache_enabled) == ("imp", False)
    assert (run.starts["t"].cache_enabled, run.starts["t"].cache_key) == (True, "k")


def test_a_value_nested_beyond_measure_fails_its_consumer_and_not_the_planner() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    root = group({"a": PipelineTask("a"), "b": PipelineTask("b", parameters={"x": out("a")}), "c": PipelineTask("a")})
    made = pipeline(root, a=leaf(outputs={"Output": LIST}), b=leaf({"x": need(LIST)}))
    run = Run(made, lambda s: Values({"Output": deep}))
    assert run.records["b"].error == TaskError("UNRESOLVABLE", "a value is nested too deeply to be passed on")
    assert run.state("c") is TaskState.SUCCEEDED
    assert run.finish.state is RunState.FAILED
