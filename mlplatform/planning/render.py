"""A task's container with its placeholders filled in, and KFP's ExecutorInput.

Only the texts of the document are templates. Values are put in once and never looked at again, so a parameter that
looks like a placeholder reaches the task as the text it is (rule 6 of the conformance set).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, cast

from mlplatform.core.errors import InvalidPipeline, PlanningError
from mlplatform.core.model import EMPTY, Artifact, ArtifactValue, Values
from mlplatform.core.values import JsonValue, to_text
from mlplatform.ir.model import Accelerator, Component, ContainerExecutor, ImporterExecutor, Resources
from mlplatform.ir.placeholders import (
    Concat,
    IfPresent,
    Reference,
    RefKind,
    Structure,
    Template,
    parse,
    parse_structure,
)
from mlplatform.planning.resources import Needs, needs
from mlplatform.planning.templates import (
    Resolver,
    RunContext,
    artifact_field,
    artifact_json,
    input_value,
    render,
    render_constant,
)

_OUTPUT_FILES = frozenset({"outputs.output_file", "outputMetadataUri"})


@dataclass(frozen=True, slots=True)
class OutputLocations:
    """Where a task writes: local files of output parameters, URIs (or paths) of output artifacts, by output name, and
    the file for KFP's ExecutorOutput."""

    parameters: Mapping[str, str] = field(default_factory=dict[str, str])
    artifacts: Mapping[str, str] = field(default_factory=dict[str, str])
    output_file: str = ""


@dataclass(frozen=True, slots=True)
class RenderedContainer:
    """A container ready to run. ``asked``: the texts that ``resources`` was read from, filled in."""

    command: tuple[str, ...]
    args: tuple[str, ...]
    env: Mapping[str, str]
    image: str
    resources: Needs
    asked: Resources | None = None


@dataclass(frozen=True, slots=True)
class RenderedImport:
    """What an importer brings in."""

    uri: str
    type: str
    metadata: Mapping[str, JsonValue]
    reimport: bool = False


def executor_input(
    inputs: Values, component: Component, locations: OutputLocations, context: RunContext | None = None
) -> dict[str, Any]:
    """KFP's ExecutorInput JSON: what ``{{$}}`` stands for and what a Python component is called with.

    Numbers keep their types; inputs without a value are left out. ``context`` is not part of it.
    """
    outputs: dict[str, Any] = {
        "parameters": {name: {"outputFile": path} for name, path in locations.parameters.items()},
        "artifacts": {
            name: {"artifacts": [artifact_json(_output_artifact(name, component, locations))]}
            for name in locations.artifacts
        },
        "outputFile": locations.output_file,
    }
    return {
        "inputs": {
            "parameterValues": dict(inputs.parameters),
            "artifacts": {name: {"artifacts": _as_json(value)} for name, value in inputs.artifacts.items()},
        },
        "outputs": outputs,
    }


def _as_json(value: ArtifactValue) -> list[dict[str, Any]]:
    return [artifact_json(item) for item in ((value,) if isinstance(value, Artifact) else value)]


def _output_artifact(name: str, component: Component, locations: OutputLocations) -> Artifact:
    spec = component.outputs.artifacts.get(name)
    kind = (spec.type.schema_title if spec else "") or "system.Artifact"
    metadata = {**spec.properties, **spec.custom_properties, **spec.metadata} if spec else {}
    return Artifact(name, locations.artifacts[name], kind, metadata)


def render_container(
    executor: ContainerExecutor,
    inputs: Values,
    component: Component,
    locations: OutputLocations,
    context: RunContext,
    paths: Mapping[str, str] = EMPTY,
) -> RenderedContainer:
    """Fill in command, arguments, environment, image and resources.

    Args:
        paths: where the artifacts at some URIs lie for the task, if it is not at the URI itself. ``path`` placeholders
            and the ExecutorInput are told these, ``uri`` placeholders the URI.

    Raises:
        PlanningError: a placeholder has no value, or a resource text is no quantity.
    """
    scope = _Scope(inputs, component, locations, context, paths)
    asked = _rendered_resources(executor.resources, scope.resolve)

    def text(template: str) -> str:
        return render(parse(template), scope.resolve)

    return RenderedContainer(
        command=_arguments(executor.command, inputs, scope.resolve),
        args=_arguments(executor.args, inputs, scope.resolve),
        env={name: text(value) for name, value in executor.env.items()},
        image=text(executor.image),
        resources=needs(asked),
        asked=asked,
    )


def render_image(executor: ContainerExecutor, inputs: Values, context: RunContext) -> str:
    """The image of a container. Raises PlanningError: a placeholder has no value."""
    scope = _Scope(inputs, Component(), OutputLocations(), context)
    return render(parse(executor.image), scope.resolve)


def _rendered_resources(resources: Resources | None, resolve: Resolver) -> Resources | None:
    if resources is None:
        return None

    def text(template: str) -> str:
        return render(parse(template), resolve) if "{{$" in template else template

    accelerator = resources.accelerator
    return Resources(
        cpu_request=text(resources.cpu_request),
        cpu_limit=text(resources.cpu_limit),
        memory_request=text(resources.memory_request),
        memory_limit=text(resources.memory_limit),
        accelerator=Accelerator(text(accelerator.type), text(accelerator.count)) if accelerator else None,
    )


def render_importer(executor: ImporterExecutor, inputs: Values, context: RunContext) -> RenderedImport:
    """Fill in an importer's URI and metadata.

    Raises:
        PlanningError: the URI has no value or is no text, or a placeholder has no value.
    """
    scope = _Scope(inputs, Component(), OutputLocations(), context)
    uri: JsonValue
    if executor.uri_parameter:
        uri = inputs.parameters.get(executor.uri_parameter)
        if uri is None:
            raise PlanningError(f"the importer's URI has no value: input {executor.uri_parameter!r} was not given")
    else:
        uri = render(parse(executor.uri), scope.resolve)
    if not isinstance(uri, str):
        raise PlanningError(f"the importer's URI is no text: {to_text(uri)}")
    constants = {**executor.properties, **executor.custom_properties, **executor.metadata}
    metadata = render_constant(cast(JsonValue, constants), scope.resolve)
    return RenderedImport(
        uri=uri,
        type=executor.type.schema_title or "system.Artifact",
        metadata=cast("dict[str, JsonValue]", metadata),
        reimport=executor.reimport,
    )


@dataclass(frozen=True, slots=True)
class _Scope:
    """What a container's placeholders may name."""

    inputs: Values
    component: Component
    locations: OutputLocations
    context: RunContext
    paths: Mapping[str, str] = EMPTY

    def resolve(self, reference: Reference) -> JsonValue:
        found = self._find(reference)
        if reference.field == "path" and isinstance(found, str):
            return self.paths.get(found, found)
        return found

    def _find(self, reference: Reference) -> JsonValue:
        match reference.kind:
            case RefKind.INPUT_PARAMETER | RefKind.INPUT_ARTIFACT:
                return input_value(reference, self.inputs)
            case RefKind.OUTPUT_PARAMETER:
                path = self.locations.parameters.get(reference.name)
                if path is None:
                    raise PlanningError(f"{reference.text} has no value: there is no output {reference.name!r}")
                return path
            case RefKind.OUTPUT_ARTIFACT:
                if reference.name not in self.locations.artifacts:
                    raise PlanningError(f"{reference.text} has no value: there is no output {reference.name!r}")
                artifact = _output_artifact(reference.name, self.component, self.locations)
                return artifact_field(artifact, reference)
            case RefKind.EXECUTOR_INPUT:
                inputs, locations = placed(self.inputs, self.locations, self.paths)
                return json.dumps(executor_input(inputs, self.component, locations), ensure_ascii=False)
            case RefKind.RUN:
                if reference.name in _OUTPUT_FILES and self.locations.output_file:
                    return self.locations.output_file
                return self.context.field(reference.name)


def placed(inputs: Values, locations: OutputLocations, paths: Mapping[str, str]) -> tuple[Values, OutputLocations]:
    """Inputs and outputs with the URIs of ``paths`` replaced by where their bytes lie."""
    if not paths:
        return inputs, locations

    def here(artifact: Artifact) -> Artifact:
        return replace(artifact, uri=paths.get(artifact.uri, artifact.uri))

    artifacts = {
        name: here(value) if isinstance(value, Artifact) else tuple(here(item) for item in value)
        for name, value in inputs.artifacts.items()
    }
    outputs = {name: paths.get(uri, uri) for name, uri in locations.artifacts.items()}
    return Values(inputs.parameters, artifacts), replace(locations, artifacts=outputs)


# ---------------------------------------------------------------------- argument structures
@lru_cache(maxsize=1024)
def _structure(text: str) -> Structure:
    """Raises PlanningError: not a well-formed Concat or IfPresent."""
    try:
        return parse_structure(text)
    except InvalidPipeline as error:
        raise PlanningError(str(error)) from None


def _arguments(texts: tuple[str, ...], inputs: Values, resolve: Resolver) -> tuple[str, ...]:
    return tuple(argument for text in texts for argument in _expand(_structure(text), inputs, resolve))


def _expand(node: Structure, inputs: Values, resolve: Resolver) -> list[str]:
    """One argument for a template or Concat; none, one or several for an IfPresent."""
    if isinstance(node, Template):
        return [render(node.segments, resolve)]
    if isinstance(node, Concat):
        return ["".join(part for item in node.items for part in _expand(item, inputs, resolve))]
    branch = node.then if _is_present(node, inputs) else node.otherwise
    return [argument for item in branch for argument in _expand(item, inputs, resolve)]


def _is_present(node: IfPresent, inputs: Values) -> bool:
    return inputs.parameters.get(node.input_name) is not None or node.input_name in inputs.artifacts
