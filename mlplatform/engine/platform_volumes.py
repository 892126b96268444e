"""Persistent volume claims as folders: ``HOME/volumes/<claim>``.

A claim exists when the setup file names it (its ``path``, where given, is the folder itself), when a ``CreatePVC`` task
made it, or when its folder is there. ``CreatePVC`` and ``DeletePVC`` are container components whose image is a
placeholder that Kubeflow's driver recognises; they are carried out here, without a process.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

from mlplatform.core.errors import EnvironmentFailed, InvalidParameters, PlanningError
from mlplatform.core.model import TaskKey, Values
from mlplatform.planning.volumes import CREATE, DELETE, volume_action

#: A DNS-1123 subdomain, as Kubernetes wants claims to be named.
_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class Volumes:
    """The claims of one home."""

    root: Path

    def create(self, run_id: str, key: TaskKey, attempt: int, inputs: Mapping[str, Any]) -> Values:
        """Make the claim that a CreatePVC task asks for; its output ``name`` names it. Doing it twice is doing it once.

        Raises:
            PlanningError: the inputs name no usable claim.
            EnvironmentFailed: the folder cannot be made.
        """
        name, suffix = str(inputs.get("pvc_name") or ""), str(inputs.get("pvc_name_suffix") or "")
        if bool(name) == bool(suffix):
            raise PlanningError("CreatePVC wants one of pvc_name and pvc_name_suffix")
        if inputs.get("data_source"):
            raise EnvironmentFailed("CreatePVC with a data_source needs a cluster: here a claim is an empty folder")
        if suffix:
            word = hashlib.sha256(f"{run_id} {key} {attempt}".encode()).hexdigest()
            name = f"{run_id}-{word[:8]}{suffix}"
        folder = self.folder(name)
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise EnvironmentFailed(f"the folder of claim {name} could not be made: {error}") from None
        return Values({"name": name})

    def delete(self, inputs: Mapping[str, Any], claims: Mapping[str, Mapping[str, Any]]) -> Values:
        """Carry out DeletePVC. A claim whose folder is the user's own (``path`` in the setup file) loses nothing.

        Raises:
            PlanningError: no claim is named.
            EnvironmentFailed: the folder cannot be removed.
        """
        name = str(inputs.get("pvc_name") or "")
        folder = self.folder(name)
        if not (claims.get(name) or {}).get("path") and folder.exists():
            try:
                shutil.rmtree(folder)
            except OSError as error:
                raise EnvironmentFailed(f"the folder of claim {name} could not be removed: {error}") from None
        return Values()

    def mount(self, name: str, sub_path: str, target: str, claims: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        """The mount of a claim for a task.

        Raises:
            InvalidParameters: nothing knows the claim, or its path in the setup file is no folder.
            PlanningError: the sub-path leaves the claim.
        """
        entry = claims.get(name)
        folder = self.folder(name)
        if entry is not None and entry.get("path"):
            folder = Path(str(entry["path"])).expanduser()
            if not folder.is_dir():
                raise InvalidParameters(f"claim {name} of the setup file has the path {folder}, which is no folder")
        elif entry is not None:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        elif not folder.is_dir():
            raise InvalidParameters(
                f"there is no volume claim {name!r}",
                hint=f'Name it in the setup file: {{"pvcs": {{"{name}": {{}}}}}} (with "path" for a folder of yours).',
            )
        part = PurePosixPath(sub_path)
        if part.is_absolute() or ".." in part.parts:
            raise PlanningError(f"sub-path {sub_path!r} of claim {name} leaves the claim")
        if sub_path:
            folder = folder / part
            folder.mkdir(parents=True, exist_ok=True)
        return {"source": str(folder.resolve()), "target": target, "read_only": bool((entry or {}).get("read_only"))}

    def folder(self, name: str) -> Path:
        """Where a claim of this name lives. Raises PlanningError for what Kubernetes would not take as a name."""
        if not _NAME.fullmatch(name):
            raise PlanningError(f"{name!r} is no name for a volume claim (small letters, digits, '-' and '.')")
        return self.root / name


__all__ = ["CREATE", "DELETE", "Volumes", "volume_action"]
