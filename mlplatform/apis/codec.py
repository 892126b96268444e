"""API objects to and from JSON. Reading is strict about types and tells every finding; unknown members are passed over
(a newer server may have more), defaults are left out when written."""

from __future__ import annotations

import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from enum import StrEnum
from functools import lru_cache, partial
from typing import Any, Final, TypeVar, cast, get_args, get_origin

from mlplatform.apis.fields import about, json_name
from mlplatform.core.errors import Finding, InvalidInput

T = TypeVar("T")


@lru_cache(maxsize=256)
def members(cls: type) -> tuple[tuple[Field[Any], str, Any], ...]:
    """(field, JSON name, type) of each member of an API dataclass."""
    hints = typing.get_type_hints(cls)
    return tuple((item, json_name(item.name), hints[item.name]) for item in fields(cls))


def optional(kind: Any) -> tuple[Any, bool]:
    """The type without ``None``, and whether it had it."""
    if get_origin(kind) in (types.UnionType, typing.Union):
        inner = [part for part in get_args(kind) if part is not type(None)]
        if len(inner) == 1:
            return inner[0], True
    return kind, False


@lru_cache(maxsize=1024)
def _shape(kind: Any) -> tuple[str, Any]:
    """What a type is to a reader, and what it is made of: found out once, as an operator reads thousands of objects."""
    kind, _ = optional(kind)
    origin = get_origin(kind)
    if is_dataclass(kind):
        return "object", kind
    if origin is tuple:
        return "list", get_args(kind)[0]
    if origin is not None and issubclass(origin, Mapping):
        return "map", get_args(kind)[1]
    return "scalar", kind


def decode(cls: type[T], data: Any, path: str = "") -> T:
    """An API object from decoded JSON.

    Raises:
        InvalidInput: with a finding for each member of another type, and each that is missing.
    """
    findings: list[Finding] = []
    found = _object(cls, data, path, findings)
    if findings:
        raise InvalidInput(f"this is no {cls.__name__}", findings=findings)
    return cast(T, found)


#: Where a value is: a path, or where it is in and its name or index there. It is put into words where something is odd.
Place = str | tuple[Any, str | int]
Reader = Callable[[Any, Place, list[Finding]], Any]


def _path(place: Place) -> str:
    if isinstance(place, str):
        return place
    above, last = _path(place[0]), place[1]
    if isinstance(last, int):
        return f"{above}[{last}]"
    return f"{above}.{last}" if above else last


@lru_cache(maxsize=1024)
def _reader(kind: Any) -> Reader:
    """What reads a value of a type, made once: an operator that starts reads ten thousand objects."""
    shape, inner = _shape(kind)
    if shape == "object":
        return partial(_object, inner)
    if shape == "scalar":
        return partial(_scalar, inner)
    return partial(_list if shape == "list" else _map, _reader(inner))


@lru_cache(maxsize=256)
def _plan(cls: Any) -> tuple[tuple[str, str, Any, Reader | None, bool], ...]:
    """(field, JSON name, the type that is right as it is, what reads others; None: right as it is, whether it has to be
    there) of each member."""
    found: list[tuple[str, str, Any, Reader | None, bool]] = []
    for item, name, kind in members(cls):
        shape, inner = _shape(kind)
        bare = item.default is MISSING and item.default_factory is MISSING
        plain = inner if shape == "scalar" else None
        found.append((item.name, name, plain, None if about(item).any_json else _reader(kind), bare))
    return tuple(found)


def _object(cls: Any, data: Any, place: Place, findings: list[Finding]) -> Any:
    if not isinstance(data, Mapping):
        findings.append(Finding(_path(place), "must be an object"))
        return None
    table = cast("Mapping[str, Any]", data)
    given: dict[str, Any] = {}
    for member, name, plain, read, bare in _plan(cls):
        value = table.get(name)
        if value is not None:
            given[member] = value if read is None or type(value) is plain else read(value, (place, name), findings)
        elif bare:
            findings.append(Finding(_path((place, name)), "is missing", "missing"))
    return None if findings else cls(**given)


def _list(read: Reader, value: Any, place: Place, findings: list[Finding]) -> Any:
    if not isinstance(value, list):
        findings.append(Finding(_path(place), "must be a list"))
        return ()
    items = cast("list[Any]", value)
    return tuple([read(item, (place, index), findings) for index, item in enumerate(items)])


def _map(read: Reader, value: Any, place: Place, findings: list[Finding]) -> Any:
    if not isinstance(value, dict):
        findings.append(Finding(_path(place), "must be an object"))
        return {}
    table = cast("dict[str, Any]", value)
    return {name: read(item, (place, name), findings) for name, item in table.items()}


def _scalar(kind: Any, value: Any, place: Place, findings: list[Finding]) -> Any:
    if type(value) is kind:
        return value
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        try:
            return kind(value)
        except ValueError:
            findings.append(Finding(_path(place), f"is none of {', '.join(kind)}"))
            return None
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind is Any or (isinstance(value, kind) and not (kind is int and isinstance(value, bool))):
        return value
    words: dict[Any, str] = {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}
    findings.append(Finding(_path(place), f"must be {words.get(kind, kind.__name__)}"))
    return None


#: JSON as it is.
_AS_IT_IS: Final = frozenset({str, int, float, bool})


@lru_cache(maxsize=256)
def _told(cls: type) -> tuple[tuple[str, str, Any, bool], ...]:
    """(field, JSON name, default, whether it holds any JSON) of each member."""
    found: list[tuple[str, str, Any, bool]] = []
    for item, name, _ in members(cls):
        default = item.default if item.default_factory is MISSING else item.default_factory()
        found.append((item.name, name, default, about(item).any_json))
    return tuple(found)


def encode(value: Any) -> Any:
    """JSON of an API object; members that have their default are left out."""
    kind = cast("type[Any]", type(value))
    if kind in _AS_IT_IS:
        return value
    if is_dataclass(value) and kind is not type:
        out: dict[str, Any] = {}
        for member, name, default, any_json in _told(kind):
            inner = getattr(value, member)
            # False is 0 too, but not where the default is that number
            if inner is None or (inner == default and (type(inner) is not bool or inner is default)):
                continue
            if type(inner) in _AS_IT_IS:
                out[name] = inner
            else:
                out[name] = dict(cast("Mapping[str, Any]", inner)) if any_json else encode(inner)
        return out
    if isinstance(value, tuple):
        return [encode(item) for item in cast("tuple[Any, ...]", value)]
    if isinstance(value, Mapping):
        return {name: encode(item) for name, item in cast("Mapping[str, Any]", value).items()}
    return str(value) if isinstance(value, StrEnum) else value
