"""A run of a cluster as the store of one machine keeps runs: with an id of its own, its document, and where it is."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, cast

from mlplatform.apis.codec import encode
from mlplatform.apis.names import GROUP
from mlplatform.apis.objects import pipeline_run
from mlplatform.apis.pipelinerun import PipelineRun
from mlplatform.core.errors import InvalidInput
from mlplatform.core.ids import new_run_id
from mlplatform.core.model import AttemptRecord, RunRecord, TaskRecord
from mlplatform.sdk.kubernetes.reading import document_of, read_objects, records_of

#: In ``RunRecord.context``: where a run of a cluster is.
PLACE: Final = "kubernetes"
#: Where, in the context of a run's record, stands where its artifacts are.
STORE: Final = "store"
#: People's own tags of a run, as JSON: they fit no label.
ANNOTATION_TAGS: Final = f"{GROUP}/tags"


@dataclass(frozen=True, slots=True)
class Whole:
    """One run with all its tasks, the document it runs, and the object that it was read from."""

    run: RunRecord
    tasks: tuple[TaskRecord, ...]
    attempts: tuple[AttemptRecord, ...]
    document: bytes
    source: PipelineRun


def run_id_of(run: PipelineRun) -> str:
    """An id of its own, in the order of creation like all run ids. A name comes back when it is free again."""
    return new_run_id(run.created_at, hashlib.sha256(run.uid.encode()).digest())


def read_run(body: Mapping[str, Any]) -> PipelineRun:
    """A PipelineRun as the API server has it; of one that no longer fits its type, what it is called."""
    try:
        return pipeline_run(body)
    except InvalidInput:
        empty: dict[str, Any] = {}
        return pipeline_run({**body, "spec": empty, "status": empty})


def whole(body: Mapping[str, Any], chunks: Sequence[Mapping[str, Any]], now: float) -> Whole:
    """Everything that is known of a run, from its object and its TaskRecords."""
    run = read_run(body)
    try:
        records = records_of(read_objects(body, chunks), now)
    except InvalidInput:
        empty: dict[str, Any] = {}
        records = records_of(read_objects({**body, "spec": empty}, chunks), now)
    document = document_of(run.spec)
    place = {"namespace": run.namespace, "name": run.name, "uid": run.uid}
    store: dict[str, Any] = {STORE: encode(run.spec.store)} if run.spec.store is not None else {}
    record = replace(
        records.run,
        run_id=run_id_of(run),
        spec_digest="sha256:" + hashlib.sha256(document).hexdigest(),
        context={"backend": "kubernetes", PLACE: place, **store},
        tags=tags_of(run),
    )
    return Whole(record, tuple(records.tasks), tuple(records.attempts), document, run)


def tags_of(run: PipelineRun) -> dict[str, str]:
    """People's own tags, and those of the object's labels that are theirs."""
    found = {name: value for name, value in run.labels.items() if not name.startswith((GROUP, "app.kubernetes.io/"))}
    try:
        given: Any = json.loads(run.annotations.get(ANNOTATION_TAGS) or "{}")
    except ValueError:
        given = {}
    if isinstance(given, dict):
        found |= {str(name): str(value) for name, value in cast("dict[Any, Any]", given).items()}
    return found
