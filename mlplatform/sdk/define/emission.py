"""The document being made, and what goes into it whole: leaves, and other documents."""

# Placeholders keep public names free for outputs of the user's: what the modules of this package share is private.
# pyright: reportPrivateUsage=false

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from mlplatform.core.values import ParameterType
from mlplatform.ir.model import (
    Component,
    Executor,
    InputArtifactSpec,
    InputDefinitions,
    InputParameterSpec,
    OutputArtifactSpec,
    OutputDefinitions,
    OutputParameterSpec,
    Pipeline,
)
from mlplatform.sdk.define.embed import Captures
from mlplatform.sdk.define.naming import unique
from mlplatform.sdk.define.tasks import Interface


@dataclass
class Emission:
    """The document being made: shared by all groups of one pipeline."""

    captures: Captures
    components: dict[str, Component] = field(default_factory=dict[str, Component])
    executors: dict[str, Executor] = field(default_factory=dict[str, Executor])
    platforms: dict[str, Any] = field(default_factory=dict[str, Any])
    #: Values of more than 10 MB that functions reach: name of the root artifact input -> object.
    large: dict[str, Any] = field(default_factory=dict[str, Any])

    def add_component(self, wanted: str, component: Component) -> str:
        name = unique(wanted, self.components)
        self.components[name] = component
        return name

    def add_executor(self, wanted: str, executor: Executor, config: Mapping[str, Any]) -> str:
        label = unique(wanted, self.executors)
        self.executors[label] = executor
        for platform, settings in config.items():
            place = self.platforms.setdefault(platform, {}).setdefault("deploymentSpec", {})
            place.setdefault("executors", {})[label] = settings
        return label


def leaf(interface: Interface) -> Component:
    dag = {name: spec for name, spec in interface.inputs.items() if spec.type.parameter is not None}
    return Component(
        inputs=InputDefinitions(
            {
                name: InputParameterSpec(
                    cast(ParameterType, spec.type.parameter),
                    spec.default,
                    spec.has_default,
                    spec.optional,
                    spec.description,
                )
                for name, spec in dag.items()
            },
            {
                name: InputArtifactSpec(spec.type.artifact, spec.type.is_list, spec.optional, spec.description)
                for name, spec in interface.inputs.items()
                if spec.type.parameter is None
            },
        ),
        outputs=OutputDefinitions(
            {
                name: OutputParameterSpec(spec.type.parameter, spec.description)
                for name, spec in interface.outputs.items()
                if spec.type.parameter is not None
            },
            {
                name: OutputArtifactSpec(spec.type.artifact, spec.type.is_list, spec.description)
                for name, spec in interface.outputs.items()
                if spec.type.parameter is None
            },
        ),
    )


def merge(emission: Emission, other: Pipeline) -> Component:
    """Take in a pipeline's components and executors under free names; returns its root component."""
    labels = {label: _unique_label(label, emission, other) for label in other.executors}
    for label, executor in other.executors.items():
        config = {
            platform: settings.get("deploymentSpec", {}).get("executors", {}).get(label)
            for platform, settings in other.platforms.items()
        }
        emission.add_executor(labels[label], executor, config)
    names: dict[str, str] = {}
    for name in other.components:
        names[name] = unique(name, {*emission.components, *names.values()})
    for name, component in other.components.items():
        emission.components[names[name]] = _renamed(component, names, labels)
    return _renamed(other.root, names, labels)


def _unique_label(label: str, emission: Emission, other: Pipeline) -> str:
    if label not in emission.executors:
        return label
    return unique(label, {*emission.executors, *other.executors})


def _renamed(component: Component, names: Mapping[str, str], labels: Mapping[str, str]) -> Component:
    label = labels.get(component.executor_label, component.executor_label)
    if component.dag is None:
        return dataclasses.replace(component, executor_label=label)
    tasks = {
        key: dataclasses.replace(task, component=names.get(task.component, task.component))
        for key, task in component.dag.tasks.items()
    }
    return dataclasses.replace(component, executor_label=label, dag=dataclasses.replace(component.dag, tasks=tasks))
