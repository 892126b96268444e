"""Python objects as artifacts and back, on this side: in the kernel, for what runs are given and what they gave."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlplatform.core.errors import ArtifactError
from mlplatform.engine.home import Home
from mlplatform.launcher.digest import digest_path
from mlplatform.sdk.travel import formats
from mlplatform.sdk.travel.classes import AdapterError

#: Objects of more bytes are refused as arguments of runs and in captured values.
LIMIT = 1000**3


def load(path: Path, metadata: Mapping[str, Any], type: str = "") -> object:
    """The Python object of an artifact.

    Args:
        path: its file or folder on this machine.
        metadata: as the run recorded it; ``format`` says how to read it.
        type: KFP schema title, such as ``system.Dataset``.

    Raises:
        ArtifactError: it cannot be read; the text says what to do.
    """
    try:
        return formats.load(str(path), dict(metadata), type)
    except AdapterError as error:
        raise ArtifactError(_sentence(error)) from None


def save(value: object, folder: Path) -> tuple[str, dict[str, Any]]:
    """Write an object to ``folder``/data; returns (KFP schema title, metadata).

    Raises:
        ArtifactError: it cannot be stored; the text says why.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        return formats.save(value, str(folder / "data"))
    except AdapterError as error:
        raise ArtifactError(_sentence(error)) from None


def _sentence(error: Exception) -> str:
    text = str(error)
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")


@dataclass(frozen=True, slots=True)
class Kept:
    """An object in a home: where, and what it is by content."""

    path: Path
    type: str
    metadata: Mapping[str, Any]
    digest: str
    size: int

    def to_json(self) -> dict[str, Any]:
        """As a submission names it."""
        return {
            "uri": str(self.path),
            "type": self.type,
            "metadata": dict(self.metadata),
            "digest": self.digest,
            "size": self.size,
        }


def keep(home: Home, name: str, value: object) -> Kept:
    """Store an object by content in the home: the same object twice is one file.

    Raises:
        ArtifactError: it cannot be stored, or is larger than :data:`LIMIT`.
    """
    base = home.artifacts / "values"
    base.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder = Path(tempfile.mkdtemp(prefix=".new-", dir=base))
    try:
        type_, metadata = save(value, folder)
        digest, size = digest_path(str(folder / "data"))
        if size > LIMIT:
            raise ArtifactError(
                f"{name!r} has {size / 1e9:.1f} GB: objects given to a run may have 1 GB.",
                hint="Write it to a file and give its path (a text), or make it in a component.",
            )
        text = digest.removeprefix("sha256:")
        place = base / text[:2] / text[2:4] / text
        place.parent.mkdir(parents=True, exist_ok=True)
        if place.exists():
            os.utime(place)
        else:
            (folder / "data").replace(place)
        return Kept(place, type_, metadata, digest, size)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
