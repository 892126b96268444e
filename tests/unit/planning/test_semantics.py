"""What depends on what: failures, skips, conditions, and pipelines that cannot be planned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from mlplatform.core.errors import PlanningError
from mlplatform.core.model import TaskError, Values
from mlplatform.core.states import RunState, TaskState
from mlplatform.core.values import ParameterType as T
from mlplatform.ir.model import (
    Pipeline,
    PipelineTask,
)
from mlplatform.planning.model import FinishRun, Limits, RunView
from mlplatform.planning.planner import Planner
from tests.unit.planning.build import (
    ALWAYS,
    INT,
    LIST,
    TEXT,
    const,
    given,
    group,
    leaf,
    maybe,
    need,
    out,
    pipeline,
)
from tests.unit.planning.runs import Run, echo, fails


def test_a_chain_passes_values_on() -> None:
    root = group(
        {"a": PipelineTask("c", parameters={"x": given("n")}), "b": PipelineTask("c", parameters={"x": out("a")})},
        {"n": need()},
        {"Output": "b.Output"},
    )
    run = Run(
        pipeline(root, c=leaf({"x": need()})), lambda s: Values({"Output": s.inputs.parameters["x"] + 1}), {"n": 5}
    )
    assert run.order == ["a", "b"]
    assert run.finish == FinishRun(RunState.SUCCEEDED, Values({"Output": 7}))


def test_a_failure_stops_only_what_depends_on_it() -> None:
    root = group(
        {
            "bad": PipelineTask("c"),
            "after": PipelineTask("c", dependent_tasks=("bad",)),
            "after-that": PipelineTask("c", dependent_tasks=("after",)),
            "other": PipelineTask("c"),
            "other-2": PipelineTask("c", dependent_tasks=("other",)),
        }
    )
    run = Run(pipeline(root, c=leaf()), fails("bad"))
    assert run.order == ["bad", "other", "other-2"]
    assert run.state("after") is TaskState.SKIPPED
    assert run.records["after"].note == "bad failed"
    assert run.records["after-that"].note == "after was skipped"
    assert run.finish.state is RunState.FAILED
    assert run.finish.error == TaskError("TASK_FAILED", "task bad failed: it broke")


def test_a_failed_run_names_the_first_failures_in_document_order() -> None:
    tasks = {f"t{n}": PipelineTask("c") for n in range(6)}
    run = Run(pipeline(group(tasks), c=leaf()), fails("t1", "t2", "t3", "t4"))
    assert run.finish.error is not None
    assert run.finish.error.message == "4 tasks failed (t1, t2, t3 and 1 more); task t1 failed: it broke"


def test_ignore_upstream_failure_uses_defaults_and_saves_nothing() -> None:
    root = group(
        {
            "bad": PipelineTask("c"),
            "next": PipelineTask("d", parameters={"x": out("bad")}, strategy=ALWAYS),
            "last": PipelineTask("d", parameters={"x": out("next")}),
        }
    )
    run = Run(pipeline(root, c=leaf(), d=leaf({"x": maybe(INT, 42)})), lambda s: fails("bad")(s))
    assert run.inputs("next") == {"x": 42}
    assert run.inputs("last") == {"x": 1}
    assert run.finish.state is RunState.FAILED


def test_ignore_upstream_failure_without_a_default_fails() -> None:
    root = group({"bad": PipelineTask("c"), "next": PipelineTask("d", parameters={"x": out("bad")}, strategy=ALWAYS)})
    run = Run(pipeline(root, c=leaf(), d=leaf({"x": need()})), fails("bad"))
    assert run.state("next") is TaskState.FAILED
    assert run.records["next"].error == TaskError("UNRESOLVABLE", "input 'x' has no value")


def test_optional_inputs_without_a_value_are_absent_and_empty_values_are_values() -> None:
    component = leaf({"a": maybe(TEXT), "b": maybe(TEXT), "c": maybe(LIST), "d": maybe(INT), "e": maybe(T.BOOLEAN)})
    parameters = {"b": const(""), "c": const([]), "d": const(0), "e": const(False), "a": given("nothing")}
    root = group({"t": PipelineTask("c", parameters=parameters)}, {"nothing": maybe(TEXT)})
    run = Run(pipeline(root, c=component))
    assert run.inputs("t") == {"b": "", "c": [], "d": 0, "e": False}


def test_a_missing_required_run_parameter_fails_the_run_before_anything_starts() -> None:
    run = Run(pipeline(group({"t": PipelineTask("c")}, {"n": need()}), c=leaf()))
    assert run.order == []
    assert run.finish.error == TaskError("UNRESOLVABLE", "input 'n' has no value")


def branches(n: Any, *, root_outputs: Mapping[str, str] | None = None) -> Pipeline:
    inner = group({"say": PipelineTask("c", parameters={"x": const(1)})}, {"n": maybe()}, {"o": "say.Output"})
    other = group({"say-2": PipelineTask("c", parameters={"x": const(2)})}, {"n": maybe()}, {"o": "say-2.Output"})
    pair = group(
        {
            "condition-2": PipelineTask(
                "yes", parameters={"n": given("n")}, condition="int(inputs.parameter_values['n']) > 5"
            ),
            "condition-3": PipelineTask(
                "no",
                parameters={"n": given("n")},
                condition="!(int(inputs.parameter_values['n']) > 5) && int(inputs.parameter_values['n']) >= 0",
            ),
        },
        {"n": maybe()},
        {"one": ("condition-2.o", "condition-3.o")},
    )
    root = group(
        {
            "condition-branches-1": PipelineTask("pair", parameters={"n": const(n)}),
            "use": PipelineTask("c", parameters={"x": out("condition-branches-1", "one")}),
        },
        outputs=root_outputs,
    )
    return pipeline(root, pair=pair, yes=inner, no=other, c=leaf({"x": need()}))


@pytest.mark.parametrize(("n", "value", "skipped"), [(9, 1, "condition-3"), (3, 2, "condition-2")])
def test_one_of_takes_the_branch_that_ran(n: int, value: int, skipped: str) -> None:
    run = Run(branches(n), echo)
    assert run.inputs("use") == {"x": value}
    assert run.state(f"condition-branches-1/{skipped}") is TaskState.SKIPPED
    assert run.finish.state is RunState.SUCCEEDED


def test_one_of_without_a_branch_fails_its_consumer() -> None:
    run = Run(branches(-1), echo)
    assert run.state("condition-branches-1") is TaskState.SUCCEEDED
    assert run.state("use") is TaskState.FAILED
    assert run.finish.state is RunState.FAILED


def test_one_of_without_a_branch_as_the_runs_output_fails_the_run() -> None:
    made = branches(-1, root_outputs={"result": "condition-branches-1.one"})
    assert made.root.dag is not None
    tasks = {"condition-branches-1": made.root.dag.tasks["condition-branches-1"]}
    made = replace(made, root=replace(made.root, dag=replace(made.root.dag, tasks=tasks)))
    run = Run(made, echo)
    assert run.finish.error is not None
    assert run.finish.error.message == "output 'result' of the pipeline has no value: no task that makes it ran"


@pytest.mark.parametrize(
    ("condition", "reason"),
    [
        ("inputs.parameter_values['x'] == 1", '"abc" (string) is compared with 1 (number)'),
        ("int(inputs.parameter_values['x']) > 1", "string parse error"),
        ("inputs.parameter_values['y'] == 'a'", "there is no value 'y'"),
        ("inputs.parameter_values['x']", 'it gives "abc", not true or false'),
    ],
)
def test_a_condition_that_cannot_be_evaluated_is_a_failure(condition: str, reason: str) -> None:
    task = PipelineTask("g", parameters={"x": const("abc")}, condition=condition)
    root = group({"condition-1": task, "after": PipelineTask("c", dependent_tasks=("condition-1",))})
    run = Run(pipeline(root, g=group({"t": PipelineTask("c")}, {"x": maybe(TEXT)}), c=leaf()))
    assert run.order == []
    error = run.records["condition-1"].error
    assert error is not None
    assert reason in error.message
    assert repr(condition) in error.message or condition in error.message
    assert run.state("after") is TaskState.SKIPPED
    assert run.finish.state is RunState.FAILED


def test_a_false_condition_skips_what_depends_on_it_and_the_run_succeeds() -> None:
    task = PipelineTask("g", parameters={"x": const(1)}, condition="inputs.parameter_values['x'] == 2")
    root = group(
        {
            "condition-1": task,
            "after": PipelineTask("c", dependent_tasks=("condition-1",)),
            "anyway": PipelineTask("c", dependent_tasks=("condition-1",), strategy=ALWAYS),
        },
        outputs={"never": "after.Output"},
    )
    run = Run(pipeline(root, g=group({"t": PipelineTask("c")}, {"x": maybe()}), c=leaf()))
    assert run.order == ["anyway"]
    assert run.finish == FinishRun(RunState.SUCCEEDED, Values({}, {}))


def test_pipelines_that_cannot_be_planned_are_refused() -> None:
    cases = {
        "depends on 'x', which does not exist": group({"t": PipelineTask("c", dependent_tasks=("x",))}),
        "component 'nowhere', which does not exist": group({"t": PipelineTask("nowhere")}),
        "wait for each other in a circle: a, b": group(
            {"a": PipelineTask("c", dependent_tasks=("b",)), "b": PipelineTask("c", dependent_tasks=("a",))}
        ),
        "comes from task 'nobody'": group({"t": PipelineTask("c")}, outputs={"o": "nobody.x"}),
    }
    for reason, root in cases.items():
        with pytest.raises(PlanningError, match=reason):
            Planner(pipeline(root, c=leaf()), RunView("r", "j"), Limits())
    inside = group({"t": PipelineTask("self")})
    with pytest.raises(PlanningError, match="contains itself"):
        Planner(pipeline(group({"t": PipelineTask("self")}), self=inside), RunView("r", "j"), Limits())
    with pytest.raises(PlanningError, match="has no executor 'gone'"):
        Planner(
            pipeline(group({"t": PipelineTask("c")}), c=replace(leaf(), executor_label="gone")),
            RunView("r", "j"),
            Limits(),
        )
