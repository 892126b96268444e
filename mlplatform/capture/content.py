"""The digest of a value: the same for equal content in any process, whatever shares objects with whatever."""

from __future__ import annotations

import copyreg
import hashlib
import math
import struct
from collections.abc import Callable, Mapping
from types import CellType, CodeType, FunctionType
from typing import Any, Final, cast

#: Names an object that is not looked into (a captured function, a module): its stable name, or None to look into it.
Namer = Callable[[Any], "str | None"]

#: Of a class: what says nothing about it, or another thing in every process.
_UNTOLD: Final = frozenset(("__dict__", "__weakref__", "__module__", "__doc__", "_abc_impl", "__firstlineno__"))
_EXACT: Final = (int, str, bytes, bool, type(None), type(Ellipsis), type(NotImplemented))


def content_digest(value: Any, namer: Namer) -> str:
    """sha256 (hex) of what ``value`` holds.

    Raises:
        Exception: whatever an object's own ``__reduce_ex__`` raises; what cannot be taken apart cannot be pickled.
    """
    return _Content(namer).digest(value).hex()


class _Content:
    def __init__(self, namer: Namer) -> None:
        self._namer = namer
        self._known: dict[int, bytes] = {}
        self._open: dict[int, int] = {}
        self._keep: list[Any] = []

    def digest(self, value: Any) -> bytes:
        kind: type[Any] = type(value)  # pyright: ignore[reportUnknownVariableType]
        if kind in _EXACT:
            return _hash(kind.__name__.encode(), repr(value).encode() if kind not in (str, bytes) else _raw(value))
        if kind is float:
            return _hash(b"float", b"nan" if math.isnan(value) else struct.pack("<d", value))
        if id(value) in self._known:
            return self._known[id(value)]
        if id(value) in self._open:  # a cycle: how far up it leads is what it is
            return _hash(b"up", str(len(self._open) - self._open[id(value)]).encode())
        name = self._namer(value)
        if name is not None:
            return _hash(b"name", name.encode())
        self._open[id(value)] = len(self._open)
        found = self._inside(value, kind)
        del self._open[id(value)]
        if not self._open:
            self._known.clear()
        else:
            self._known[id(value)] = found
            self._keep.append(value)
        return found

    def _inside(self, value: Any, kind: type[Any]) -> bytes:
        label = f"{kind.__module__}.{kind.__qualname__}".encode()
        if kind in (list, tuple):
            return _hash(label, *(self.digest(item) for item in value))
        if kind is dict:
            pairs = cast("Mapping[Any, Any]", value).items()
            return _hash(label, *(part for k, v in pairs for part in (self.digest(k), self.digest(v))))
        if kind in (set, frozenset):
            return _hash(label, *sorted(self.digest(item) for item in value))
        if kind is bytearray:
            return _hash(label, bytes(value))
        if kind.__module__ == "numpy" and kind.__name__ == "ndarray" and not value.dtype.hasobject:
            return _hash(label, str(value.dtype.descr).encode(), str(value.shape).encode(), _array_bytes(value))
        if isinstance(value, FunctionType):
            held = [_contents(cell) for cell in value.__closure__ or ()]
            inside = (self.digest(part) for part in (value.__defaults__, value.__kwdefaults__, held))
            return _hash(b"function", self._code(value.__code__), *inside)
        if isinstance(value, type):
            return self._class(cast("type[Any]", value))
        if isinstance(value, (staticmethod, classmethod)):
            return _hash(label, self.digest(cast("Any", value).__func__))
        if isinstance(value, property):
            return _hash(label, *(self.digest(part) for part in (value.fget, value.fset, value.fdel)))
        return self._reduced(value, label)

    def _code(self, code: CodeType) -> bytes:
        constants = [self._code(c) if isinstance(c, CodeType) else self.digest(c) for c in code.co_consts]
        names = (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
        return _hash(code.co_code, *constants, *(self.digest(part) for part in names))

    def _class(self, cls: type[Any]) -> bytes:
        bases = [self._namer(base) or base.__qualname__ for base in cls.__bases__]
        parts: list[bytes] = [self.digest(cls.__qualname__), self.digest(bases)]
        for name, member in sorted(vars(cls).items()):
            if name in _UNTOLD:
                continue
            kind = cast("type[Any]", type(member))
            described = kind.__name__ in ("member_descriptor", "getset_descriptor", "wrapper_descriptor")
            parts += [name.encode(), kind.__name__.encode() if described else self.digest(member)]
        return _hash(b"class", *parts)

    def _reduced(self, value: Any, label: bytes) -> bytes:
        reducer = copyreg.dispatch_table.get(cast("type[Any]", type(value)))
        told = reducer(value) if reducer is not None else value.__reduce_ex__(4)
        if isinstance(told, str):
            return _hash(label, b"by name", told.encode())
        function, arguments, *rest = told
        state = rest[0] if rest else None
        items = list(rest[1]) if len(rest) > 1 and rest[1] is not None else []
        pairs = list(rest[2]) if len(rest) > 2 and rest[2] is not None else []
        name = f"{getattr(function, '__module__', '')}.{getattr(function, '__qualname__', '')}"
        inside = (self.digest(part) for part in (tuple(arguments), state, items, pairs))
        return _hash(label, name.encode(), *inside)


def _contents(cell: CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return None


def _array_bytes(array: Any) -> Any:
    plain = array.flags.c_contiguous and array.size and array.dtype.kind in "biufc"
    return memoryview(array).cast("B") if plain else array.tobytes()


def _raw(value: str | bytes) -> bytes:
    return value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value


def _hash(*parts: Any) -> bytes:
    made = hashlib.sha256()
    for part in parts:
        size = part.nbytes if hasattr(part, "nbytes") else len(part)
        made.update(size.to_bytes(8, "little"))
        made.update(part)
    return made.digest()
