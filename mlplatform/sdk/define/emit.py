"""From what a pipeline function recorded to :mod:`mlplatform.ir.model`.

Every group of tasks is a DAG of its own. A value from outside becomes an input of each group on the way to where it is
used (:meth:`_Dag.source`); what leaves a group becomes an output of it (:meth:`_Dags.lift`).
"""

# Placeholders keep public names free for outputs of the user's: what the modules of this package share is private.
# pyright: reportPrivateUsage=false

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, cast

from mlplatform.core.errors import InvalidPipeline
from mlplatform.core.values import ParameterType
from mlplatform.ir.model import (
    ArtifactIterator,
    ArtifactSource,
    Component,
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
    PipelineTask,
    TriggerStrategy,
)
from mlplatform.sdk.define import conditions
from mlplatform.sdk.define.channels import Channel, Collected, LoopField, LoopItem, OneOf
from mlplatform.sdk.define.control import Branches, ExitHandler, ParallelFor, _Condition
from mlplatform.sdk.define.emission import Emission, leaf, merge
from mlplatform.sdk.define.executors import Implementation, implement, values_of_platform
from mlplatform.sdk.define.naming import component_name, executor_label
from mlplatform.sdk.define.scope import Group, Node, Recording
from mlplatform.sdk.define.tasks import Interface, Task
from mlplatform.sdk.define.types import ValueType

_FINAL = ParameterType.TASK_FINAL_STATUS


def emit(
    recording: Recording, inputs: Interface, outputs: Mapping[str, tuple[ValueType, Channel]], emission: Emission
) -> Component:
    """The root component of a recorded pipeline; its parts go into ``emission``. Raises InvalidPipeline."""
    dags = _Dags(recording, emission)
    root = dags.of(recording.root)
    for name, spec in inputs.inputs.items():
        root.declare(
            name,
            spec.type,
            optional=spec.optional,
            default=spec.default,
            has_default=spec.has_default,
            about=spec.description,
        )
    for name in recording.values:
        root.declare(name, ValueType())
    dags.walk(root)
    for name, (type_, channel) in outputs.items():
        producer, key = root.place(channel, f"output {name!r} of the pipeline")
        root.add_output(name, type_, [(producer, key)], False)
    dags.finish(recording.root)
    for name in emission.large:
        root.declare(name, ValueType())
    return root.component()


class _Dags:
    def __init__(self, recording: Recording, emission: Emission) -> None:
        self.recording = recording
        self.emission = emission
        self._found: dict[int, _Dag] = {}

    def of(self, group: Group) -> _Dag:
        found = self._found.get(id(group))
        if found is None:
            parent = self.of(group._parent) if group._parent is not None else None
            found = self._found[id(group)] = _Dag(self, group, parent)
        return found

    def walk(self, dag: _Dag) -> None:
        """Resolve what every member of a group uses, depth first."""
        for node in dag.group._nodes:
            if isinstance(node, Task):
                dag.take_task(node)
            elif isinstance(node, Group):
                inner = self.of(node)
                dag.take_group(node, inner)
                self.walk(inner)
        if dag.parent is None:
            for handler, task in self.recording.exit_tasks:
                dag.take_exit_task(handler, task)

    def finish(self, group: Group) -> None:
        """Everything is resolved: make components, inner ones first."""
        dag = self.of(group)
        for node in group._nodes:
            if isinstance(node, Group):
                self.finish(node)
                dag.put_group(node, self.of(node))

    def lift_plain(self, channel: Channel, path: list[Node]) -> tuple[str, str]:
        """Make a task's output an output of every group of ``path`` (outermost first, the task last)."""
        return self._lift(channel, path, channel._type)

    def lift_collected(self, channel: Collected, path: list[Node]) -> tuple[str, str]:
        """As :meth:`lift_plain`, as a list."""
        return self._lift(channel._inner, path, channel._type)

    def _lift(self, channel: Channel, path: list[Node], type_: ValueType) -> tuple[str, str]:
        key, producer, injected = channel._key, path[-1]._name, channel._injected()
        for node in reversed(path[:-1]):
            self.of(cast(Group, node)).add_output(injected, type_, [(producer, key)], False)
            producer, key = node._name, injected
        return producer, key


class _Dag:
    """One group of tasks in the making."""

    def __init__(self, dags: _Dags, group: Group, parent: _Dag | None) -> None:
        self.dags = dags
        self.group = group
        self.parent = parent
        self.parameters: dict[str, InputParameterSpec] = {}
        self.artifacts: dict[str, InputArtifactSpec] = {}
        self.sources: dict[str, ParameterSource | ArtifactSource] = {}
        self.needs: dict[str, set[str]] = {}
        self.members: dict[str, PipelineTask] = {}
        self.out_parameters: dict[str, tuple[OutputParameterSpec, DagOutputParameter]] = {}
        self.out_artifacts: dict[str, tuple[OutputArtifactSpec, DagOutputArtifact]] = {}

    # ------------------------------------------------------------------ inputs and outputs
    def declare(
        self,
        name: str,
        type_: ValueType,
        *,
        optional: bool = False,
        default: Any = None,
        has_default: bool = False,
        about: str = "",
    ) -> None:
        if type_.parameter is not None:
            self.parameters[name] = InputParameterSpec(type_.parameter, default, has_default, optional, about)
        else:
            self.artifacts[name] = InputArtifactSpec(type_.artifact, type_.is_list, optional, about)

    def add_output(self, name: str, type_: ValueType, places: list[tuple[str, str]], one_of: bool) -> None:
        selectors = tuple(OutputSelector(producer, key) for producer, key in places)
        if type_.parameter is not None:
            self.out_parameters[name] = (OutputParameterSpec(type_.parameter), DagOutputParameter(selectors, one_of))
        else:
            self.out_artifacts[name] = (OutputArtifactSpec(type_.artifact, type_.is_list), DagOutputArtifact(selectors))

    def component(self) -> Component:
        tasks: dict[str, PipelineTask] = {}
        for name, task in self.members.items():
            needs = sorted({*task.dependent_tasks, *self.needs.get(name, ())})
            tasks[name] = _with_needs(task, tuple(needs), self)
        return Component(
            inputs=InputDefinitions(self.parameters, self.artifacts),
            outputs=OutputDefinitions(
                {name: spec for name, (spec, _) in self.out_parameters.items()},
                {name: spec for name, (spec, _) in self.out_artifacts.items()},
            ),
            dag=Dag(
                tasks,
                DagOutputs(
                    {name: output for name, (_, output) in self.out_parameters.items()},
                    {name: output for name, (_, output) in self.out_artifacts.items()},
                ),
            ),
        )

    # ------------------------------------------------------------------ where values come from
    def place(self, channel: Channel, user: str) -> tuple[str, str]:
        """(task or group of this DAG, output) that gives a channel. Raises InvalidPipeline if it is none of its own."""
        found = self._inside(channel, user)
        if found is None:
            raise InvalidPipeline(
                f"{user} is {channel._what()}, which no task of the pipeline gives.",
                hint="Return outputs of tasks; to return a parameter, pass it through a component.",
            )
        return found

    def _inside(self, channel: Channel, user: str) -> tuple[str, str] | None:
        """As :meth:`place`; None if it comes from outside of this DAG."""
        producer = channel._producer
        if producer is None or isinstance(channel, (LoopItem, LoopField)):
            return None
        path = producer._path()
        if self.group not in _Identities(path):
            return None
        below = path[_Identities(path).index(self.group) + 1 :]
        if isinstance(channel, Collected):
            _check_collected(channel, below, user)
            return self.dags.lift_collected(channel, below)
        if len(below) > 1:
            raise _illegal(channel, below[0], user)
        if isinstance(channel, OneOf):
            self._settle(channel)
        return producer._name, channel._key

    def _settle(self, channel: OneOf) -> None:
        """The branches' group gives the output of the one that ran."""
        branches = cast(Branches, channel._producer)
        dag = self.dags.of(branches)
        if channel._key in dag.out_parameters or channel._key in dag.out_artifacts:
            return
        places: list[tuple[str, str]] = []
        for inner in channel._inner:
            assert inner._producer is not None
            path = inner._producer._path()
            below = path[_Identities(path).index(branches) + 1 :]
            places.append(self.dags.lift_plain(inner, below))
        dag.add_output(channel._key, channel._type, places, True)

    def source(self, member: str, channel: Channel, user: str) -> ParameterSource | ArtifactSource:
        """Where ``member`` of this DAG gets a channel from; makes inputs of this and outer groups as needed."""
        if isinstance(channel, LoopField):
            base = self.source(member, channel._item, user)
            assert isinstance(base, ParameterSource)
            return dataclasses.replace(base, expression=f'parseJson(string_value)["{channel._field}"]')
        inside = self._inside(channel, user)
        if inside is not None:
            producer, key = inside
            self.needs.setdefault(member, set()).add(producer)
            if channel._is_parameter:
                return ParameterSource(producer_task=producer, output_parameter=key)
            return ArtifactSource(producer_task=producer, output_artifact=key)
        name = self._input(channel, user)
        return ParameterSource(component_input=name) if channel._is_parameter else ArtifactSource(component_input=name)

    def _input(self, channel: Channel, user: str) -> str:
        """The input of this group that carries a channel from outside."""
        if isinstance(channel, LoopItem) and channel._loop is self.group:
            return channel._injected()
        if self.parent is None:
            known = (self.parameters, self.artifacts, self.dags.emission.large)
            if channel._producer is None and any(channel._key in names for names in known):
                return channel._key
            raise InvalidPipeline(
                f"{user} uses {channel._what()}, which is not of this pipeline.",
                hint="Use outputs and parameters only in the pipeline function they come from.",
            )
        return self.bring(channel, user)

    def bring(self, channel: Channel, user: str) -> str:
        """Make a channel an input of this group."""
        name = channel._injected()
        if name not in self.sources:
            assert self.parent is not None
            self.sources[name] = ParameterSource()  # whatever asks again meanwhile
            self.sources[name] = self.parent.source(self.group._name, channel, user)
            self.declare(name, channel._type)
        return name

    # ------------------------------------------------------------------ members
    def take_task(self, task: Task) -> None:
        name = task._name
        made = implement(task, self.dags.recording, self.dags.emission.captures)
        self.dags.emission.large.update(made.large)
        parameters: dict[str, ParameterSource] = {}
        artifacts: dict[str, ArtifactSource] = {}
        for key, value in {**made.arguments}.items():
            self._argument(task, key, value, parameters, artifacts, made)
        for after in task._after:
            self._after(task, after)
        settings = task._settings
        config = values_of_platform(settings.platform, lambda channel: self.source(name, channel, f"task {name!r}"))
        component = self._component(task, made, config)
        self.members[name] = PipelineTask(
            component=component,
            name=settings.display_name or name,
            parameters=parameters,
            artifacts=artifacts,
            caching=settings.caching,
            retry=settings.retry,
            strategy=TriggerStrategy.ALL_UPSTREAM_TASKS_COMPLETED
            if settings.ignore_upstream_failure
            else TriggerStrategy.TRIGGER_STRATEGY_UNSPECIFIED,
        )

    def _argument(
        self,
        task: Task,
        key: str,
        value: Any,
        parameters: dict[str, ParameterSource],
        artifacts: dict[str, ArtifactSource],
        made: Implementation,
    ) -> None:
        name, user = task._name, f"task {task._name!r}"
        if isinstance(value, Channel):
            found = self.source(name, value, user)
            if isinstance(found, ArtifactSource):
                artifacts[key] = found
            else:
                parameters[key] = found
            return
        text, channels = conditions.with_placeholders(value, self.dags.recording.channels)
        for channel in channels:
            found = self.source(name, channel, user)
            assert isinstance(found, ParameterSource)
            parameters[channel._injected()] = found
        parameters[key] = ParameterSource(constant=text, has_constant=True)

    def _component(self, task: Task, made: Implementation, config: Mapping[str, Any]) -> str:
        emission = self.dags.emission
        wanted = component_name(task._name)
        if made.pipeline is not None:
            return emission.add_component(wanted, merge(emission, made.pipeline))
        assert made.executor is not None
        label = emission.add_executor(executor_label(task._name), made.executor, {**made.config, **config})
        component = dataclasses.replace(made.component or leaf(task._interface), executor_label=label)
        return emission.add_component(wanted, component)

    def _after(self, task: Task, other: Node) -> None:
        mine, theirs = task._path(), other._path()
        if mine[0] is not theirs[0]:
            raise InvalidPipeline(f"task {task._name!r} cannot run after {other._name!r}: it is of another pipeline.")
        common = next(
            (i for i, (a, b) in enumerate(zip(mine, theirs, strict=False)) if a is not b), min(len(mine), len(theirs))
        )
        if common >= len(theirs) or common >= len(mine):
            raise InvalidPipeline(f"task {task._name!r} cannot run after {other._name!r}, which it is part of.")
        uncommon = theirs[common]
        if uncommon is not other and isinstance(uncommon, (_Condition, Branches, ExitHandler)):
            raise InvalidPipeline(
                f"task {task._name!r} cannot run after {other._name!r}: that one is inside {uncommon._name!r}.",
                hint="Put both into the same block.",
            )
        group = cast(Group, mine[common - 1])
        self.dags.of(group).needs.setdefault(mine[common]._name, set()).add(uncommon._name)

    def take_exit_task(self, handler: Group, task: Task) -> None:
        self.take_task(task)
        made = self.members[task._name]
        status = {
            key: ParameterSource(final_status_of=handler._name)
            for key, spec in task._interface.inputs.items()
            if spec.type.parameter is _FINAL
        }
        self.needs.setdefault(task._name, set()).add(handler._name)
        self.members[task._name] = dataclasses.replace(
            made,
            parameters={**made.parameters, **status},
            dependent_tasks=(handler._name,),
            strategy=TriggerStrategy.ALL_UPSTREAM_TASKS_COMPLETED,
        )

    def take_group(self, group: Group, inner: _Dag) -> None:
        user = f"{group._name!r}"
        if isinstance(group, _Condition):
            for comparison in group._conditions:
                for operand in comparison.operands():
                    if isinstance(operand, Channel):
                        inner.bring(operand, user)
        if isinstance(group, ParallelFor):
            if group._items is not None:
                inner.bring(group._items, user)
            inner.declare(group._item._injected(), group._item._type)

    def put_group(self, group: Group, inner: _Dag) -> None:
        """The task that stands for a group, once all that its members need is known."""
        name = group._name
        component = self.dags.emission.add_component(component_name(name), inner.component())
        parameters = {key: source for key, source in inner.sources.items() if isinstance(source, ParameterSource)}
        artifacts = {key: source for key, source in inner.sources.items() if isinstance(source, ArtifactSource)}
        task = PipelineTask(component, group._display_name or name, parameters, artifacts)
        if isinstance(group, _Condition):
            task = dataclasses.replace(task, condition=" && ".join(map(conditions.text, group._conditions)))
        if isinstance(group, ParallelFor):
            task = self._loop(group, task)
        position = {node._name: i for i, node in enumerate(self.group._nodes)}
        self.members[name] = task
        self.members = dict(sorted(self.members.items(), key=lambda item: position.get(item[0], len(position))))

    @staticmethod
    def _loop(group: ParallelFor, task: PipelineTask) -> PipelineTask:
        item = group._item._injected()
        limit = group._parallelism
        if group._items is None:
            iterator = ParameterIterator(item_input=item, items_raw=group._raw)
            return dataclasses.replace(task, parameter_iterator=iterator, parallelism_limit=limit)
        items = group._items._injected()
        if group._items._is_parameter:
            iterator = ParameterIterator(item_input=item, items_input=items)
            return dataclasses.replace(task, parameter_iterator=iterator, parallelism_limit=limit)
        found = ArtifactIterator(item_input=item, items_input=items)
        return dataclasses.replace(task, artifact_iterator=found, parallelism_limit=limit)


class _Identities(list[Any]):
    """Nodes compared by identity: ``==`` between placeholders is a condition."""

    def __contains__(self, item: object) -> bool:
        return any(node is item for node in self)

    def index(self, item: Any, *_: Any) -> int:  # pyright: ignore[reportIncompatibleMethodOverride]
        return next(i for i, node in enumerate(self) if node is item)


def _with_needs(task: PipelineTask, needs: tuple[str, ...], dag: _Dag) -> PipelineTask:
    """Its dependencies; a task that ignores failures may want to know how the one before it ended."""
    task = dataclasses.replace(task, dependent_tasks=needs)
    node = dag.dags.recording.tasks.get(next((n for n, t in dag.members.items() if t.component == task.component), ""))
    if not isinstance(node, Task) or not node._settings.ignore_upstream_failure:
        return task
    wanted = [key for key, spec in node._interface.inputs.items() if spec.type.parameter is _FINAL]
    if not wanted:
        return task
    if len(needs) != 1:
        raise InvalidPipeline(
            f"task {node._name!r} wants the final status of the task before it, and {len(needs)} are before it.",
            hint="Have it depend on exactly one task of the same block.",
        )
    status = {key: ParameterSource(final_status_of=needs[0]) for key in wanted}
    return dataclasses.replace(task, parameters={**task.parameters, **status})


def _check_collected(channel: Collected, below: list[Node], user: str) -> None:
    what = channel._inner._what()
    if not any(isinstance(node, ParallelFor) for node in below[:-1]):
        raise InvalidPipeline(
            f"{user}: dsl.Collected takes {what}, which is in no dsl.ParallelFor around it that ends before.",
            hint="Use the output itself inside the loop, dsl.Collected(...) outside of it.",
        )
    if not isinstance(below[0], ParallelFor):
        raise InvalidPipeline(
            f"{user}: dsl.Collected takes {what}, whose loop is inside {below[0]._name!r}.",
            hint="Put the task that uses the list into the same block as the loop.",
        )


def _illegal(channel: Channel, group: Node, user: str) -> InvalidPipeline:
    kind = (
        "a loop"
        if isinstance(group, ParallelFor)
        else "an exit handler"
        if isinstance(group, ExitHandler)
        else "a condition"
    )
    hint = {
        "a loop": "Use dsl.Collected(...): the list of what all items gave.",
        "a condition": "Use dsl.OneOf(...) with an output of each branch, or move the user into the block.",
        "an exit handler": "Move the user into the block.",
    }[kind]
    return InvalidPipeline(
        f"{user} uses {channel._what()} from outside of {kind} ({group._name!r}) that it is in.", hint=hint
    )
