# pyright: basic
"""What a notebook has registered elsewhere: accessors of tables, magics, hooks of the shell, handlers of signals and
logs. It is in no variable, and whoever goes on from a state must have it."""

from __future__ import annotations

import functools
import signal
import sys
import types
from collections.abc import Iterator, Mapping
from typing import Any, Optional

from .projects import is_project_module

#: Classes of libraries that others add methods and accessors to (``tqdm.pandas()``, ``register_dataframe_accessor``).
_EXTENDED = (
    ("pandas.core.generic", "NDFrame"),
    ("pandas.core.frame", "DataFrame"),
    ("pandas.core.series", "Series"),
    ("pandas.core.indexes.base", "Index"),
    ("pandas.core.groupby.groupby", "GroupBy"),
    ("pandas.core.groupby.generic", "DataFrameGroupBy"),
    ("pandas.core.groupby.generic", "SeriesGroupBy"),
    ("pandas.core.window.rolling", "Rolling"),
    ("pandas.core.window.expanding", "Expanding"),
    ("polars.dataframe.frame", "DataFrame"),
    ("polars.lazyframe.frame", "LazyFrame"),
    ("polars.series.series", "Series"),
    ("polars.expr.expr", "Expr"),
)


def is_own(value: Any, namespace: Mapping[str, Any]) -> bool:
    """Whether something that can be called is the notebook's."""
    while isinstance(value, functools.partial):
        value = value.func
    if isinstance(value, types.MethodType):
        value = value.__func__
    if isinstance(value, types.FunctionType):
        return value.__globals__ is namespace
    return type(value).__module__ == "__main__"


# ------------------------------------------------------------------ tables
def extensions() -> list[str]:
    """``@patch:`` places of what classes of libraries have from elsewhere."""
    found: list[str] = []
    for module, name in _EXTENDED:
        holder: Any = getattr(sys.modules.get(module), name, None)
        library = module.partition(".")[0]
        for key, value in list(vars(holder).items()) if holder is not None else ():
            if not key.startswith("__") and _is_from_elsewhere(value, library):
                found.append("@patch:%s:%s:%s" % (module, name, key))
    return found


def _is_from_elsewhere(value: Any, library: str) -> bool:
    kind = getattr(value, "_ns", None) or getattr(value, "_accessor", None)
    value = value if kind is None or isinstance(kind, str) else kind
    place = getattr(value, "__module__", None)
    return callable(value) and isinstance(place, str) and place.partition(".")[0] not in (library, *_PLAIN)


#: Where a library's own methods come from besides itself.
_PLAIN = ("numpy", "builtins", "typing", "functools", "abc", "collections", "pyarrow")


# ------------------------------------------------------------------ the shell
def magics(shell: Any) -> dict[str, dict[str, Any]]:
    """Magics that are functions of the notebook: kind -> name -> function."""
    found: dict[str, dict[str, Any]] = {}
    for kind, known in shell.magics_manager.magics.items():
        own = {name: one for name, one in known.items() if is_own(one, shell.user_ns)}
        if own:
            found[kind] = own
    return found


def set_magics(shell: Any, told: Mapping[str, Mapping[str, Any]]) -> None:
    """These and no others."""
    for kind, known in magics(shell).items():
        for name in [name for name in known if name not in told.get(kind, {})]:
            del shell.magics_manager.magics[kind][name]
    for kind, known in told.items():
        for name, function in known.items():
            shell.register_magic_function(function, magic_kind=kind, magic_name=name)


def hooks(shell: Optional[Any], namespace: Mapping[str, Any]) -> Iterator[str]:
    """What no other process has: hooks in the shell and handlers of signals."""
    if shell is not None and any(is_own(one, namespace) for one in _shell_hooks(shell)):
        yield "a hook of its own in IPython"
    for number in signal.valid_signals():
        handler = signal.getsignal(number)
        if callable(handler) and not isinstance(handler, signal.Handlers) and is_own(handler, namespace):
            yield "a signal handler of its own"
            return


def _shell_hooks(shell: Any) -> Iterator[Any]:
    for callbacks in shell.events.callbacks.values():
        yield from callbacks
    yield from shell.input_transformers_cleanup
    yield from shell.input_transformers_post
    yield from shell.ast_transformers
    if shell.custom_exceptions:
        yield shell.CustomTB
    for formatter in shell.display_formatter.formatters.values():
        yield from formatter.type_printers.values()
        yield from formatter.deferred_printers.values()


# ------------------------------------------------------------------ logs
def loggers() -> dict[str, Any]:
    """Loggers that belong to no library and are not as they were made: name -> handlers, propagate, disabled. A handler
    that cannot be told is None."""
    logging: Any = sys.modules["logging"]
    found: dict[str, Any] = {}
    for name, one in sorted(_own_loggers().items()):
        handlers = [handler(each) for each in one.handlers if type(each) is not logging.NullHandler]
        told = {"handlers": handlers, "propagate": one.propagate, "disabled": one.disabled}
        if one.filters:
            told["handlers"] = [*handlers, None]
        if told != _PLAIN_LOGGER:
            found[name] = told
    return found


_PLAIN_LOGGER = {"handlers": [], "propagate": True, "disabled": False}


def set_loggers(told: Mapping[str, Any]) -> None:
    logging: Any = sys.modules["logging"]
    for name in {*told, *loggers()}:
        one, wanted = logging.getLogger(name), told.get(name, _PLAIN_LOGGER)
        one.propagate, one.disabled = wanted["propagate"], wanted["disabled"]
        set_handlers(one, wanted["handlers"])


def _own_loggers() -> dict[str, Any]:
    logging: Any = sys.modules["logging"]
    found: dict[str, Any] = {}
    theirs: set[int] = set()
    for name, one in list(logging.root.manager.loggerDict.items()):
        root = name.partition(".")[0]
        module = sys.modules.get(root)
        if not isinstance(one, logging.Logger):
            continue
        if module is None or root == "__main__" or is_project_module(root, module):
            found[name] = one
        else:
            theirs.update(map(id, one.handlers))
    # A library that is imported may set up loggers of others that are not (MLflow does): with its own handler.
    return {name: one for name, one in found.items() if theirs.isdisjoint(map(id, one.handlers))}


def handler(one: Any) -> Any:
    """A plain handler that writes to a standard stream, as data; None for any other."""
    logging: Any = sys.modules["logging"]
    if type(one) is not logging.StreamHandler or one.filters:
        return None
    stream = "stderr" if one.stream is sys.stderr else "stdout" if one.stream is sys.stdout else ""
    formatter = one.formatter
    if not stream or type(formatter) not in (logging.Formatter, type(None)):
        return None
    style = type(getattr(formatter, "_style", None)).__name__
    words = (getattr(formatter, "_fmt", None), getattr(formatter, "datefmt", None), style)
    return (stream, one.level, words) if style in ("PercentStyle", "NoneType") else None


def set_handlers(logger: Any, told: Any) -> None:
    """The handlers of a logger, and no others. Those that cannot be told stay: then the process has never left them."""
    logging: Any = sys.modules["logging"]
    if None in told:
        return
    for one in list(logger.handlers):
        logger.removeHandler(one)
    for stream, level, (text, date, _) in told:
        made = logging.StreamHandler(getattr(sys, stream))
        made.setLevel(level)
        if text is not None:
            made.setFormatter(logging.Formatter(text, date))
        logger.addHandler(made)
