"""Values: as source text where that says all there is, else pickled with captured functions and classes left out."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator
from typing import Any, Final, cast

import cloudpickle  # pyright: ignore[reportMissingTypeStubs]

from .model import LIMIT

#: Source text of a value that is longer is pickled instead (characters).
LONGEST: Final = 64 * 1024
#: Gives the name of an object that is captured by itself (a function, a class, a module), or None.
Referrer = Callable[[Any], "str | None"]


#: Things cloudpickle would copy although what matters about them stays behind.
_LIVE: Final = (io.RawIOBase, io.BufferedIOBase, io.TextIOBase)


class TooLarge(Exception):
    """The pickle passed the limit."""


class _Bounded(io.BytesIO):
    def write(self, data: Any, /) -> int:
        if self.tell() + len(data) > LIMIT:
            raise TooLarge
        return super().write(data)


class _Pickler(cloudpickle.Pickler):
    def __init__(self, file: io.BytesIO, refer: Referrer) -> None:
        super().__init__(file, protocol=5)  # pyright: ignore[reportUnknownMemberType]
        self._refer = refer

    def persistent_id(self, obj: Any) -> str | None:
        if isinstance(obj, _LIVE) and not isinstance(obj, (io.BytesIO, io.StringIO)):
            raise TypeError(f"cannot pickle a {type(obj).__name__!r} object")
        return self._refer(obj)


def pickled(value: Any, refer: Referrer) -> bytes | Exception:
    """The pickle, or why there is none. Raises TooLarge."""
    file = _Bounded()
    try:
        _Pickler(file, refer).dump(value)  # pyright: ignore[reportUnknownMemberType]
    except TooLarge:
        raise
    except Exception as problem:  # noqa: BLE001 - pickling calls the objects' own code, which may raise anything
        return problem
    return file.getvalue()


def estimated_size(value: Any) -> int:
    """Bytes of the usual big things, without copying them; 0 where it is not known."""
    for ask in ("nbytes", "memory_usage", "estimated_size"):
        try:
            told: Any = getattr(value, ask, None)
            told = told() if callable(told) else told
            if told is not None:
                return int(told.sum() if hasattr(told, "sum") else told)
        except Exception:  # noqa: BLE001 - an attribute of that name on somebody's object may do anything
            return 0
    return 0


# ------------------------------------------------------------------ as source text
def expression(value: Any, refer: Referrer) -> str | None:
    """Source text that makes an equal value; None if none of ours would (or it would be long)."""
    try:
        words = _expression(value, refer, set())
    except (_NoText, RecursionError):
        return None
    return words if len(words) <= LONGEST else None


class _NoText(Exception):
    pass


def _expression(value: Any, refer: Referrer, seen: set[int]) -> str:
    kind: type[Any] = type(value)  # pyright: ignore[reportUnknownVariableType]
    if kind in (int, bool, str, bytes, type(None)):
        return repr(value)
    if value is Ellipsis:
        return "..."
    if kind is float:
        return repr(value) if math.isfinite(value) else f"float({str(value)!r})"
    if kind is complex and math.isfinite(value.real) and math.isfinite(value.imag):
        return f"complex({value.real!r}, {value.imag!r})"
    if kind in (list, tuple, dict, set, frozenset):
        if kind in (list, dict, set) and id(value) in seen:
            raise _NoText  # shared or endless
        seen.add(id(value))
        return _container(value, kind, refer, seen)
    name = refer(value)
    if name is None:
        raise _NoText
    return name


def _container(value: Any, kind: type[Any], refer: Referrer, seen: set[int]) -> str:
    if kind is dict:
        pairs = cast("dict[Any, Any]", value).items()
        return "{" + ", ".join(f"{_expression(k, refer, seen)}: {_expression(v, refer, seen)}" for k, v in pairs) + "}"
    items = [_expression(item, refer, seen) for item in value]
    if kind is list:
        return "[" + ", ".join(items) + "]"
    if kind is tuple:
        return "(" + ", ".join(items) + ("," if len(items) == 1 else "") + ")"
    inside = "{" + ", ".join(sorted(items)) + "}" if items else ""
    return inside if kind is set and items else f"{kind.__name__}({inside})"


# ------------------------------------------------------------------ what is in the way
_ADVICE: Final = (
    (
        ("_thread.lock", "_thread.RLock", "threading."),
        "make it inside the function, or guard what is shared another way",
    ),
    (("_io.", "tempfile."), "pass the path, and open the file inside the function"),
    (("generator", "async_generator", "coroutine"), "make a list of it first, or call it inside the function"),
    (("socket.", "ssl."), "connect inside the function"),
    (("sqlite3.", "psycopg", "sqlalchemy"), "connect inside the function; pass the address"),
    (("multiprocessing.", "subprocess.", "asyncio."), "start it inside the function"),
    (("module",), "put its code into a file beside the notebook, and import that"),
)


def advice(kind: str) -> str:
    """What to do about a value of a type that cannot travel."""
    for beginnings, words in _ADVICE:
        if kind.startswith(beginnings):
            return words
    return "make it inside the function, or pass what it is made from"


def type_name(value: Any) -> str:
    kind = cast("type[Any]", type(value))
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def culprit(name: str, value: Any, refer: Referrer) -> tuple[str, Any]:
    """The innermost part of a value that cannot be pickled: (``model.cache['lock']``, the object)."""
    seen: set[int] = set()
    while id(value) not in seen and len(seen) < 50:
        seen.add(id(value))
        worse = next(((step, part) for step, part in _parts(value) if not _goes(part, refer)), None)
        if worse is None:
            break
        name, value = name + worse[0], worse[1]
    return name, value


def _goes(value: Any, refer: Referrer) -> bool:
    try:
        return isinstance(pickled(value, refer), bytes)
    except TooLarge:
        return False


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    kind = cast("type[Any]", type(value))
    if issubclass(kind, dict):
        yield from ((f"[{key!r}]", item) for key, item in cast("dict[Any, Any]", value).items())
    elif issubclass(kind, (list, tuple)):
        yield from ((f"[{number}]", item) for number, item in enumerate(cast("list[Any]", value)))
    elif issubclass(kind, (set, frozenset)):
        yield from (("{...}", item) for item in cast("set[Any]", value))
    if issubclass(kind, type):
        return
    attributes = cast("dict[str, Any]", getattr(cast("object", value), "__dict__", {}))
    yield from ((f".{key}", item) for key, item in attributes.items())
    slots: Any = kind.__dict__.get("__slots__", ())
    for slot in slots:
        if isinstance(slot, str) and hasattr(cast("object", value), slot):
            yield f".{slot}", getattr(cast("object", value), slot)
