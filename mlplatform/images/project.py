"""The project's own code that an image carries: a file or notebook, and the modules that it reaches."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlplatform.capture.modules import Modules, imports_of
from mlplatform.core.errors import Finding, InvalidInput, NotFound
from mlplatform.images.tree import Tree


@dataclass(frozen=True, slots=True)
class Project:
    """``modules``: names of what travels; ``imports``: the installed packages it imports; ``findings``: what cannot
    travel; ``warnings``: what was not found."""

    tree: Tree = field(default_factory=Tree)
    modules: tuple[str, ...] = ()
    imports: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    warnings: tuple[Finding, ...] = ()


def read_project(file: Path, under: str) -> Project:
    """What ``file`` (``.py`` or ``.ipynb``) reaches by its import statements, without running any of it.

    Args:
        under: the folder in the image.

    Raises:
        NotFound, InvalidInput: it is not there, or is neither.
    """
    modules = Modules(file.resolve().parent)
    for source in _sources(file):
        for told in imports_of(source):
            modules.reach_import(told)
    tree = Tree()
    tree.file(f"{under}/{file.name}", file, executable=False)
    for name, place in sorted(modules.project.items()):
        path = name.replace(".", "/")
        if Path(place.path).is_dir():
            tree.folder(f"{under}/{path}")
        else:
            tree.file(f"{under}/{path}{'/__init__' if place.is_package else ''}.py", Path(place.path), executable=False)
    hint = "install it as a package (a wheel), or take a base image that holds it"
    findings = [
        Finding(f"project.{name}", f"has no source text ({origin})", "sourceless", hint)
        for name, origin in sorted(modules.sourceless.items())
    ]
    warnings = [
        Finding(f"project.{name}", "is imported but not installed here", "not-found", "install it, if it is needed")
        for name in sorted(modules.missing)
    ]
    return Project(
        tree, tuple(sorted(modules.project)), tuple(sorted(modules.distributions)), tuple(findings), tuple(warnings)
    )


def _sources(file: Path) -> list[str]:
    """The Python text of a file, or of each cell of a notebook, without lines that only a notebook understands."""
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise NotFound(f"There is no file {str(file)!r}.", hint="Check the path.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{file} cannot be read: {error}") from None
    if file.suffix == ".py":
        return [text]
    if file.suffix != ".ipynb":
        raise InvalidInput(f"{file} is neither a Python file nor a notebook.", hint="Name a .py or an .ipynb file.")
    try:
        notebook: dict[str, Any] = json.loads(text)
        cells = [each for each in notebook["cells"] if each.get("cell_type") == "code"]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InvalidInput(f"{file} is no notebook.") from None
    sources: list[str] = []
    for cell in cells:
        lines = "".join(cell.get("source") or "").splitlines()
        if lines and not lines[0].startswith("%%"):
            sources.append("\n".join(line for line in lines if not line.lstrip().startswith(("%", "!", "?"))))
    return sources
