"""Short ways to write pipelines as model objects, and random ones for property tests."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from mlplatform.core.values import ParameterType
from mlplatform.ir.model import (
    ArtifactSource,
    ArtifactType,
    Component,
    ContainerExecutor,
    Dag,
    DagOutputArtifact,
    DagOutputParameter,
    DagOutputs,
    InputArtifactSpec,
    InputDefinitions,
    InputParameterSpec,
    OutputArtifactSpec,
    OutputDefinitions,
    OutputParameterSpec,
    OutputSelector,
    ParameterIterator,
    ParameterSource,
    Pipeline,
    PipelineTask,
    RetryPolicy,
    TriggerStrategy,
)

INT, TEXT, LIST = ParameterType.NUMBER_INTEGER, ParameterType.STRING, ParameterType.LIST
ALWAYS = TriggerStrategy.ALL_UPSTREAM_TASKS_COMPLETED
DATASET = ArtifactType("system.Dataset")


def const(value: Any) -> ParameterSource:
    return ParameterSource(constant=value, has_constant=True)


def given(name: str, expression: str = "") -> ParameterSource:
    return ParameterSource(component_input=name, expression=expression)


def out(task: str, name: str = "Output", expression: str = "") -> ParameterSource:
    return ParameterSource(producer_task=task, output_parameter=name, expression=expression)


def status(task: str) -> ParameterSource:
    return ParameterSource(final_status_of=task)


def artifact(task: str, name: str = "data") -> ArtifactSource:
    return ArtifactSource(producer_task=task, output_artifact=name)


def need(type_: ParameterType = INT) -> InputParameterSpec:
    return InputParameterSpec(type_)


def maybe(type_: ParameterType = INT, default: Any = None) -> InputParameterSpec:
    return InputParameterSpec(type_, default=default, has_default=default is not None, is_optional=True)


def leaf(
    inputs: Mapping[str, InputParameterSpec] | None = None,
    outputs: Mapping[str, ParameterType] | None = None,
    artifacts_in: Mapping[str, InputArtifactSpec] | None = None,
    artifacts_out: Mapping[str, OutputArtifactSpec] | None = None,
) -> Component:
    """An executor component; by default no inputs and the integer output ``Output``."""
    made = outputs if outputs is not None else {"Output": INT}
    return Component(
        inputs=InputDefinitions(inputs or {}, artifacts_in or {}),
        outputs=OutputDefinitions({k: OutputParameterSpec(t) for k, t in made.items()}, artifacts_out or {}),
        executor_label="exec",
    )


def group(
    tasks: Mapping[str, PipelineTask],
    inputs: Mapping[str, InputParameterSpec] | None = None,
    outputs: Mapping[str, str | tuple[str, ...]] | None = None,
    artifacts: Mapping[str, str | tuple[str, ...]] | None = None,
    types: Mapping[str, ParameterType] | None = None,
) -> Component:
    """A DAG component. ``outputs``: name -> "task.output", or several of them for a OneOf."""

    def selectors(texts: str | tuple[str, ...]) -> tuple[OutputSelector, ...]:
        found = (texts,) if isinstance(texts, str) else texts
        return tuple(OutputSelector(*text.rsplit(".", 1)) for text in found)

    made = DagOutputs(
        {k: DagOutputParameter(selectors(v), not isinstance(v, str)) for k, v in (outputs or {}).items()},
        {k: DagOutputArtifact(selectors(v)) for k, v in (artifacts or {}).items()},
    )
    return Component(
        inputs=InputDefinitions(inputs or {}),
        outputs=OutputDefinitions({k: OutputParameterSpec(t) for k, t in (types or {}).items()}),
        dag=Dag(tasks, made),
    )


def pipeline(root: Component, **components: Component) -> Pipeline:
    """Underscores in component names are dashes."""
    named = {name.replace("_", "-"): component for name, component in components.items()}
    return Pipeline("test-pipeline", root, named, {"exec": ContainerExecutor("image")})


# ---------------------------------------------------------------------- random pipelines
@dataclass
class Maker:
    """Makes a random pipeline. Every component has the optional integer input ``i`` and the output ``o``; leaves also
    take a list ``xs`` and give a list ``l``."""

    random: random.Random
    components: dict[str, Component] = field(default_factory=dict[str, Component])
    budget: int = 25

    def make(self) -> Pipeline:
        for number in range(2):
            self.components[f"leaf-{number}"] = leaf(
                {"i": maybe(INT, 7) if number else need(), "xs": maybe(LIST)},
                {"o": INT, "l": LIST},
            )
        return Pipeline("random", self._dag(0), self.components, {"exec": ContainerExecutor("image")})

    def _dag(self, depth: int) -> Component:
        tasks: dict[str, PipelineTask] = {}
        kinds: dict[str, str] = {}
        for _ in range(self.random.randint(1, 4)):
            self._task(tasks, kinds, depth)
        names = list(tasks)
        picked = self.random.sample(names, min(len(names), self.random.randint(1, 2)))
        output: str | tuple[str, ...] = f"{picked[0]}.o" if len(picked) == 1 else tuple(f"{name}.o" for name in picked)
        made = group(tasks, {"i": maybe(INT, 3), "item": maybe(INT)}, {"o": output})
        if depth == 0 and isinstance(output, tuple) and self.random.random() < 0.8:
            made = replace(made, dag=replace(made.dag or Dag({}), outputs=DagOutputs()))
        return made

    def _task(self, tasks: dict[str, PipelineTask], kinds: dict[str, str], depth: int) -> None:
        pick = self.random.random()
        self.budget -= 1
        if depth < 3 and self.budget > 0 and pick < 0.55:
            name = f"t{len(tasks)}"
            if pick < 0.12:
                name = f"exit-handler-{len(tasks)}"
            component = f"dag-{len(self.components)}"
            self.components[component] = Component()  # keeps the name
            self.components[component] = self._dag(depth + 1)
            task = self._plain(component, tasks, kinds)
            if 0.12 <= pick < 0.28:
                task = self._condition(task)
            if 0.2 <= pick < 0.42:
                task = self._loop(task, tasks, kinds)
                kinds[name] = "list"
            tasks[name] = task
            kinds.setdefault(name, "any")
            if name.startswith("exit-handler") and self.random.random() < 0.8:
                exit_task = PipelineTask("leaf-1", parameters={"i": const(1)}, dependent_tasks=(name,), strategy=ALWAYS)
                tasks[f"t{len(tasks)}"] = exit_task
                kinds[f"t{len(tasks) - 1}"] = "int"
            return
        name = f"t{len(tasks)}"
        task = self._plain(f"leaf-{self.random.randint(0, 1)}", tasks, kinds)
        if self.random.random() < 0.15:
            task = self._condition(task)
        if self.random.random() < 0.3:
            task = replace(task, retry=RetryPolicy(self.random.randint(0, 2), self.random.choice([None, 0.0, 5.0])))
        if self.random.random() < 0.15:
            task = replace(task, strategy=ALWAYS)
        if self.random.random() < 0.08:
            task = self._loop(task, tasks, kinds)
            kinds[name] = "list"
        tasks[name] = task
        kinds.setdefault(name, "int")

    def _plain(self, component: str, tasks: Mapping[str, PipelineTask], kinds: Mapping[str, str]) -> PipelineTask:
        parameters: dict[str, ParameterSource] = {}
        before = [name for name in tasks if self.random.random() < 0.5]
        numbers = [name for name in before if kinds[name] == "int"]
        lists = [name for name in before if kinds[name] == "list"]
        if numbers:
            parameters["i"] = out(self.random.choice(numbers), "o")
        else:
            parameters["i"] = self.random.choice([const(self.random.randint(0, 5)), given("i"), given("item")])
        if lists:
            parameters["xs"] = out(self.random.choice(lists), "o")
        rest = tuple(name for name in before if self.random.random() < 0.3)
        return PipelineTask(component, parameters=parameters, dependent_tasks=rest)

    def _condition(self, task: PipelineTask) -> PipelineTask:
        texts = ["int(inputs.parameter_values['i']) % 2 == 0", "inputs.parameter_values['i'] > 2"]
        if self.random.random() < 0.1:
            texts = ["inputs.parameter_values['i'] == 'text'"]
        return replace(task, condition=self.random.choice(texts))

    def _loop(self, task: PipelineTask, tasks: Mapping[str, PipelineTask], kinds: Mapping[str, str]) -> PipelineTask:
        item = "item" if task.component.startswith("dag") else "i"
        leaves = [name for name in tasks if kinds[name] == "int"]
        parameters = {name: source for name, source in task.parameters.items() if name != item}
        if leaves and self.random.random() < 0.4:
            parameters["items"] = out(self.random.choice(leaves), "l")
            iterator = ParameterIterator(item, items_input="items")
        else:
            items = [self.random.randint(0, 9) for _ in range(self.random.randint(0, 4))]
            iterator = ParameterIterator(item, items_raw=json.dumps(items))
        return replace(
            task,
            parameters=parameters,
            parameter_iterator=iterator,
            parallelism_limit=self.random.randint(0, 2),
            condition="" if item == "i" else task.condition,
        )


def random_pipeline(seed: int) -> Pipeline:
    return Maker(random.Random(seed)).make()
