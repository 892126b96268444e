"""A task of the pipeline being recorded: a component with arguments, and how it is to be run."""

# Placeholders keep public names free for outputs of the user's: what the modules of this package share is private.
# pyright: reportPrivateUsage=false

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from mlplatform.core.errors import InvalidPipeline
from mlplatform.ir.model import CachingOptions, RetryPolicy
from mlplatform.sdk.define.channels import Channel, Placeholder, misuse
from mlplatform.sdk.define.scope import Node
from mlplatform.sdk.define.types import ValueType
from mlplatform.sdk.define.where import user_line

_CPU = re.compile(r"([0-9]*\.)?[0-9]+m?")
_MEMORY = re.compile(r"[0-9]+(\.[0-9]+)?(E|Ei|P|Pi|T|Ti|G|Gi|M|Mi|K|Ki)?")
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h)?")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, None: 1.0}
_FACTORS = {"E": 10**18, "P": 10**15, "T": 10**12, "G": 10**9, "M": 10**6, "K": 10**3}


@dataclass(frozen=True, slots=True)
class InputSpec:
    """One input of a component."""

    type: ValueType
    default: Any = None
    has_default: bool = False
    optional: bool = False
    description: str = ""


@dataclass(frozen=True, slots=True)
class OutputSpec:
    type: ValueType
    description: str = ""


@dataclass(frozen=True, slots=True)
class Interface:
    """Inputs and outputs of a component by name, in order."""

    inputs: Mapping[str, InputSpec] = field(default_factory=dict[str, InputSpec])
    outputs: Mapping[str, OutputSpec] = field(default_factory=dict[str, OutputSpec])


class Component(Protocol):
    """What a task needs to know of what it runs; ``emit`` knows the kinds."""

    @property
    def name(self) -> str: ...
    @property
    def interface(self) -> Interface: ...


@dataclass(slots=True)
class Settings:
    """How a task is to be run. Texts of resources may hold a channel instead."""

    caching: CachingOptions = field(default_factory=lambda: CachingOptions(enable_cache=True))
    retry: RetryPolicy | None = None
    cpu_request: Any = None
    cpu_limit: Any = None
    memory_request: Any = None
    memory_limit: Any = None
    accelerator_type: Any = None
    accelerator_count: Any = None
    image: Any = None
    env: dict[str, str] = field(default_factory=dict[str, str])
    display_name: str = ""
    ignore_upstream_failure: bool = False
    platform: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])

    @property
    def has_resources(self) -> bool:
        texts = (self.cpu_request, self.cpu_limit, self.memory_request, self.memory_limit)
        return any(text is not None for text in (*texts, self.accelerator_type, self.accelerator_count))


class Outputs(Mapping[str, Any]):
    """Outputs of a task by name. A name it does not have is an error that lists those it has."""

    def __init__(self, task: Task, channels: dict[str, Channel]) -> None:
        self._task = task
        self._channels = channels

    def __getitem__(self, name: str) -> Channel:
        try:
            return self._channels[name]
        except KeyError:
            raise InvalidPipeline(
                f"Task {self._task.name!r} has no output {name!r} ({user_line()}).", hint=f"It has: {self.words()}."
            ) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._channels)

    def __len__(self) -> int:
        return len(self._channels)

    def __bool__(self) -> bool:
        return bool(self._channels)

    def words(self) -> str:
        return ", ".join(self._channels) or "no outputs"


class Task(Node, Placeholder):
    """A component that was called in a pipeline function: a placeholder for what it will give.

    Its only output is ``task.output`` (and the task itself may be passed where a value is wanted), each of several is
    ``task.outputs["name"]``. The other methods say how to run it and return the task, so that they can be chained.
    """

    def __init__(self, component: Component, arguments: Mapping[str, Any], interface: Interface | None = None) -> None:
        super().__init__()
        self._component = component
        self._arguments = dict(arguments)
        self._interface = interface or component.interface
        self._settings = Settings()
        self._after: list[Node] = []
        self._channels = {name: Channel(name, spec.type, self) for name, spec in self._interface.outputs.items()}
        #: How what the function returns is taken apart: field name of a returned object -> output.
        self._fields: dict[str, str] = {}
        self._ordered: tuple[str, ...] = ()

    __hash__ = object.__hash__

    # ------------------------------------------------------------------ as a value
    @property
    def name(self) -> str:
        """Its name in the pipeline, unique."""
        return self._name

    @property
    def inputs(self) -> Mapping[str, Any]:
        """What it was called with."""
        return dict(self._arguments)

    @property
    def output(self) -> Any:
        """Its only output. Raises InvalidPipeline if it has none or several."""
        return self._channel()

    @property
    def outputs(self) -> Outputs:
        """Its outputs by name."""
        return Outputs(self, self._channels)

    def _what(self) -> str:
        return f"the output of task {self._name!r}"

    def _channel(self) -> Channel:
        if len(self._channels) == 1:
            return next(iter(self._channels.values()))
        if "Output" in self._channels:
            return self._channels["Output"]
        told = self.outputs.words()
        hint = f"Name one: outputs[...] of {told}." if self._channels else "Give its function a return annotation."
        raise InvalidPipeline(
            f"Task {self._name!r} has {'several outputs' if self._channels else 'no output'} ({user_line()}).",
            hint=hint,
        )

    def _field(self, name: str) -> Channel:
        return self._channels[self._fields[name]]

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("_") and name in self._fields:
            return self._field(name)
        return Placeholder.__getattr__(self, name)

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, str) and key in self._fields:
            return self._field(key)
        if isinstance(key, int) and -len(self._ordered) <= key < len(self._ordered):
            return self._field(self._ordered[key])
        return Placeholder.__getitem__(self, key)

    def __iter__(self) -> Any:
        if not self._ordered:
            return Placeholder.__iter__(self)
        return iter([self._field(name) for name in self._ordered])

    def __len__(self) -> int:
        return len(self._ordered) if self._ordered else Placeholder.__len__(self)

    # ------------------------------------------------------------------ how to run it
    def after(self, *tasks: Any) -> Task:
        """Run when these tasks (or exit handlers) have succeeded, although nothing of them is needed."""
        for task in tasks:
            if not isinstance(task, Node):
                raise InvalidPipeline(f".after() takes tasks, not {type(task).__name__} ({user_line()}).")
            self._after.append(task)
        return self

    def set_caching_options(self, enable_caching: bool, cache_key: str | None = None) -> Task:
        """Whether an earlier result may be reused; ``cache_key`` is compared as well."""
        self._settings.caching = CachingOptions(enable_caching, cache_key or "")
        return self

    def set_retry(
        self,
        num_retries: int,
        backoff_duration: str | None = None,
        backoff_factor: float | None = None,
        backoff_max_duration: str | None = None,
    ) -> Task:
        """Try again when it fails. Durations such as ``"30s"``; as kfp has it, one that is not given is 0 s, the factor
        2 and the cap 3600 s."""
        self._settings.retry = RetryPolicy(
            max_retry_count=num_retries,
            backoff_duration=seconds(backoff_duration or "0s"),
            backoff_factor=float(backoff_factor or 2.0),
            backoff_max_duration=seconds(backoff_max_duration or "3600s"),
        )
        return self

    def set_display_name(self, name: str) -> Task:
        """What user interfaces call it."""
        self._settings.display_name = name
        return self

    def set_env_variable(self, name: str, value: str) -> Task:
        """An environment variable of the task. For secrets, use ``ml.secret`` or a Kubernetes secret."""
        self._executed("set_env_variable")
        self._settings.env[name] = value
        return self

    def ignore_upstream_failure(self) -> Task:
        """Run even if tasks before it failed. Inputs that come from them need defaults."""
        for name, spec in self._interface.inputs.items():
            given = self._arguments.get(name)
            late = isinstance(given, Channel) and given._producer is not None
            if late and not (spec.has_default or spec.optional):
                raise InvalidPipeline(
                    f"{self.name!r} cannot ignore failures before it: input {name!r} has no default ({user_line()}).",
                    hint=f"Give {name!r} a default in the component: it is used if the task before it failed.",
                )
        self._settings.ignore_upstream_failure = True
        return self

    def set_cpu_request(self, cpu: Any) -> Task:
        """Cores it needs, such as ``"2"`` or ``"500m"``."""
        self._settings.cpu_request = self._quantity(cpu, _CPU, "set_cpu_request", "cores, such as '2' or '500m'")
        return self

    def set_cpu_limit(self, cpu: Any) -> Task:
        """Cores it may use at most."""
        self._settings.cpu_limit = self._quantity(cpu, _CPU, "set_cpu_limit", "cores, such as '2' or '500m'")
        return self

    def set_memory_request(self, memory: Any) -> Task:
        """Memory it needs, such as ``"4Gi"``."""
        self._settings.memory_request = self._quantity(memory, _MEMORY, "set_memory_request", "memory, such as '4Gi'")
        return self

    def set_memory_limit(self, memory: Any) -> Task:
        """Memory it may use at most."""
        self._settings.memory_limit = self._quantity(memory, _MEMORY, "set_memory_limit", "memory, such as '4Gi'")
        return self

    def set_accelerator_type(self, accelerator: Any) -> Task:
        """Such as ``"nvidia.com/gpu"``."""
        self._executed("set_accelerator_type")
        self._settings.accelerator_type = _late(accelerator)
        if self._settings.accelerator_count is None:
            self._settings.accelerator_count = "1"
        return self

    def set_accelerator_limit(self, limit: Any) -> Task:
        """How many accelerators."""
        self._settings.accelerator_count = self._quantity(
            limit, re.compile(r"\d+"), "set_accelerator_limit", "a number"
        )
        return self

    def set_gpu_limit(self, gpu: Any) -> Task:
        """The older name of :meth:`set_accelerator_limit`."""
        return self.set_accelerator_limit(gpu)

    def add_node_selector_constraint(self, accelerator: Any) -> Task:
        """The older name of :meth:`set_accelerator_type`."""
        return self.set_accelerator_type(accelerator)

    def set_container_image(self, name: Any) -> Task:
        """The image to run in, instead of the component's."""
        self._executed("set_container_image")
        self._settings.image = _late(name)
        return self

    def _quantity(self, value: Any, pattern: re.Pattern[str], method: str, what: str) -> Any:
        self._executed(method)
        late = _late(value)
        if isinstance(late, Channel):
            return late
        text = str(value)
        if isinstance(value, bool) or not (pattern.fullmatch(text) or "{{" in text):
            raise InvalidPipeline(f".{method}({value!r}): {what} ({user_line()}).")
        return text

    def _executed(self, method: str) -> None:
        if not getattr(self._component, "executed", True):
            raise InvalidPipeline(
                f".{method}() cannot be set on {self.name!r}: it is a pipeline or an importer ({user_line()}).",
                hint="Set it on the tasks inside.",
            )

    def _refuse_call(self) -> None:
        raise misuse(self._what(), "be called", "Call the component, not the task.")


def task(value: object) -> Task:
    """The task behind what a component gave in a pipeline function, which type checkers take for the value itself:
    ``ml.task(model).after(other)``.

    Raises:
        InvalidPipeline: there is no task behind it.
    """
    if isinstance(value, Task):
        return value
    if isinstance(value, Channel) and isinstance(value._producer, Task):
        return value._producer
    raise InvalidPipeline(
        f"There is no task behind {type(value).__name__} ({user_line()}).",
        hint="Give what a component returned in a pipeline function.",
    )


def _late(value: Any) -> Any:
    return value._channel() if isinstance(value, Placeholder) else value


def seconds(text: str | float) -> float:
    """``"90s"``, ``"1.5m"``, ``"2h"`` or a number of seconds."""
    if isinstance(text, (int, float)) and not isinstance(text, bool):
        return float(text)
    match = _DURATION.fullmatch(str(text).strip())
    if match is None:
        raise InvalidPipeline(f"{text!r} is no duration ({user_line()}).", hint="Write seconds, or '90s', '15m', '2h'.")
    return float(match[1]) * _UNITS[match[2]]


def gigabytes(memory: str) -> float:
    """A memory quantity as older KFP backends read it."""
    for unit, factor in _FACTORS.items():
        if memory.endswith(unit + "i"):
            binary = 1024 ** (["K", "M", "G", "T", "P", "E"].index(unit) + 1)
            return float(memory[:-2]) * binary / 10**9
        if memory.endswith(unit):
            return float(memory[:-1]) * factor / 10**9
    return float(memory) / 10**9
