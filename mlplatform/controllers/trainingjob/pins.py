"""Ranks that their claims keep on a node: a volume of that node alone can be mounted nowhere else. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from mlplatform.apis.names import ANNOTATION_GIVE_UP
from mlplatform.apis.trainingstatus import TrainingJob
from mlplatform.core.values import child
from mlplatform.kube.objects import metadata
from mlplatform.planning.training.facts import Pin
from mlplatform.planning.training.names import job_claim, rank_claim

Json = Mapping[str, Any]
#: By the name of a claim: the node that alone has its volume, and whether that node is gone.
Bound = Mapping[str, tuple[str, bool]]

_HOSTNAME: Final = "kubernetes.io/hostname"
_ALL: Final = "all"


def node_of(volume: Json) -> str:
    """The one node that can mount a volume; "": there are others, or it is not said."""
    terms: list[Json] = child(child(child(volume, "spec"), "nodeAffinity"), "required").get("nodeSelectorTerms") or []
    nodes = {_node(term) for term in terms}
    return nodes.pop() if len(nodes) == 1 else ""


def _node(term: Json) -> str:
    for need in [*(term.get("matchExpressions") or ()), *(term.get("matchFields") or ())]:
        values: list[str] = need.get("values") or []
        if need.get("key") in (_HOSTNAME, "metadata.name") and need.get("operator") == "In" and len(values) == 1:
            return str(values[0])
    return ""


def leave_in(body: Json) -> frozenset[str]:
    """Names of the claims that a TrainingJob object says may be given up."""
    notes: Json = metadata(body).get("annotations") or {}
    return frozenset(filter(None, (name.strip() for name in str(notes.get(ANNOTATION_GIVE_UP) or "").split(","))))


def pins_of(job: TrainingJob, bound: Bound, leave: frozenset[str]) -> dict[tuple[str, int], Pin]:
    """The ranks that are kept where they are, by the claims that were made for the job."""
    return dict(_pins(job, bound, leave)) if bound else {}


def _pins(job: TrainingJob, bound: Bound, leave: frozenset[str]) -> Iterator[tuple[tuple[str, int], Pin]]:
    each = job.spec.checkpoint is not None and job.spec.checkpoint.scope == "Rank"
    for group in job.spec.groups:
        for rank in range(group.replicas):
            claim = rank_claim(job.name, group.name, rank) if each else job_claim(job.name)
            node, gone = bound.get(claim, ("", False))
            if node:
                yield (group.name, rank), Pin(claim, node, gone, bool(leave & {claim, _ALL}))
