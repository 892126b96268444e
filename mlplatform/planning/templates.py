"""What placeholders stand for.

Parsing is :mod:`mlplatform.ir.placeholders`; this puts values in. A value that was put in is never parsed again, so
text in data that looks like a placeholder stays text.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeAlias, cast

from mlplatform.core.errors import PlanningError
from mlplatform.core.model import Artifact, ArtifactValue, Values
from mlplatform.core.values import JsonValue, to_text
from mlplatform.ir.placeholders import Reference, RefKind, Segment, Text, parse, whole_reference

Resolver: TypeAlias = "Callable[[Reference], JsonValue]"


@dataclass(frozen=True, slots=True)
class RunContext:
    """Facts of the run and the task that placeholders name. ``created_at``: seconds since the epoch, UTC."""

    run_id: str
    job_name: str
    pipeline_root: str
    task_name: str
    task_id: str
    created_at: float | None = None
    workspace: str = ""
    scheduled_at: float | None = None

    def field(self, name: str) -> str:
        """The value of ``{{$.name}}``.

        Raises:
            PlanningError: it has no value here.
        """
        value = ""
        match name:
            case "pipeline_job_name" | "pipeline_job_resource_name":
                value = self.job_name
            case "pipeline_job_uuid":
                value = self.run_id
            case "pipeline_task_name":
                value = self.task_name
            case "pipeline_task_uuid":
                value = self.task_id
            case "pipeline_root":
                value = self.pipeline_root
            case "workspace_path":
                value = self.workspace
            case "pipeline_job_create_time_utc":
                value = _utc(self.created_at)
            case "pipeline_job_schedule_time_utc":
                value = _utc(self.scheduled_at if self.scheduled_at is not None else self.created_at)
            case _:
                pass
        if not value:
            raise PlanningError(f"placeholder {{{{$.{name}}}}} has no value here")
        return value


def _utc(at: float | None) -> str:
    return "" if at is None else datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def render(segments: Sequence[Segment], resolve: Resolver) -> str:
    """A template's text. Booleans read ``true``, integers ``3``, lists and structs as JSON.

    Raises:
        PlanningError: a placeholder has no value.
    """
    return "".join(segment.text if isinstance(segment, Text) else _text(segment, resolve) for segment in segments)


def _text(reference: Reference, resolve: Resolver) -> str:
    text = to_text(resolve(reference))
    for _ in range(reference.escape):
        text = json.dumps(text, ensure_ascii=False)[1:-1]
    return text


def render_constant(value: JsonValue, resolve: Resolver) -> JsonValue:
    """A constant of the document with its placeholders filled in, at any depth of lists and structs (keys too).

    A text that is nothing but one placeholder becomes its value with its own type.

    Raises:
        PlanningError: a placeholder has no value.
    """
    if isinstance(value, str):
        if "{{$" not in value:
            return value
        whole = whole_reference(value)
        if whole is not None and not whole.escape:
            return resolve(whole)
        return render(parse(value), resolve)
    if isinstance(value, list):
        return [render_constant(item, resolve) for item in value]
    if isinstance(value, dict):
        return {
            to_text(render_constant(name, resolve)): render_constant(cast(JsonValue, item), resolve)
            for name, item in value.items()
        }
    return value


def input_value(reference: Reference, inputs: Values) -> JsonValue:
    """What an input placeholder stands for.

    Raises:
        PlanningError: the input has no value.
    """
    name = reference.name
    if reference.kind is RefKind.INPUT_PARAMETER:
        if name in inputs.parameters:
            return inputs.parameters[name]
    elif name in inputs.artifacts:
        return artifact_field(inputs.artifacts[name], reference)
    raise PlanningError(f"{reference.text} has no value: input {name!r} was not given")


def artifact_field(value: ArtifactValue, reference: Reference) -> JsonValue:
    """The field of an artifact that a placeholder names. Of a list the first artifact counts, as in KFP, except for
    the bare reference, which stands for the list of them as JSON.

    Raises:
        PlanningError: the list is empty, or the metadata has no such key.
    """
    if not reference.field:
        items = (value,) if isinstance(value, Artifact) else value
        return [artifact_json(item) for item in items]
    if not isinstance(value, Artifact):
        if not value:
            raise PlanningError(f"{reference.text} has no value: {reference.name!r} is an empty list of artifacts")
        value = value[0]
    match reference.field:
        case "uri" | "path":
            return value.uri
        case "name":
            return value.name
        case _:
            return _metadata(value, reference)


def _metadata(artifact: Artifact, reference: Reference) -> JsonValue:
    found: Any = dict(artifact.metadata)
    for key in reference.keys:
        if not isinstance(found, dict) or key not in found:
            raise PlanningError(f"{reference.text} has no value: artifact {artifact.uri} has no metadata {key!r}")
        found = cast("dict[str, Any]", found)[key]
    return cast(JsonValue, found)


def artifact_json(artifact: Artifact) -> dict[str, Any]:
    """An artifact as KFP's RuntimeArtifact JSON."""
    return {
        "name": artifact.name,
        "uri": artifact.uri,
        "type": {"schemaTitle": artifact.type},
        "metadata": dict(artifact.metadata),
    }
