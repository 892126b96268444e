"""The CRDs, made from the API's dataclasses; ``operators/base/crds/generate.py`` writes one file for each kind.

A test holds the files in ``operators/base/crds`` to what this says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from mlplatform.apis.fields import Rule
from mlplatform.apis.names import (
    GROUP,
    PIPELINE_RUN,
    RECURRING_RUN,
    TASK_RECORDS,
    TRAINING_GROUP,
    TRAINING_JOB,
    VERSION,
)
from mlplatform.apis.pipelinerun import PipelineRun, PipelineRunSpec, PipelineRunStatus
from mlplatform.apis.recurringrun import RecurringRun, RecurringRunSpec, RecurringRunStatus
from mlplatform.apis.schema import object_schema
from mlplatform.apis.taskrecords import TaskRecordsSpec
from mlplatform.apis.trainingjob import NAME_RULE, TrainingJobSpec
from mlplatform.apis.trainingstatus import TrainingJobStatus


@dataclass(frozen=True, slots=True)
class Column:
    """What `kubectl get` shows. ``priority`` 1: only with ``-o wide``."""

    name: str
    path: str
    type: str = "string"
    priority: int = 0

    def to_json(self) -> dict[str, Any]:
        told: dict[str, Any] = {"name": self.name, "type": self.type, "jsonPath": self.path}
        return told | ({"priority": self.priority} if self.priority else {})


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of the group."""

    kind: str
    plural: str
    description: str
    spec: Any
    status: Any = None
    short: tuple[str, ...] = ()
    columns: Sequence[Column] = ()
    max_name: int = 253
    group: str = GROUP
    selectable: tuple[str, ...] = ()
    rules: tuple[Rule, ...] = ()

    def crd(self) -> dict[str, Any]:
        """The CustomResourceDefinition."""
        names: dict[str, Any] = {
            "plural": self.plural,
            "singular": self.kind.lower(),
            "kind": self.kind,
            "listKind": f"{self.kind}List",
            "categories": ["mlplatform"],
        }
        if self.short:
            names["shortNames"] = list(self.short)
        version: dict[str, Any] = {
            "name": VERSION,
            "served": True,
            "storage": True,
            "schema": {"openAPIV3Schema": self._schema()},
            "additionalPrinterColumns": [column.to_json() for column in self.columns],
        }
        if self.selectable:
            version["selectableFields"] = [{"jsonPath": path} for path in self.selectable]
        if self.status is not None:
            version["subresources"] = {"status": {}}
        return {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": f"{self.plural}.{self.group}", "labels": {"app.kubernetes.io/part-of": "mlplatform"}},
            "spec": {"group": self.group, "names": names, "scope": "Namespaced", "versions": [version]},
        }

    def _schema(self) -> dict[str, Any]:
        properties: dict[str, Any] = {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": object_schema(self.spec),
        }
        if self.status is not None:
            # One writer has all of it, so the API server need not keep book of who set which member.
            properties["status"] = object_schema(self.status) | {"x-kubernetes-map-type": "atomic"}
        schema: dict[str, Any] = {
            "type": "object",
            "description": self.description,
            "properties": properties,
            "required": ["spec"],
        }
        rules = list(self.rules)
        if self.max_name < 253:
            message = f"names of a {self.kind} have at most {self.max_name} characters"
            rules.append(Rule(f"self.metadata.name.size() <= {self.max_name}", message))
        if rules:
            schema["x-kubernetes-validations"] = [rule.to_json() for rule in rules]
        return schema


def _doc(cls: type) -> str:
    return " ".join((cls.__doc__ or "").split())


_AGE: Final = Column("Age", ".metadata.creationTimestamp", "date")

KINDS: Final[Mapping[str, Kind]] = {
    kind.kind: kind
    for kind in (
        Kind(
            PIPELINE_RUN,
            "pipelineruns",
            _doc(PipelineRun),
            PipelineRunSpec,
            PipelineRunStatus,
            short=("plr",),
            columns=(
                Column("State", ".status.state"),
                Column("Tasks", ".status.progress"),
                Column("Failed", ".status.counts.failed", "integer"),
                Column("Reason", '.status.conditions[?(@.type=="Succeeded")].message', priority=1),
                Column("Started", ".status.startedAt", "date", 1),
                Column("Finished", ".status.finishedAt", "date", 1),
                _AGE,
            ),
        ),
        Kind(
            RECURRING_RUN,
            "recurringruns",
            _doc(RecurringRun),
            RecurringRunSpec,
            RecurringRunStatus,
            short=("rcr",),
            columns=(
                Column("Schedule", ".spec.schedule"),
                Column("Suspended", ".spec.suspend", "boolean"),
                Column("Last", ".status.tickedAt", "date"),
                Column("Next", ".status.nextAt", "string"),
                _AGE,
            ),
            max_name=200,
        ),
        Kind(
            TASK_RECORDS,
            "taskrecords",
            "Finished tasks of a PipelineRun, written once by the operator.",
            TaskRecordsSpec,
            columns=(Column("Run", ".spec.run"), Column("Index", ".spec.index", "integer"), _AGE),
        ),
        Kind(
            TRAINING_JOB,
            "trainingjobs",
            "A distributed training job: groups of ranks that start, fail and start again together.",
            TrainingJobSpec,
            TrainingJobStatus,
            short=("tj",),
            columns=(
                Column("Phase", ".status.phase"),
                Column("Progress", ".status.progress.percent", "integer"),
                Column("Attempt", ".status.attempt", "integer"),
                Column("Goodput", ".status.goodput.percent", "integer"),
                Column("Reason", ".status.reason", priority=1),
                _AGE,
            ),
            group=TRAINING_GROUP,
            selectable=(".spec.framework", ".status.phase"),
            rules=(NAME_RULE,),
        ),
    )
}


def crds() -> dict[str, dict[str, Any]]:
    """Every CRD by the name of its file."""
    return {f"{kind.group}_{kind.plural}.yaml": kind.crd() for kind in KINDS.values()}
