"""Components: functions that are tasks where a pipeline calls them, and plain functions everywhere else."""

# Placeholders keep public names free for outputs of the user's: what the modules of this package share is private.
# pyright: reportPrivateUsage=false

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, ParamSpec, TypeVar, cast, overload

from mlplatform.core.errors import InvalidPipeline
from mlplatform.core.values import ParameterType
from mlplatform.sdk.define import scope
from mlplatform.sdk.define.arguments import Arguments
from mlplatform.sdk.define.channels import Channel, Collected, as_channel
from mlplatform.sdk.define.commands import DEFAULT_IMAGE, Packages
from mlplatform.sdk.define.control import ParallelFor
from mlplatform.sdk.define.interface import Signature, dataclass_fields, read_signature
from mlplatform.sdk.define.secrets import refuse_secret
from mlplatform.sdk.define.tasks import Interface, OutputSpec, Task, seconds
from mlplatform.sdk.define.types import ANY_ARTIFACT, ValueType, parameter_type, type_of_value
from mlplatform.sdk.define.where import user_line

P = ParamSpec("P")
R = TypeVar("R")
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class TaskOptions:
    """How tasks of a component are run; None: as it comes."""

    name: str | None = None
    retries: int | None = None
    cpus: float | None = None
    memory: str | None = None
    gpus: int | None = None
    image: str | None = None
    timeout: float | None = None
    cache: bool | None = None
    packages: tuple[str, ...] | None = None
    reads: tuple[str, ...] | None = None
    env: Mapping[str, str] | None = None

    def changed(self, **given: Any) -> TaskOptions:
        return dataclasses.replace(self, **{name: value for name, value in given.items() if value is not None})


class PythonComponent(Generic[P, R]):
    """A function decorated with ``@ml.component`` or ``@dsl.component``.

    Outside of a pipeline it is the function. Inside, calling it makes a task, which stands for what it will return.
    """

    executed = True

    def __init__(
        self,
        function: Callable[P, R],
        *,
        objects: bool,
        options: TaskOptions,
        packages: Packages | None = None,
        image: str = "",
        signature: Signature | None = None,
    ) -> None:
        if not callable(function):
            raise InvalidPipeline(f"A component is made of a function, not of {function!r}.")
        self.function = function
        self.objects = objects
        self.task_options = options
        self.packages = packages or Packages()
        self.image = image or DEFAULT_IMAGE
        self.signature = signature or read_signature(function, objects=objects)
        functools.update_wrapper(cast(Any, self), function)

    @property
    def name(self) -> str:
        return self.task_options.name or getattr(self.function, "__name__", "component")

    @property
    def interface(self) -> Interface:
        return self.signature.interface

    @property
    def python_func(self) -> Callable[P, R]:
        """The function itself, as kfp calls it."""
        return self.function

    def __repr__(self) -> str:
        return f"<component {self.name}>"

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        if instance is None:
            return self
        raise InvalidPipeline(
            f"{self.name} is a method: a component must be a function of its own.",
            hint="Move it out of the class and pass it what it needs of the object.",
        )

    # ------------------------------------------------------------------ calls
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        if scope.current() is None:
            return self.function(*args, **kwargs)
        return cast(R, self._task(args, kwargs))

    def options(
        self,
        *,
        name: str | None = None,
        retries: int | None = None,
        cpus: float | None = None,
        memory: str | int | None = None,
        gpus: int | None = None,
        image: str | None = None,
        timeout: float | str | None = None,
        cache: bool | None = None,
        packages: Iterable[str] | None = None,
        reads: Iterable[str] | None = None,
        env: Mapping[str, str] | None = None,
    ) -> PythonComponent[P, R]:
        """The component with other settings for its tasks: ``train.options(retries=2, gpus=1)(df)``.

        Args:
            name: what its tasks are called.
            retries: how often it is tried again when it fails.
            cpus: cores; memory: such as ``"8Gi"``, or bytes; gpus: how many.
            image: container image where it runs in containers.
            timeout: seconds, or ``"15m"``; then it is stopped and has failed.
            cache: False: never reuse its results.
            packages: requirements to install before it runs.
            reads: files and folders it reads, for results of programs whose reading cannot be seen.
            env: environment variables. Secrets do not belong here: see ``ml.secret``.
        """
        for key, value in (env or {}).items():
            refuse_secret(key, value)
        options = self.task_options.changed(
            name=name,
            retries=retries,
            cpus=cpus,
            memory=str(memory) if memory is not None else None,
            gpus=gpus,
            image=image,
            timeout=seconds(timeout) if timeout is not None else None,
            cache=cache,
            packages=tuple(packages) if packages is not None else None,
            reads=tuple(reads) if reads is not None else None,
            env=dict(env) if env is not None else None,
        )
        return self._with(options)

    def _with(self, options: TaskOptions) -> PythonComponent[P, R]:
        return PythonComponent(
            self.function,
            objects=self.objects,
            options=options,
            packages=self.packages,
            image=self.image,
            signature=self.signature,
        )

    def map(self, items: Iterable[Any], /, **fixed: Any) -> list[R]:
        """One task for each item, given as the first argument; ``fixed`` is the same for all.

        Outside of a pipeline, a list of results. Inside, what stands for that list.
        """
        first = next(iter(self.signature.positional), None)
        if first is None:
            raise InvalidPipeline(f"{self.name}.map(): the component takes no argument by position.")
        if scope.current() is None:
            plain = cast("Callable[..., R]", self.function)
            return [plain(item, **fixed) for item in items]
        channel = as_channel(items)
        if channel is not None or type_of_value(items) is not None:
            if channel is None and not items:
                return []
            with ParallelFor(channel if channel is not None else items) as item:
                task = self._task((), {first: item, **fixed})
            return cast("list[R]", Collected(task))
        return [cast(R, self._task((item,), fixed)) for item in items]

    # ------------------------------------------------------------------ recording
    def _task(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Task:
        recording = scope.recording(self.name)
        given = self._bind(args, kwargs)
        made = Arguments(self.name, self.signature, recording, objects=self.objects)
        for name, value in given.items():
            made.take(name, value)
        interface = Interface(made.inputs(), self.interface.outputs)
        task = PythonTask(self, made.arguments, interface, made.templates)
        recording.add_task(task, self.name)
        for secret in made.secrets:
            secret.ask_for(task)
        self._configure(task)
        return task

    def _bind(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        if not self.objects and args:
            raise InvalidPipeline(
                f"{self.name}() takes its arguments by name ({user_line()}).", hint="Write name=value for each."
            )
        outputs = set(self.interface.outputs) - set(self.interface.inputs)
        own = inspect.signature(self.function)
        hidden = {
            name for name, spec in self.interface.inputs.items()
            if spec.type.parameter in (ParameterType.TASK_FINAL_STATUS, ParameterType.TASK_CONFIG)
        }  # fmt: skip
        taken = [p for name, p in own.parameters.items() if name not in outputs and name not in hidden]
        try:
            bound = own.replace(parameters=taken, return_annotation=own.empty).bind(*args, **kwargs)
        except TypeError as error:
            raise InvalidPipeline(
                f"{self.name}(): {error} ({user_line()}).", hint=f"It takes ({', '.join(map(str, taken))})."
            ) from None
        return dict(bound.arguments)

    def _configure(self, task: Task) -> None:
        options = self.task_options
        if options.retries:
            task.set_retry(options.retries)
        if options.cpus is not None:
            task.set_cpu_request(f"{options.cpus:g}").set_cpu_limit(f"{options.cpus:g}")
        if options.memory is not None:
            task.set_memory_request(options.memory).set_memory_limit(options.memory)
        if options.gpus:
            task.set_accelerator_type("nvidia.com/gpu").set_accelerator_limit(options.gpus)
        if options.image is not None:
            task.set_container_image(options.image)
        if options.cache is False:
            task.set_caching_options(False)
        if options.timeout is not None:
            task._settings.platform.setdefault("kubernetes", {})["activeDeadlineSeconds"] = max(
                1, round(options.timeout)
            )
        for name, value in (options.env or {}).items():
            task.set_env_variable(name, value)


class PythonTask(Task):
    """A task of a Python component: knows how its arguments are put together and what of its result is wanted."""

    def __init__(
        self,
        component: PythonComponent[Any, Any],
        arguments: Mapping[str, Any],
        interface: Interface,
        templates: dict[str, Any],
    ) -> None:
        super().__init__(component, arguments, interface)
        self._python = component
        self._templates = templates
        signature = component.signature
        self._parts: dict[str, Any] = {}
        returned = signature.annotations.get("return")
        if signature.returns in ("fields", "items", "keys"):
            names = signature.fields
            self._fields = {name: name for name in names}
            self._ordered = names if signature.returns in ("fields", "items") else ()
            self._parts = {name: i if signature.returns == "items" else name for i, name in enumerate(names)}
        elif component.objects:
            for name, annotation in dataclass_fields(returned).items():
                if name not in self._channels:
                    type_ = parameter_type(annotation) or ANY_ARTIFACT
                    self._late_fields = {**getattr(self, "_late_fields", {}), name: type_}

    def _field(self, name: str) -> Channel:
        return super()._field(name)

    def __getattr__(self, name: str) -> Any:
        late: dict[str, ValueType] = self.__dict__.get("_late_fields", {})
        if name in late:
            return self._add_output(name, late[name], name)
        return super().__getattr__(name)

    def _channel(self) -> Channel:
        parts = self.__dict__.get("_parts", {})
        if parts and "Output" not in self._channels:
            # Parts are wanted as one: the whole result is an output as well.
            return self._add_output("Output", ANY_ARTIFACT, None)
        return super()._channel()

    def _add_output(self, name: str, type_: ValueType, part: Any) -> Channel:
        if name not in self._channels:
            self._channels[name] = Channel(name, type_, self)
            self._interface = Interface(self._interface.inputs, {**self._interface.outputs, name: OutputSpec(type_)})
            if part is not None:
                self._parts[name] = part
        return self._channels[name]

    @property
    def needs_adapter(self) -> bool:
        """Whether it is more than kfp's own runtime does."""
        component = self._python
        signature = component.signature
        if not component.objects:
            return False
        passed = all("passed" in template for template in self._templates.values())
        return not (signature.uses_kfp and passed and not signature.result and not self._parts)

    def spec(self) -> dict[str, Any]:
        """See ``travel.task``."""
        signature = self._python.signature
        outputs: dict[str, Any] = {}
        for name, output in self._interface.outputs.items():
            if name in self._templates:
                continue  # an argument that the function writes to itself
            kind = "parameter" if output.type.parameter is not None else "artifact"
            entry: dict[str, Any] = {"kind": kind, "part": self._parts.get(name)}
            if output.type.parameter is not None:
                entry["type"] = output.type.parameter.value
            outputs[name] = entry
        returns = signature.returns if signature.returns in ("fields", "items", "keys") else "attributes"
        own = inspect.signature(self._python.function).parameters.values()
        return {
            "name": self._python.name,
            "arguments": self._templates,
            "outputs": outputs,
            "returns": returns,
            "parts": len(signature.fields),
            "fields": list(signature.fields),
            "positional_only": [p.name for p in own if p.kind is p.POSITIONAL_ONLY],
        }


# ------------------------------------------------------------------ decorators
@overload
def component(function: Callable[P, R], /) -> PythonComponent[P, R]: ...
@overload
def component(
    *,
    name: str | None = None,
    retries: int | None = None,
    cpus: float | None = None,
    memory: str | int | None = None,
    gpus: int | None = None,
    image: str | None = None,
    timeout: float | str | None = None,
    cache: bool | None = None,
    packages: Iterable[str] | None = None,
    reads: Iterable[str] | None = None,
    env: Mapping[str, str] | None = None,
) -> Callable[[Callable[P, R]], PythonComponent[P, R]]: ...
def component(function: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """Make a function a component: a plain function outside of pipelines, a task inside.

    Its arguments and what it returns may be numbers, texts, lists and dicts (KFP parameters) and any Python objects
    (artifacts in open formats). Whatever else of your code it uses goes along by itself. Options: see
    :meth:`PythonComponent.options`.

    Raises:
        InvalidPipeline: the function cannot be a component, with every finding.
    """

    def decorate(function: Callable[..., Any]) -> PythonComponent[..., Any]:
        made = PythonComponent(function, objects=True, options=TaskOptions())
        return made.options(**options) if options else made

    return decorate(function) if function is not None else decorate


__all__ = ["PythonComponent", "PythonTask", "TaskOptions", "component"]
