"""Request bodies in protobuf JSON: both spellings of every field, everything optional, unknown fields left alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, cast

from fastapi import Request

from mlplatform.core.errors import Finding, InvalidInput

#: Characters of a tag's name and of its value, and how many tags a pipeline may have. KFP keeps 63 and 20.
TAG_LIMIT = 200
TAGS_LIMIT = 100


async def body_of(request: Request) -> dict[str, Any]:
    """The JSON object of a request; empty without a body. Raises InvalidInput."""
    data = await request.body()
    if not data.strip():
        return {}
    try:
        found: Any = json.loads(data)
    except (ValueError, RecursionError):
        raise InvalidInput("the body is not JSON") from None
    if not isinstance(found, dict):
        raise InvalidInput("the body is no JSON object")
    return cast("dict[str, Any]", found)


def field(data: Mapping[str, Any], name: str) -> Any:
    """A field by its name in snake case, however it is spelt; None where it is not there."""
    if name in data:
        return data[name]
    head, *rest = name.split("_")
    return data.get(head + "".join(part.capitalize() for part in rest))


def text(data: Mapping[str, Any], name: str) -> str:
    """A text; empty where there is none. Raises InvalidInput for anything else."""
    value = field(data, name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise InvalidInput(f"{name} is no text")
    return value


def whole(data: Mapping[str, Any], name: str, otherwise: int) -> int:
    """A whole number, which may be written as text. Raises InvalidInput."""
    value = field(data, name)
    try:
        return otherwise if value in (None, "") else int(value)
    except (TypeError, ValueError, OverflowError):
        raise InvalidInput(f"{name} is no whole number") from None


def inside(data: Mapping[str, Any], name: str) -> dict[str, Any]:
    """An object; empty where there is none. Raises InvalidInput for anything else."""
    value = field(data, name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvalidInput(f"{name} is no object")
    return cast("dict[str, Any]", value)


def tags(data: Mapping[str, Any]) -> dict[str, str] | None:
    """The tags in a message; None where it has none to say. Raises InvalidInput for what are no tags."""
    found = field(data, "tags")
    return None if found is None else checked_tags(found)


def tags_text(text: str) -> dict[str, str]:
    """The tags of an upload, which come as JSON in the address. Raises InvalidInput."""
    try:
        return checked_tags(json.loads(text)) if text else {}
    except (ValueError, RecursionError):
        raise InvalidInput("tags are not JSON", hint='Write them as {"team": "vision"}.') from None


def checked_tags(found: Any) -> dict[str, str]:
    """Raises InvalidInput, with every finding."""
    if not isinstance(found, dict):
        raise InvalidInput("tags are no object", hint='Write them as {"team": "vision"}.')
    given = cast("dict[str, Any]", found)
    findings = [
        Finding(f"tags[{name!r}]", f"a tag is a name and a text of at most {TAG_LIMIT} characters each", "bad-tag")
        for name, value in given.items()
        if not isinstance(value, str) or not 0 < len(name) <= TAG_LIMIT or len(value) > TAG_LIMIT
    ]
    if len(given) > TAGS_LIMIT:
        findings.append(Finding("tags", f"{len(given)} tags; at most {TAGS_LIMIT} are kept", "too-many-tags"))
    if findings:
        raise InvalidInput("the tags cannot be kept", findings=findings)
    return given


def document_of(data: Mapping[str, Any]) -> str:
    """The text of a bare ``pipeline_spec``, or of one beside its ``platform_spec``; empty where there is none."""
    spec = inside(data, "pipeline_spec")
    return json.dumps(spec) if spec else ""
