"""What differs between an object that is and one that should be. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

import msgspec

#: Which object was applied last: a field that we no longer want makes another digest, and so is taken away.
DIGEST: Final = "mlplatform.dev/applied"

_encode = msgspec.json.Encoder(order="deterministic").encode


def digest(body: Any) -> str:
    return hashlib.sha256(_encode(body)).hexdigest()[:32]


def stripped(value: Any) -> Any:
    """Without the keys whose value is None (a patch would delete them, and a schema may refuse them)."""
    if isinstance(value, Mapping):
        items = cast("Mapping[str, Any]", value).items()
        return {key: stripped(inner) for key, inner in items if inner is not None}
    if isinstance(value, (list, tuple)):
        return [stripped(inner) for inner in cast("Sequence[Any]", value)]
    return value


def merge_patch(old: Any, new: Any) -> Any:
    """The JSON merge patch from ``old`` to ``new`` (RFC 7386); ``{}`` where two mappings are equal."""
    if not isinstance(old, Mapping) or not isinstance(new, Mapping):
        return new
    before, after = cast("Mapping[str, Any]", old), cast("Mapping[str, Any]", new)
    patch: dict[str, Any] = {key: None for key in before if key not in after}
    for key, value in after.items():
        if key not in before:
            patch[key] = value
        elif before[key] != value:
            patch[key] = merge_patch(before[key], value)
    return patch


def contains(live: Any, wanted: Any) -> bool:
    """Does ``live`` have everything that ``wanted`` says? Servers add defaults: more is fine, in lists' items too."""
    if isinstance(wanted, Mapping):
        if not isinstance(live, Mapping):
            return False
        has = cast("Mapping[str, Any]", live)
        return all(key in has and contains(has[key], value) for key, value in cast("Mapping[str, Any]", wanted).items())
    if isinstance(wanted, (list, tuple)):
        items = cast("Sequence[Any]", wanted)
        if not isinstance(live, (list, tuple)) or len(cast("Sequence[Any]", live)) != len(items):
            return False
        return all(contains(one, other) for one, other in zip(cast("Sequence[Any]", live), items, strict=True))
    return live == wanted
