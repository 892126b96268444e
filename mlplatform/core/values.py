"""Parameter values: JSON with KFP's six types, kept as the user wrote them.

KFP documents pass through protobuf's ``Value``, which has one number type: ``2`` is written ``2.0``. A whole
number is therefore an integer wherever it stands, unless its declared type is NUMBER_DOUBLE.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, TypeAlias, cast

JsonValue: TypeAlias = "bool | int | float | str | list[Any] | dict[str, Any] | None"


class ParameterType(StrEnum):
    NUMBER_INTEGER = "NUMBER_INTEGER"
    NUMBER_DOUBLE = "NUMBER_DOUBLE"
    STRING = "STRING"
    BOOLEAN = "BOOLEAN"
    LIST = "LIST"
    STRUCT = "STRUCT"
    TASK_FINAL_STATUS = "TASK_FINAL_STATUS"
    TASK_CONFIG = "TASK_CONFIG"


def child(data: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The object under ``name`` of a JSON object; empty where there is none."""
    value: Any = data.get(name)
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def whole_numbers(value: JsonValue) -> JsonValue:
    """``value`` with every whole float turned into an int, at any depth."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**63:
        return int(value)
    if isinstance(value, list):
        return [whole_numbers(item) for item in value]
    if isinstance(value, dict):
        return {key: whole_numbers(item) for key, item in value.items()}
    return value


def conform(value: JsonValue, type_: ParameterType) -> JsonValue:
    """Return ``value`` as ``type_``, changing only the spelling of numbers.

    Raises:
        ValueError: the value is of another type; the text says which.
    """
    match type_:
        case ParameterType.NUMBER_INTEGER:
            if isinstance(value, int) and not isinstance(value, bool):
                return value
            if isinstance(value, float) and value.is_integer():
                return int(value)
        case ParameterType.NUMBER_DOUBLE:
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                return float(value)
        case ParameterType.STRING:
            if isinstance(value, str):
                return value
        case ParameterType.BOOLEAN:
            if isinstance(value, bool):
                return value
        case ParameterType.LIST:
            if isinstance(value, list):
                return whole_numbers(value)
        case _:
            if isinstance(value, dict):
                return whole_numbers(value)
    raise ValueError(f"expected {type_.value}, got {type_name(value)} {preview(value)}")


def parse_text(text: str, type_: ParameterType) -> JsonValue:
    """Parse what a task wrote into an output file as ``type_`` (a string is taken as it is).

    Raises:
        ValueError: the text does not parse as the type.
    """
    if type_ is ParameterType.STRING:
        return text
    if type_ is ParameterType.BOOLEAN:
        word = text.strip().lower()
        if word in ("true", "false"):
            return word == "true"
        raise ValueError(f"expected BOOLEAN, got {preview(text)}")
    try:
        value = cast(JsonValue, json.loads(text))
    except ValueError:
        raise ValueError(f"expected {type_.value}, got {preview(text)}") from None
    return conform(value, type_)


def to_text(value: JsonValue) -> str:
    """How a value reads inside a template: strings as they are, everything else as JSON."""
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, separators=(", ", ": "))


def canonical_json(value: JsonValue) -> bytes:
    """One byte string per value: sorted keys, no spaces, UTF-8; ``1`` and ``1.0`` differ, as they do in Python code."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=True).encode(
        "utf-8", "surrogatepass"
    )


def digest_json(value: JsonValue) -> str:
    """``sha256:<hex>`` of :func:`canonical_json`."""
    return "sha256:" + hashlib.sha256(canonical_json(value)).hexdigest()


def type_name(value: JsonValue) -> str:
    """The word for a value's type in messages."""
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int():
            return "integer"
        case float():
            return "double" if math.isfinite(value) else "non-finite double"
        case str():
            return "string"
        case list():
            return "list"
        case _:
            return "struct"


def preview(value: JsonValue, limit: int = 80) -> str:
    """A value shortened for a message."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= limit else text[: limit - 3] + "..."
