"""Everything a plan for a training job needs to know."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mlplatform.apis.trainingstatus import TrainingJob, TrainingJobStatus
from mlplatform.controllers.trainingjob.pods import NodeSeen
from mlplatform.controllers.trainingjob.queueing import NOT_THERE, Queueing
from mlplatform.core.errors import InvalidInput
from mlplatform.kube.objects import Object, Resource
from mlplatform.planning.training.facts import Pin


@dataclass(frozen=True, slots=True)
class Keys:
    """By which the ranks of a job know each other: an SSH key pair and a token. Never shown."""

    private: str = field(repr=False)
    public: str = field(repr=False)
    token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Observed:
    """``pods``: of this job (its UID), as they are. ``nodes``: those that the pods are on; None: gone. ``there``: what
    else is there of the job, by kind and name. ``keys``: fresh ones, where it needs some and has none.
    ``pins``: ranks whose claims are on one node alone.
    ``invalid``: it cannot be read, and why. ``job`` has the status that was decided last; ``kept`` is the one that is
    written, where that waits."""

    job: TrainingJob
    pods: tuple[Object, ...] = ()
    nodes: Mapping[str, NodeSeen | None] = field(default_factory=dict[str, NodeSeen | None])
    there: Mapping[tuple[Resource, str], str] = field(default_factory=dict[tuple[Resource, str], str])
    keys: Keys | None = None
    invalid: InvalidInput | None = None
    queueing: Queueing = NOT_THERE
    pins: Mapping[tuple[str, int], Pin] = field(default_factory=dict[tuple[str, int], Pin])
    kept: TrainingJobStatus | None = None
