# pyright: basic
"""Settings of the process itself, and what a notebook registers with modules of the standard library and matplotlib.

Each is an item of hidden state (see ``hidden.py``). What can be registered and neither told nor carried is known by the
word that registers it: from then on no other process can go on from what this one has.
"""

from __future__ import annotations

import csv
import gc
import importlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from .registered import is_own

#: Words that register something for good (with the module in which they do, "" for any), and what it is.
_FOR_GOOD: tuple[tuple[str, str, str], ...] = (
    ("add_type", "mimetypes", "a type registered with mimetypes"),
    ("addLevelName", "logging", "a level of its own in logging"),
    ("setLoggerClass", "logging", "a class of its own for loggers"),
    ("setLogRecordFactory", "logging", "a factory of its own for log records"),
    ("register_error", "codecs", "an error handler registered with codecs"),
    ("register_namespace", "xml.etree.ElementTree", "a namespace registered with ElementTree"),
    ("addaudithook", "", "an audit hook"),
    ("register_at_fork", "", "a function registered to be called at a fork"),
    ("settrace", "", "a function that traces"),
    ("setprofile", "", "a function that profiles"),
    ("set_random_seed", "tensorflow", "a seed of TensorFlow's generators"),
    ("set_seed", "tensorflow", "a seed of TensorFlow's generators"),
    ("set_floatx", "keras", "a setting of Keras"),
    ("set_global_policy", "keras", "a setting of Keras"),
    ("set_dtype_policy", "keras", "a setting of Keras"),
    ("config", "jax", "a setting of JAX"),
    ("enable_x64", "jax", "a setting of JAX"),
)
#: Colour maps that a library registers when it is imported.
_LIBRARY_MAPS = frozenset(("rocket", "mako", "icefire", "vlag", "flare", "crest"))
_DIALECTS = frozenset(("excel", "excel-tab", "unix"))
_FORMAT = (
    "delimiter",
    "doublequote",
    "escapechar",
    "lineterminator",
    "quotechar",
    "quoting",
    "skipinitialspace",
    "strict",
)


class Process:
    """Against the state at the session's start."""

    def __init__(self, namespace: Mapping[str, Any]) -> None:
        self._namespace = namespace
        self._settings = _settings()
        self._limit = csv.field_size_limit()
        found = _tables("sqlite3")
        self._adapters = None if found is None else {kind: dict(one) for kind, one in found.items()}
        self._for_good: dict[str, None] = {}

    def read(self, words: frozenset[str]) -> dict[str, Any]:
        """Items that are not as at the start. ``words``: what the task that just ran mentions."""
        for word, module, what in _FOR_GOOD:
            if word in words and (not module or module in sys.modules):
                self._for_good[what] = None
        found: dict[str, Any] = {}
        now = _settings()
        for name, value in (
            ("@process", {key: told for key, told in now.items() if told != self._settings.get(key)}),
            ("@copyreg", self._reducers()),
            ("@csv", self._csv()),
            ("@sqlite3", self._sqlite()),
            ("@colormaps", _colormaps()),
        ):
            if value:
                found[name] = value
        return found

    def write(self, items: Mapping[str, Any]) -> None:
        """Make the process as ``items`` say."""
        now = _settings()
        for key, value in {**self._settings, **items.get("@process", {})}.items():
            if now.get(key) != value:
                _set(key, value)
        self._set_reducers(items.get("@copyreg", {}))
        self._set_csv(items.get("@csv", {}))
        if items.get("@sqlite3") or (self._adapters is not None and self._sqlite()):
            self._set_sqlite(items.get("@sqlite3", {}))
        _set_colormaps(items.get("@colormaps", {}))

    def blocks(self) -> Iterator[str]:
        """What no other process has."""
        yield from self._for_good

    # ------------------------------------------------------------------ one registry each
    def _reducers(self) -> dict[Any, Any]:
        """How objects of a class are pickled; libraries register theirs when they are imported."""
        table = sys.modules["copyreg"].dispatch_table  # type: ignore[attr-defined]
        return {kind: one for kind, one in table.items() if is_own(one, self._namespace)}

    def _set_reducers(self, told: Mapping[Any, Any]) -> None:
        table = sys.modules["copyreg"].dispatch_table  # type: ignore[attr-defined]
        for kind in self._reducers():
            if kind not in told:
                del table[kind]
        table.update(told)

    def _csv(self) -> dict[str, Any]:
        told: dict[str, Any] = {}
        for name in csv.list_dialects():
            if name not in _DIALECTS:
                one = csv.get_dialect(name)
                told[name] = {word: getattr(one, word) for word in _FORMAT}
        limit = csv.field_size_limit()
        return {"dialects": told, "limit": limit} if told or limit != self._limit else {}

    def _set_csv(self, told: Mapping[str, Any]) -> None:
        wanted = told.get("dialects", {})
        for name in csv.list_dialects():
            if name not in _DIALECTS and name not in wanted:
                csv.unregister_dialect(name)
        for name, one in wanted.items():
            csv.register_dialect(name, **one)
        csv.field_size_limit(told.get("limit", self._limit))

    def _sqlite(self) -> dict[str, Any]:
        now = _tables("sqlite3")
        if now is None:
            return {}
        if self._adapters is None:  # imported since: these are its own
            self._adapters = {kind: {k: v for k, v in one.items() if _is_of_sqlite(v)} for kind, one in now.items()}
        told = {
            kind: {key: value for key, value in one.items() if self._adapters[kind].get(key) is not value}
            for kind, one in now.items()
        }
        return told if any(told.values()) else {}

    def _set_sqlite(self, told: Mapping[str, Any]) -> None:
        importlib.import_module("sqlite3")
        self._sqlite()
        for kind, one in (_tables("sqlite3") or {}).items():
            one.clear()
            one.update((self._adapters or {}).get(kind, {}))
            one.update(told.get(kind, {}))


def _is_of_sqlite(value: Any) -> bool:
    return str(getattr(value, "__module__", "")).startswith("sqlite3")


def _tables(module: str) -> Any:
    found: Any = sys.modules.get(module)
    if found is None or not hasattr(found, "adapters"):
        return None
    own: Any = found
    return {"adapters": own.adapters, "converters": own.converters}


def _colormaps() -> dict[str, Any]:
    registry: Any = getattr(sys.modules.get("matplotlib.cm"), "_colormaps", None)
    if registry is None or not hasattr(registry, "_cmaps"):
        return {}
    builtin = getattr(registry, "_builtin_cmaps", ())
    return {
        name: one
        for name, one in registry._cmaps.items()
        if name not in builtin and name.removesuffix("_r") not in _LIBRARY_MAPS
    }


def _set_colormaps(told: Mapping[str, Any]) -> None:
    if not told and "matplotlib.cm" not in sys.modules:
        return
    registry: Any = importlib.import_module("matplotlib").colormaps
    for name in _colormaps():
        if name not in told:
            registry.unregister(name)
    for name, one in told.items():
        registry.register(one, name=name, force=True)


# ------------------------------------------------------------------ settings
def _umask() -> Any:
    """Without changing it for a moment, where the system tells it."""
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as file:
            return next((int(line.split()[1], 8) for line in file if line.startswith("Umask:")), None)
    except OSError:
        return None


def _settings() -> dict[str, Any]:
    socket: Any = sys.modules.get("socket")
    return {
        "umask": _umask(),
        "switch interval": sys.getswitchinterval(),
        "gc": (gc.isenabled(), gc.get_threshold()),
        "socket timeout": socket.getdefaulttimeout() if socket is not None else None,
        "digits": sys.get_int_max_str_digits() if hasattr(sys, "get_int_max_str_digits") else None,
    }


def _set_gc(told: Any) -> None:
    (gc.enable if told[0] else gc.disable)()
    gc.set_threshold(*told[1])


_SETTING: Mapping[str, Callable[[Any], Any]] = {
    "umask": lambda value: os.umask(value) if value is not None else None,
    "switch interval": sys.setswitchinterval,
    "gc": _set_gc,
    "socket timeout": lambda value: importlib.import_module("socket").setdefaulttimeout(value),
    "digits": lambda value: sys.set_int_max_str_digits(value) if value is not None else None,
}


def _set(key: str, value: Any) -> None:
    _SETTING[key](value)
