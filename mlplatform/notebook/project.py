"""Whose notebook it is: the project is its git repository, or else its folder."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Project:
    """``root``: the project's folder, with symbolic links resolved; ``path``: the notebook in it, with slashes and
    without its ending."""

    root: Path
    path: str

    @property
    def name(self) -> str:
        return self.root.name or "root"


def project_of(notebook: str | os.PathLike[str]) -> Project:
    """The project that the notebook file belongs to."""
    file = Path(notebook).resolve()
    root = next((folder for folder in file.parents if (folder / ".git").exists()), file.parent)
    return Project(root, file.relative_to(root).with_suffix("").as_posix())


def claim_name(folder: Path, project: Project) -> str:
    """A name for the project that no other project of this home has: its folder's, with folders above it where
    another one of that name came first.

    Args:
        folder: where the home keeps who has which name; made if it is missing.

    Raises:
        OSError: the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    parts = [part for part in project.root.parts if part not in (os.sep, project.root.anchor)] or ["root"]
    root = os.fsencode(project.root)
    for count in range(1, len(parts) + 1):
        name = "/".join(parts[-count:])
        if _claim(folder / hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:32], root):
            return name
    return "/".join(parts)


def _claim(place: Path, root: bytes) -> bool:
    """Whether the name at ``place`` is this root's; the first who asks has it."""
    temporary = place.with_name(f".{place.name}.{os.getpid()}")
    temporary.write_bytes(root)
    try:
        os.link(temporary, place)  # in one step with its content, unlike opening it exclusively
    except FileExistsError:
        return place.read_bytes() == root
    finally:
        temporary.unlink(missing_ok=True)
    return True
