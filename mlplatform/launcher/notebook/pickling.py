# pyright: basic
"""Objects of a notebook as bytes: to compare them, and to have them again in another process.

One pickle holds everything that one name (or several that share objects) reaches. Functions and classes of the
notebook go by their definitions, with their globals bound to the live namespace; arrays over one memory stay over one
memory; what cannot come back as it was is refused with a reason.
"""

from __future__ import annotations

import functools
import gc
import io
import pickle
import sys
import types
import weakref
from collections.abc import Mapping
from typing import Any, cast

from cloudpickle import cloudpickle

from . import rebuild
from .codenames import REACHES_ALL_INSIDE, evaluated_names, names_of_code
from .guard import tried_apart
from .roundtrip import attributes, own_class

_LRU = type(functools.lru_cache(maxsize=None)(lambda: None))
_VIEWS = {type({}.keys()): "keys", type({}.values()): "values", type({}.items()): "items"}


class Refused(Exception):
    """This cannot be kept as it is. The text says what it is."""


class ObjectPickler(cloudpickle.Pickler):
    """``exact``: for keeping (file names and line numbers too, everything must be able to come back); otherwise only
    for comparing: whatever has a state is told by that state.

    After ``dump``: ``names`` are the global names that functions inside look up, ``whole`` says that one of them can
    reach any, ``arrays`` are the memories of arrays (id of the owner -> arrays over it).
    """

    def __init__(self, file: Any, namespace: dict[str, Any], exact: bool, buffer_callback: Any) -> None:
        super().__init__(file, protocol=5, buffer_callback=buffer_callback)
        self._namespace = namespace
        self._exact = exact
        self.names: set[str] = set()
        self.whole = False
        self.by_reference: set[int] = set()
        #: Names of modules of which something is reached, and names in the code of functions.
        self.modules: set[str] = set()
        self.arrays: dict[int, list[Any]] = {}
        self.foreign_memory: list[Any] = []
        #: Those that :func:`rebuild.array` fills an array from.
        self.own_buffers: list[pickle.PickleBuffer] = []
        #: Those whose memory is a copy made for this pickle.
        self.copies: list[pickle.PickleBuffer] = []
        self.shared_roots: frozenset[int] = frozenset()
        self._singletons: dict[str, dict[int, str]] = {}
        #: Types of the objects that were met.
        self.kinds: set[type] = set()
        #: Objects that say themselves what of them is kept are compared by all they hold; True: by what can be kept.
        self.lenient = False
        self.met_own_state = False

    def reducer_override(self, obj: Any) -> Any:
        kind = type(obj)
        self.kinds.add(kind)
        special = _SPECIAL.get(kind)
        if special is not None:
            return special(self, obj)
        if issubclass(kind, type):
            return self._class(obj)
        numpy = sys.modules.get("numpy")
        if numpy is not None and isinstance(obj, numpy.ndarray):
            return self._array(obj, numpy)
        if numpy is not None and isinstance(obj, numpy.dtype):
            return self._dtype(obj)
        if isinstance(obj, BaseException) and obj.__traceback__ is not None:
            raise Refused("an exception with its traceback")
        if isinstance(obj, io.IOBase):
            return self._stream(obj)
        torch = sys.modules.get("torch")
        if torch is not None and isinstance(obj, getattr(torch, "Tensor", ())):
            self._tensor(obj)
        if self._exact and kind.__module__.startswith(("pandas.core.in", "pandas._libs.internals")):
            made = _with_references(obj)
            if made is not None:
                return made
        if not self._exact and _keeps_own_state(kind):
            self.met_own_state = True
            return self._all_it_holds(obj, kind)
        return self._singleton(obj, kind)

    def _all_it_holds(self, obj: Any, kind: type) -> Any:
        """Of an object that leaves out something when it is kept: that too, or a change there would not be seen."""
        held = attributes(obj)
        if self.lenient:
            held = {name: value for name, value in held.items() if _plain(value)}
        parts = list(obj.items()) if isinstance(obj, dict) else list(obj) if isinstance(obj, (list, tuple)) else None
        kept = obj.__reduce_ex__(5)[1:] if self.lenient else ()
        return (rebuild.module, (kind, held, parts, kept))

    # ------------------------------------------------------------------ functions and classes
    def _function(self, obj: types.FunctionType) -> Any:
        if obj.__module__ != "__main__" and _importable(obj):
            self.modules.add(obj.__module__)
            self.by_reference.add(id(obj))
            return NotImplemented
        found = names_of_code(obj.__code__)
        place: Any = ""
        if obj.__globals__ is self._namespace:
            self.names |= found.loads | found.stores | set(evaluated_names(found))
            self.whole = self.whole or bool(found.loads & REACHES_ALL_INSIDE)
        else:
            module = sys.modules.get(str(obj.__globals__.get("__name__")))
            if module is not None and vars(module) is obj.__globals__:
                place = module.__name__
            else:
                place = obj.__globals__
        state = (
            obj.__kwdefaults__,
            obj.__annotations__,
            obj.__qualname__,
            obj.__doc__,
            obj.__module__,
            obj.__dict__,
        )
        made = (obj.__code__, place, obj.__name__, obj.__defaults__, obj.__closure__)
        return (rebuild.function, made, state, None, None, rebuild.set_function)

    def _code(self, obj: types.CodeType) -> Any:
        self.modules.update(obj.co_names)
        if self._exact:
            return cloudpickle._code_reduce(obj)
        told = (obj.co_name, obj.co_argcount, obj.co_posonlyargcount, obj.co_kwonlyargcount, obj.co_flags, obj.co_code)
        names = (obj.co_consts, obj.co_names, obj.co_varnames, obj.co_freevars, obj.co_cellvars)
        return (rebuild.module, (*told, *names, getattr(obj, "co_exceptiontable", b"")))

    def _cell(self, obj: types.CellType) -> Any:
        try:
            state: tuple[Any, ...] = (obj.cell_contents,)
        except ValueError:
            state = ()
        return (rebuild.cell, (), state, None, None, rebuild.set_cell)

    def _cached(self, obj: Any) -> Any:
        if obj.__module__ != "__main__" and _importable(obj):
            self.modules.add(obj.__module__)
            self.by_reference.add(id(obj))
            return (rebuild.attribute, (obj.__module__, obj.__qualname__))
        info = obj.cache_info()
        if info.hits or info.misses or info.currsize:
            if self._exact:
                raise Refused("a function with a filled lru_cache")
            return (rebuild.cached_function, (obj.__wrapped__, tuple(info)), vars(obj))
        parameters = obj.cache_parameters()
        made = (obj.__wrapped__, parameters["maxsize"], parameters["typed"])
        return (rebuild.cached_function, made, dict(vars(obj)), None, None, rebuild.set_attributes)

    def _cached_property(self, obj: Any) -> Any:
        return (rebuild.cached_property, (obj.func, obj.attrname))

    def _class(self, obj: type) -> Any:
        if obj.__module__ != "__main__" and _importable(obj):
            self.modules.add(obj.__module__)
            self.by_reference.add(id(obj))
            return NotImplemented
        if obj.__module__ in ("builtins", None):
            return super().reducer_override(obj)
        reduced = cloudpickle._class_reduce(obj)
        if reduced is NotImplemented or len(reduced) != 6:
            self.by_reference.add(id(obj))
            return reduced
        make, made, state, _, _, setter = cast("tuple[Any, ...]", reduced)
        # Its own identity inside this pickle is enough; the library's table would make one class out of two versions.
        made = (*made[:-2], None, made[-1])
        if make is cloudpickle._make_skeleton_class:
            # Left out by the library: a class made inside a function would forget where it was made.
            made = (*made[:3], {**cast("dict[str, Any]", made[3]), "__qualname__": obj.__qualname__}, *made[4:])
        if not self._exact and "__firstlineno__" in state[0]:
            state = ({k: v for k, v in state[0].items() if k != "__firstlineno__"}, state[1])
        return (make, made, state, None, None, setter)

    def _module(self, obj: types.ModuleType) -> Any:
        if sys.modules.get(obj.__name__) is not obj or (
            type(obj) is types.ModuleType and obj.__spec__ is None and not hasattr(obj, "__file__")
        ):
            raise Refused("a module that cannot be imported (%s)" % obj.__name__)
        self.by_reference.add(id(obj))
        self.modules.add(obj.__name__)
        return (rebuild.module, (obj.__name__,))

    # ------------------------------------------------------------------ arrays
    def _dtype(self, obj: Any) -> Any:
        """Structured types hand out their own table of fields, which would look like a shared dictionary."""
        if obj.fields is None or any(len(told) > 2 for told in obj.fields.values()):
            return NotImplemented
        formats = [obj.fields[name][0] for name in obj.names]
        offsets = [obj.fields[name][1] for name in obj.names]
        return (rebuild.dtype, (list(obj.names), formats, offsets, obj.itemsize, obj.isalignedstruct))

    def _array(self, obj: Any, numpy: Any) -> Any:
        if isinstance(obj, numpy.memmap):
            raise Refused("an array that is a file (memmap)")
        root = obj
        while root.base is not None:
            root = root.base
            if not isinstance(root, numpy.ndarray):
                break
        if not obj.dtype.hasobject and (obj.flags.writeable or isinstance(root, numpy.ndarray)):
            self.arrays.setdefault(id(root), []).append(obj)
        self.foreign_memory.append(root)  # keeps it alive while ids are compared
        if id(root) in self.shared_roots and root is not obj:
            return self._view(obj, root, numpy)
        if type(obj) is not numpy.ndarray or obj.dtype.hasobject:
            return NotImplemented
        order = "F" if obj.flags.f_contiguous and not obj.flags.c_contiguous else "C"
        data = obj if obj.flags.c_contiguous or obj.flags.f_contiguous else numpy.ascontiguousarray(obj)
        flat = data.ravel(order="K").view(numpy.uint8) if data.size else b""
        buffer = pickle.PickleBuffer(flat)
        if not memoryview(buffer).readonly:  # others are wrapped before they come to that function
            self.own_buffers.append(buffer)
        if data is not obj:
            self.copies.append(buffer)
        return (rebuild.array, (buffer, obj.dtype, obj.shape, order, bool(obj.flags.writeable)))

    def _view(self, obj: Any, root: Any, numpy: Any) -> Any:
        owner = isinstance(root, numpy.ndarray) and type(root) is numpy.ndarray and not root.dtype.hasobject
        contiguous = owner and (root.flags.c_contiguous or root.flags.f_contiguous)
        if not contiguous or type(obj) is not numpy.ndarray or obj.dtype.hasobject:
            if self._exact:
                raise Refused("arrays that share memory in a way that cannot be rebuilt")
            return NotImplemented
        offset = obj.__array_interface__["data"][0] - root.__array_interface__["data"][0]
        made = (root, numpy.ndarray, offset, obj.dtype, obj.shape, obj.strides, bool(obj.flags.writeable))
        return (rebuild.view, made)

    def _tensor(self, obj: Any) -> None:
        place, problem = tried_apart(lambda: obj.untyped_storage().data_ptr())
        if problem is None:  # tensors without a plain storage (sparse, meta) share none
            self.arrays.setdefault(place or id(obj), []).append(obj)

    # ------------------------------------------------------------------ the rest
    def _stream(self, obj: Any) -> Any:
        for name in ("stdout", "stderr", "stdin", "__stdout__", "__stderr__", "__stdin__"):
            if getattr(sys, name) is obj:
                self.by_reference.add(id(obj))
                return (rebuild.the_stream, (name,))
        if type(obj) in (io.StringIO, io.BytesIO):
            return NotImplemented
        if obj.closed and type(obj) in (io.TextIOWrapper, io.BufferedReader, io.BufferedWriter, io.BufferedRandom):
            text = type(obj) is io.TextIOWrapper
            encoding, errors = (obj.encoding, obj.errors) if text else (None, None)
            return (rebuild.closed_file, (obj.name, obj.mode, encoding, errors))
        if self._exact or not obj.closed:  # where an open file stands says nothing of what it has in its buffers
            raise Refused("an open file" if not obj.closed else "a file that was open")
        return (rebuild.the_stream, (type(obj).__qualname__,))

    def _dict_view(self, obj: Any) -> Any:
        return (rebuild.dict_view, (_behind(obj.mapping), _VIEWS[type(obj)]))

    def _proxy(self, obj: Any) -> Any:
        behind = _behind(obj)
        if not isinstance(behind, dict):
            raise Refused("a read-only view of %s" % type(behind).__name__)
        return (rebuild.proxy, (behind,))

    def _refused(self, obj: Any) -> Any:
        raise Refused("an object of type %s" % type(obj).__name__)

    def _singleton(self, obj: Any, kind: type) -> Any:
        """Objects that the module of their class holds under a name are that very object everywhere."""
        module = kind.__module__
        self.by_reference |= _of_class(kind)
        if module in ("__main__", "builtins"):
            return super().reducer_override(obj)
        if callable(obj) and isinstance(getattr(obj, "__qualname__", None), str) and _importable(obj):
            self.by_reference.add(id(obj))  # functions of compiled modules, of which there is one in the process
            return super().reducer_override(obj)
        known = self._singletons.get(module)
        if known is None:
            known = self._singletons[module] = _held(module)
        name = known.get(id(obj))
        if name is not None and not isinstance(obj, type):
            self.modules.add(module)
            self.by_reference.add(id(obj))
            return (rebuild.attribute, (module, name))
        shell = rebuild.the_shell()
        if shell is not None and obj is shell:
            self.by_reference.add(id(obj))
            return (rebuild.the_shell, ())
        return super().reducer_override(obj)


_SPECIAL: Mapping[type, Any] = {
    types.FunctionType: ObjectPickler._function,
    types.CodeType: ObjectPickler._code,
    types.CellType: ObjectPickler._cell,
    types.ModuleType: ObjectPickler._module,
    types.MappingProxyType: ObjectPickler._proxy,
    _LRU: ObjectPickler._cached,
    functools.cached_property: ObjectPickler._cached_property,
    weakref.finalize: ObjectPickler._refused,
    memoryview: ObjectPickler._refused,
    **dict.fromkeys(_VIEWS, ObjectPickler._dict_view),
}


# ------------------------------------------------------------------ helpers
def _with_references(obj: Any) -> Any:
    """Parts of pandas' objects know with whom they share their memory, so that whoever changes it first gets a copy. A
    pickle forgets that, and then one would change the other."""
    if type(obj).__name__ == "BlockValuesRefs":
        return (rebuild.references, ())
    if type(obj).__name__ == "SingleBlockManager":  # its own way tells the values only, not their block
        return (type(obj), (obj.blocks[0], obj.axes[0])) if obj.blocks[0].refs.has_reference() else None
    references: Any = getattr(obj, "refs", None) or getattr(obj, "_references", None)
    if type(references).__name__ != "BlockValuesRefs" or not references.has_reference():
        return None
    return (rebuild.with_references, (*(*obj.__reduce_ex__(5), None)[:3], references))


def _keeps_own_state(kind: type) -> bool:
    """Whether a class of the notebook or its project says itself what of an object is kept."""
    if kind.__module__ in ("builtins", "types") or not own_class(kind):
        return False
    plain = getattr(object, "__getstate__", None)
    return (
        getattr(kind, "__getstate__", plain) is not plain
        or kind.__reduce__ is not object.__reduce__
        or kind.__reduce_ex__ is not object.__reduce_ex__
    )


def _plain(value: Any) -> bool:
    scalars = (str, bytes, int, float, complex, bool, type(None))
    if type(value) in (list, tuple, set, frozenset):
        return len(value) < 1000 and all(type(item) in scalars for item in value)
    if type(value) is dict:
        return len(value) < 1000 and all(type(k) in scalars and type(v) in scalars for k, v in value.items())
    return type(value) in scalars


def _importable(obj: Any) -> bool:
    """Whether its module holds exactly this object under its name."""
    found: Any = sys.modules.get(getattr(obj, "__module__", None) or "")
    if found is None:
        return False
    for word in obj.__qualname__.split("."):
        if word == "<locals>":
            return False
        found = getattr(found, word, None)
    return found is obj


#: Kind -> (ids, the objects themselves, so that no other object gets such an id).
_class_values: dict[type, tuple[frozenset[int], list[Any]]] = {}


def _of_class(kind: type) -> frozenset[int]:
    """Lists and mappings that a library's class holds for all its objects; some put them into each object's state."""
    found = _class_values.get(kind)
    if found is None:
        every = (value for cls in kind.__mro__ if cls.__module__ != "__main__" for value in vars(cls).values())
        values = [value for value in every if type(value) in (list, dict, set)]
        found = frozenset(map(id, values)), values
        if kind.__module__ != "__main__":
            _class_values[kind] = found
    return found[0]


def _held(module: str) -> dict[int, str]:
    found = sys.modules.get(module)
    if found is None:
        return {}
    held: dict[int, str] = {}
    for name, value in list(vars(found).items()):
        if isinstance(value, (str, bytes, int, float, complex, tuple, types.FunctionType, types.ModuleType, type)):
            continue
        if type(value).__module__ == module:
            held[id(value)] = name
    return held


def _behind(proxy: Any) -> Any:
    (found,) = gc.get_referents(proxy)
    return found


def reason_of(problem: BaseException, value: Any) -> str:
    """Why something cannot be kept, in words."""
    if isinstance(problem, Refused):
        return str(problem)
    if isinstance(problem, RecursionError):
        return "a structure that is nested too deeply"
    words = str(problem).strip().splitlines()
    return "%s (%s)" % (type(value).__name__, words[0] if words else type(problem).__name__)
