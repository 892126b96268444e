"""What a notebook registers with libraries is found, and can be brought into another process or is a reason not to."""

from __future__ import annotations

import io
import logging
import os
import signal
import sys
import time
from types import FunctionType, SimpleNamespace
from typing import Any

import pandas as pd
import polars as pl
import pytest

from mlplatform.launcher.notebook import registered
from mlplatform.launcher.notebook.hidden import Hidden
from mlplatform.launcher.notebook.libraries import Libraries


@pytest.fixture
def hidden() -> Hidden:
    """Of a process whose notebook has the namespace ``{"__name__": "__main__"}``."""
    return Hidden({"__name__": "__main__"}, os.getcwd())


def own(namespace: dict[str, Any], source: str = "def f(*a):\n    return a") -> FunctionType:
    exec(source, namespace)
    return namespace["f"]


def test_libraries_as_they_come_have_nothing_from_elsewhere() -> None:
    assert pd.DataFrame
    assert pl.DataFrame
    assert registered.extensions() == []


def test_accessors_and_methods_from_elsewhere_are_patches(monkeypatch: pytest.MonkeyPatch) -> None:
    def inner(frame: Any) -> int:
        return len(frame)

    inner.__module__ = "progress.of.others"  # as a progress bar puts its methods there
    monkeypatch.setattr(pd.DataFrame, "progress_apply", inner, raising=False)
    pd.api.extensions.register_dataframe_accessor("probe")(type("Probe", (), {"__init__": lambda s, o: None}))
    pl.api.register_dataframe_namespace("probe")(type("Probe", (), {"__init__": lambda s, o: None}))
    try:
        assert registered.extensions() == [
            "@patch:pandas.core.frame:DataFrame:progress_apply",
            "@patch:pandas.core.frame:DataFrame:probe",
            "@patch:polars.dataframe.frame:DataFrame:probe",
        ]
    finally:
        del pd.DataFrame.probe  # pyright: ignore
        del pl.DataFrame.probe  # pyright: ignore


def test_loggers_of_the_notebook_come_back_with_their_handlers() -> None:
    one = logging.getLogger("train.of.a.notebook")
    try:
        made = logging.StreamHandler(sys.stderr)
        made.setFormatter(logging.Formatter("%(message)s"))
        one.addHandler(made)
        one.addHandler(logging.NullHandler())
        one.propagate = False
        told = registered.loggers()["train.of.a.notebook"]
        assert told["handlers"] == [("stderr", 0, ("%(message)s", None, "PercentStyle"))]
        registered.set_loggers({})
        assert (one.handlers, one.propagate) == ([], True)
        registered.set_loggers({"train.of.a.notebook": told})
        assert registered.loggers()["train.of.a.notebook"] == told
        one.addHandler(logging.StreamHandler(io.StringIO()))
        assert None in registered.loggers()["train.of.a.notebook"]["handlers"]
        assert "a logging handler of its own" in list(Libraries().blocks())
    finally:
        registered.set_loggers({})
        one.handlers.clear()
        one.propagate = True


def test_magics_and_hooks_of_the_notebook() -> None:
    namespace: dict[str, Any] = {"__name__": "__main__"}
    mine, calls = own(namespace), list[tuple[Any, ...]]()
    formatter = SimpleNamespace(type_printers={}, deferred_printers={})
    shell = SimpleNamespace(
        user_ns=namespace,
        magics_manager=SimpleNamespace(magics={"line": {"f": mine, "cd": print}, "cell": {"time": print}}),
        register_magic_function=lambda function, **words: calls.append((function, words)),
        events=SimpleNamespace(callbacks={"post_run_cell": [print]}),
        input_transformers_cleanup=[], input_transformers_post=[], ast_transformers=[], custom_exceptions=(),
        display_formatter=SimpleNamespace(formatters={"text/plain": formatter}),
    )  # fmt: skip
    told = registered.magics(shell)
    assert told == {"line": {"f": mine}}
    registered.set_magics(shell, told)
    assert calls == [(mine, {"magic_kind": "line", "magic_name": "f"})]
    assert list(registered.hooks(shell, namespace)) == []
    formatter.type_printers[int] = mine
    assert list(registered.hooks(shell, namespace)) == ["a hook of its own in IPython"]


def test_a_signal_handler_of_the_notebook_is_no_state_to_go_on_from() -> None:
    namespace: dict[str, Any] = {"__name__": "__main__"}
    before = signal.signal(signal.SIGUSR2, own(namespace))
    try:
        assert list(registered.hooks(None, namespace)) == ["a signal handler of its own"]
    finally:
        signal.signal(signal.SIGUSR2, before)


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="there is no time zone to set here")
def test_time_zone_and_words_of_the_command_line(hidden: Hidden, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", list(sys.argv))
    fresh = hidden.read(frozenset())
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    assert "@timezone" not in hidden.read(frozenset())  # nobody has looked at the variable yet
    time.tzset()
    sys.argv.append("--epochs=3")
    try:
        told = hidden.read(frozenset())
        assert told["@timezone"] == [["JST", "JST"], -32400, -32400]
        assert told["@argv"][-1] == "--epochs=3"
        hidden.write({name: fresh[name] for name in fresh if name.startswith("@")})
        assert {"@argv", "@timezone"} & set(hidden.read(frozenset())) == set()
        hidden.write(told)
        assert time.localtime(0).tm_hour == 9
        assert sys.argv[-1] == "--epochs=3"
    finally:
        monkeypatch.undo()
        time.tzset()
        hidden.write({name: fresh[name] for name in fresh if name.startswith("@")})


def test_what_a_library_sets_up_for_another_is_not_the_notebooks():
    """MLflow gives its own handler to loggers of libraries that nobody has imported."""
    of_a_library, of_nobody = logging.getLogger("hypothesis.of.a.test"), logging.getLogger("nobody.imported.this")
    shared = logging.StreamHandler()
    for one in (of_a_library, of_nobody):
        one.addHandler(shared)
    try:
        assert "nobody.imported.this" not in registered.loggers()
        of_a_library.removeHandler(shared)
        assert "nobody.imported.this" in registered.loggers()
    finally:
        for one in (of_a_library, of_nobody):
            one.removeHandler(shared)
