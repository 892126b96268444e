"""What goes into the run store together, and what comes out of it besides the records of ``core.model``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlplatform.core.model import AttemptRecord, CacheEntry, RunRecord, TaskKey, TaskRecord


@dataclass(frozen=True, slots=True)
class Event:
    """One change of a run as seen from outside. ``seq`` grows over the whole store without reuse."""

    seq: int
    run_id: str
    at: float
    kind: str
    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Batch:
    """Changes of one run that become visible together or not at all (one transaction).

    ``document``: the pipeline document that ``run.spec_digest`` names, when a resumed run brings a changed one."""

    run_id: str
    run: RunRecord | None = None
    tasks: Sequence[TaskRecord] = ()
    attempts: Sequence[AttemptRecord] = ()
    cache: Sequence[CacheEntry] = ()
    events: Sequence[tuple[float, str, Mapping[str, Any]]] = ()
    tracking: Sequence[Mapping[str, Any]] = ()
    document: bytes | None = None


@dataclass(frozen=True, slots=True)
class ArtifactLink:
    """One end of an artifact's lineage: a task (or the run itself: ``task`` is None) that made or used it.

    ``role``: ``output`` (made here), ``reuse`` (an output taken from the cache: made by another run) or ``input``.
    ``position`` counts within a list of artifacts; 0 where ``name`` is one artifact."""

    run_id: str
    task: TaskKey | None
    role: str
    name: str
    position: int
    uri: str
    digest: str = ""
    type: str = ""
    size: int | None = None
