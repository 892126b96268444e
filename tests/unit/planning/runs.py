"""Drives a pipeline through the planner and keeps what it said, for table tests."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from mlplatform.core.model import TaskError, Values
from mlplatform.core.states import TaskState
from mlplatform.ir.model import (
    Pipeline,
)
from mlplatform.planning.model import FinishRun, Limits, RecordTask, RunView, StartTask, TaskFact
from mlplatform.planning.planner import Planner

Behaviour = Callable[[StartTask], "Values | str"]


class Run:
    """Runs a pipeline; ``behave`` gives a leaf's outputs, or a text: it fails with that message."""

    def __init__(
        self,
        made: Pipeline,
        behave: Behaviour | None = None,
        parameters: Mapping[str, Any] | None = None,
        artifacts: Mapping[str, Any] | None = None,
    ) -> None:
        self.behave = behave or (lambda start: Values({"Output": 1}))
        self.starts: dict[str, StartTask] = {}
        self.records: dict[str, RecordTask] = {}
        self.order: list[str] = []
        self.now = 100.0
        view = RunView("run-1", "test-pipeline-run-1", parameters or {}, artifacts or {}, created_at=0.0)
        self.planner = Planner(made, view, Limits())
        self.finish = self._drive()

    def _drive(self) -> FinishRun:
        queue = list(self.planner.advance((), self.now).actions)
        while queue:
            action = queue.pop(0)
            if isinstance(action, StartTask):
                self.starts[str(action.key)] = action
                self.order.append(str(action.key))
                queue += self.planner.advance([self._fact(action)], self.now).actions
            elif isinstance(action, RecordTask):
                self.records[str(action.key)] = action
            elif isinstance(action, FinishRun):
                return action
        raise AssertionError(f"stuck: {self.planner.states()}")

    def _fact(self, start: StartTask) -> TaskFact:
        found = self.behave(start)
        if isinstance(found, str):
            error = TaskError("TASK_FAILED", found)
            return TaskFact(
                start.key, TaskState.FAILED, start.attempt, start.attempt, error=error, finished_at=self.now
            )
        return TaskFact(start.key, TaskState.SUCCEEDED, start.attempt, outputs=found, finished_at=self.now)

    def state(self, key: str) -> TaskState:
        return {str(key): state for key, state in self.planner.states().items()}[key]

    def inputs(self, key: str) -> Mapping[str, Any]:
        return self.starts[key].inputs.parameters


def fails(*names: str, output: Any = 1) -> Behaviour:
    return lambda start: "it broke" if start.key.path[-1] in names else Values({"Output": output})


def echo(start: StartTask) -> Values:
    """A leaf that gives back its input ``x``."""
    return Values({"Output": start.inputs.parameters.get("x")})


__all__ = ["Run", "echo", "fails"]
