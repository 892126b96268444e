"""Values that only a run will have, and what Python must not do with them.

A pipeline function runs once, when it is compiled. What it handles then are placeholders: they may be passed to
components and compared in ``dsl.If``. Everything else that Python would do silently and wrongly raises, naming the
user's line and what to write instead.
"""

# Placeholders keep public names free for outputs of the user's: what the modules of this package share is private.
# pyright: reportPrivateUsage=false

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, NoReturn

from mlplatform.core.errors import InvalidPipeline
from mlplatform.core.values import ParameterType
from mlplatform.sdk.define import scope
from mlplatform.sdk.define.naming import INJECTED
from mlplatform.sdk.define.types import LIST, STRING, ValueType
from mlplatform.sdk.define.where import user_line

_IF = "Write `with dsl.If({what}):` (from mlplatform import dsl), or let a component decide it."
_COMPONENT = "Do it inside a component, where the value is there: values are passed from component to component."


class PlaceholderMisuse(InvalidPipeline):
    """A value that only a run will have was used as if it were there."""


class _NoAttribute(PlaceholderMisuse, AttributeError):
    """As Python wants it: ``hasattr`` and ``copy`` ask for attributes."""


def misuse(what: str, did: str, hint: str) -> PlaceholderMisuse:
    place = user_line()
    where = f" ({place})" if place else ""
    return PlaceholderMisuse(
        f"{what} has no value while the pipeline is compiled, so it cannot {did}{where}.", hint=hint
    )


class Placeholder(ABC):
    """What must not be done with a placeholder; :meth:`_what` says in words what it stands for."""

    __hash__ = object.__hash__

    @abstractmethod
    def _what(self) -> str: ...

    @abstractmethod
    def _channel(self) -> Channel:
        """The one value that it stands for."""

    def __repr__(self) -> str:
        return f"<{self._what()}>"

    def __bool__(self) -> bool:
        raise misuse(self._what(), "be true or false", _IF.format(what="... == ..."))

    def __len__(self) -> int:
        raise misuse(self._what(), "be measured", _COMPONENT)

    def __iter__(self) -> Any:
        raise misuse(
            self._what(), "be looped over", "Write `with dsl.ParallelFor(...) as item:`, or component.map(...)."
        )

    def __contains__(self, item: object) -> bool:
        raise misuse(self._what(), "be searched", _COMPONENT)

    def __getitem__(self, key: Any) -> Any:
        raise misuse(self._what(), f"be asked for [{key!r}]", _COMPONENT)

    def __index__(self) -> int:
        raise misuse(self._what(), "be a number", _COMPONENT)

    def __int__(self) -> int:
        raise misuse(self._what(), "be a number", _COMPONENT)

    def __float__(self) -> float:
        raise misuse(self._what(), "be a number", _COMPONENT)

    def __str__(self) -> str:
        return self._text()

    def __format__(self, spec: str) -> str:
        if spec:
            raise misuse(self._what(), f"be formatted with {spec!r}", _COMPONENT)
        return self._text()

    def _text(self) -> str:
        recording = scope.current()
        if recording is None or not recording.formatting:
            raise misuse(self._what(), "become text", "Pass it to a component and make the text there.")
        channel = self._channel()
        key = channel._pattern()
        recording.channels[key] = channel
        return key

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        error = misuse(self._what(), f"be asked for .{name}", _COMPONENT)
        raise _NoAttribute(error.message, hint=error.hint)

    def _refuse(self, other: object) -> NoReturn:
        raise misuse(self._what(), "be calculated with", _COMPONENT)

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = _refuse
    __floordiv__ = __rfloordiv__ = __mod__ = __rmod__ = __pow__ = __rpow__ = __matmul__ = __rmatmul__ = _refuse
    __and__ = __rand__ = __or__ = __ror__ = _refuse

    def __eq__(self, other: object) -> Any:
        return Comparison(self._channel(), "==", _operand(other))

    def __ne__(self, other: object) -> Any:
        return Comparison(self._channel(), "!=", _operand(other))

    def __lt__(self, other: object) -> Any:
        return Comparison(self._channel(), "<", _operand(other))

    def __le__(self, other: object) -> Any:
        return Comparison(self._channel(), "<=", _operand(other))

    def __gt__(self, other: object) -> Any:
        return Comparison(self._channel(), ">", _operand(other))

    def __ge__(self, other: object) -> Any:
        return Comparison(self._channel(), ">=", _operand(other))


def _operand(value: object) -> Any:
    return value._channel() if isinstance(value, Placeholder) else value


@dataclass(frozen=True, eq=False)
class Comparison:
    """``left op right``: what ``dsl.If`` takes. It has no truth of its own."""

    left: Channel
    operator: str
    right: Any
    negated: bool = False

    def negate(self) -> Comparison:
        return Comparison(self.left, self.operator, self.right, not self.negated)

    def operands(self) -> tuple[Any, Any]:
        return self.left, self.right

    def words(self) -> str:
        return f"{_short(self.left)} {self.operator} {_short(self.right)}"

    def __bool__(self) -> bool:
        raise misuse(f"`{self.words()}`", "be true or false", _IF.format(what=self.words()))

    def __and__(self, other: object) -> NoReturn:
        raise misuse(f"`{self.words()}`", "be joined with &", "Nest one `with dsl.If(...):` in the other.")

    __or__ = __rand__ = __ror__ = __and__


def _short(value: Any) -> str:
    if not isinstance(value, Channel):
        return repr(value)
    producer = value._producer
    if producer is None:
        return value._key
    return (
        f"{producer._name.replace('-', '_')}.output"
        if value._key == "Output"
        else f"{producer._name}.outputs[{value._key!r}]"
    )


class Channel(Placeholder):
    """One value. ``_producer`` is the task or group whose output ``_key`` it is; None for the pipeline's own inputs."""

    def __init__(self, key: str, type_: ValueType, producer: scope.Node | None = None) -> None:
        self._key = key
        self._type = type_
        self._producer = producer

    def _channel(self) -> Channel:
        return self

    @property
    def _is_parameter(self) -> bool:
        return self._type.parameter is not None

    def _full_name(self) -> str:
        return f"{self._producer._name}-{self._key}" if self._producer is not None else self._key

    def _injected(self) -> str:
        """What an input is called that carries it into a group."""
        return INJECTED + self._full_name()

    def _pattern(self) -> str:
        return f"{{{{channel:{self._full_name()}}}}}"

    def _what(self) -> str:
        if self._producer is None:
            return f"pipeline parameter {self._key!r}"
        what = "the output" if self._key == "Output" else f"output {self._key!r}"
        return f"{what} of task {self._producer._name!r}"


class LoopItem(Channel):
    """The item of a ``dsl.ParallelFor``. Where items are mappings, ``item.key`` (or ``item["key"]``) is one entry."""

    def __init__(self, key: str, type_: ValueType, loop: scope.Group, producer: scope.Node | None) -> None:
        super().__init__(key, type_, producer)
        self._loop = loop

    def _what(self) -> str:
        return f"the item of {self._loop._name!r}"

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or not self._is_parameter:
            return super().__getattr__(name)
        if self._type.parameter not in (ParameterType.STRUCT, ParameterType.STRING):
            return super().__getattr__(name)
        return LoopField(self, name)

    def __getitem__(self, key: Any) -> Any:
        if not isinstance(key, str):
            return super().__getitem__(key)
        return LoopField(self, key)


class LoopField(Channel):
    """An entry of a loop's item."""

    def __init__(self, item: LoopItem, field: str) -> None:
        super().__init__(f"{item._key}-subvar-{field}", item._type.entry or STRING, item._producer)
        self._item = item
        self._field = field

    def _what(self) -> str:
        return f"{self._field!r} of the item of {self._item._loop._name!r}"

    def __getattr__(self, name: str) -> Any:
        return super().__getattr__(name)


class Collected(Channel):
    """The outputs of a task in a ``dsl.ParallelFor``, as a list in the order of the items."""

    def __init__(self, output: Any) -> None:
        inner = as_channel(output)
        if inner is None or inner._producer is None:
            raise InvalidPipeline(
                f"dsl.Collected takes the output of a task in a dsl.ParallelFor ({user_line()}).",
                hint="Write dsl.Collected(task.output), or task.outputs['name'] where it has several.",
            )
        if isinstance(inner, OneOf):
            raise InvalidPipeline(
                f"dsl.Collected cannot take a dsl.OneOf ({user_line()}).",
                hint="Pass the OneOf to a task inside the loop and collect that task's output.",
            )
        if inner._is_parameter:
            type_ = ValueType(ParameterType.LIST, item=inner._type)
        else:
            type_ = ValueType(artifact=inner._type.artifact, is_list=True)
        super().__init__(inner._key, type_, inner._producer)
        self._inner = inner

    def _what(self) -> str:
        return f"the list of what {self._inner._what()} gives"


class OneOf(Channel):
    """The output of the one branch that ran, of ``dsl.If`` / ``dsl.Elif`` / ``dsl.Else``."""

    def __init__(self, *outputs: Any) -> None:
        inner = [as_channel(output) for output in outputs]
        problem = _one_of_problem(inner)
        if problem:
            raise InvalidPipeline(
                f"dsl.OneOf {problem} ({user_line()}).", hint="Name one output of a task of each branch."
            )
        self._inner: list[Channel] = [channel for channel in inner if channel is not None]
        first = self._inner[0]
        condition = first._producer._parent if first._producer is not None else None
        branches = condition._parent if condition is not None else None
        if branches is None or not hasattr(branches, "_one_ofs"):
            raise InvalidPipeline(
                f"dsl.OneOf needs the branches of one dsl.If that has a dsl.Else ({user_line()}).",
                hint="Add `with dsl.Else():` with a task whose output serves in the other case.",
            )
        if not branches._has_else:  # pyright: ignore[reportAttributeAccessIssue,reportUnknownMemberType]
            raise InvalidPipeline(
                f"dsl.OneOf must include an output of dsl.Else, so that there is always one ({user_line()}).",
                hint="Add `with dsl.Else():` with a task whose output serves in the other case.",
            )
        made: Any = branches
        made._one_ofs += 1
        key = f"{INJECTED}{branches._name}-oneof-{made._one_ofs}"
        super().__init__(key, first._type, branches)

    def _what(self) -> str:
        return "the output of whichever branch runs"


def _one_of_problem(channels: list[Channel | None]) -> str:
    if not channels or any(channel is None or channel._producer is None for channel in channels):
        return "takes outputs of tasks"
    if any(isinstance(channel, (OneOf, Collected)) for channel in channels):
        return "takes plain outputs of tasks, no OneOf and no Collected"
    first = channels[0]
    for channel in channels[1:]:
        assert first is not None
        assert channel is not None
        if (first._type.parameter, first._type.is_list) != (channel._type.parameter, channel._type.is_list):
            return f"takes outputs of one type, not {first._type.words} and {channel._type.words}"
        if first._type.artifact.schema_title != channel._type.artifact.schema_title:
            return f"takes outputs of one type, not {first._type.words} and {channel._type.words}"
    return ""


def as_channel(value: Any) -> Channel | None:
    """The channel that a value is or stands for (a task for its only output); None for constants."""
    return value._channel() if isinstance(value, Placeholder) else None


def list_item(type_: ValueType) -> ValueType:
    """The type of the items of a list to loop over."""
    if type_.parameter is None:
        return ValueType(artifact=type_.artifact)
    return type_.item or STRING


__all__ = ["LIST", "Channel", "Collected", "Comparison", "LoopField", "LoopItem", "OneOf", "Placeholder", "as_channel"]
