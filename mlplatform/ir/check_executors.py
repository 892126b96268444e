"""Checks of executors: what they run, and the placeholders in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from mlplatform.core.errors import InvalidPipeline
from mlplatform.ir import paths, placeholders
from mlplatform.ir.findings import Findings
from mlplatform.ir.model import Component, ContainerExecutor, ImporterExecutor, Pipeline
from mlplatform.ir.placeholders import RefKind

#: How a container says that it runs a Python function: its last command is the function's source, not a template.
_LIGHTWEIGHT: Final = "--function_to_execute"


@dataclass(slots=True)
class Names:
    """The inputs and outputs that an executor's placeholders may name, of all components and tasks that use it."""

    input_parameters: dict[str, None] = field(default_factory=dict[str, None])
    input_artifacts: dict[str, None] = field(default_factory=dict[str, None])
    output_parameters: dict[str, None] = field(default_factory=dict[str, None])
    output_artifacts: dict[str, None] = field(default_factory=dict[str, None])

    def add(self, component: Component) -> None:
        self.input_parameters.update(dict.fromkeys(component.inputs.parameters))
        self.input_artifacts.update(dict.fromkeys(component.inputs.artifacts))
        self.output_parameters.update(dict.fromkeys(component.outputs.parameters))
        self.output_artifacts.update(dict.fromkeys(component.outputs.artifacts))


def check_executors(pipeline: Pipeline, found: Findings) -> None:
    """Check every executor of the pipeline, used or not."""
    names = _names(pipeline)
    for label, executor in pipeline.executors.items():
        path = paths.child("deploymentSpec.executors", label)
        checker = _Checker(found, names.get(label))
        if isinstance(executor, ImporterExecutor):
            checker.importer(f"{path}.importer", executor)
        else:
            checker.container(f"{path}.container", executor)


def _names(pipeline: Pipeline) -> dict[str, Names]:
    """By executor label; executors that no component uses are absent."""
    found: dict[str, Names] = {}
    for component in (pipeline.root, *pipeline.components.values()):
        if component.executor_label:
            found.setdefault(component.executor_label, Names()).add(component)
    for component in (pipeline.root, *pipeline.components.values()):
        for task in component.dag.tasks.values() if component.dag is not None else ():
            used = pipeline.components.get(task.component)
            if used is not None and used.executor_label:
                # Tasks have inputs that their component does not declare, for placeholders in resource texts.
                found[used.executor_label].input_parameters.update(dict.fromkeys(task.parameters))
                found[used.executor_label].input_artifacts.update(dict.fromkeys(task.artifacts))
    return found


class _Checker:
    """Checks one executor. Without ``names`` (nothing uses it) placeholders may name anything."""

    def __init__(self, found: Findings, names: Names | None) -> None:
        self.found = found
        self.names = names

    def container(self, path: str, container: ContainerExecutor) -> None:
        if not container.image:
            self.found.add(f"{path}.image", "the container has no image", "missing")
        self.template(f"{path}.image", container.image)
        command = container.command
        if any(_LIGHTWEIGHT in argument for argument in container.args):
            for index, text in enumerate(command):
                self.no_null(f"{path}.command[{index}]", text)
            command = ()
        for name, texts in (("command", command), ("args", container.args)):
            for index, text in enumerate(texts):
                self.argument(f"{path}.{name}[{index}]", text)
        for index, (name, text) in enumerate(container.env.items()):
            if not name or "=" in name or "\0" in name:
                self.found.add(f"{path}.env[{index}].name", "not a name for an environment variable", "invalid-value")
            self.template(f"{path}.env[{index}].value", text)
        for name, text in _resource_texts(container):
            self.template(f"{path}.resources.{name}", text)
        if container.pre_cache_check is not None:
            check = container.pre_cache_check
            for name, texts in (("command", check.command), ("args", check.args)):
                for index, text in enumerate(texts):
                    self.argument(f"{path}.lifecycle.preCacheCheck.{name}[{index}]", text)

    def importer(self, path: str, importer: ImporterExecutor) -> None:
        at = f"{path}.artifactUri"
        if importer.uri_parameter:
            if self.names is not None and importer.uri_parameter not in self.names.input_parameters:
                known = self.names.input_parameters
                self.found.unknown(f"{at}.runtimeParameter", "input parameter", importer.uri_parameter, known)
        elif not importer.uri:
            self.found.add(at, "the importer has no URI", "missing")
        self.template(f"{at}.constant", importer.uri)
        values: tuple[tuple[str, Mapping[str, Any]], ...] = (
            ("metadata", importer.metadata),
            ("properties", importer.properties),
            ("customProperties", importer.custom_properties),
        )
        for name, mapping in values:
            for where, text in _texts(f"{path}.{name}", mapping):
                self.template(where, text)

    def argument(self, path: str, text: str) -> None:
        self.no_null(path, text)
        try:
            structure = placeholders.parse_structure(text)
        except InvalidPipeline as error:
            for finding in error.findings:
                self.found.add(path, finding.message, finding.code, finding.hint)
            return
        if isinstance(structure, placeholders.Template):
            self.template(path, text)
            return
        for reference in placeholders.structure_references(structure):
            self.reference(path, reference)
        for name in placeholders.structure_names(structure):
            if self.names is not None:
                known = {**self.names.input_parameters, **self.names.input_artifacts}
                if name not in known:
                    self.found.unknown(path, "input", name, known, " of the component")

    def template(self, path: str, text: str) -> None:
        self.no_null(path, text)
        for reference in placeholders.references(text):
            self.reference(path, reference)
        for piece in placeholders.unknown_placeholders(text):
            hint = "see the placeholders of kfp.dsl; write it differently if it is meant as text"
            self.found.add(path, f"{piece!r} is not a placeholder", "bad-placeholder", hint)

    def reference(self, path: str, reference: placeholders.Reference) -> None:
        if self.names is None:
            return
        what, known = {
            RefKind.INPUT_PARAMETER: ("input parameter", self.names.input_parameters),
            RefKind.INPUT_ARTIFACT: ("input artifact", self.names.input_artifacts),
            RefKind.OUTPUT_PARAMETER: ("output parameter", self.names.output_parameters),
            RefKind.OUTPUT_ARTIFACT: ("output artifact", self.names.output_artifacts),
        }.get(reference.kind, ("", None))
        if known is not None and reference.name not in known:
            self.found.unknown(path, what, reference.name, known, " of the component")

    def no_null(self, path: str, text: str) -> None:
        if "\0" in text:
            self.found.add(path, "a NUL character cannot be passed to a process", "invalid-value")


def _resource_texts(container: ContainerExecutor) -> Iterator[tuple[str, str]]:
    resources = container.resources
    if resources is None:
        return
    yield "resourceCpuRequest", resources.cpu_request
    yield "resourceCpuLimit", resources.cpu_limit
    yield "resourceMemoryRequest", resources.memory_request
    yield "resourceMemoryLimit", resources.memory_limit
    if resources.accelerator is not None:
        yield "accelerator.resourceType", resources.accelerator.type
        yield "accelerator.resourceCount", resources.accelerator.count


def _texts(path: str, value: Any) -> Iterator[tuple[str, str]]:
    """Every text inside a JSON value, with its path."""
    stack: list[tuple[str, Any]] = [(path, value)]
    while stack:
        at, node = stack.pop()
        if isinstance(node, str):
            yield at, node
        elif isinstance(node, Mapping):
            stack.extend((paths.child(at, str(key)), item) for key, item in node.items())  # pyright: ignore[reportUnknownVariableType,reportUnknownArgumentType]
        elif isinstance(node, list):
            stack.extend((paths.element(at, index), item) for index, item in enumerate(node))  # pyright: ignore[reportUnknownVariableType,reportUnknownArgumentType]
