# pyright: basic
"""What snapshots are made of when they are loaded: functions bound to the live namespace, cells, arrays, views.

Snapshots name these functions by their place, so neither names nor meanings may change without a new format.
"""

from __future__ import annotations

import functools
import importlib
import os
import pickle
import sys
import types
from typing import Any, Optional

from .parts import Stored

_namespace: Optional[dict[str, Any]] = None
_shell: Any = None


def bind(namespace: dict[str, Any], shell: Any = None) -> None:
    """Functions of the notebook that are loaded from now on look up their globals in ``namespace``."""
    global _namespace, _shell
    _namespace, _shell = namespace, shell


def loads(data: bytes, buffers: list[Any]) -> Any:
    """``pickle.loads``, called from the notebook's namespace: formulas that are evaluated again while a model is loaded
    look for their names in the frames above them."""
    place = _namespace if _namespace is not None else {}
    words = {"_mlp_loads": pickle.loads, "_mlp_data": data, "_mlp_buffers": buffers}
    return eval("_mlp_loads(_mlp_data, buffers=_mlp_buffers)", place, words)  # noqa: S307 - a constant text


def the_shell() -> Any:
    return _shell


def the_stream(name: str) -> Any:
    """``sys.stdout`` and its like as this process has them."""
    return getattr(sys, name)


def module(name: str) -> types.ModuleType:
    return importlib.import_module(name)


def attribute(name: str, path: str) -> Any:
    """Something that a module holds under a name: never a copy of it."""
    found: Any = importlib.import_module(name)
    for word in path.split("."):
        found = getattr(found, word)
    return found


def function(code: types.CodeType, place: Any, name: str, defaults: Any, closure: Any) -> types.FunctionType:
    """``place``: "" for the notebook's namespace, a module's name, or a dictionary that travels along."""
    if place == "":
        assert _namespace is not None, "no namespace is bound"
        found = _namespace
    else:
        found = vars(importlib.import_module(place)) if isinstance(place, str) else place
    return types.FunctionType(code, found, name, defaults, closure)


def set_function(made: types.FunctionType, state: tuple[Any, ...]) -> None:
    kwdefaults, annotations, qualname, doc, module_name, attributes = state
    made.__kwdefaults__ = kwdefaults
    made.__annotations__ = annotations
    made.__qualname__ = qualname
    made.__doc__ = doc
    made.__module__ = module_name
    made.__dict__.update(attributes)


def cell() -> types.CellType:
    return types.CellType()


def set_cell(made: types.CellType, state: tuple[Any, ...]) -> None:
    if state:
        made.cell_contents = state[0]


def cached_function(wrapped: Any, maxsize: Optional[int], typed: bool) -> Any:
    return functools.lru_cache(maxsize=maxsize, typed=typed)(wrapped)


def set_attributes(made: Any, state: dict[str, Any]) -> None:
    made.__dict__.update(state)


def cached_property(wrapped: Any, name: Optional[str]) -> Any:
    made = functools.cached_property(wrapped)
    if name is not None:
        made.__set_name__(None, name)  # type: ignore[arg-type]
    return made


def dict_view(of: dict[Any, Any], kind: str) -> Any:
    return getattr(of, kind)()


def proxy(of: dict[Any, Any]) -> Any:
    return types.MappingProxyType(of)


def closed_file(name: Any, mode: str, encoding: Optional[str], errors: Optional[str]) -> Any:
    """What is left of a file after ``with open(...) as file``."""
    plain = mode.replace("x", "w").replace("rb+", "r+b")
    with open(os.devnull, plain, encoding=encoding, errors=errors) as made:
        raw: Any = made
        raw = raw.buffer.raw if encoding is not None else raw.raw
        raw.name = name
        if encoding is not None:
            made.mode = mode  # type: ignore[misc]
    return made


def dtype(names: list[str], formats: list[Any], offsets: list[int], itemsize: int, aligned: bool) -> Any:
    import numpy as np

    told: Any = {"names": names, "formats": formats, "offsets": offsets, "itemsize": itemsize}
    return np.dtype(told, align=aligned)


def array(data: Any, dtype: Any, shape: tuple[int, ...], order: str, writeable: bool) -> Any:
    """An array that owns its memory."""
    import numpy as np

    made = np.empty(shape, dtype=dtype, order=order)  # type: ignore[call-overload]
    if made.size:
        flat = made.reshape(-1, order="A")
        if isinstance(data, Stored):
            data.read_into(flat.view(np.uint8), made)
        else:
            flat.view(np.uint8)[:] = np.frombuffer(data, dtype=np.uint8)
    if not writeable:
        made.flags.writeable = False
    return made


def view(root: Any, kind: Any, offset: int, dtype: Any, shape: tuple[int, ...], strides: Any, writeable: bool) -> Any:
    """An array over the memory of another."""
    import numpy as np

    made = np.ndarray.__new__(kind, shape, dtype, root, offset, strides)
    if not writeable:
        made.flags.writeable = False
    return made


def references() -> Any:
    """What parts of pandas' objects hold that share memory."""
    return importlib.import_module("pandas._libs.internals").BlockValuesRefs()


def with_references(make: Any, made_of: tuple[Any, ...], state: Any, shared: Any) -> Any:
    """A block or an index of pandas that shares its memory with others which hold ``shared``."""
    made = make(*made_of)
    if state is not None:
        made.__setstate__(state)
    if hasattr(made, "refs"):
        made.refs = shared
        shared.add_reference(made)
    else:
        made._references = shared
        shared.add_index_reference(made)
    return made
