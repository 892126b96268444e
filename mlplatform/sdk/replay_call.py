"""What a task's function was called with: its source loaded, its runtime asked, nothing of it run."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, cast

from mlplatform.core.errors import InvalidInput, MlPlatformError, Unsupported
from mlplatform.launcher.component import load_executor, load_source
from mlplatform.launcher.failures import AttemptFailed
from mlplatform.planning.python_component import PythonComponent
from mlplatform.planning.sdk_component import describe
from mlplatform.sdk.travel.bundle import PACKAGE
from mlplatform.sdk.travel.classes import AdapterError


@dataclass(frozen=True, slots=True)
class Call:
    """A function and its arguments. ``objects``: it is an SDK component's, which gets Python objects."""

    function: Callable[..., Any]
    arguments: Mapping[str, Any]
    source: Path
    objects: bool = False
    positional: tuple[str, ...] = ()
    workdir: Path | None = None
    environment: Mapping[str, str] | None = None

    def at(self, workdir: Path, environment: Mapping[str, str]) -> Call:
        return Call(self.function, self.arguments, self.source, self.objects, self.positional, workdir, environment)


class _Caught(BaseException):
    """Ends a runtime's work at the moment it would call the user's function."""


class _Probe:
    """Stands for a function where a runtime works out what to call it with; keeps that and runs nothing."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.positional: tuple[Any, ...] = ()
        self.named: dict[str, Any] = {}

    @property
    def __name__(self) -> str:
        return str(getattr(self.function, "__name__", "function"))

    @property
    def __annotations__(self) -> dict[str, Any]:  # type: ignore[override]
        return dict(getattr(self.function, "__annotations__", {}))

    @property
    def __globals__(self) -> dict[str, Any]:
        return getattr(self.function, "__globals__", {})

    @property
    def __signature__(self) -> inspect.Signature:
        return inspect.signature(self.function)

    def __call__(self, *args: Any, **kwargs: Any) -> None:
        self.positional, self.named = args, kwargs
        raise _Caught

    def call(self, source: Path, *, objects: bool) -> Call:
        """What it was called with."""
        names = tuple(inspect.signature(self.function).parameters)[: len(self.positional)]
        arguments = {**dict(zip(names, self.positional, strict=True)), **self.named}
        return Call(self.function, arguments, source, objects, names)


def prepare(python: PythonComponent, data: Mapping[str, Any], source: Path) -> Call:
    """Load a component's source and work out what its function is called with.

    Raises:
        Unsupported: kfp's runtime, which it needs, is not installed here.
        InvalidInput: the source does not define the function, or an argument cannot be had here.
    """
    module = _load(python, source)
    target: Any = getattr(module, python.function, None)
    if target is None:
        raise InvalidInput(f"the component's source does not define {python.function!r}")
    sdk = describe(python.source)
    try:
        if sdk is None:
            return _kfp_call(target, data).call(source, objects=False)
        return _sdk_call(target, data, needs_kfp=sdk.needs_kfp).call(source, objects=True)
    except AttemptFailed as error:
        raise _no_kfp(error) from None
    except AdapterError as error:
        raise InvalidInput(f"the task's arguments cannot be had here: {error}") from None


def _kfp_call(target: Any, data: Mapping[str, Any]) -> _Probe:
    """What kfp's runtime calls a function with."""
    probe = _Probe(target)
    runtime = load_executor()(executor_input=dict(data), function_to_execute=target)
    runtime.func = probe
    try:
        runtime.execute()
    except _Caught:
        pass
    return probe


def _sdk_call(task: Any, data: Mapping[str, Any], *, needs_kfp: bool) -> _Probe:
    """What an SDK component (``sdk.travel.task``) calls its function with. It may find its function only now."""
    probe = _Probe(task.function)

    def set_function(_: Any, function: Callable[..., Any]) -> None:
        probe.function = function

    probing = property(lambda _: probe, set_function)
    task.__class__ = type("ProbedTask", (cast("type[Any]", type(task)),), {"function": probing})
    try:
        if needs_kfp:
            load_executor()(executor_input=dict(data), function_to_execute=task).execute()
        else:
            task.execute(dict(data))
    except _Caught:
        pass
    except sys.modules[f"{PACKAGE}.classes"].AdapterError as error:  # the source brings a class of its own for it
        raise AdapterError(str(error)) from None
    return probe


def _load(python: PythonComponent, source: Path) -> ModuleType:
    try:
        return load_source(python.source, str(source))
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "kfp":
            raise
        raise _no_kfp(error) from None


def _no_kfp(error: Exception) -> MlPlatformError:
    return Unsupported(
        f"the component needs kfp, which this kernel does not have: {error}",
        hint="Install it: pip install 'mlplatform[kfp]'.",
    )
