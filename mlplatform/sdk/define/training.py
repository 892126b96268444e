"""``@ml.training``: a function that several ranks run together, as one task of a pipeline."""

# Placeholders keep public names free for outputs of the user's: what the modules of this package share is private.
# pyright: reportPrivateUsage=false

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, ParamSpec, TypeVar, overload

import mlplatform.training as scripts
from mlplatform.core.errors import Finding, InvalidInput, InvalidPipeline
from mlplatform.ir.platform import OWN
from mlplatform.planning.training.shape import FRAMEWORKS, groups, merged, shape_of, spec_of
from mlplatform.planning.training.task import MEMBER, read_spec
from mlplatform.sdk.define.components import PythonComponent, TaskOptions
from mlplatform.sdk.define.interface import Signature
from mlplatform.sdk.define.tasks import Task

P = ParamSpec("P")
R = TypeVar("R")
Framework = Literal["torch", "jax", "ray", "mpi", "python"]
#: What ``options`` of a component know that means another thing here.
_INSTEAD: Final = {"gpus": "gpus_per_worker"}


@dataclass(frozen=True, slots=True)
class Ranks:
    """How many ranks of what kind, and what happens when they fail: see :func:`training`."""

    framework: str = "python"
    workers: int = 1
    procs_per_worker: int | None = None
    gpus_per_worker: int = 0
    gpu: str | Sequence[str] = ()
    elastic: tuple[int, int] | None = None
    max_restarts: int = 3
    checkpoints: str = "shared"
    keep: int = 3
    hang_seconds: int = 0
    grace: int = 120
    spec: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def object(self) -> dict[str, Any]:
        """A TrainingJob's spec without templates. Raises InvalidPipeline with every finding."""
        findings = list(self._findings())
        if findings:
            raise InvalidPipeline("a training component cannot be so", findings=findings)
        made = merged(spec_of(self, groups(shape_of(self))), self.spec)
        try:
            read_spec(made)
        except InvalidPipeline:
            raise
        except InvalidInput as error:
            raise InvalidPipeline("a training component cannot be so", findings=error.findings) from None
        return made

    def _findings(self) -> Iterable[Finding]:
        if self.framework not in FRAMEWORKS:
            yield Finding("framework", f"{self.framework!r} is none", hint=f"Frameworks: {', '.join(FRAMEWORKS)}.")
        if self.workers < 1:
            yield Finding("workers", "must be at least 1")
        if self.checkpoints not in ("shared", "each"):
            yield Finding("checkpoints", f"{self.checkpoints!r} must be 'shared' or 'each'")
        if self.gpus_per_worker < 0:
            yield Finding("gpus_per_worker", "must not be negative")
        if self.elastic is not None and self.framework not in ("torch", "ray"):
            yield Finding("elastic", "needs framework torch or ray")
        if self.elastic is not None and not self.elastic[0] <= self.workers <= self.elastic[1]:
            yield Finding("workers", f"{self.workers} are not within elastic={self.elastic}")


_RANKS: Final = frozenset(item.name for item in dataclasses.fields(Ranks))


class TrainingComponent(PythonComponent[P, R]):
    """A function decorated with ``@ml.training``: the function itself outside of pipelines; inside, one task that
    several ranks run together."""

    def __init__(
        self,
        function: Callable[P, R],
        *,
        ranks: Ranks,
        options: TaskOptions,
        signature: Signature | None = None,
    ) -> None:
        super().__init__(function, objects=True, options=options, signature=signature)
        self.ranks = ranks
        self._training = ranks.object()

    def _with(self, options: TaskOptions) -> TrainingComponent[P, R]:
        return TrainingComponent(self.function, ranks=self.ranks, options=options, signature=self.signature)

    def options(self, **changes: Any) -> TrainingComponent[P, R]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The component with other settings for its tasks: those of :func:`training`, such as ``workers=8``."""
        for name, instead in _INSTEAD.items():
            if name in changes:
                raise InvalidPipeline(f"{self.name}: a training component has no {name}", hint=f"Say {instead}=...")
        ranks = dataclasses.replace(self.ranks, **{name: changes.pop(name) for name in _RANKS & changes.keys()})
        made = super().options(**changes) if changes else self
        return TrainingComponent(self.function, ranks=ranks, options=made.task_options, signature=self.signature)

    def _configure(self, task: Task) -> None:
        super()._configure(task)
        task._settings.platform.setdefault(OWN, {})[MEMBER] = self._training
        if self.ranks.gpus_per_worker:
            # Of one worker: what a backend that knows nothing of ranks gives the one that it runs.
            task.set_accelerator_type("nvidia.com/gpu").set_accelerator_limit(self.ranks.gpus_per_worker)


def training(function: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """Make a function a component that several ranks run together: a plain function outside of pipelines, a task
    inside. Every rank is called with the same arguments; what rank 0 returns is the task's.

    >>> @training(workers=2)
    ... def fit(rows: int) -> float: ...

    Checkpoints (``mlplatform.training.checkpoint``) outlive ranks, and attempts of the task.

    Args:
        framework: torch (by torchrun), jax, ray, mpi (by mpirun) or python: how ranks find each other.
        workers: how many ranks.
        procs_per_worker: processes in each, for torch and mpi; by default one for each GPU.
        gpus_per_worker: GPUs of each; gpu: products that will do (``"A100"``), on a cluster.
        elastic: the least and the most workers with which training goes on (torch, ray).
        max_restarts: how many failures start the ranks again before the task fails; a newer checkpoint forgets them.
        checkpoints: ``"shared"``: all ranks find the same folder; ``"each"``: one of its own for each.
        keep: how many checkpoints are kept.
        hang_seconds: no newer step for so long is a hang. 0: never.
        grace: seconds to save after SIGTERM.
        spec: further members of a TrainingJob's spec, as its API has them; they win.
        options: those of a component, for each rank: see :meth:`PythonComponent.options`. ``retries`` tries the whole
            task again, from its last checkpoint; ``timeout`` counts from when the ranks run.

    Raises:
        InvalidPipeline: it cannot be so, with every finding.
    """

    def decorate(function: Callable[..., Any]) -> TrainingComponent[..., Any]:
        made = TrainingComponent(function, ranks=Ranks(), options=TaskOptions())
        given = {name: value for name, value in options.items() if value is not None}
        return made.options(**given) if given else made

    return decorate(function) if function is not None else decorate


class Training:
    """What ``ml.training`` is: the module :mod:`mlplatform.training`, which scripts talk to, and by a call this
    decorator. (A type, for those who read; nothing is ever made of it.)"""

    @overload
    def __call__(self, function: Callable[P, R], /) -> TrainingComponent[P, R]: ...
    @overload
    def __call__(
        self,
        *,
        framework: Framework = "python",
        workers: int = 1,
        procs_per_worker: int | None = None,
        gpus_per_worker: int = 0,
        gpu: str | Sequence[str] = (),
        elastic: tuple[int, int] | None = None,
        max_restarts: int = 3,
        checkpoints: Literal["shared", "each"] = "shared",
        keep: int = 3,
        hang_seconds: int = 0,
        grace: int = 120,
        spec: Mapping[str, Any] | None = None,
        name: str | None = None,
        retries: int | None = None,
        cpus: float | None = None,
        memory: str | int | None = None,
        image: str | None = None,
        timeout: float | str | None = None,
        cache: bool | None = None,
        packages: Iterable[str] | None = None,
        reads: Iterable[str] | None = None,
        env: Mapping[str, str] | None = None,
    ) -> Callable[[Callable[P, R]], TrainingComponent[P, R]]: ...
    def __call__(self, *function: Any, **options: Any) -> Any:
        """See :func:`training`."""
        return training(*function, **options)

    Checkpoint = scripts.Checkpoint
    Rank = scripts.Rank
    checkpoint = staticmethod(scripts.checkpoint)
    due = staticmethod(scripts.due)
    init = staticmethod(scripts.init)
    report = staticmethod(scripts.report)
    resume_from = staticmethod(scripts.resume_from)
    saved = staticmethod(scripts.saved)
    stopping = staticmethod(scripts.stopping)
    world = staticmethod(scripts.world)


__all__ = ["Ranks", "Training", "TrainingComponent", "training"]
