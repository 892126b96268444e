"""One attempt, resolved: everything its process needs, and what its cached result would depend on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlplatform.core.model import TaskKey, TaskRecord, Values
from mlplatform.engine.ports import Launch
from mlplatform.planning.cachekey import Parts, Uncacheable


@dataclass(frozen=True, slots=True)
class Prepared:
    """One attempt, resolved: a process to launch, or ``work`` to be done by the service itself (importers, volumes).

    ``secret_env`` and the mounts are merged into the spec only when it is written. ``notes``: what of the task's wishes
    has no effect here; they begin its log."""

    run_id: str
    key: TaskKey
    attempt: int
    directory: Path
    identity: str = ""
    launch: Launch | None = None
    work: Callable[[], Values] | None = None
    parts: Parts | Uncacheable | None = None
    cache_enabled: bool = False
    why: str = ""
    list_outputs: frozenset[str] = frozenset()
    outputs_folder: Path | None = None
    downloads: Mapping[str, Path] = field(default_factory=dict[str, Path])
    secret_env: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    mounts: tuple[Mapping[str, Any], ...] = field(default=(), repr=False)
    notes: tuple[str, ...] = ()
    cpu: float = 0.0
    memory: float = 0.0
    gpus: int = 0
    gpu_ids: tuple[int, ...] | None = None
    priority: int = 0
    created_at: float = 0.0

    @property
    def cache_key(self) -> str:
        return self.parts.key if isinstance(self.parts, Parts) else ""

    @property
    def scratch(self) -> str:
        return str(self.launch.spec["scratch"]) if self.launch else ""

    def full_spec(self) -> dict[str, Any]:
        """The launcher's spec with secret variables in place."""
        if self.launch is None:
            raise AssertionError("work of the service itself has no spec")
        spec = dict(self.launch.spec)
        spec["env"] = {**spec["env"], **self.secret_env}
        spec["mounts"] = [dict(mount) for mount in self.mounts]
        spec["gpus"] = None if self.gpu_ids is None else list(self.gpu_ids)
        return spec

    @staticmethod
    def of_adopted(run_id: str, record: TaskRecord, directory: Path, lists: frozenset[str]) -> Prepared:
        """Enough to watch an attempt that an earlier service started. Its result is not kept for reuse."""
        return Prepared(
            run_id=run_id,
            key=record.key,
            attempt=record.attempt,
            directory=directory,
            list_outputs=lists,
            cache_enabled=False,
            why=record.cache_note,
        )
