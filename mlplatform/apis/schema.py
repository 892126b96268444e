"""The OpenAPI schema of an API dataclass, as the API server wants it in a CRD."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, Field, is_dataclass
from enum import StrEnum
from typing import Any, ClassVar, Protocol, get_args, get_origin, runtime_checkable

from mlplatform.apis.codec import encode, members, optional
from mlplatform.apis.fields import About, Rule, about


@runtime_checkable
class HasRules(Protocol):
    """A dataclass whose members are held to rules together."""

    RULES: ClassVar[tuple[Rule, ...]]


def object_schema(cls: Any, description: str = "") -> dict[str, Any]:
    """The schema of a dataclass: its members, which of them are needed, its rules (``RULES``), and whether it may have
    members that it does not name (``OPEN``)."""
    properties: dict[str, Any] = {}
    required: list[str] = []
    for item, name, kind in members(cls):
        properties[name] = _member(item, kind)
        if about(item).needed or (item.default is MISSING and item.default_factory is MISSING):
            required.append(name)
    text = description or " ".join((cls.__doc__ or "").split())
    schema: dict[str, Any] = {"type": "object"}
    if text:
        schema["description"] = text
    schema["properties"] = properties
    if required:
        schema["required"] = required
    if getattr(cls, "OPEN", False):
        schema["x-kubernetes-preserve-unknown-fields"] = True
    if isinstance(cls, HasRules):
        schema["x-kubernetes-validations"] = [rule.to_json() for rule in cls.RULES]
    return schema


def _member(item: Field[Any], kind: Any) -> dict[str, Any]:
    tells = about(item)
    schema: dict[str, Any] = _type(kind, tells)
    if tells.shape is not None:
        schema = object_schema(tells.shape)
    elif tells.any_json and schema["type"] == "array":
        schema["items"] = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    elif tells.any_json:
        schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    if tells.description:
        schema = {"description": tells.description, **schema}
    if tells.given:
        schema["default"] = encode(item.default_factory() if item.default_factory is not MISSING else item.default)
    if tells.rules:
        schema["x-kubernetes-validations"] = [rule.to_json() for rule in tells.rules]
    return schema


def _type(kind: Any, tells: About) -> dict[str, Any]:
    kind, _ = optional(kind)
    origin = get_origin(kind)
    if is_dataclass(kind):
        return object_schema(kind)
    if origin is tuple:
        schema: dict[str, Any] = {"type": "array", "items": _type(get_args(kind)[0], tells.each or About(""))}
        if tells.min_items is not None:
            schema["minItems"] = tells.min_items
        if tells.max_items is not None:
            schema["maxItems"] = tells.max_items
        if tells.keys:
            schema |= {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": list(tells.keys)}
        else:
            schema["x-kubernetes-list-type"] = "set" if tells.unique else "atomic"
        return schema
    if origin is not None and issubclass(origin, Mapping):
        limit = {} if tells.max_properties is None else {"maxProperties": tells.max_properties}
        return {"type": "object", "additionalProperties": _type(get_args(kind)[1], tells.each or About("")), **limit}
    return _scalar(kind, tells)


def _scalar(kind: Any, tells: About) -> dict[str, Any]:
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return {"type": "string", "enum": [str(word) for word in kind]}
    if kind is bool:
        return {"type": "boolean"}
    if kind is int:
        limits = {"minimum": tells.minimum, "maximum": tells.maximum}
        return {"type": "integer", "format": "int64", **{k: v for k, v in limits.items() if v is not None}}
    if kind is float:
        return {"type": "number"}
    schema: dict[str, Any] = {"type": "string"}
    if tells.time:
        schema["format"] = "date-time"
    if tells.enum:
        schema["enum"] = list(tells.enum)
    if tells.pattern:
        schema["pattern"] = tells.pattern
    if tells.not_pattern:
        schema["not"] = {"pattern": tells.not_pattern}
    if tells.min_length is not None:
        schema["minLength"] = tells.min_length
    if tells.max_length is not None:
        schema["maxLength"] = tells.max_length
    return schema
