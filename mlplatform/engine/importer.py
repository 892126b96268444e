"""Importer tasks: an existing URI becomes an artifact. They need no process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mlplatform.core.errors import ArtifactError
from mlplatform.core.model import Artifact, Values
from mlplatform.core.values import JsonValue
from mlplatform.engine.ports import ArtifactStore


@dataclass(frozen=True, slots=True)
class Import:
    """What to import: templates are resolved. ``output`` is the name of the artifact (KFP: ``artifact``)."""

    uri: str
    type: str
    output: str
    metadata: Mapping[str, JsonValue]
    reimport: bool = False


def run_importer(artifacts: ArtifactStore, task: Import) -> Values:
    """The imported artifact. A local one must be there and gets a content digest; a foreign URI is passed on as it is.

    Raises:
        ArtifactError: a local file does not exist or cannot be read.
    """
    if not task.uri:
        raise ArtifactError("the importer's URI is empty")
    digest, size = "", None
    if artifacts.is_local(task.uri):
        if not artifacts.exists(task.uri):
            raise ArtifactError(
                f"there is nothing to import at {task.uri}",
                hint="Give the path as it is on this machine; `~` and variables are not expanded.",
            )
        digest, size = artifacts.digest(task.uri)
    artifact = Artifact(task.output, task.uri, task.type, dict(task.metadata), digest, size)
    return Values(artifacts={task.output: artifact})
