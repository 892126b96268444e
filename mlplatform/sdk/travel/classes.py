"""Classes that only the user's code has, and pickles: by value where they must be, the same bytes each time."""

# What it handles are objects of other libraries, known only when it runs.
# pyright: basic

from __future__ import annotations

import base64
import contextlib
import hashlib
import importlib
import os
import pickle
import sys
import types
import zlib
from typing import Any

#: What kfp calls the module of a component; a kernel's definitions are in the other one.
LOOSE = ("ephemeral_component", "__main__")
_PICKLE_NOTE = "pickled: no open format fits %s; reading it needs the same packages, and trust in who wrote it"


class AdapterError(Exception):
    """A value cannot be stored or read; the text says what to do."""

    __module__ = "builtins"  # tracebacks then call it by its name alone


def qualified(cls: Any) -> str:
    """``pandas.DataFrame`` as people write it: without private parts of the path."""
    module, name = cls.__module__, cls.__qualname__
    if module == "builtins":
        return name
    root = module.split(".")[0]
    if getattr(sys.modules.get(root), name, None) is cls:
        return root + "." + name
    return module + "." + name


def class_metadata(cls: Any) -> dict:
    metadata = {"class": cls.__module__ + ":" + cls.__qualname__}
    if not _importable(cls):
        metadata["definition"] = _definition(cls)
    return metadata


def _importable(cls: Any) -> bool:
    """Whether another process finds the class under its name: it is of an installed package."""
    if cls.__module__ in LOOSE:
        return False
    file = getattr(sys.modules.get(cls.__module__), "__file__", None)
    return not isinstance(file, str) or _installed(file)


def _installed(file: str) -> bool:
    return "site-packages" in file or "dist-packages" in file or file.startswith((_STDLIB, "<frozen"))


_STDLIB = os.path.dirname(os.__file__) + os.sep


def _definition(cls: Any) -> str:
    """The class by value, in text that is the same each time."""
    cloudpickle = load_cloudpickle()
    mark = "mlplatform-class-%016d" % 0
    known = importlib.import_module(cloudpickle.__name__ + ".cloudpickle")._DYNAMIC_CLASS_TRACKER_BY_CLASS
    before = known.get(cls)
    known[cls] = mark
    try:
        data = _by_value(cls)
    finally:
        if before is None:
            del known[cls]
        else:
            known[cls] = before
    own = "mlplatform-class-" + hashlib.sha256(data).hexdigest()[:16]
    return base64.b85encode(zlib.compress(data.replace(mark.encode(), own.encode()), 9)).decode("ascii")


def _by_value(value: Any) -> bytes:
    """cloudpickle, with what is defined in project modules and cells by value."""
    module = sys.modules.get(getattr(value, "__module__", ""))
    loose = [module] if module is not None and module.__name__ != "__main__" and not _importable(value) else []
    with _pickled_by_value(loose):
        return load_cloudpickle().dumps(value)


@contextlib.contextmanager
def _pickled_by_value(modules: "list[Any]") -> Any:
    """What these modules define is pickled by value inside."""
    cloudpickle = load_cloudpickle()
    known = cloudpickle.list_registry_pickle_by_value()
    fresh = [module for module in modules if module.__name__ not in known]
    for module in fresh:
        cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        for module in fresh:
            cloudpickle.unregister_pickle_by_value(module)


def load_cloudpickle() -> Any:
    for name in ("cloudpickle", "joblib.externals.cloudpickle"):
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    raise AdapterError("this value needs the package cloudpickle where the task runs: add packages=['cloudpickle']")


def save_pickle(value: Any, path: str, elsewhere: Any = None) -> tuple[str, dict[str, Any]]:
    """``elsewhere``: id of an object that is kept beside the pickle -> what :func:`load_pickle` is told of it."""
    kept = elsewhere or {}
    cloudpickle = load_cloudpickle()

    class Pickler(cloudpickle.Pickler):  # type: ignore[name-defined,misc]
        def persistent_id(self, item: Any) -> Any:
            """Classes that only this code has: the reader's own class of that name is taken, or this one."""
            if id(item) in kept:
                return ("kept", *kept[id(item)])
            if isinstance(item, type) and not _importable(item) and not _anonymous(item):
                return ("class", item.__module__, item.__qualname__, _definition(item))
            return None

    try:
        with open(path, "wb") as file, _pickled_by_value(_loose_modules()):
            Pickler(file, protocol=5).dump(value)
    except (AdapterError, OSError):
        raise
    except Exception as problem:  # noqa: BLE001 - whatever __reduce__ of the user's object raises
        raise AdapterError(
            "a %s cannot be stored (%s: %s): return what can be written to a file, such as an array, a table, "
            "a path or plain data" % (qualified(type(value)), type(problem).__name__, problem)
        ) from None
    note = _PICKLE_NOTE % qualified(type(value))
    return "system.Artifact", {"format": "pickle", "note": note, "python_type": qualified(type(value))}


def _loose_modules() -> list[Any]:
    """Modules that the reader may not have: the project's own. Their functions are pickled by value."""
    found = []
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None) if isinstance(module, types.ModuleType) else None
        if name == "__main__" or not isinstance(file, str) or getattr(module, "__name__", "") != name:
            continue
        if not _installed(file):
            found.append(module)
    return found


def _anonymous(cls: Any) -> bool:
    return "<locals>" in cls.__qualname__ or "<lambda>" in cls.__qualname__


def load_pickle(path: str, metadata: Any, scope: dict, elsewhere: Any = None) -> Any:
    """``elsewhere``: gives an object that was kept beside the pickle, by what was told of it."""

    class Unpickler(pickle.Unpickler):
        def persistent_load(self, pid: Any) -> Any:
            if pid[0] == "kept":
                return elsewhere(*pid[1:])
            return find_class(pid[1], pid[2], pid[3], scope)

    with open(path, "rb") as file:
        return Unpickler(file).load()


def find_class(module: str, name: str, definition: str, scope: dict) -> Any:
    """The reader's own class of that name, so that ``isinstance`` holds; else the writer's."""
    spaces = [scope]
    for place in (module, *LOOSE):
        loaded = sys.modules.get(place)
        if loaded is not None:
            spaces.append(vars(loaded))
    if not definition:
        spaces.append(vars(importlib.import_module(module)))
    for space in spaces:
        found: Any = types.SimpleNamespace(
            **{k: v for k, v in space.items() if isinstance(k, str) and k.isidentifier()}
        )
        for part in name.split("."):
            found = getattr(found, part, None)
            if found is None:
                break
        if isinstance(found, type):
            return found
    if definition:
        load_cloudpickle()
        return pickle.loads(zlib.decompress(base64.b85decode(definition)))
    raise AdapterError("the class %s of module %s is not there: import or define it first" % (name, module))
