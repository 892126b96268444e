"""KFP's list options: ``filter`` (a JSON document of predicates), ``sort_by``, ``page_token``. Pure.

The client writes a filter's operations as numbers or names, and field names in either spelling.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar, cast

from mlplatform.core.errors import InvalidInput
from mlplatform.core.queries import Operator
from mlplatform.server.kfp.times import from_rfc3339
from mlplatform.server.words import from_cursor, to_cursor

T = TypeVar("T")

_OPERATIONS: Final = {
    "EQUALS": Operator.EQUALS,
    "NOT_EQUALS": Operator.NOT_EQUALS,
    "GREATER_THAN": Operator.GREATER,
    "GREATER_THAN_EQUALS": Operator.GREATER_EQUAL,
    "LESS_THAN": Operator.LESS,
    "LESS_THAN_EQUALS": Operator.LESS_EQUAL,
    "IN": Operator.IN,
    "IS_SUBSTRING": Operator.CONTAINS,
}
_NUMBERS: Final = {
    1: "EQUALS", 2: "NOT_EQUALS", 3: "GREATER_THAN", 5: "GREATER_THAN_EQUALS", 6: "LESS_THAN", 7: "LESS_THAN_EQUALS",
    8: "IN", 9: "IS_SUBSTRING",
}  # fmt: skip
_MOST: Final = 200


@dataclass(frozen=True, slots=True)
class Predicate:
    """``key operation value``. ``is_time``: the value was given as a timestamp, and is seconds since the epoch."""

    key: str
    operator: Operator
    value: Any
    is_time: bool = False


def predicates(text: str) -> list[Predicate]:
    """What a ``filter`` asks for; nothing for an empty one. Raises InvalidInput."""
    if not text.strip():
        return []
    try:
        data: Any = json.loads(text)
    except (ValueError, RecursionError):
        raise InvalidInput("the filter is not JSON", hint='Write {"predicates": [{...}]}.') from None
    found: Any = cast("dict[str, Any]", data).get("predicates") if isinstance(data, dict) else None
    if not isinstance(found, list) or len(cast("list[Any]", found)) > _MOST:
        raise InvalidInput("the filter has no list of predicates", hint='Write {"predicates": [{...}]}.')
    return [_predicate(item) for item in cast("list[Any]", found)]


def _predicate(item: Any) -> Predicate:
    if not isinstance(item, dict):
        raise InvalidInput("a predicate of the filter is no object")
    fields = {_snake(str(name)): value for name, value in cast("dict[str, Any]", item).items()}
    operator = _operator(fields.get("operation", fields.get("op")))
    key = fields.get("key")
    if not isinstance(key, str) or not key:
        raise InvalidInput("a predicate of the filter names no key")
    value, is_time = _value(fields)
    if isinstance(value, tuple) != (operator is Operator.IN):
        raise InvalidInput(f"the filter on {key!r}: a list of values goes with IN, and IN with a list")
    return Predicate(_snake(key), operator, value, is_time)


def _operator(given: Any) -> Operator:
    name = _NUMBERS.get(given, "") if isinstance(given, int) else str(given or "").upper()
    if name.isdigit():
        name = _NUMBERS.get(int(name), "") if len(name) < 3 else ""
    if name not in _OPERATIONS:
        raise InvalidInput(f"the filter's operation {given!r} is none", hint=f"Known: {', '.join(_OPERATIONS)}.")
    return _OPERATIONS[name]


def _value(fields: Mapping[str, Any]) -> tuple[Any, bool]:
    for name in ("int_value", "long_value"):
        if name in fields:
            return _whole(fields[name]), False
    if "string_value" in fields:
        return str(fields["string_value"]), False
    if "timestamp_value" in fields:
        return from_rfc3339(fields["timestamp_value"]), True
    for name in ("int_values", "long_values", "string_values"):
        if name in fields:
            values: Any = fields[name]
            if isinstance(values, dict):
                values = cast("dict[str, Any]", values).get("values", [])
            if not isinstance(values, list):
                raise InvalidInput("the filter's list of values is none")
            items = cast("list[Any]", values)
            return tuple(str(item) if name == "string_values" else _whole(item) for item in items), False
    raise InvalidInput("a predicate of the filter has no value")


def _whole(value: Any) -> int:
    """Protobuf JSON writes 64 bit integers as text."""
    try:
        number = int(value)
    except (TypeError, ValueError):
        raise InvalidInput(f"the filter's value {value!r} is no whole number") from None
    if abs(number) >= 2**63:
        raise InvalidInput(f"the filter's value {value!r} is too large")
    return number


def _snake(name: str) -> str:
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in name).lstrip("_")


def fits(predicate: Predicate, value: Any) -> bool:
    """Whether a thing with this value is one of those asked for."""
    wanted = predicate.value
    match predicate.operator:
        case Operator.EQUALS:
            return bool(value == wanted)
        case Operator.NOT_EQUALS:
            return bool(value != wanted)
        case Operator.IN:
            return value in wanted
        case Operator.CONTAINS:
            return str(wanted) in str(value)
        case _:
            return _compare(predicate.operator, value, wanted)


def _compare(operator: Operator, value: Any, wanted: Any) -> bool:
    if value is None or isinstance(value, str) != isinstance(wanted, str):
        return False
    match operator:
        case Operator.GREATER:
            return bool(value > wanted)
        case Operator.GREATER_EQUAL:
            return bool(value >= wanted)
        case Operator.LESS:
            return bool(value < wanted)
        case _:
            return bool(value <= wanted)


@dataclass(frozen=True, slots=True)
class Page:
    """The options of a list."""

    filter: str = ""
    sort_by: str = ""
    page_token: str = ""
    page_size: int = 0


#: KFP's server gives so many where nobody says, and never more than the second.
DEFAULT_SIZE, GREATEST_SIZE = 20, 200


def size_of(page: Page) -> int:
    return min(page.page_size, GREATEST_SIZE) if page.page_size > 0 else DEFAULT_SIZE


def sort_of(page: Page) -> tuple[str, bool]:
    """(field, descending) of ``created_at desc``; an empty field where nothing is asked. Raises InvalidInput."""
    words = page.sort_by.split()
    if not words:
        return "", False
    if len(words) > 2 or (len(words) == 2 and words[1].lower() not in ("asc", "desc")):
        raise InvalidInput(f"{page.sort_by!r} is no order", hint="Write a field's name, and desc behind it or not.")
    return _snake(words[0]), len(words) == 2 and words[1].lower() == "desc"


def paged(
    items: Iterable[T], page: Page, fields: Mapping[str, Callable[[T], Any]], order: str
) -> tuple[list[T], int, str]:
    """(page, how many there are, token of the next page) of a list in memory.

    Args:
        fields: what may be filtered and sorted by.
        order: the field it is sorted by where nobody says.

    Raises:
        InvalidInput: an option is not one, or names a field that is none.
    """
    wanted = predicates(page.filter)
    for predicate in wanted:
        _known(predicate.key, fields)
    found = [item for item in items if all(fits(one, fields[one.key](item)) for one in wanted)]
    field, descending = sort_of(page)
    key = fields[_known(field or order, fields)]
    found.sort(key=lambda item: (key(item) is None, key(item)), reverse=descending)
    begin = int(from_cursor(page.page_token, ((int,),))[0]) if page.page_token else 0
    size, begin = size_of(page), max(0, begin)
    end = begin + size
    return found[begin:end], len(found), to_cursor((end,)) if end < len(found) else ""


def _known(field: str, fields: Sequence[str] | Mapping[str, Any]) -> str:
    if field not in fields:
        raise InvalidInput(f"there is no field {field!r} in this list", hint=f"Known: {', '.join(fields)}.")
    return field
