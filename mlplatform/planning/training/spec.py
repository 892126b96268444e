"""What a training job asks for, as far as its ranks' coming and going is concerned.

What a rank *is* (its image, command, accelerator, claims) is for those who start ranks; the brain never looks at it.
Field names are those of the TrainingJob object.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Final


class Framework(StrEnum):
    TORCH = "torch"
    JAX = "jax"
    RAY = "ray"
    MPI = "mpi"
    PYTHON = "python"


class Role(StrEnum):
    WORKER = "worker"
    LAUNCHER = "launcher"
    HEAD = "head"
    INITIALIZER = "initializer"
    EVALUATOR = "evaluator"


class Wait(StrEnum):
    """What a group waits for in another one."""

    READY = "Ready"
    COMPLETE = "Complete"


class Scope(StrEnum):
    """What starts again when a rank fails."""

    JOB = "Job"
    GROUP = "Group"
    POD = "Pod"


class Action(StrEnum):
    """What a failure leads to."""

    FAIL = "Fail"
    RESTART = "Restart"
    RESTART_UNCOUNTED = "RestartUncounted"
    RESTART_AVOID_NODE = "RestartAvoidNode"


class OnHang(StrEnum):
    RESTART = "Restart"
    FAIL = "Fail"
    REPORT = "Report"


class CleanPods(StrEnum):
    """Which ranks a finished job takes away: those still running, all, none."""

    RUNNING = "Running"
    ALL = "All"
    NONE = "None"


class Operator(StrEnum):
    ALL = "All"
    ANY = "Any"


@dataclass(frozen=True, slots=True)
class DependsOn:
    group: str
    status: Wait = Wait.COMPLETE


@dataclass(frozen=True, slots=True)
class Group:
    """``elastic``: (least, most) replicas with which training goes on; None: fixed."""

    name: str
    role: Role = Role.WORKER
    replicas: int = 1
    elastic: tuple[int, int] | None = None
    depends_on: tuple[DependsOn, ...] = ()


@dataclass(frozen=True, slots=True)
class Rule:
    """The first rule that fits a failure decides. All that is given must fit; ``exit_codes`` with ``negated`` fits
    codes that are not listed. ``groups`` empty: every group."""

    action: Action
    name: str = ""
    groups: tuple[str, ...] = ()
    exit_codes: frozenset[int] = frozenset()
    negated: bool = False
    conditions: frozenset[str] = frozenset()
    reasons: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class FailurePolicy:
    """``max_restarts`` within ``window`` seconds (0: since the last reset). Back-off doubles from ``backoff`` to
    ``max_backoff`` seconds."""

    restart_scope: Scope = Scope.JOB
    max_restarts: int = 3
    window: float = 0.0
    reset_on_checkpoint: bool = True
    backoff: float = 10.0
    max_backoff: float = 300.0
    rules: tuple[Rule, ...] = ()


@dataclass(frozen=True, slots=True)
class SuccessPolicy:
    """``groups`` empty: those that do the framework's work (:attr:`TrainingSpec.success_groups`)."""

    groups: tuple[str, ...] = ()
    operator: Operator = Operator.ALL
    rank0_only: bool = False


@dataclass(frozen=True, slots=True)
class Health:
    """Seconds; 0 switches a timeout off."""

    startup_timeout: float = 1800.0
    progress_timeout: float = 0.0
    on_hang: OnHang = OnHang.RESTART


@dataclass(frozen=True, slots=True)
class RunPolicy:
    """Seconds. ``active_deadline`` counts from the start (queueing burns none of it), ``pending_deadline`` from when
    the job began to wait, ``ttl`` from its end."""

    active_deadline: float | None = None
    pending_deadline: float | None = None
    ttl: float | None = None
    clean_pods: CleanPods = CleanPods.RUNNING


#: Groups whose success is the job's, by framework; elsewhere all of them.
_DRIVERS: Final = {Framework.MPI: Role.LAUNCHER, Framework.RAY: Role.HEAD}


@dataclass(frozen=True)
class TrainingSpec:
    """One job. ``managed``: somebody else's (``managedBy``) are left alone when False. ``schedule_timeout``: seconds
    after which a gang that is not whole is released and tried again; None: ranks may come one by one (gang None).
    ``max_requeues``: how often it may be put back in line; None: as often as it comes."""

    name: str
    framework: Framework
    groups: tuple[Group, ...]
    suspend: bool = False
    managed: bool = True
    schedule_timeout: float | None = 600.0
    max_requeues: int | None = None
    failure: FailurePolicy = FailurePolicy()
    success: SuccessPolicy = SuccessPolicy()
    health: Health = Health()
    run: RunPolicy = RunPolicy()

    @cached_property
    def by_name(self) -> dict[str, Group]:
        return {group.name: group for group in self.groups}

    @cached_property
    def success_groups(self) -> tuple[str, ...]:
        if self.success.groups:
            return self.success.groups
        role = _DRIVERS.get(self.framework)
        return tuple(group.name for group in self.groups if role is None or group.role is role)

    def is_head(self, group: Group) -> bool:
        """Whether nodes of ray join its rank."""
        return self.framework is Framework.RAY and group.role is Role.HEAD
