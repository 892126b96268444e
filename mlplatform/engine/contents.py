"""Where artifacts lie and what they are by content, as the engine sees it before a task starts and after it ended.

Tasks read and write local files. With a remote root (``MLPLATFORM_ARTIFACTS=s3://bucket/prefix``) the home's artifact
folder is a copy: outputs are brought to the remote place before anyone is told of them, inputs are fetched when they
are not here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from mlplatform.core.errors import ArtifactError
from mlplatform.core.model import Artifact, ArtifactValue, Values
from mlplatform.engine.ports import ArtifactStore

#: Digest of an artifact that has metadata and no bytes (``dsl.Metrics``): its content is known to be none.
NO_CONTENT = "none"


@dataclass(frozen=True, slots=True)
class Contents:
    """Artifacts of one home. ``remote`` is the URI that stands for ``local``, "" where artifacts stay here."""

    store: ArtifactStore
    local: Path
    remote: str = ""

    # ------------------------------------------------------------------ before a task
    def for_task(self, inputs: Values) -> tuple[Values, dict[str, Path]]:
        """Inputs as a task sees them (plain paths where the bytes are ours; foreign URIs as they are), and what has to
        be fetched for that: URI -> local path."""
        artifacts: dict[str, ArtifactValue] = {}
        downloads: dict[str, Path] = {}
        for name, value in inputs.artifacts.items():
            if isinstance(value, Artifact):
                artifacts[name] = self._here(value, downloads)
            else:
                artifacts[name] = tuple(self._here(item, downloads) for item in value)
        return Values(inputs.parameters, artifacts), downloads

    def _here(self, artifact: Artifact, downloads: dict[str, Path]) -> Artifact:
        if artifact.uri.startswith("file://"):
            return replace(artifact, uri=str(self.store.local_path(artifact.uri)))
        if not self.remote or not artifact.uri.startswith(self.remote + "/"):
            return artifact
        path = self.local / artifact.uri.removeprefix(self.remote + "/")
        if artifact.digest != NO_CONTENT and not path.exists():
            downloads[artifact.uri] = path
        return replace(artifact, uri=str(path))

    def foreign(self, inputs: Values) -> list[str]:
        """URIs among a task's inputs that name something elsewhere: fetched if and when the task asks for the path."""
        found: list[str] = []
        for value in inputs.artifacts.values():
            for item in (value,) if isinstance(value, Artifact) else value:
                if not self.store.is_local(item.uri):
                    found.append(item.uri)
        return sorted(set(found))

    def fetch(self, downloads: Mapping[str, Path]) -> None:
        """Raises ArtifactError."""
        for uri, path in downloads.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            self.store.fetch(uri, path)

    # ------------------------------------------------------------------ after a task
    def published(self, values: Values) -> Values:
        """Outputs where everybody finds them. Raises ArtifactError."""
        if not self.remote or not values.artifacts:
            return values
        return Values(values.parameters, {name: self._publish(value) for name, value in values.artifacts.items()})

    def _publish(self, value: ArtifactValue) -> ArtifactValue:
        if not isinstance(value, Artifact):
            return tuple(self._publish_one(item) for item in value)
        return self._publish_one(value)

    def _publish_one(self, artifact: Artifact) -> Artifact:
        path = Path(artifact.uri)
        if not path.is_absolute() or not path.is_relative_to(self.local):
            return artifact
        uri = f"{self.remote}/{path.relative_to(self.local).as_posix()}"
        if path.exists():
            self.store.put(path, uri)
        return replace(artifact, uri=uri)

    # ------------------------------------------------------------------ content
    @staticmethod
    def all_known(values: Iterable[ArtifactValue]) -> bool:
        """Whether every artifact has a digest already."""
        return all(isinstance(value, Artifact) and value.digest for value in values)

    def digested(self, artifacts: Mapping[str, ArtifactValue]) -> dict[str, ArtifactValue]:
        """Artifacts with the digests of local ones filled in. Reads files."""
        return {
            name: self._digest(value) if isinstance(value, Artifact) else tuple(self._digest(item) for item in value)
            for name, value in artifacts.items()
        }

    def _digest(self, artifact: Artifact) -> Artifact:
        if artifact.digest or not self.store.is_local(artifact.uri):
            return artifact
        if not self.store.exists(artifact.uri):
            return replace(artifact, digest=NO_CONTENT)
        try:
            digest, size = self.store.digest(artifact.uri)
        except ArtifactError:
            return artifact
        return replace(artifact, digest=digest, size=size)
