"""A world for the planner: leaf tasks that do something deterministic, in any order, with crashes."""

from __future__ import annotations

import random
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from mlplatform.core.model import NO_VALUES, TaskError, TaskKey, Values
from mlplatform.core.states import TaskState
from mlplatform.ir.model import Pipeline
from mlplatform.planning.model import (
    Action,
    CancelTask,
    Decision,
    FinishRun,
    Limits,
    RecordTask,
    RunView,
    StartTask,
    TaskFact,
)
from mlplatform.planning.planner import Planner


def outcome(start: StartTask, seed: int) -> tuple[bool, Values]:
    """Whether this leaf's attempts beyond its failures succeed, and with what. Depends on what the task is and gets,
    never on when it runs."""
    text = f"{start.key}|{sorted(start.inputs.parameters.items())}|{seed}"
    number = zlib.crc32(text.encode())
    return number % 7 != 0, Values({"o": number % 10, "l": [number % 4, number % 3][: number % 3]})


def failures_of(key: TaskKey, seed: int) -> int:
    """How many first attempts of a leaf fail."""
    return (0, 0, 0, 1, 1, 3)[zlib.crc32(f"{key}/{seed}".encode()) % 6]


@dataclass
class World:
    """Facts that are durable, tasks that run, and records as a reader would see them."""

    pipeline: Pipeline
    seed: int = 0
    limits: Limits = field(default_factory=Limits)
    now: float = 1_000.0
    facts: dict[TaskKey, TaskFact] = field(default_factory=dict[TaskKey, TaskFact])
    running: dict[TaskKey, StartTask] = field(default_factory=dict[TaskKey, StartTask])
    records: dict[TaskKey, RecordTask] = field(default_factory=dict[TaskKey, RecordTask])
    started: list[StartTask] = field(default_factory=list[StartTask])
    cancel_requested: bool = False
    finish: FinishRun | None = None
    wake_at: float | None = None
    most_running: int = 0

    def view(self) -> RunView:
        return RunView("run", "job", {}, {}, dict(self.facts), self.cancel_requested)

    def planner(self) -> Planner:
        return Planner(self.pipeline, self.view(), self.limits)

    # ------------------------------------------------------------------ doing what the planner says
    def carry_out(self, decision: Decision, *, stop_after: int | None = None) -> list[TaskFact]:
        """Do the actions; with ``stop_after`` the process dies after that many. Returns facts that follow at once."""
        self.wake_at = decision.wake_at
        follow: list[TaskFact] = []
        actions: Sequence[Action] = decision.actions
        for action in actions if stop_after is None else actions[:stop_after]:
            match action:
                case StartTask():
                    self._start(action)
                case RecordTask():
                    self.records[action.key] = action
                case CancelTask():
                    if action.key in self.running:
                        follow.append(self._cancelled(action.key))
                case FinishRun():
                    assert self.finish is None or self.finish == action
                    self.finish = action
        return follow

    def _start(self, start: StartTask) -> None:
        assert start.key not in self.running, f"{start.key} started twice"
        fact = self.facts.get(start.key)
        assert fact is None or fact.state in (TaskState.PENDING, TaskState.FAILED), f"{start.key} was {fact}"
        assert start.attempt == (fact.attempt if fact else 0) + 1
        self.running[start.key] = start
        self.started.append(start)
        self.most_running = max(self.most_running, len(self.running))
        failures = fact.failures if fact else 0
        self.facts[start.key] = TaskFact(start.key, TaskState.RUNNING, start.attempt, failures)

    def _cancelled(self, key: TaskKey) -> TaskFact:
        start = self.running.pop(key)
        fact = TaskFact(key, TaskState.CANCELLED, start.attempt, self.facts[key].failures, finished_at=self.now)
        self.facts[key] = fact
        return fact

    # ------------------------------------------------------------------ what happens
    def complete(self, key: TaskKey) -> TaskFact:
        """The running attempt of a leaf ends, as it always would."""
        start = self.running.pop(key)
        failures = self.facts[key].failures
        works, values = outcome(start, self.seed)
        if works and failures >= failures_of(key, self.seed):
            fact = TaskFact(key, TaskState.SUCCEEDED, start.attempt, failures, values, finished_at=self.now)
        else:
            error = TaskError("TASK_FAILED", f"failure {failures + 1}")
            fact = TaskFact(key, TaskState.FAILED, start.attempt, failures + 1, NO_VALUES, error, self.now)
        self.facts[key] = fact
        return fact

    def lose(self, key: TaskKey) -> None:
        """The process of a running attempt is gone without a trace."""
        start = self.running.pop(key)
        self.facts[key] = TaskFact(key, TaskState.PENDING, start.attempt, self.facts[key].failures)

    # ------------------------------------------------------------------ comparing
    def summary(self) -> dict[str, Any]:
        """What a user sees in the end: nothing that depends on order or time."""
        leaves = {str(key): (str(fact.state), fact.failures, fact.outputs) for key, fact in self.facts.items()}
        groups = {
            str(key): (str(record.state), record.outputs, record.error, record.note)
            for key, record in self.records.items()
            if record.state is not TaskState.RETRYING
        }
        return {"finish": self.finish, "leaves": leaves, "groups": groups}


def run_in_order(pipeline: Pipeline, seed: int = 0, limits: Limits | None = None) -> World:
    """First come, first served, no accidents."""
    return run_at_random(pipeline, seed, random.Random(0), limits=limits, pick_first=True)


def run_at_random(
    pipeline: Pipeline,
    seed: int,
    chance: random.Random,
    *,
    limits: Limits | None = None,
    crashes: float = 0.0,
    cancel_after: int | None = None,
    pick_first: bool = False,
    inspect: Any = None,
) -> World:
    """Run to the end: leaves end in random order, and now and then the planner dies between two actions."""
    world = World(pipeline, seed, limits or Limits())
    planner = world.planner()
    decision = planner.advance((), world.now)
    for step in range(5_000):
        crashed = chance.random() < crashes
        facts = world.carry_out(decision, stop_after=chance.randint(0, len(decision.actions)) if crashed else None)
        if crashed:
            for key in [key for key in world.running if chance.random() < 0.3]:
                world.lose(key)
            world.finish = None
            planner = world.planner()
            decision = planner.advance((), world.now)
            continue
        if inspect is not None and not facts:
            inspect(world, planner)
        if world.finish is not None:
            assert not world.running, "finished while tasks run"
            return world
        if cancel_after is not None and step >= cancel_after and not world.cancel_requested:
            world.cancel_requested = True
            decision = planner.cancel(world.now)
            continue
        if not facts and world.running:
            keys = sorted(world.running) if pick_first else chance.sample(sorted(world.running), len(world.running))
            facts = [world.complete(key) for key in keys[: chance.randint(1, 2)]]
        elif not facts:
            assert world.wake_at is not None, f"stuck: {planner.states()}"
            world.now = world.wake_at
        world.now += 0.25
        decision = planner.advance(facts, world.now)
    raise AssertionError("it does not end")
