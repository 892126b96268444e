"""Are two runs of a notebook the same? Values by what they hold, outputs by what they say."""

from __future__ import annotations

import math
import pickle
import re
from collections.abc import Mapping, Sequence, Set
from typing import Any, Final, cast

#: What differs between any two runs: addresses, dates and times, durations, folders that are made anew, colours.
_MASKS: Final = (
    (re.compile(r"\x1b\[[0-9;]*m"), ""),
    (re.compile(r"0x[0-9a-fA-F]{6,}"), "0x"),
    (re.compile(r"\b\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d)?(?:\.\d+)?)?\b"), "DATE"),
    (re.compile(r"\b\w{3}, \d\d \w{3} \d{4}\b"), "DATE"),
    (re.compile(r"\b\d\d:\d\d:\d\d(?:\.\d+)?\b"), "TIME"),
    (re.compile(r"\b\d+(?:\.\d+)? ?(?:ns|µs|us|ms|s|min|seconds|minutes)\b"), "TIME"),
    (re.compile(r"(?:/private)?/(?:tmp|var/folders)/[^\s'\":]+"), "FOLDER"),
    (re.compile(r"ipykernel_\d+"), "ipykernel"),
)
_NUMBER: Final = re.compile(r"[-+]?(?:\d+\.\d*|\.\d+|\d+)(?:[eE][-+]?\d+)?")
_DEPTH: Final = 6


def masked(text: str) -> str:
    """A text without what differs between any two runs."""
    for pattern, word in _MASKS:
        text = pattern.sub(word, text)
    return text


def same_text(one: str, other: str, tolerance: float = 1e-6) -> bool:
    """Whether two outputs say the same, numbers within a relative tolerance."""
    one, other = masked(one), masked(other)
    if one == other:
        return True
    if _NUMBER.sub("#", one).split() != _NUMBER.sub("#", other).split():
        return False
    pairs = zip(_NUMBER.findall(one), _NUMBER.findall(other), strict=True)
    return all(_close(float(a), float(b), tolerance) for a, b in pairs)


def said(cell: Mapping[str, Any]) -> dict[str, Any]:
    """What a cell's outputs say: texts in order, kinds of rich outputs, the error if it is one."""
    text, kinds, error = "", list[str](), ""
    for output in cast("list[dict[str, Any]]", cell.get("outputs") or []):
        match output["output_type"]:
            case "stream":
                if output.get("name") == "stdout":
                    text += _joined(output["text"])
            case "error":
                error = str(output["ename"])
            case _:
                data = cast("dict[str, Any]", output.get("data") or {})
                rich = sorted(kind for kind in data if kind.startswith("image/"))
                kinds += rich
                if "text/plain" in data and not rich:
                    text += _joined(data["text/plain"]) + "\n"
    return {"text": text, "images": kinds, "error": error}


def _joined(text: Any) -> str:
    return text if isinstance(text, str) else "".join(cast("list[str]", text))


def same_pickles(one: bytes, other: bytes) -> str:
    """What differs between two pickled values; "" if nothing does, or nothing can be told."""
    if one == other:
        return ""
    (first, problem), (second, another) = loaded(one), loaded(other)
    return "" if problem or another else difference(first, second)  # what cannot be loaded cannot be compared


def loaded(data: bytes) -> tuple[Any, Exception | None]:
    """A value of a notebook that the user runs, from its pickle; or why it cannot be had here."""
    try:
        return pickle.loads(data), None  # noqa: S301 - written by the user's own notebook
    except Exception as problem:  # noqa: BLE001 - whatever a foreign class raises
        return None, problem


def difference(one: Any, other: Any, depth: int = 0) -> str:
    """What differs between two values, in some words; "" if nothing does, or nothing can be told."""
    if type(one).__qualname__ != type(other).__qualname__:
        return f"{type(one).__qualname__} is not {type(other).__qualname__}"
    if one is other or depth > _DEPTH or callable(one):
        return ""
    if isinstance(one, float):
        return "" if _close(one, other) else f"{one!r} is not {other!r}"
    if isinstance(one, (bool, int, str, bytes, complex)) or one is None:
        return "" if one == other else f"{_short(one)} is not {_short(other)}"
    root = type(one).__module__.partition(".")[0]
    if root == "numpy" and hasattr(one, "dtype"):
        return _arrays(one, other)
    if root in ("pandas", "polars") and hasattr(one, "equals"):
        return _tables(one, other, depth)
    if isinstance(one, Mapping):
        return _mappings(cast("Mapping[Any, Any]", one), other, depth)
    if isinstance(one, Set):
        mine, theirs = cast("Set[Any]", one), cast("Set[Any]", other)
        return "" if sorted(map(repr, mine)) == sorted(map(repr, theirs)) else "the sets hold different things"
    if isinstance(one, Sequence):
        return _sequences(cast("Sequence[Any]", one), other, depth)
    if hasattr(one, "__dict__"):
        return _mappings(cast("dict[str, Any]", vars(one)), vars(other), depth, ".")
    return "" if masked(repr(one)) == masked(repr(other)) else f"{_short(one)} is not {_short(other)}"


def _close(one: float, other: float, tolerance: float = 1e-6) -> bool:
    if math.isnan(one) or math.isnan(other):
        return math.isnan(one) and math.isnan(other)
    return math.isclose(one, other, rel_tol=tolerance, abs_tol=tolerance)


def _arrays(one: Any, other: Any) -> str:
    import numpy

    if one.shape != other.shape:
        return f"an array of shape {one.shape} is not one of {other.shape}"
    if one.dtype.kind in "fc" and other.dtype.kind in "fc":
        same = bool(numpy.allclose(one, other, rtol=1e-6, atol=1e-6, equal_nan=True))
    elif one.dtype.hasobject:
        return difference(one.tolist(), other.tolist(), 1)
    else:
        same = bool(numpy.array_equal(one, other))
    return "" if same else "the arrays hold different numbers"


def _tables(one: Any, other: Any, depth: int) -> str:
    if getattr(one, "shape", None) != getattr(other, "shape", None):
        return f"a table of shape {one.shape} is not one of {other.shape}"
    if bool(one.equals(other)):
        return ""
    if hasattr(one, "to_dict"):
        told = difference(one.to_dict(), other.to_dict(), depth + 1)
        return f"the tables differ: {told}" if told else ""
    return "the tables hold different values"


def _mappings(one: Mapping[Any, Any], other: Any, depth: int, dot: str = "") -> str:
    if list(map(repr, one)) != list(map(repr, other)):
        return "the keys are different"
    for (key, mine), theirs in zip(one.items(), other.values(), strict=True):
        if told := difference(mine, theirs, depth + 1):
            return f"{dot}{key}: {told}" if dot else f"[{key!r}]: {told}"
    return ""


def _sequences(one: Sequence[Any], other: Any, depth: int) -> str:
    if len(one) != len(other):
        return f"{len(one)} items are not {len(other)}"
    for index, (mine, theirs) in enumerate(zip(one, other, strict=True)):
        if told := difference(mine, theirs, depth + 1):
            return f"[{index}]: {told}"
    return ""


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
