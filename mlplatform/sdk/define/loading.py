"""Components and pipelines that exist as documents: YAML, and what kfp made."""

# Placeholders keep public names free for outputs of the user's: what the modules of this package share is private.
# pyright: reportPrivateUsage=false

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, cast

from mlplatform.core.errors import InvalidPipeline
from mlplatform.core.values import ParameterType
from mlplatform.ir import package
from mlplatform.ir.load import loads
from mlplatform.ir.model import Component, Pipeline
from mlplatform.ir.validate import require_valid
from mlplatform.sdk.define.calls import plain_task
from mlplatform.sdk.define.executors import Implementation
from mlplatform.sdk.define.naming import component_name
from mlplatform.sdk.define.tasks import InputSpec, Interface, OutputSpec, Task
from mlplatform.sdk.define.types import ValueType


class LoadedComponent:
    """A component or pipeline of a document; called with its inputs by name."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline
        self.name = pipeline.name
        self._leaf = _leaf(pipeline)
        self.interface = interface_of(self._leaf or pipeline.root)
        self.executed = self._leaf is not None

    def __repr__(self) -> str:
        return f"<component {self.name}>"

    def __call__(self, *args: Any, **kwargs: Any) -> Task:
        return plain_task(self, args, kwargs)

    def implement(self, task: Task, arguments: Mapping[str, Any]) -> Implementation:
        if self._leaf is None:
            return Implementation(arguments, pipeline=self.pipeline)
        label = self._leaf.executor_label
        config = {
            platform: settings.get("deploymentSpec", {}).get("executors", {}).get(label)
            for platform, settings in self.pipeline.platforms.items()
        }
        executor = self.pipeline.executors[label]
        return Implementation(arguments, executor, component=self._leaf, config={k: v for k, v in config.items() if v})


def _leaf(pipeline: Pipeline) -> Component | None:
    """The one component of a document that is a single component (kfp wraps it in a pipeline of its name)."""
    found = pipeline.components.get(component_name(pipeline.name))
    if found is None or not found.executor_label or pipeline.root.dag is None or len(pipeline.root.dag.tasks) != 1:
        return None
    return found


def interface_of(component: Component) -> Interface:
    inputs: dict[str, InputSpec] = {}
    for name, spec in component.inputs.parameters.items():
        optional = spec.is_optional or spec.has_default or spec.type is ParameterType.TASK_FINAL_STATUS
        inputs[name] = InputSpec(ValueType(spec.type), spec.default, spec.has_default, optional, spec.description)
    for name, artifact in component.inputs.artifacts.items():
        type_ = ValueType(artifact=artifact.type, is_list=artifact.is_list)
        inputs[name] = InputSpec(type_, optional=artifact.is_optional, description=artifact.description)
    outputs = {name: OutputSpec(ValueType(spec.type)) for name, spec in component.outputs.parameters.items()}
    outputs |= {
        name: OutputSpec(ValueType(artifact=spec.type, is_list=spec.is_list))
        for name, spec in component.outputs.artifacts.items()
    }
    return Interface(inputs, outputs)


def load_component(source: Any) -> LoadedComponent:
    """A component from a compiled component or pipeline.

    Args:
        source: path of a YAML or JSON file (or package), or its text; or a component or pipeline made with kfp.

    Raises:
        InvalidPipeline: with every finding.
        NotFound: there is no such file.
    """
    from mlplatform.planning.cel import check

    if not isinstance(source, (str, os.PathLike)):
        return from_kfp(source)
    text = os.fspath(cast("str | os.PathLike[str]", source))
    if "\n" in text or text.lstrip().startswith("{"):
        data, origin = text, "the text"
    else:
        document = package.read_file(text)
        data, origin = document.data, document.origin
    pipeline = loads(data, origin=origin)
    require_valid(pipeline, check, origin)
    return LoadedComponent(pipeline)


def from_kfp(component: Any) -> LoadedComponent:
    """A component or pipeline that kfp's own decorators made (its ``component_spec``), without importing kfp."""
    spec = getattr(component, "component_spec", None)
    if spec is None or not hasattr(component, "pipeline_spec"):
        raise InvalidPipeline(f"{component!r} is no component.", hint="Give a component or pipeline made with kfp.dsl.")
    from mlplatform.sdk.kfp import document_of

    return load_component(document_of(component))
