"""Components that are commands in a container image, and the placeholders of their command lines."""

# Placeholders keep public names free for outputs of the user's: what the modules of this package share is private.
# pyright: reportPrivateUsage=false

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlplatform.core.errors import InvalidPipeline
from mlplatform.ir.model import ContainerExecutor
from mlplatform.sdk.define.calls import plain_task
from mlplatform.sdk.define.executors import Implementation
from mlplatform.sdk.define.interface import read_signature
from mlplatform.sdk.define.tasks import Task
from mlplatform.sdk.define.where import user_line


class _Text:
    """Stands in a command line for what a run will put there."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __str__(self) -> str:
        return self._text

    __repr__ = __str__


class _Metadata(_Text):
    def __getitem__(self, key: str) -> str:
        return f"{self._text[:-2]}['{key}']}}}}"


class _ArtifactArgument(_Text):
    """An artifact argument of a container component: ``path``, ``uri`` and ``metadata`` are placeholders."""

    def __init__(self, place: str, name: str, *, is_list: bool) -> None:
        super().__init__(f"{{{{$.{place}.artifacts['{name}']}}}}")
        self._base = f"{{{{$.{place}.artifacts['{name}']"
        self._is_list = is_list

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        if self._is_list or name not in ("path", "uri", "metadata"):
            what = "a list of artifacts can only be passed whole" if self._is_list else "it has path, uri and metadata"
            raise InvalidPipeline(f"An artifact of a container component has no .{name} here: {what} ({user_line()}).")
        text = f"{self._base}.{name}}}}}"
        return _Metadata(text) if name == "metadata" else text


class ConcatPlaceholder:
    """Texts joined to one word of a command line."""

    def __init__(self, items: Sequence[Any]) -> None:
        for item in items:
            if isinstance(item, IfPresentPlaceholder):
                item._single()
        self.items = list(items)

    def _struct(self) -> Any:
        return {"Concat": [_struct(item) for item in self.items]}

    def __str__(self) -> str:
        raise InvalidPipeline(
            f"A ConcatPlaceholder cannot be part of a text ({user_line()}).", hint="Put the text into its list."
        )


class IfPresentPlaceholder:
    """Words of a command line that are there only if an optional input is given."""

    def __init__(self, input_name: str, then: Any, else_: Any = None) -> None:
        self.input_name = input_name
        self.then = then
        self.else_ = else_

    def _single(self) -> None:
        if isinstance(self.then, list) or isinstance(self.else_, list):
            raise InvalidPipeline(
                f"An IfPresentPlaceholder inside a ConcatPlaceholder gives one text, not a list ({user_line()})."
            )
        for part in (self.then, self.else_):
            if isinstance(part, IfPresentPlaceholder):
                part._single()
            elif isinstance(part, ConcatPlaceholder):
                for item in part.items:
                    if isinstance(item, IfPresentPlaceholder):
                        item._single()

    def _struct(self) -> Any:
        found: dict[str, Any] = {"InputName": self.input_name, "Then": _structs(self.then)}
        if self.else_:
            found["Else"] = _structs(self.else_)
        return {"IfPresent": found}

    def __str__(self) -> str:
        raise InvalidPipeline(f"An IfPresentPlaceholder cannot be part of a text ({user_line()}).")


def _struct(item: Any) -> Any:
    return item._struct() if isinstance(item, (ConcatPlaceholder, IfPresentPlaceholder)) else str(item)


def _structs(items: Any) -> Any:
    return [_struct(item) for item in items] if isinstance(items, list) else _struct(items)  # pyright: ignore[reportUnknownVariableType]


def _word(item: Any) -> str:
    if isinstance(item, (ConcatPlaceholder, IfPresentPlaceholder)):
        return json.dumps(item._struct())
    return str(item)


@dataclass(frozen=True)
class ContainerSpec:
    """What a container component runs: words may be texts, arguments of the function, or placeholders."""

    image: Any
    command: Sequence[Any] | None = None
    args: Sequence[Any] | None = None


class ContainerComponent:
    """A function decorated with ``@dsl.container_component``: it returns a :class:`ContainerSpec`."""

    executed = True

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.name = function.__name__
        signature = inspect.signature(function)
        wanted = signature.return_annotation
        if (
            wanted not in (signature.empty, ContainerSpec, "ContainerSpec", "dsl.ContainerSpec")
            and getattr(wanted, "__name__", "") != "ContainerSpec"
        ):
            raise InvalidPipeline(f"{self.name}: a container component returns a ContainerSpec, nothing else.")
        self.interface = read_signature(_without_return(function), objects=False).interface
        self._spec = self._run()

    def _run(self) -> ContainerSpec:
        arguments: dict[str, Any] = {}
        outputs = self.interface.outputs
        for name in inspect.signature(self.function).parameters:
            if name in outputs:
                if outputs[name].type.parameter is not None:
                    arguments[name] = f"{{{{$.outputs.parameters['{name}'].output_file}}}}"
                else:
                    arguments[name] = _output_argument(self.function, name, outputs[name].type.is_list)
            else:
                type_ = self.interface.inputs[name].type
                if type_.parameter is not None:
                    arguments[name] = f"{{{{$.inputs.parameters['{name}']}}}}"
                else:
                    arguments[name] = _ArtifactArgument("inputs", name, is_list=type_.is_list)
        found: Any = self.function(**arguments)
        if type(found).__name__ != "ContainerSpec":
            raise InvalidPipeline(
                f"{self.name} returned {type(found).__name__}: a container component returns dsl.ContainerSpec(...)."
            )
        return found

    def __call__(self, *args: Any, **kwargs: Any) -> Task:
        return plain_task(self, args, kwargs)

    def implement(self, task: Task, arguments: Mapping[str, Any]) -> Implementation:
        spec = self._spec
        command = tuple(map(_word, spec.command or ()))
        return Implementation(
            arguments, ContainerExecutor(str(spec.image), command, tuple(map(_word, spec.args or ())))
        )


def _output_argument(function: Callable[..., Any], name: str, is_list: bool) -> Any:
    annotation = inspect.signature(function).parameters[name].annotation
    if type(annotation).__name__ == "OutputPath":
        return f"{{{{$.outputs.artifacts['{name}'].path}}}}"
    return _ArtifactArgument("outputs", name, is_list=is_list)


def _without_return(function: Callable[..., Any]) -> Callable[..., Any]:
    def same(*args: Any, **kwargs: Any) -> Any: ...

    signature = inspect.signature(function)
    same.__name__, same.__doc__ = function.__name__, function.__doc__
    same.__signature__ = signature.replace(return_annotation=None)  # type: ignore[attr-defined]
    hints = {name: item for name, item in getattr(function, "__annotations__", {}).items() if name != "return"}
    same.__annotations__ = {**hints, "return": None}
    return same


def container_component(function: Callable[..., Any]) -> ContainerComponent:
    """Make a function that returns a :class:`ContainerSpec` a component."""
    return ContainerComponent(function)
