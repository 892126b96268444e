"""What the parameter sources of a platform document stand for.

They are looked up where the task stands: ``componentInputParameter`` is an input of the enclosing component,
``taskOutputParameter`` an output of a sibling task.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from mlplatform.core.errors import PlanningError
from mlplatform.core.model import TaskKey, TaskRecord, Values
from mlplatform.core.values import JsonValue, to_text
from mlplatform.ir.model import ParameterSource, Pipeline
from mlplatform.planning.cel import select


class Records(Protocol):
    """Where task records are found (``engine.records.Ledger``, ``planning.brain.Brain``)."""

    def get(self, key: TaskKey) -> TaskRecord | None: ...


class Given(Protocol):
    """What a run was started with."""

    @property
    def run_id(self) -> str: ...
    @property
    def parameters(self) -> Mapping[str, JsonValue]: ...


class Driver(Protocol):
    """What of a run is needed here (``engine.run.RunDriver``)."""

    @property
    def run(self) -> Given: ...
    @property
    def pipeline(self) -> Pipeline: ...
    @property
    def ledger(self) -> Records: ...


class SourceValues:
    """Values of sources for the task ``key`` of a run whose own inputs are ``inputs``."""

    def __init__(self, driver: Driver, key: TaskKey, inputs: Values) -> None:
        self._driver = driver
        self._key = key
        self._inputs = inputs
        self._around = TaskKey(key.path[:-1], key.iteration[: _loops(driver.pipeline, key.path[:-1])])

    def value(self, source: ParameterSource, what: str) -> JsonValue:
        """Raises PlanningError, naming ``what``, where the source has no value."""
        found = self._find(source)
        if found is not None and source.expression:
            found = select(source.expression, found)
        if found is None:
            raise PlanningError(f"{what} has no value: it comes from {_describe(source)}")
        return found

    def text(self, source: ParameterSource, what: str) -> str:
        """The value as text. Raises PlanningError where there is none."""
        return to_text(self.value(source, what))

    def _find(self, source: ParameterSource) -> JsonValue:
        if source.has_constant:
            return source.constant
        if source.producer_task:
            key = TaskKey((*self._around.path, source.producer_task), self._around.iteration)
            record = self._driver.ledger.get(key)
            return record.outputs.parameters.get(source.output_parameter) if record is not None else None
        name = source.component_input or source.runtime_parameter
        scope = self._scope() if source.component_input else self._driver.run.parameters
        if name in scope:
            return scope[name]
        if name in self._inputs.parameters:
            return self._inputs.parameters[name]
        return self._default(name)

    def _scope(self) -> Mapping[str, Any]:
        if not self._around.path:
            return self._driver.run.parameters
        record = self._driver.ledger.get(self._around)
        return record.inputs.parameters if record is not None else {}

    def _default(self, name: str) -> JsonValue:
        """A default of the root component, where the run was not given a value."""
        if self._around.path:
            return None
        spec = self._driver.pipeline.root.inputs.parameters.get(name)
        return spec.default if spec is not None and spec.has_default else None


def _loops(pipeline: Pipeline, path: tuple[str, ...]) -> int:
    """How many loops there are on the way to the group ``path``, itself included."""
    count, dag = 0, pipeline.root.dag
    for name in path:
        if dag is None:
            break
        task = dag.tasks[name]
        count += task.parameter_iterator is not None or task.artifact_iterator is not None
        dag = pipeline.components[task.component].dag
    return count


def _describe(source: ParameterSource) -> str:
    if source.producer_task:
        return f"output {source.output_parameter!r} of task {source.producer_task!r}"
    return f"parameter {source.component_input or source.runtime_parameter!r}"
