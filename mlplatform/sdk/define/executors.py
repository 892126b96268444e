"""What one task runs, as the IR has it: each kind of component in its own way."""

# Placeholders keep public names free for outputs of the user's: what the modules of this package share is private.
# pyright: reportPrivateUsage=false

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, cast

from mlplatform.ir.model import (
    Accelerator,
    ArtifactSource,
    Component,
    ContainerExecutor,
    Executor,
    ParameterSource,
    Pipeline,
    Resources,
)
from mlplatform.sdk.define import embed
from mlplatform.sdk.define.channels import Channel, as_channel
from mlplatform.sdk.define.commands import lightweight
from mlplatform.sdk.define.components import PythonComponent, PythonTask
from mlplatform.sdk.define.conditions import Formatted
from mlplatform.sdk.define.embed import Captures
from mlplatform.sdk.define.scope import Recording
from mlplatform.sdk.define.tasks import Interface, Settings, Task
from mlplatform.sdk.define.types import ANY_ARTIFACT
from mlplatform.sdk.travel import bundle


@dataclass(frozen=True, slots=True)
class Implementation:
    """What runs: ``executor``, or the tasks of ``pipeline``. ``arguments``: of the task, what was injected included.
    ``component``: its interface, where it is not the task's own. ``large``: values it needs as root artifacts."""

    arguments: Mapping[str, Any]
    executor: Executor | None = None
    pipeline: Pipeline | None = None
    component: Component | None = None
    config: Mapping[str, Any] = field(default_factory=dict[str, Any])
    large: Mapping[str, Any] = field(default_factory=dict[str, Any])


def implement(task: Task, recording: Recording, captures: Captures) -> Implementation:
    """Raises InvalidPipeline, CannotCapture."""
    component = cast(Any, task._component)
    arguments = dict(task._arguments)
    if isinstance(component, PythonComponent):
        return _python(cast(PythonTask, task), arguments, captures)
    if hasattr(component, "sub_pipeline"):
        return Implementation(arguments, pipeline=component.sub_pipeline(captures))
    made: Implementation = component.implement(task, arguments)
    if isinstance(made.executor, ContainerExecutor):
        executor, injected = _with_settings(made.executor, task._settings)
        return replace(made, executor=executor, arguments={**made.arguments, **injected})
    return made


def _python(task: PythonTask, arguments: dict[str, Any], captures: Captures) -> Implementation:
    component: PythonComponent[Any, Any] = task._python
    options = component.task_options
    packages = replace(component.packages, names=(*component.packages.names, *(options.packages or ())))
    large: dict[str, Any] = {}
    if not task.needs_adapter:
        function = component.function.__name__
        source = embed.plain(component.function, captures)
    else:
        captured = captures.of(component.function)
        spec = task.spec()
        for wanted, value in captured.large.items():
            key = f"captured-{wanted}"
            name = f"captured_{wanted}"
            large[key] = value
            arguments[name] = Channel(key, ANY_ARTIFACT)
            inputs = {**task._interface.inputs, name: embed.captured_input()}
            task._interface = Interface(inputs, task._interface.outputs)
            spec.setdefault("large", {})[name] = wanted
        function = embed.FUNCTION
        about = {
            "adapter": bundle.VERSION,
            "name": component.name,
            "parts": dict(captured.parts),
            "kfp": component.signature.uses_kfp,
            "reads": list(options.reads or ()),
            "packages": dict(captured.distributions),
            "folders": [] if captures.portable else embed.folders_of(captured),
        }
        source = embed.with_adapter(captured, spec, about)
    command, args = lightweight(function, source, packages)
    executor = ContainerExecutor(component.image, command, args)
    made, injected = _with_settings(executor, task._settings)
    return Implementation({**arguments, **injected}, executor=made, large=large)


def _with_settings(executor: ContainerExecutor, settings: Settings) -> tuple[ContainerExecutor, dict[str, Any]]:
    """Image, environment and resources of a task; and the arguments through which those that a run decides come in."""
    injected: dict[str, Any] = {}

    def text(name: str, value: Any) -> str:
        if value is None:
            return ""
        if as_channel(value) is None:
            return str(value)
        injected[name] = Formatted(value)
        return injected[name].text

    if settings.image is not None:
        executor = replace(executor, image=text("base_image", settings.image))
    if settings.env:
        executor = replace(executor, env={**executor.env, **settings.env})
    if settings.has_resources:
        resources = Resources(
            cpu_request=text("cpu_request", settings.cpu_request),
            cpu_limit=text("cpu_limit", settings.cpu_limit),
            memory_request=text("memory_request", settings.memory_request),
            memory_limit=text("memory_limit", settings.memory_limit),
        )
        if settings.accelerator_count is not None:
            kind = text("accelerator_type", settings.accelerator_type)
            resources = replace(
                resources, accelerator=Accelerator(kind, text("accelerator_count", settings.accelerator_count))
            )
        executor = replace(executor, resources=resources)
    return executor, injected


#: In platform settings the key of a channel whose place in the IR stands among the fields around it.
SPREAD: Final = ""


def values_of_platform(
    settings: Mapping[str, Any], resolve: Callable[[Channel], ParameterSource | ArtifactSource]
) -> dict[str, Any]:
    """A task's platform settings with every channel in them as the IR names it where the task stands."""

    def plain(value: Any) -> Any:
        channel = as_channel(value)
        if channel is not None:
            source = resolve(channel)
            assert isinstance(source, ParameterSource)
            if source.producer_task:
                output = {"producerTask": source.producer_task, "outputParameterKey": source.output_parameter}
                return {"taskOutputParameter": output}
            return {"componentInputParameter": source.component_input}
        if isinstance(value, Mapping):
            found: dict[str, Any] = {}
            for key, item in cast("Mapping[str, Any]", value).items():
                found.update({key: plain(item)} if key else plain(item))
            return found
        if isinstance(value, (list, tuple)):
            return [plain(item) for item in cast("list[Any]", value)]
        return value

    return cast("dict[str, Any]", plain(settings))
