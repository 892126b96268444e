"""From what somebody asked of the server to the service's ``submit``: which document, which interpreter, which tags."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from mlplatform.core.catalog import PIPELINE_TAG, SYSTEM_TAG, VERSION_TAG, PipelineVersion
from mlplatform.core.errors import InvalidInput
from mlplatform.core.model import EMPTY, RunRecord
from mlplatform.core.states import TaskState
from mlplatform.core.values import child
from mlplatform.sdk.submit import interpreter
from mlplatform.server.context import Context

ENDED: Final = tuple(str(state) for state in TaskState if state.finished)


@dataclass(frozen=True, slots=True)
class Wanted:
    """A run somebody wants. ``context``: that of the run it repeats (interpreter, working folder, setup)."""

    document: str = ""
    pipeline_id: str = ""
    version_id: str = ""
    name: str = ""
    experiment: str = ""
    parameters: Mapping[str, Any] = EMPTY
    tags: Mapping[str, str] = EMPTY
    cache: bool = True
    containers: str = ""
    priority: int = 0
    context: Mapping[str, Any] = EMPTY
    run_id: str = ""


def checked_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """People's own tags. Raises InvalidInput for one of ours."""
    ours = sorted(name for name in tags if name.startswith(SYSTEM_TAG) or not name)
    if ours:
        raise InvalidInput(
            f"{', '.join(map(repr, ours))} cannot be the name of a tag",
            hint=f"Names beginning with {SYSTEM_TAG} are kept for the platform.",
        )
    return dict(tags)


def submit(here: Context, wanted: Wanted) -> str:
    """Have it run; returns the run's id once it is durable.

    Raises:
        NotFound: no such pipeline or version.
        InvalidPipeline, InvalidParameters: with every finding.
        ServiceError: the service cannot be started.
    """
    document, tags = wanted.document, dict(wanted.tags)
    if not document:
        version = find_version(here, wanted.pipeline_id, wanted.version_id)
        document = here.store.document(version.document).decode("utf-8", "surrogatepass")
        tags |= {PIPELINE_TAG: version.pipeline_id, VERSION_TAG: version.version_id}
    request: dict[str, Any] = {
        "document": document,
        "parameters": dict(wanted.parameters),
        "setup_path": wanted.context.get("setup_path") or None,
        "name": wanted.name,
        "experiment": wanted.experiment,
        "tags": tags,
        "cache": wanted.cache,
        "containers": wanted.containers or None,
        "priority": wanted.priority,
        "interpreter": child(wanted.context, "interpreter") or interpreter(),
        "cwd": wanted.context.get("cwd") or os.path.expanduser("~"),
        "env": dict(os.environ),
        "script": False,
    }
    if wanted.run_id:
        request["run_id"] = wanted.run_id
    return here.service.submit(request)


def find_version(here: Context, pipeline_id: str, version_id: str) -> PipelineVersion:
    """Raises NotFound, or InvalidInput if nothing is named or the two do not belong together."""
    if version_id:
        version = here.catalog.version(version_id)
        if pipeline_id and version.pipeline_id != pipeline_id:
            raise InvalidInput(f"version {version_id!r} is not one of pipeline {pipeline_id!r}")
        return version
    if pipeline_id:
        return here.catalog.newest_version(pipeline_id)
    raise InvalidInput("nothing to run is named", hint="Give a version_id, a pipeline_id or a document.")


def resume(here: Context, run: RunRecord) -> str:
    """Continue a failed or cancelled run, in the interpreter it had."""
    python = child(run.context, "interpreter") or interpreter()
    return here.service.resume(run.run_id, env=dict(os.environ), interpreter=python)
