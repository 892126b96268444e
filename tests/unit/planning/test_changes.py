"""What counts as a change between two documents of a pipeline, and what a resumed run does again because of it."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from mlplatform.core.model import TaskKey, TaskRecord, Values
from mlplatform.core.states import TaskState
from mlplatform.ir.load import loads
from mlplatform.ir.model import Pipeline
from mlplatform.planning.changes import Changes, changes_between, describe
from mlplatform.planning.resetting import GONE, Reset, known_only, reset_for_resume
from tests.support.pipelines import ADD_ONE, Builder, executor

Document = dict[str, Any]

S, C, F, X, P = TaskState.SUCCEEDED, TaskState.CACHED, TaskState.FAILED, TaskState.CANCELLED, TaskState.PENDING


def diamond() -> Builder:
    """load -> left, right -> join; a loop (fit -> score) over [0, 1, 2]; report after the loop; bye at the end."""
    builder = Builder("diamond")
    number = {"Output": "NUMBER_INTEGER"}
    builder.component("load", ADD_ONE.replace("add_one", "load"), inputs={"x": "NUMBER_INTEGER"}, outputs=number)
    builder.component("left", ADD_ONE.replace("add_one", "left"), inputs={"x": "NUMBER_INTEGER"}, outputs=number)
    builder.component("right", ADD_ONE.replace("add_one", "right"), inputs={"x": "NUMBER_INTEGER"}, outputs=number)
    join = "def join(a: int, b: int) -> int:\n    return a + b\n"
    builder.component("join", join, inputs={"a": "NUMBER_INTEGER", "b": "NUMBER_INTEGER"}, outputs=number)
    builder.component("fit", ADD_ONE.replace("add_one", "fit"), inputs={"x": "NUMBER_INTEGER"}, outputs=number)
    builder.component("score", ADD_ONE.replace("add_one", "score"), inputs={"x": "NUMBER_INTEGER"}, outputs=number)
    builder.component("report", "def report(n: int = 3):\n    print(n)\n", inputs={"n": "NUMBER_INTEGER"})
    builder.components["comp-report"]["inputDefinitions"]["parameters"]["n"].update(defaultValue=3, isOptional=True)
    builder.task("load", constants={"x": 1})
    builder.task("left", from_tasks={"x": ("load", "Output")})
    builder.task("right", from_tasks={"x": ("load", "Output")})
    builder.task("join", from_tasks={"a": ("left", "Output"), "b": ("right", "Output")})
    inner: dict[str, Any] = {}
    builder.task("fit", from_inputs={"x": "item"}, into=inner)
    builder.task("score", from_tasks={"x": ("fit", "Output")}, into=inner)
    builder.loop("for-loop-1", [0, 1, 2], inner, collect=("score", "Output"))
    builder.task("report", after=["for-loop-1"])
    return builder


def document() -> Document:
    return copy.deepcopy(diamond().document())


def pipeline(data: Document) -> Pipeline:
    return loads(json.dumps(data))


def loop(data: Document) -> Document:
    return data["components"]["comp-for-loop-1"]


def source(data: Document, name: str, text: str) -> None:
    data["deploymentSpec"]["executors"][f"exec-{name}"] = executor(text, name)


def rewrite(name: str, old: str, new: str) -> Callable[[Document], None]:
    def edit(data: Document) -> None:
        command = data["deploymentSpec"]["executors"][f"exec-{name}"]["container"]["command"]
        assert old in command[-1]
        command[-1] = command[-1].replace(old, new)

    return edit


def set_(value: Any, *path: str) -> Callable[[Document], None]:
    def edit(data: Document) -> None:
        place = data
        for name in path[:-1]:
            place = place[name]
        place[path[-1]] = value

    return edit


TASKS = ("root", "dag", "tasks")
LEFT = ("deploymentSpec", "executors", "exec-left", "container")
NO_CHANGE: dict[str, Callable[[Document], None]] = {
    "nothing": lambda data: None,
    "a comment": rewrite("left", "return x + 1", "return x + 1  # one more"),
    "formatting": rewrite("left", "x + 1", "(x+1)"),
    "a docstring": rewrite("left", "    return", "    'Adds one.'\n    return"),
    "a display name": set_({"name": "Left"}, *TASKS, "left", "taskInfo"),
    "caching": set_({"enableCache": True}, *TASKS, "left", "cachingOptions"),
    "retries": set_({"maxRetryCount": 3}, *TASKS, "left", "retryPolicy"),
    "resources": set_({"cpuLimit": 2.0}, *LEFT, "resources"),
    "a default written out": set_({"parameters": {"n": {"runtimeValue": {"constant": 3}}}}, *TASKS, "report", "inputs"),
    "a node selector": set_(
        {"kubernetes": {"deploymentSpec": {"executors": {"exec-left": {"nodeSelector": {"labels": {"a": "b"}}}}}}},
        "platforms",
    ),
}


@pytest.mark.parametrize("edit", NO_CHANGE.values(), ids=list(NO_CHANGE))
def test_no_change(edit: Callable[[Document], None]) -> None:
    data = document()
    edit(data)
    platforms = data.pop("platforms", None)
    new = loads(json.dumps({"pipeline_spec": data, "platform_spec": {"platforms": platforms}} if platforms else data))
    assert changes_between(pipeline(document()), new) == Changes()


def secret(data: Document) -> None:
    data["platforms"] = {
        "kubernetes": {"deploymentSpec": {"executors": {"exec-left": {"secretAsEnv": [{"secretName": "s"}]}}}}
    }


def new_task_in_loop(data: Document) -> None:
    data["components"]["comp-more"] = copy.deepcopy(data["components"]["comp-fit"])
    tasks = loop(data)["dag"]["tasks"]
    tasks["more"] = copy.deepcopy(tasks["fit"])
    tasks["more"]["componentRef"] = {"name": "comp-more"}


def rewired(data: Document) -> None:
    data["root"]["dag"]["tasks"]["join"]["inputs"]["parameters"]["b"]["taskOutputParameter"]["producerTask"] = "left"
    data["root"]["dag"]["tasks"]["join"]["dependentTasks"] = ["left"]


def loop_input(value: int) -> Callable[[Document], None]:
    """The loop hands a constant down to ``fit``."""

    def edit(data: Document) -> None:
        loop(data)["inputDefinitions"]["parameters"]["extra"] = {"parameterType": "NUMBER_INTEGER"}
        constant = {"runtimeValue": {"constant": value}}
        data["root"]["dag"]["tasks"]["for-loop-1"]["inputs"] = {"parameters": {"extra": constant}}
        loop(data)["dag"]["tasks"]["fit"]["inputs"]["parameters"]["x"] = {"componentInputParameter": "extra"}

    return edit


CHANGED: dict[str, tuple[Callable[[Document], None], dict[str, str]]] = {
    "code": (rewrite("left", "x + 1", "x + 2"), {"left": "its code changed"}),
    "packages": (lambda data: _install(data), {"left": "its packages changed"}),
    "an image": (set_("python:3.12", *LEFT, "image"), {"left": "its image changed"}),
    "a variable": (
        set_([{"name": "A", "value": "1"}], *LEFT, "env"),
        {"left": "its environment variables changed: A is new"},
    ),
    "a secret": (secret, {"left": "its secrets, volumes or other surroundings changed"}),
    "a constant": (
        set_({"runtimeValue": {"constant": 2}}, *TASKS, "load", "inputs", "parameters", "x"),
        {"load": "its input 'x' changed"},
    ),
    "a default": (
        set_(4, "components", "comp-report", "inputDefinitions", "parameters", "n", "defaultValue"),
        {"report": "its input 'n' changed"},
    ),
    "wiring": (rewired, {"join": "its input 'b' changed"}),
    "order": (set_(["join"], *TASKS, "report", "dependentTasks"), {"report": "what it runs after changed"}),
    "a condition": (set_({"condition": "1 == 1"}, *TASKS, "left", "triggerPolicy"), {"left": "its condition changed"}),
    "a loop": (
        set_({"itemInput": "item", "items": {"raw": "[0, 1]"}}, *TASKS, "for-loop-1", "parameterIterator"),
        {"for-loop-1": "its loop changed"},
    ),
    "code in a loop": (rewrite("score", "x + 1", "x * 2"), {"for-loop-1/score": "its code changed"}),
    "a new task in a loop": (new_task_in_loop, {"for-loop-1/more": "it is new"}),
}


def _install(data: Document) -> None:
    command = data["deploymentSpec"]["executors"]["exec-left"]["container"]["command"]
    command[2] = command[2].replace(
        ' && "$0"', " && python3 -m pip install --quiet --no-warn-script-location 'rich' && \"$0\""
    )


@pytest.mark.parametrize(("edit", "changed"), CHANGED.values(), ids=list(CHANGED))
def test_changes(edit: Callable[[Document], None], changed: dict[str, str]) -> None:
    data = document()
    edit(data)
    platforms = data.pop("platforms", None)
    new = loads(json.dumps({"pipeline_spec": data, "platform_spec": {"platforms": platforms}} if platforms else data))
    found = changes_between(pipeline(document()), new)
    assert {"/".join(path): reason for path, reason in found.tasks.items()} == changed


def test_what_a_group_hands_down_changes_those_who_take_it() -> None:
    old, new = document(), document()
    loop_input(1)(old)
    loop_input(2)(new)
    found = changes_between(pipeline(old), pipeline(new))
    assert {"/".join(path): reason for path, reason in found.tasks.items()} == {
        "for-loop-1/fit": "its input 'x' changed"
    }


def test_renamed_outputs_and_tasks() -> None:
    data = document()
    loop(data)["dag"]["outputs"]["parameters"]["collected"]["valueFromParameter"]["producerSubtask"] = "fit"
    del data["root"]["dag"]["tasks"]["join"]
    found = changes_between(pipeline(document()), pipeline(data))
    assert found == Changes({}, frozenset({("for-loop-1",)}), (("join",),))
    assert describe(found) == "for-loop-1: its outputs come from elsewhere; join is gone"


# ------------------------------------------------------------------ reset
def records(**states: TaskState) -> list[TaskRecord]:
    """Everything succeeded but ``states`` (``fit_1``: iteration 1 of for-loop-1/fit)."""
    found = [TaskRecord(TaskKey(("for-loop-1",)), S, is_group=True)]
    found += [TaskRecord(TaskKey(("for-loop-1",), (index,)), S, is_group=True) for index in range(3)]
    for name in ("load", "left", "right", "join", "report"):
        found.append(TaskRecord(TaskKey((name,)), states.get(name, S), "c", attempt=1, outputs=Values({"Output": 1})))
    for name in ("fit", "score"):
        for index in range(3):
            key = TaskKey(("for-loop-1", name), (index,))
            found.append(
                TaskRecord(key, states.get(f"{name}_{index}", S), "c", attempt=1, outputs=Values({"Output": 1}))
            )
    return found


def again(reset: Reset) -> set[str]:
    return {str(key) for key in reset.again}


LOOP = {f"for-loop-1/{name}[{index}]" for name in ("fit", "score") for index in range(3)}

RESETS: dict[str, tuple[dict[str, TaskState], Changes, set[str]]] = {
    "nothing": ({}, Changes(), set()),
    "a failure at the end": ({"join": F}, Changes(), {"join"}),
    "a failure in the middle": ({"left": F, "join": P}, Changes(), {"left", "join"}),
    "cancelled": ({"right": X, "join": X}, Changes(), {"right", "join"}),
    "cached stays": ({"load": C, "join": F}, Changes(), {"join"}),
    "one iteration": ({"fit_1": F, "score_1": P}, Changes(), {"for-loop-1/fit[1]", "for-loop-1/score[1]", "report"}),
    "its last task": ({"score_2": F}, Changes(), {"for-loop-1/score[2]", "report"}),
    "a change": ({}, Changes({("left",): ""}), {"left", "join"}),
    "a change at the start": ({}, Changes({("load",): ""}), {"load", "left", "right", "join"}),
    "a change in the loop": (
        {},
        Changes({("for-loop-1", "score"): ""}),
        {f"for-loop-1/score[{index}]" for index in range(3)} | {"report"},
    ),
    "a change of the loop": ({}, Changes({("for-loop-1",): ""}), LOOP | {"report"}),
    "other outputs of the loop": ({}, Changes({}, frozenset({("for-loop-1",)})), {"report"}),
}


@pytest.mark.parametrize(("states", "changes", "expected"), RESETS.values(), ids=list(RESETS))
def test_resets(states: dict[str, TaskState], changes: Changes, expected: set[str]) -> None:
    reset = reset_for_resume(pipeline(document()), records(**states), changes)
    assert again(reset) == expected
    assert {str(key) for key in reset.kept} == ({"load", "left", "right", "join", "report"} | LOOP) - expected
    for record in reset.records:
        if record.is_group or str(record.key) in expected:
            assert (record.state, record.outputs.parameters) == (P, {})
        else:
            assert record.outputs.parameters == {"Output": 1}
        assert record.is_group or record.attempt == 1, "attempts go on counting"


def test_a_task_that_is_gone_is_kept_as_such() -> None:
    data = document()
    del data["root"]["dag"]["tasks"]["join"]
    new = pipeline(data)
    reset = reset_for_resume(new, records(join=F), changes_between(pipeline(document()), new))
    assert [(str(record.key), record.state, record.cache_note) for record in reset.gone] == [
        ("join", TaskState.SKIPPED, GONE)
    ]
    assert again(reset) == set()
    assert "join" not in {str(record.key) for record in known_only(new, records())}


def test_the_plan_of_a_thousand_iterations_is_quick() -> None:
    found = [TaskRecord(TaskKey(("for-loop-1",)), S, is_group=True)]
    for index in range(1000):
        for name in ("fit", "score"):
            found.append(TaskRecord(TaskKey(("for-loop-1", name), (index,)), F if index == 7 else S, "c", attempt=1))
    reset = reset_for_resume(pipeline(document()), found)
    assert again(reset) == {"for-loop-1/fit[7]", "for-loop-1/score[7]"}
