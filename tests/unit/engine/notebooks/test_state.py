"""Which results of a notebook's tasks stand, by tables of what they read and what is there now."""

from __future__ import annotations

from typing import Any

import pytest

from mlplatform.engine.notebooks.state import State, apply, difference, may_skip, starting_point, unrestorable


def record(**parts: Any) -> dict[str, Any]:
    empty: dict[str, Any] = {"reads": {}, "whole": None, "settings": {}, "writes": {}, "deleted": [], "groups": {}}
    return {**empty, "blocks": [], "files": {"reads": [], "own_reads": {}, "writes": {}}, **parts}


def state(files: dict[str, str | None] | None = None, blocks: tuple[str, ...] = (), **names: str) -> State:
    """``x="content/group"``."""
    told = {name.replace("__", "@"): tuple(text.split("/")) for name, text in names.items()}
    groups = {group: {"why": "it is a lock" if group.startswith("x") else ""} for _, group in told.values()}  # type: ignore[misc]
    return State(told, groups, files or {}, blocks)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("parts", "now", "words"),
    [
        ({"reads": {"a": ["1", "g"]}}, state(a="1/g"), ""),
        ({"reads": {"a": ["1", "g"]}}, state(a="1/h"), ""),  # another group with the same content, read by itself
        ({"reads": {"a": ["1", "g"]}}, state(a="2/g"), "variable a, which it read, changed"),
        ({"reads": {"a": ["1", "g"]}}, state(), "variable a, which it read, is gone"),
        ({"reads": {"a": None}}, state(), ""),
        ({"reads": {"a": None}}, state(a="1/g"), "variable a is there now"),
        ({"reads": {}}, state(a="1/g"), ""),
        # what is read together must belong together in the same way
        ({"reads": {"a": ["1", "g"], "b": ["1", "g"]}}, state(a="1/g", b="1/g"), ""),
        ({"reads": {"a": ["1", "g"], "b": ["1", "g"]}}, state(a="1/h", b="1/h"), "shares"),
        ({"reads": {"a": ["1", "g"], "b": ["1", "h"]}}, state(a="1/k", b="1/k"), "shares"),
        # whoever can reach any name depends on which names there are
        ({"whole": ["a"], "reads": {"a": ["1", "g"]}}, state(a="1/g"), ""),
        ({"whole": ["a"], "reads": {"a": ["1", "g"]}}, state(a="1/g", b="1/h"), "variable b came or went"),
        # settings matter to all, generators only to those that move them
        ({"settings": {"@environment": "1"}}, state(__environment="1/g"), ""),
        ({"settings": {}}, state(__environment="1/g"), "the environment changed"),
        ({"settings": {"@warnings": "1"}}, state(__warnings="2/g"), "the warning filters changed"),
        ({}, State({"@numpy.random": ("1", "g")}), ""),
        ({"reads": {"@numpy.random": ["1", "g"]}}, State({"@numpy.random": ("2", "g")}), "numpy's global generator"),
        ({"settings": {}}, State({"@patch:statistics::mean": ("1", "g")}), "the patched statistics.mean changed"),
        ({"files": {"own_reads": {"/t": "d"}}}, state(files={"/t": "d"}), ""),
        ({"files": {"own_reads": {"/t": "d"}}}, state(files={"/t": "e"}), "/t, which it read, changed"),
        ({"files": {"own_reads": {"/t": "d"}}}, state(), "/t, which it read, changed"),
        ({}, State(unknown=True), "not known"),
    ],
)
def test_difference(parts: dict[str, Any], now: State, words: str) -> None:
    found = difference(record(**parts), now)
    assert (words in found) if words else (found == ""), found


def test_apply() -> None:
    before = state(files={"/t": "1"}, a="1/g", b="1/g", c="1/h")
    after = apply(
        before,
        record(
            writes={"b": ["2", "k"], "d": ["1", "k"]},
            deleted=["c"],
            groups={"k": {"why": ""}},
            blocks=["a thread"],
            files={"reads": [], "own_reads": {}, "writes": {"/t": None, "/u": "2"}},
        ),
    )
    assert dict(after.names) == {"a": ("1", "g"), "b": ("2", "k"), "d": ("1", "k")}
    assert dict(after.files) == {"/t": None, "/u": "2"}
    assert after.blocks == ("a thread",)
    assert apply(after, record()).blocks == ()
    assert apply(after, None).unknown


@pytest.mark.parametrize(
    ("now", "live", "words"),
    [
        (state(a="1/g"), None, ""),
        (state(a="1/x1"), None, "it is a lock"),
        (state(a="1/x1", b="2/g"), state(a="1/x1", b="1/h"), ""),  # the lock is there already
        (state(a="1/x1"), state(a="1/x0"), "it is a lock"),
        (state(blocks=("a thread",), a="1/g"), None, "a thread"),
        (state(blocks=("a thread",), a="1/g"), state(blocks=("a thread",)), ""),
        (state(a="1/bad"), None, "a cannot be loaded"),
        (State(unknown=True), None, "not known"),
    ],
)
def test_unrestorable(now: State, live: State | None, words: str) -> None:
    found = unrestorable(now, frozenset({"bad"}), live)
    assert (words in found) if words else (found == ""), found


GOOD, LOCK = state(a="1/g"), state(a="1/x1")


@pytest.mark.parametrize(
    ("states", "position", "miss", "stands"),
    [
        ([State(), GOOD, GOOD, GOOD], 0, 2, True),
        ([State(), LOCK, LOCK, LOCK], 0, 2, False),  # who runs needs what this one makes, and it cannot be kept
        ([State(), LOCK, GOOD, GOOD], 0, 2, True),  # a later state can be had: begin there
        ([State(), LOCK, LOCK, LOCK], 0, None, True),  # nothing runs
        ([State(), GOOD, LOCK, LOCK], 0, 2, True),
        ([State(), GOOD, LOCK, LOCK], 1, 2, False),
    ],
)
def test_may_skip(states: list[State], position: int, miss: int | None, stands: bool) -> None:
    assert (may_skip(states, position, miss, frozenset(), None) == "") is stands


def test_starting_point() -> None:
    assert starting_point([State(), GOOD, LOCK, LOCK], frozenset()) == 1
    assert starting_point([State(), LOCK, LOCK], frozenset()) == 0
    assert starting_point([State(), GOOD, GOOD], frozenset()) == 2
    assert starting_point([State(), GOOD, GOOD], frozenset({"g"})) == 0
