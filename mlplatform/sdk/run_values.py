"""What tasks and runs take and give: parameters as they are, artifacts as handles that load when asked."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from mlplatform.core.errors import ArtifactError, NotFound
from mlplatform.core.model import Artifact, Values
from mlplatform.core.values import JsonValue, preview
from mlplatform.ir.findings import did_you_mean

_fetched: dict[str, tuple[tempfile.TemporaryDirectory[str], Path]] = {}


class StoredArtifact:
    """An artifact of a run. It is read when :meth:`load` or :attr:`path` is asked for.

    Attributes:
        name, uri, type, digest: as the run recorded them; ``type`` is a KFP schema title.
        metadata: what its maker wrote on it (metrics, formats).
        size: bytes, or None where nobody looked.
    """

    def __init__(self, artifact: Artifact) -> None:
        self.name = artifact.name
        self.uri = artifact.uri
        self.type = artifact.type
        self.metadata: Mapping[str, JsonValue] = dict(artifact.metadata)
        self.digest = artifact.digest
        self.size = artifact.size

    @property
    def path(self) -> Path:
        """The file or folder on this machine; a remote one is fetched once.

        Raises:
            ArtifactError: it cannot be had (any more).
        """
        from mlplatform.artifacts import Artifacts

        store = Artifacts()
        if store.is_local(self.uri):
            path = store.local_path(self.uri)
            if not path.exists():
                raise ArtifactError(
                    f"artifact {self.name!r} is no longer at {self.uri}",
                    hint="It was deleted, with its run or by hand; run the task again without the cache.",
                )
            return path
        key = self.digest or self.uri
        if key not in _fetched:
            folder = tempfile.TemporaryDirectory(prefix="mlplatform-artifact-")
            _fetched[key] = folder, store.fetch(self.uri, Path(folder.name) / "data")
        return _fetched[key][1]

    def load(self) -> Any:
        """The Python object it holds: a DataFrame, an array, a model ... as its maker returned it.

        Raises:
            ArtifactError: it cannot be read.
            InvalidInput: it does not say what format it has; read :attr:`path` yourself.
        """
        from importlib import import_module

        values: Any = import_module("mlplatform.sdk.values")
        return values.load(self.path, self.metadata, self.type)

    def __repr__(self) -> str:
        kind = self.type.removeprefix("system.")
        return f"<{kind} {self.name!r} at {self.uri.removeprefix('file://')}>"


#: What an output or input is: a parameter's value, an artifact, or a list of artifacts.
RunValue: TypeAlias = "JsonValue | StoredArtifact | list[StoredArtifact]"


class ValueMap(Mapping[str, Any]):
    """Values under their names, in order; completed in Jupyter, and told in one line each."""

    def __init__(self, values: Values, owner: str) -> None:
        self._owner = owner
        self._values: dict[str, RunValue] = dict(values.parameters)
        for name, found in values.artifacts.items():
            one = isinstance(found, Artifact)
            self._values[name] = StoredArtifact(found) if one else [StoredArtifact(item) for item in found]

    def __getitem__(self, name: str) -> Any:
        try:
            return self._values[name]
        except KeyError:
            known = ", ".join(self._values) or "it has none"
            hint = did_you_mean(name, list(self._values)) or f"There is: {known}."
            raise _Missing(f"{self._owner} has nothing called {name!r}", hint=hint) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def _ipython_key_completions_(self) -> list[str]:
        return list(self._values)

    def __repr__(self) -> str:
        return "{" + ", ".join(f"{name!r}: {_short(value)}" for name, value in self._values.items()) + "}"


class _Missing(NotFound, KeyError):
    """A name that is not there: both what mappings raise and what the platform raises."""


def _short(value: RunValue) -> str:
    if isinstance(value, StoredArtifact):
        return repr(value)
    if isinstance(value, list) and value and isinstance(value[0], StoredArtifact):
        return f"[{', '.join(map(repr, value[:3]))}{', ...' if len(value) > 3 else ''}]"
    if isinstance(value, str):
        return repr(value if len(value) <= 200 else value[:197] + "...")
    return preview(value, 200) if isinstance(value, (list, dict)) else repr(value)  # pyright: ignore[reportArgumentType]
