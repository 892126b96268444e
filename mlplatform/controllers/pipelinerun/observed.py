"""Everything a plan for a run needs to know, and nothing that could tell it more."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mlplatform.apis.pipelinerun import PipelineRun, TaskStatus
from mlplatform.controllers.pipelinerun.doubts import NodeSeen
from mlplatform.controllers.pipelinerun.pods import PodSeen
from mlplatform.controllers.pipelinerun.reuse import Known, Nothing
from mlplatform.planning.accepting import Accepted, Rejected


@dataclass(frozen=True, slots=True)
class Claim:
    """A volume claim that the platform made. ``by_task``: a CreatePVC task did."""

    name: str
    uid: str
    by_task: bool = False
    deleting: bool = False


@dataclass(frozen=True, slots=True)
class Observed:
    """``records``: the run's TaskRecords by index. ``claims``: claims of ours in the namespace, by name.
    ``unreadable``: pods whose large result could not be read from their log, and why. ``nodes``: those of pods that
    look odd (None: gone). ``mounts``: what was last said of a pod's volumes, by its UID. ``known``: results of
    earlier runs of the namespace."""

    run: PipelineRun
    accepted: Accepted | Rejected
    pods: tuple[PodSeen, ...] = ()
    records: Mapping[int, tuple[TaskStatus, ...]] = field(default_factory=dict[int, tuple[TaskStatus, ...]])
    claims: Mapping[str, Claim] = field(default_factory=dict[str, Claim])
    unreadable: Mapping[str, str] = field(default_factory=dict[str, str])
    nodes: Mapping[str, NodeSeen | None] = field(default_factory=dict[str, NodeSeen | None])
    mounts: Mapping[str, str] = field(default_factory=dict[str, str])
    known: Known = field(default_factory=Nothing)
