"""States, values, ids and errors."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlplatform.core.errors import (
    Finding,
    InvalidPipeline,
    InvalidTransition,
    MlPlatformError,
    TrackingError,
    error_classes,
)
from mlplatform.core.ids import new_run_id, slug
from mlplatform.core.model import Artifact, TaskKey, Values
from mlplatform.core.states import (
    RUN_TRANSITIONS,
    TASK_TRANSITIONS,
    RunState,
    TaskState,
    transition_run,
    transition_task,
)
from mlplatform.core.values import (
    ParameterType,
    canonical_json,
    conform,
    digest_json,
    parse_text,
    to_text,
    whole_numbers,
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize("old", TaskState)
@pytest.mark.parametrize("new", TaskState)
def test_task_transitions_follow_the_table(old: TaskState, new: TaskState) -> None:
    if new is old or new in TASK_TRANSITIONS[old]:
        assert transition_task(old, new) is new
    else:
        with pytest.raises(InvalidTransition, match=f"{old} to {new}"):
            transition_task(old, new)


@pytest.mark.parametrize("old", RunState)
@pytest.mark.parametrize("new", RunState)
def test_run_transitions_follow_the_table(old: RunState, new: RunState) -> None:
    if new is old or new in RUN_TRANSITIONS[old]:
        assert transition_run(old, new) is new
    else:
        with pytest.raises(InvalidTransition):
            transition_run(old, new)


def test_a_succeeded_run_stays_succeeded() -> None:
    assert RUN_TRANSITIONS[RunState.SUCCEEDED] == frozenset()


@given(st.lists(st.sampled_from(TaskState), max_size=8))
def test_finished_tasks_leave_only_for_pending(path: list[TaskState]) -> None:
    state = TaskState.PENDING
    for new in path:
        if new is state or new in TASK_TRANSITIONS[state]:
            if state.finished and new is not state:
                assert new is TaskState.PENDING
            state = transition_task(state, new)


@given(JSON)
def test_whole_numbers_is_idempotent_and_keeps_equality(value: object) -> None:
    once = whole_numbers(value)  # type: ignore[arg-type]
    assert once == value
    assert canonical_json(whole_numbers(once)) == canonical_json(once)


def test_whole_numbers_reach_every_depth_and_leave_booleans() -> None:
    value = {"a": [1.0, 2.5, {"b": 3.0}], "c": True, "d": 1e300}
    out = whole_numbers(value)
    assert canonical_json(out) == b'{"a":[1,2.5,{"b":3}],"c":true,"d":1e+300}'


@pytest.mark.parametrize(
    ("value", "type_", "want"),
    [
        (2.0, ParameterType.NUMBER_INTEGER, 2),
        (2, ParameterType.NUMBER_DOUBLE, 2.0),
        ("2", ParameterType.STRING, "2"),
        (True, ParameterType.BOOLEAN, True),
        ([1.0], ParameterType.LIST, [1]),
        ({"a": 2.0}, ParameterType.STRUCT, {"a": 2}),
    ],
)
def test_conform(value: object, type_: ParameterType, want: object) -> None:
    got = conform(value, type_)  # type: ignore[arg-type]
    assert got == want
    assert type(got) is type(want)


@pytest.mark.parametrize(
    ("value", "type_"),
    [
        (True, ParameterType.NUMBER_INTEGER),
        (2.5, ParameterType.NUMBER_INTEGER),
        ("2", ParameterType.NUMBER_INTEGER),
        (1, ParameterType.BOOLEAN),
        (1, ParameterType.STRING),
        ({}, ParameterType.LIST),
        ([], ParameterType.STRUCT),
        (True, ParameterType.NUMBER_DOUBLE),
        (None, ParameterType.STRING),
    ],
)
def test_conform_refuses_other_types(value: object, type_: ParameterType) -> None:
    with pytest.raises(ValueError, match=f"expected {type_.value}"):
        conform(value, type_)  # type: ignore[arg-type]


def test_parse_text() -> None:
    assert parse_text("a\n", ParameterType.STRING) == "a\n"
    assert parse_text("3\n", ParameterType.NUMBER_INTEGER) == 3
    assert parse_text("True", ParameterType.BOOLEAN) is True
    assert parse_text('{"a": 1.0}', ParameterType.STRUCT) == {"a": 1}
    with pytest.raises(ValueError, match="NUMBER_INTEGER"):
        parse_text("three", ParameterType.NUMBER_INTEGER)


@given(JSON)
def test_digest_depends_on_the_value_alone(value: object) -> None:
    assert digest_json({"x": value, "y": 1}) == digest_json({"y": 1, "x": value})  # type: ignore[dict-item]


def test_digest_tells_types_apart() -> None:
    assert len({digest_json(v) for v in (1, 1.0, "1", True, [1])}) == 5


def test_to_text() -> None:
    assert to_text("x") == "x"
    assert to_text(True) == "true"
    assert to_text(3) == "3"
    assert to_text(["é", 1]) == '["é", 1]'
    assert math.isclose(float(to_text(0.1)), 0.1)


@given(st.floats(0, 4e9), st.floats(0, 4e9), st.binary(min_size=6, max_size=6))
def test_run_ids_sort_by_time(a: float, b: float, entropy: bytes) -> None:
    first, second = new_run_id(a, entropy), new_run_id(b, entropy)
    assert len(first) == 18
    if int(a * 1000) < int(b * 1000):
        assert first < second


@given(st.text())
def test_slugs_are_labels(text: str) -> None:
    import re

    assert re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", slug(text))


def test_error_codes_are_unique() -> None:
    classes: list[type[MlPlatformError]] = [MlPlatformError]
    for cls in classes:
        classes.extend(cls.__subclasses__())
    codes = [cls.code for cls in classes if cls.__module__ == "mlplatform.core.errors"]
    assert len(codes) == len(set(codes))
    assert set(codes) <= set(error_classes())


def test_a_rooms_own_kind_of_an_error_does_not_take_its_code() -> None:
    class Special(TrackingError):
        code = "TRACKING"

    class Own(MlPlatformError):
        code = "OWN_TO_A_ROOM"

    class OwnKind(Own):
        code = "OWN_TO_A_ROOM"

    classes = error_classes()
    assert classes["TRACKING"] is TrackingError
    assert classes["OWN_TO_A_ROOM"] is Own
    assert (Special.code, OwnKind.code) == ("TRACKING", "OWN_TO_A_ROOM")


def test_an_error_shows_every_finding_and_what_to_do() -> None:
    error = InvalidPipeline(
        "p.yaml cannot be run", findings=[Finding("a.b", "is bad", hint="mend it")], hint="See docs."
    )
    assert str(error) == "p.yaml cannot be run\n  - a.b: is bad (mend it)\nSee docs."
    assert error.to_json()["findings"] == [{"path": "a.b", "code": "invalid", "message": "is bad", "hint": "mend it"}]


def test_values_round_trip() -> None:
    values = Values(
        {"n": 2, "f": 2.0, "s": "é"},
        {
            "one": Artifact("one", "/x", "system.Model", {"k": 1}, "sha256:0", 3),
            "many": (Artifact("m", "/y"),),
            "none": (),
        },
    )
    assert Values.from_json(values.to_json()) == values


def test_task_keys_read_like_paths() -> None:
    assert str(TaskKey(("loop", "train"), (3, 0))) == "loop/train[3][0]"
