"""What a task's platform configuration comes to on one machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class ContainerOptions:
    """What only a container can have. ``pull``: Always, Never, IfNotPresent or "" (the engine's default);
    ``shared_memory`` in bytes."""

    pull: str = ""
    shared_memory: int | None = None
    user: int | None = None
    group: int | None = None
    labels: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class PlatformPlan:
    """``env`` and ``mounts`` go into the task's spec; secret values are in ``secret_env`` and in mounts with
    ``files`` alone, and in ``mask``, which the launcher hides in logs.

    ``mounts``: ``{"target", "read_only", ...}`` with one of ``source`` (a folder or file of this machine), ``files``
    (name to text, kept in memory) or ``volume`` (a fresh folder of the attempt, by name; ``memory``: in memory, with
    ``size`` in bytes). ``key_env`` is the part of ``env`` that a cached result depends on, ``secret_names`` the names
    (``secret/key``) it depends on. ``uncacheable`` says why a result cannot be reused, "" if it can. ``notes`` say what
    was understood and has no effect here. ``deadline`` in seconds.
    """

    env: Mapping[str, str] = field(default_factory=dict[str, str])
    key_env: Mapping[str, str] = field(default_factory=dict[str, str])
    secret_env: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    secret_names: tuple[str, ...] = ()
    mask: frozenset[str] = field(default=frozenset(), repr=False)
    mounts: tuple[Mapping[str, Any], ...] = field(default=(), repr=False)
    notes: tuple[str, ...] = ()
    deadline: float | None = None
    uncacheable: str = ""
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    annotations: Mapping[str, str] = field(default_factory=dict[str, str])
    container: ContainerOptions = field(default_factory=ContainerOptions)
