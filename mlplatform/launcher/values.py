"""Output parameters by their declared KFP type. The rules are those of ``mlplatform.core.values``, which cannot be
imported where the launcher runs; a test holds the two together."""

from __future__ import annotations

import json
from typing import Any, cast


def whole_numbers(value: Any) -> Any:
    """``value`` with every whole float turned into an int, at any depth."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**63:
        return int(value)
    if isinstance(value, list):
        return [whole_numbers(item) for item in cast("list[Any]", value)]
    if isinstance(value, dict):
        return {key: whole_numbers(item) for key, item in cast("dict[str, Any]", value).items()}
    return value


def conform(value: Any, type_: str) -> Any:
    """``value`` as ``type_``, changing only the spelling of numbers. Raises ValueError for a value of another type."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if type_ == "NUMBER_INTEGER":
        if number and value == value and value not in (float("inf"), float("-inf")) and value == int(value):
            return int(value)
    elif type_ == "NUMBER_DOUBLE":
        if number:
            return float(value)
    elif type_ == "STRING":
        if isinstance(value, str):
            return value
    elif type_ == "BOOLEAN":
        if isinstance(value, bool):
            return value
    elif type_ == "LIST":
        if isinstance(value, list):
            return whole_numbers(value)
    elif isinstance(value, dict):
        return whole_numbers(value)
    raise ValueError("expected %s, got %s %s" % (type_, type_name(value), preview(value)))


def parse_text(text: str, type_: str) -> Any:
    """What a task wrote into an output file, as ``type_``; a string is taken as it is. Raises ValueError."""
    if type_ == "STRING":
        return text
    if type_ == "BOOLEAN":
        word = text.strip().lower()
        if word in ("true", "false"):
            return word == "true"
        raise ValueError("expected BOOLEAN, got " + preview(text))
    try:
        value = json.loads(text)
    except ValueError:
        raise ValueError("expected %s, got %s" % (type_, preview(text))) from None
    return conform(value, type_)


def type_name(value: Any) -> str:
    """The word for a value's type in messages."""
    if value is None:
        return "null"
    for kind, word in ((bool, "boolean"), (int, "integer"), (float, "double"), (str, "string"), (list, "list")):
        if isinstance(value, kind):
            return word
    return "struct"


def preview(value: Any, limit: int = 80) -> str:
    """A value shortened for a message."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= limit else text[: limit - 3] + "..."
