"""The tree of a watched run, and which of its rows fit on a screen."""

from __future__ import annotations

import random
from typing import Any

from mlplatform.cli.board import Board
from mlplatform.cli.rows import Row, rows
from mlplatform.core.states import RunState, TaskState


def task(name: str, state: str, *iteration: int, **more: Any) -> dict[str, Any]:
    body = {
        "name": name, "iteration": list(iteration), "state": state, "attempt": 1, "started_at": None,
        "finished_at": None, "error": None, "note": "", "is_group": False, **more,
    }  # fmt: skip
    return {"seq": 0, "at": 100.0, "kind": "task", "body": body}


def board(*events: dict[str, Any]) -> Board:
    made = Board("r", "name")
    for event in events:
        made.apply(event)
    return made


def shown(made: Board, height: int = 100, now: float = 100.0) -> list[str]:
    return [
        f"{'  ' * row.depth}{row.state} {row.name} {row.time} {row.note}".rstrip() for row in rows(made, now, height)
    ]


def loop(count: int, done: int) -> list[dict[str, Any]]:
    events = [task("loop", "RUNNING", is_group=True)]
    for index in range(count):
        state = "SUCCEEDED" if index < done else "RUNNING"
        events += [task("loop", state, index, is_group=True), task("loop/train", state, index)]
    return events


def test_states_times_and_reasons() -> None:
    made = board(
        task("load", "SUCCEEDED", started_at=90.0, finished_at=91.5),
        task("fit", "RUNNING", started_at=95.0, attempt=2),
        task("old", "CACHED", note="nothing changed"),
        task("wait", "QUEUED", note="2 cores"),
        task("soon", "QUEUED"),
        task("bad", "FAILED", error={"message": "ValueError:\n  no"}),
    )
    assert shown(made) == [
        "SUCCEEDED load 1.5s",
        "RUNNING fit 5.0s attempt 2",
        "CACHED old  cached",
        "WAITING wait  2 cores",
        "QUEUED soon",
        "FAILED bad  ValueError:   no",
    ]


def test_small_loops_are_open_and_large_ones_closed() -> None:
    assert shown(board(*loop(2, 1))) == [
        "RUNNING loop [1/2]  1 running",
        "  SUCCEEDED train[0]",
        "  RUNNING train[1]",
    ]
    failed = task("loop/train", "FAILED", 7, error={"message": "boom"})
    assert shown(board(*loop(200, 137), failed)) == [
        "RUNNING loop [137/200]  63 running, 1 failed",
        "  FAILED train[7]  boom",
    ]


def test_nested_loops_and_groups() -> None:
    made = board(
        task("outer", "RUNNING", is_group=True),
        task("outer", "RUNNING", 0, is_group=True),
        task("outer/inner", "RUNNING", 0, is_group=True),
        task("outer/inner", "RUNNING", 0, 0, is_group=True),
        task("outer/inner/t", "RUNNING", 0, 0),
        task("outer/check", "SUCCEEDED", 0),
        task("if", "SKIPPED", is_group=True),
        task("if/t", "SKIPPED"),
    )
    assert shown(made) == [
        "RUNNING outer [0/1]  1 running",
        "  RUNNING outer[0]",
        "    RUNNING inner [0/1]  1 running",
        "      RUNNING t[0]",
        "    SUCCEEDED check",
        "SKIPPED if",
    ]
    assert made.counts() == {TaskState.RUNNING: 1, TaskState.SUCCEEDED: 1, TaskState.SKIPPED: 1}


def test_finished_rows_give_way() -> None:
    events = [task(f"t{index}", "SUCCEEDED") for index in range(20)]
    made = board(*events, task("now", "RUNNING"), task("bad", "FAILED"))
    found = shown(made, height=6)
    assert found[-3:] == ["RUNNING now", "FAILED bad", " ... 17 more rows"]
    assert len(found) == 6


def test_a_screen_is_never_overrun() -> None:
    chance = random.Random(3)
    for _ in range(50):
        events = [task(f"t{n}", chance.choice(list(TaskState))) for n in range(chance.randrange(60))]
        height = chance.randrange(3, 30)
        found = rows(board(*events), 100.0, height)
        assert len(found) <= height
        assert all(isinstance(row, Row) for row in found)


def test_the_run_itself() -> None:
    made = board({"seq": 1, "at": 5.0, "kind": "run", "body": {"state": "RUNNING", "error": None}})
    assert (made.state, made.started_at) == (RunState.RUNNING, 5.0)
    assert made.apply({"seq": 2, "at": 6.0, "kind": "from-the-future", "body": {}}) is None


def test_names_cannot_move_the_cursor() -> None:
    assert shown(board(task("a\x1b[2Jb\nc", "RUNNING"))) == ["RUNNING a?[2Jb c"]
