"""Pipelines, versions and recurring runs as both APIs make them: checked before they are stored."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from mlplatform.core.catalog import NAME_LIMIT, PipelineVersion, RecurringRun, RegisteredPipeline, Trigger
from mlplatform.core.errors import Finding, InvalidInput, InvalidParameters, NotFound
from mlplatform.core.model import EMPTY
from mlplatform.ir import package
from mlplatform.ir.arguments import check_arguments
from mlplatform.ir.load import loads
from mlplatform.ir.model import Pipeline
from mlplatform.planning import recurring
from mlplatform.planning.checking import require_runnable
from mlplatform.server.context import Context
from mlplatform.server.submitting import find_version

#: Told wherever somebody makes a recurring run.
NOTE = (
    "Recurring runs are made while the service of this home runs, and it stays as long as one of them is on. After a "
    "restart of the machine, `mlplatform up` starts it again; what was missed meanwhile is made up for."
)


@dataclass(frozen=True, slots=True)
class Upload:
    """What somebody hands in. ``data``: YAML, JSON or a package."""

    data: bytes
    file_name: str = ""
    name: str = ""
    display_name: str = ""
    description: str = ""
    code_source_url: str = ""
    tags: Mapping[str, str] = EMPTY


def read_document(data: bytes, origin: str = "") -> tuple[bytes, Pipeline]:
    """The text of a document and the pipeline in it. Raises InvalidPipeline with every finding."""
    found = package.read_bytes(data, origin)
    pipeline = loads(found.data, origin=found.origin)
    require_runnable(pipeline, found.origin)
    encoding = "utf-16" if found.data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    return found.data.decode(encoding).encode("utf-8", "surrogatepass"), pipeline


def digest_of(document: bytes) -> str:
    return "sha256:" + hashlib.sha256(document).hexdigest()


def upload_pipeline(here: Context, upload: Upload) -> tuple[RegisteredPipeline, PipelineVersion]:
    """A new pipeline and its first version, called after it. Raises InvalidPipeline, InvalidInput."""
    document, read = read_document(upload.data, upload.file_name)
    name = checked_name(upload.name or upload.display_name or read.name)
    pipeline = RegisteredPipeline(
        str(uuid.uuid4()),
        name,
        here.now(),
        upload.display_name or name,
        upload.description or read.description,
        1,
        upload.tags,
    )
    version = _version(here, pipeline.pipeline_id, replace(upload, name=name), document, read.description)
    here.catalog.upload(pipeline, version, document)
    return pipeline, version


def create_pipeline(
    here: Context, name: str, display_name: str = "", description: str = "", tags: Mapping[str, str] = EMPTY
) -> RegisteredPipeline:
    """A pipeline that has no version yet. Raises InvalidInput."""
    named = checked_name(name or display_name)
    made = RegisteredPipeline(str(uuid.uuid4()), named, here.now(), display_name or named, description, tags=tags)
    here.catalog.create_pipeline(made)
    return made


def upload_version(here: Context, pipeline_id: str, upload: Upload) -> PipelineVersion:
    """A further version. Raises NotFound, InvalidPipeline, InvalidInput."""
    known = here.catalog.pipeline(pipeline_id)
    document, read = read_document(upload.data, upload.file_name)
    name = upload.name or upload.display_name or f"{known.name} {known.versions + 1}"
    version = _version(here, pipeline_id, replace(upload, name=checked_name(name)), document, read.description)
    here.catalog.create_version(version, document)
    return version


def _version(here: Context, pipeline_id: str, upload: Upload, document: bytes, description: str) -> PipelineVersion:
    return PipelineVersion(
        version_id=str(uuid.uuid4()),
        pipeline_id=pipeline_id,
        name=upload.name,
        created_at=here.now(),
        document=digest_of(document),
        display_name=upload.display_name or upload.name,
        description=upload.description or description,
        code_source_url=upload.code_source_url,
        tags=upload.tags,
    )


def checked_name(name: str) -> str:
    """Raises InvalidInput for a name that is empty, too long or would not show."""
    text = name.strip()
    if not text or len(text) > NAME_LIMIT or not text.isprintable():
        raise InvalidInput(f"a name has 1 to {NAME_LIMIT} characters that can be seen, not {name[:50]!r}")
    return text


def input_fields(pipeline: Pipeline) -> list[dict[str, Any]]:
    """``catalog_models.InputField`` of each parameter."""
    return [
        {
            "name": name,
            "type": str(spec.type),
            "required": not spec.has_default and not spec.is_optional,
            "has_default": spec.has_default,
            "default": spec.default,
            "description": spec.description,
            "literals": list(spec.literals),
        }
        for name, spec in pipeline.root.inputs.parameters.items()
    ]


# ------------------------------------------------------------------ recurring runs
@dataclass(frozen=True, slots=True)
class NewRecurring:
    """A recurring run somebody wants; ``document`` is the text of one, if it is no stored pipeline's."""

    name: str
    trigger: Trigger
    description: str = ""
    experiment: str = ""
    pipeline_id: str = ""
    version_id: str = ""
    document: str = ""
    parameters: Mapping[str, Any] = EMPTY
    options: Mapping[str, Any] = EMPTY
    enabled: bool = True
    catchup: bool = True
    max_concurrency: int = 1


def create_recurring(here: Context, wanted: NewRecurring) -> RecurringRun:
    """Checked as a run of it would be. Raises InvalidInput, InvalidPipeline, InvalidParameters, NotFound."""
    now = here.now()
    check_trigger(wanted.trigger)
    data: bytes | None = None
    version = None
    if wanted.document:
        data, pipeline = read_document(wanted.document.encode("utf-8", "surrogatepass"))
    else:
        version = find_version(here, wanted.pipeline_id, wanted.version_id)
        pipeline = loads(here.store.document(version.document))
    _check_parameters(pipeline, wanted.parameters)
    entry = RecurringRun(
        recurring_id=str(uuid.uuid4()),
        name=checked_name(wanted.name),
        trigger=wanted.trigger,
        created_at=now,
        updated_at=now,
        ticked_at=now,
        description=wanted.description,
        experiment=wanted.experiment or "Default",
        enabled=wanted.enabled,
        catchup=wanted.catchup,
        max_concurrency=wanted.max_concurrency,
        pipeline_id=version.pipeline_id if version else "",
        version_id=wanted.version_id,
        document=digest_of(data) if data is not None else "",
        parameters=dict(wanted.parameters),
        options=dict(wanted.options),
    )
    here.catalog.put_recurring(entry, data)
    here.schedules_changed(entry.enabled)
    return entry


def change_recurring(here: Context, recurring_id: str, change: Callable[[RecurringRun], RecurringRun]) -> RecurringRun:
    """Change one; a tick that passes while it is off is over. Raises NotFound, InvalidInput, InvalidParameters."""
    now = here.now()
    known = here.catalog.recurring_run(recurring_id)
    wanted = change(known)
    check_trigger(wanted.trigger)
    if wanted.parameters != known.parameters:
        _check_parameters(loads(here.store.document(_document_of(here, known))), wanted.parameters)

    def apply(entry: RecurringRun) -> RecurringRun:
        new = change(entry)
        begins = (new.enabled and not entry.enabled) or new.trigger != entry.trigger
        return replace(new, updated_at=now, ticked_at=now if begins else entry.ticked_at, trouble="")

    made = here.catalog.change_recurring(recurring_id, apply)
    here.schedules_changed(made.enabled)
    return made


def delete_recurring(here: Context, recurring_id: str) -> None:
    """Its runs stay. Raises NotFound."""
    here.catalog.delete_recurring(recurring_id)
    here.schedules_changed(False)


def check_trigger(trigger: Trigger) -> None:
    """Raises InvalidInput with every finding."""
    if found := recurring.check(trigger):
        raise InvalidInput("this trigger would never do what it says", findings=found)


def _document_of(here: Context, entry: RecurringRun) -> str:
    if entry.document:
        return entry.document
    return find_version(here, entry.pipeline_id, entry.version_id).document


def _check_parameters(pipeline: Pipeline, parameters: Mapping[str, Any]) -> None:
    _, findings = check_arguments(pipeline, parameters)
    findings = tuple(_without_artifacts(findings))
    if findings:
        raise InvalidParameters(f"pipeline {pipeline.name!r} cannot be run with these parameters", findings=findings)
    if any(not spec.is_optional for spec in pipeline.root.inputs.artifacts.values()):
        names = ", ".join(sorted(pipeline.root.inputs.artifacts))
        raise NotFound(
            f"pipeline {pipeline.name!r} needs the artifacts {names}, which a recurring run cannot bring",
            hint="Have its first task import them.",
        )


def _without_artifacts(findings: tuple[Finding, ...]) -> list[Finding]:
    return [finding for finding in findings if not finding.path.startswith("artifacts")]
