"""An image for components that name none and use what the usual one has not: this environment's own, built by what is
behind ``mlplatform image build``, pushed, and written into the pipeline by its digest.

Read from variables, as everything of a cluster's runs is (docs/kubernetes.md):

- ``MLPLATFORM_RUNS_REGISTRY``: where it is pushed, ``HOST/PATH``; ``http://HOST/PATH`` for one that speaks plain HTTP
- ``MLPLATFORM_RUNS_BASE_IMAGE``: what it is built on, instead of ``python:X.Y-slim``
- ``MLPLATFORM_RUNS_PACKAGES``: ``all`` packages of this environment, or those that are ``needed``: what the components
  use, and what that requires (smaller, and without what is only loaded by name while they run)
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from importlib import metadata
from typing import Final

from mlplatform.core.errors import Finding, InvalidInput, NotFound, Unsupported
from mlplatform.ir.dump import dump
from mlplatform.ir.load import loads
from mlplatform.ir.model import ContainerExecutor, Pipeline
from mlplatform.planning.notebook_component import DEFAULT_IMAGE, NotebookTask, recognise_notebook
from mlplatform.planning.python_component import recognise
from mlplatform.planning.sdk_component import describe

REGISTRY: Final = "MLPLATFORM_RUNS_REGISTRY"
BASE: Final = "MLPLATFORM_RUNS_BASE_IMAGE"
PACKAGES: Final = "MLPLATFORM_RUNS_PACKAGES"
#: What values of these packages travel with between tasks (``sdk.travel``), besides what the packages require.
_COMPANIONS: Final = {
    "pandas": ("pyarrow",),
    "polars": ("pyarrow",),
    "torch": ("safetensors",),
    "scikit-learn": ("skops",),
}
#: The last resort for any value.
_ANY: Final = "cloudpickle"
_REPOSITORY: Final = "mlplatform-environment"
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")

#: What runs the cells of notebooks.
_SHELL: Final = ("ipython", "cloudpickle")

#: (packages that components use) -> the name of an image that has them, by its digest.
Build = Callable[[Collection[str]], str]


@dataclass(frozen=True, slots=True)
class Wanted:
    """How this environment becomes an image. ``registry``: host and path; ``only_needed``: not all its packages."""

    registry: str
    base: str = ""
    insecure: bool = False
    only_needed: bool = False


def wanted_of(environ: Mapping[str, str]) -> Wanted | None:
    """What the variables say; None: no registry is named. Raises InvalidInput."""
    place = environ.get(REGISTRY, "").strip().rstrip("/")
    if not place:
        return None
    scheme, separator, rest = place.rpartition("://")
    packages = environ.get(PACKAGES, "") or "all"
    if packages not in ("all", "needed") or (separator and scheme not in ("http", "https")):
        name, value = (PACKAGES, packages) if not separator or scheme in ("http", "https") else (REGISTRY, place)
        hint = "all or needed" if name == PACKAGES else "HOST/PATH, or http://HOST/PATH"
        raise InvalidInput(f"{name} is {value!r}.", hint=f"It may be: {hint}.")
    return Wanted(rest, environ.get(BASE, ""), scheme == "http", packages == "needed")


def with_environment(document: str, environ: Mapping[str, str], build: Callable[[Wanted], Build] | None = None) -> str:
    """The pipeline with an image for each component that names none and needs more than the usual one has.

    Args:
        environ: the variables above.
        build: how an image is made (default: from this process's environment).

    Raises:
        Unsupported: no registry is named; every component that wants an image is told.
        InvalidInput, EnvironmentFailed: the image cannot be built or pushed; every package in its way is told.
    """
    pipeline = loads(document)
    needs = _needs(pipeline)
    if not needs:
        return document
    wanted = wanted_of(environ)
    if wanted is None:
        raise Unsupported(
            "Some components name no image and use packages that the usual one has not.",
            hint=f"Set {REGISTRY}=HOST/PATH: an image of this environment is built and pushed there. "
            "Or name an image: @component(image=...), or packages to install in the pod: @component(packages=[...]).",
            findings=[
                Finding(
                    f"components.{label}", f"uses {', '.join(sorted(names))}; {DEFAULT_IMAGE} has none of it", "image"
                )
                for label, names in sorted(needs.items())
            ],
        )
    image = (build or _building)(wanted)({name for names in needs.values() for name in names})
    executors = {
        label: replace(executor, image=image)
        if label in needs and isinstance(executor, ContainerExecutor)
        else executor
        for label, executor in pipeline.executors.items()
    }
    return dump(replace(pipeline, executors=executors))


def _needs(pipeline: Pipeline) -> dict[str, set[str]]:
    """Executor -> packages that it uses, does not have installed when it starts, and has no image of its own for."""
    found: dict[str, set[str]] = {}
    for label, executor in pipeline.executors.items():
        if not isinstance(executor, ContainerExecutor) or executor.image != DEFAULT_IMAGE:
            continue
        if (notebook := recognise_notebook(executor)) is not None:
            found[label] = {*_SHELL, *imported(notebook)}
            continue
        python = recognise(executor)
        told = describe(python.source) if python is not None else None
        if python is None or told is None:
            continue  # kfp's own: its author's image and packages_to_install are all there is to it
        installed = {_normal(match[0]) for text in python.packages if (match := _NAME.match(text))}
        if names := {name for name in told.packages if _normal(name) not in installed}:
            found[label] = names
    return found


def imported(task: NotebookTask) -> set[str]:
    """Installed packages whose modules the cells of a task import."""
    owners = metadata.packages_distributions()
    return {owner for name in _modules(task) for owner in owners.get(name, ()) if _normal(owner) != "mlplatform"}


def _modules(task: NotebookTask) -> set[str]:
    found: set[str] = set()
    for cell in task.cells:
        lines = [line for line in cell.source.splitlines() if not line.lstrip().startswith(("%", "!"))]
        try:
            tree = ast.parse("\n".join(lines))
        except SyntaxError:
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module.partition(".")[0])
    return found


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


# ---------------------------------------------------------------------- building
_built: Final[dict[tuple[Wanted, tuple[str, ...]], str]] = {}


def _building(wanted: Wanted) -> Build:
    """Once in a process for what is the same; a new process builds anew, and pushes what is not there."""

    def build(packages: Collection[str]) -> str:
        mark = (wanted, tuple(sorted(packages)) if wanted.only_needed else ())
        if mark not in _built:
            _built[mark] = _build(wanted, packages)
        return _built[mark]

    return build


def _build(wanted: Wanted, packages: Collection[str]) -> str:
    from mlplatform.images.base import default_base
    from mlplatform.images.build import Request, build_image, push_built
    from mlplatform.images.references import Reference
    from mlplatform.images.registry import Registry
    from mlplatform.images.registry.transport import Transport

    python = f"{sys.version_info[0]}.{sys.version_info[1]}"
    excluded = tuple(sorted(_others(packages))) if wanted.only_needed else ()
    sys.stderr.write(f"building an image of this environment for {wanted.registry}\n")
    built = build_image(Request(wanted.base or default_base(python), exclude=excluded, insecure=wanted.insecure))
    name = Reference.parse(f"{wanted.registry}/{_REPOSITORY}:py{python}")
    pushed = push_built(built, name, Registry(Transport(name.host, insecure=wanted.insecure)))
    return str(pushed.at(built.digest))


def _others(packages: Collection[str]) -> set[str]:
    """Every installed package but these, what they require and what their values travel with.

    Raises:
        NotFound: one of them is not installed here any more.
    """
    there = {_normal(found.metadata["Name"] or ""): found for found in metadata.distributions()}
    kept: set[str] = set()
    left = [_normal(name) for name in packages]
    for name in left:
        if name not in there:
            raise NotFound(f"Package {name} is not installed here.", hint="Install it, or name an image.")
    left.append(_ANY)
    while left:
        name = left.pop()
        if name in kept or name not in there:
            continue
        kept.add(name)
        left.extend(_COMPANIONS.get(name, ()))
        for text in there[name].requires or ():
            if "extra ==" not in text and (found := _NAME.match(text)):
                left.append(_normal(found[0]))
    return set(there) - kept
