"""CEL texts of conditions, and texts with placeholders in them."""

# Placeholders keep public names free for outputs of the user's: what the modules of this package share is private.
# pyright: reportPrivateUsage=false

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, cast

from mlplatform.core.errors import InvalidPipeline
from mlplatform.core.values import ParameterType
from mlplatform.sdk.define.channels import Channel, Comparison, Placeholder
from mlplatform.sdk.define.types import type_of_value

_INTEGER, _DOUBLE = ParameterType.NUMBER_INTEGER, ParameterType.NUMBER_DOUBLE
_STRING, _BOOLEAN = ParameterType.STRING, ParameterType.BOOLEAN
_PLAIN: Final = frozenset({_INTEGER, _DOUBLE, _STRING, _BOOLEAN})


def text(comparison: Comparison) -> str:
    """The condition as CEL. Raises InvalidPipeline if its sides cannot be compared."""
    sides = comparison.operands()
    types = [_type(side, comparison) for side in sides]
    common = _common(types, comparison)
    left, right = (_operand(side, type_, common) for side, type_ in zip(sides, types, strict=True))
    found = f"{left} {comparison.operator} {right}"
    return f"!({found})" if comparison.negated else found


def _type(side: Any, comparison: Comparison) -> ParameterType:
    found = side._type if isinstance(side, Channel) else type_of_value(side)
    if found is None or found.parameter not in _PLAIN:
        what = side._what() if isinstance(side, Channel) else repr(side)
        kind = found.words if found is not None else type(side).__name__
        raise InvalidPipeline(
            f"`{comparison.words()}` cannot be a condition: {what} is {kind}.",
            hint="Compare numbers, texts and booleans; for anything else, return one of them from a component.",
        )
    return cast(ParameterType, found.parameter)


def _common(types: list[ParameterType], comparison: Comparison) -> ParameterType:
    kinds = set(types)
    if len(kinds) == 1:
        return types[0]
    if kinds == {_INTEGER, _DOUBLE}:
        return _DOUBLE
    loose = _STRING in kinds and not all(isinstance(side, Channel) for side in comparison.operands())
    # An item of a list whose type nobody declared counts as text: what it is compared with becomes text too.
    if loose and types[0] is _STRING:
        return _STRING
    names = " with ".join(
        {"NUMBER_INTEGER": "int", "NUMBER_DOUBLE": "float", "STRING": "str", "BOOLEAN": "bool"}[t] for t in types
    )
    raise InvalidPipeline(f"`{comparison.words()}` compares {names}.", hint="Compare values of one type.")


def _operand(side: Any, type_: ParameterType, common: ParameterType) -> str:
    if isinstance(side, Channel):
        found = f"inputs.parameter_values['{side._injected()}']"
        if type_ is _INTEGER:
            found = f"int({found})"
    elif isinstance(side, bool):
        found = "true" if side else "false"
    elif isinstance(side, str):
        return _quoted(side)
    else:
        found = str(side)
    if common is type_:
        return found
    return _quoted(found) if common is _STRING else f"double({found})"


def _quoted(value: str) -> str:
    escaped = (
        value.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t")
    )
    return f"'{escaped}'"


def with_placeholders(value: Any, known: Mapping[str, Channel]) -> tuple[Any, list[Channel]]:
    """A constant with every channel in it replaced by the placeholder of the input that brings it, and the channels.

    ``known``: channels that were formatted into texts, by the text that stands for them.
    """
    used: dict[str, Channel] = {}

    def replaced(item: Any) -> Any:
        if isinstance(item, Placeholder):
            channel = item._channel()
            used[channel._injected()] = channel
            return _placeholder(channel)
        if isinstance(item, Formatted):
            used[item.channel._injected()] = item.channel
            return item.text
        if isinstance(item, str):
            for pattern, channel in known.items():
                if pattern in item:
                    used[channel._injected()] = channel
                    item = item.replace(pattern, _placeholder(channel))
            return item
        if isinstance(item, Mapping):
            return {replaced(key): replaced(entry) for key, entry in cast("Mapping[Any, Any]", item).items()}
        if isinstance(item, (list, tuple)):
            return [replaced(entry) for entry in cast("list[Any]", item)]
        return item

    made = replaced(value)
    return made, list(used.values())


class Formatted:
    """A channel as the text that stands for it in a command: as an argument, a constant with a placeholder."""

    def __init__(self, value: Any) -> None:
        self.channel: Channel = value._channel()
        self.text = _placeholder(self.channel)


def _placeholder(channel: Channel) -> str:
    return f"{{{{$.inputs.parameters['{channel._injected()}']}}}}"
