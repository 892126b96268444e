"""``mlplatform image build``: the current environment and a project's code as an image, without an engine and without
root; built twice, it has the same digest."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from mlplatform import __version__
from mlplatform.core.errors import Finding, InvalidInput
from mlplatform.images.base import Base, fetch_base
from mlplatform.images.cache import image_cache
from mlplatform.images.dates import source_date
from mlplatform.images.environment import read_environment, resolve, uv_platform
from mlplatform.images.interpreter import Interpreter
from mlplatform.images.layers import Layer, write_image, write_layer
from mlplatform.images.layout import Layout, write_whole
from mlplatform.images.model import Descriptor, Platform, Settings
from mlplatform.images.packages import Target, unpacked
from mlplatform.images.project import Project, read_project
from mlplatform.images.pyc import compile_tree
from mlplatform.images.references import Reference
from mlplatform.images.registry import Registry, push
from mlplatform.images.registry.client import Report
from mlplatform.images.tree import Tree
from mlplatform.images.venv import PROJECT, VENV, environment_trees

_TITLE: Final = "org.opencontainers.image.title"


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked for.

    ``base``: a name in a registry, ``oci:FOLDER`` or ``oci-archive:FILE``; ``file``: a pipeline file or notebook whose
    code travels; ``exclude``: packages to leave out; ``insecure``: plain HTTP is fine for the base's registry.
    """

    base: str
    file: Path | None = None
    platform: Platform = field(default_factory=Platform)
    exclude: tuple[str, ...] = ()
    insecure: bool = False


@dataclass(frozen=True, slots=True)
class Built:
    """An image in a layout. ``packages``: exact requirements; ``size``: bytes of its layers, packed."""

    image: Descriptor
    layout: Layout
    base: Base
    packages: tuple[str, ...]
    modules: tuple[str, ...]
    warnings: tuple[Finding, ...]
    layers: tuple[Layer, ...]

    @property
    def digest(self) -> str:
        return self.image.digest

    @property
    def size(self) -> int:
        return sum(blob.size for blob in self.layout.manifest(self.image).layers)

    def to_json(self) -> Mapping[str, Any]:
        return {
            "digest": self.digest,
            "size": self.size,
            "base": self.base.name,
            "base_digest": self.base.image.digest,
            "python": self.base.version,
            "packages": list(self.packages),
            "modules": list(self.modules),
            "warnings": [str(finding) for finding in self.warnings],
            "layers": [
                {"digest": each.blob.digest, "size": each.blob.size, "is": each.made_by} for each in self.layers
            ],
        }


def build_image(
    request: Request, *, layout: Layout | None = None, folders: list[str] | None = None, report: Report = lambda _: None
) -> Built:
    """Build an image of the packages that Python finds here and the code that ``request.file`` reaches.

    Args:
        layout: where blobs go, instead of the cache folder.
        folders: where packages are looked for, instead of ``sys.path``.
        report: told of every blob that is fetched.

    Raises:
        InvalidInput: with every package and module that an image cannot carry.
        NotFound, Unsupported: of the base (``base.fetch_base``).
        EnvironmentFailed: a registry or the package index cannot be reached, or the disk is full.
    """
    layout = layout or Layout(image_cache())
    date = source_date()
    uv_platform(request.platform, musl=False)  # a platform that cannot be is told before anything is fetched
    project = read_project(request.file, PROJECT) if request.file else Project()
    base = fetch_base(request.base, layout, request.platform, insecure=request.insecure, report=report)
    mark = _mark(request, base, date, folders)
    if (known := _known(layout, mark, base)) is not None:
        image, packages = known
        return Built(image, layout, base, packages, project.modules, project.warnings, ())
    wanted = _packages(request, base, project, folders)
    own = f"{sys.version_info[0]}.{sys.version_info[1]}"
    compiler = Interpreter.of(sys.executable) if own == base.version and sys.platform == "linux" else None
    target = Target(sys.executable, uv_platform(request.platform, base.musl), base.version)
    text = "".join(f"{line}\n" for line in wanted)
    with unpacked(wanted, target, dependencies=False) as folder:
        trees = environment_trees(folder, base.python, base.version, text, compiler, layout.folder)
        layers = [write_layer(tree, layout, date, f"mlplatform: {what}") for what, tree in trees.items()]
    if len(project.tree):
        layers.append(write_layer(_project(project, compiler, layout), layout, date, "mlplatform: project"))
    settings = Settings(
        environment={"PATH": f"{VENV}/bin:{base.path}", "VIRTUAL_ENV": VENV},
        working_folder=PROJECT if len(project.tree) else "",
        labels={
            _TITLE: request.file.name if request.file else "environment",
            "org.opencontainers.image.base.digest": base.image.digest,
            "dev.mlplatform.version": __version__,
        },
    )
    image = write_image(layout, layers, settings, date, platform=request.platform, base=base.image)
    if mark:
        told = json.dumps({"image": image.to_json(), "packages": wanted})
        _place(layout, mark).parent.mkdir(exist_ok=True)
        write_whole(_place(layout, mark), told.encode())
    return Built(image, layout, base, tuple(wanted), project.modules, project.warnings, tuple(layers))


#: Raised when the same packages make another image than before.
_FORMAT: Final = 1


def _mark(request: Request, base: Base, date: int, folders: list[str] | None) -> str:
    """A name for everything that the image is made of; "": it has what no name tells (files of this machine)."""
    if request.file is not None:
        return ""
    installed, findings = read_environment(request.exclude, folders)
    requirements = sorted(each.requirement for each in installed)
    if findings or any("@" in each or "/" in each for each in requirements):
        return ""
    package = Path(__file__).resolve().parents[1]  # it travels too, and in a checkout it changes under one version
    ours = sorted((str(each), each.stat().st_size, each.stat().st_mtime_ns) for each in package.rglob("*.py"))
    own = [_FORMAT, __version__, sys.version, base.image.digest, asdict(request.platform), date, ours]
    return hashlib.sha256(json.dumps([*own, requirements]).encode()).hexdigest()


def _place(layout: Layout, mark: str) -> Path:
    return layout.folder / "made" / f"{mark}.json"


def _known(layout: Layout, mark: str, base: Base) -> tuple[Descriptor, tuple[str, ...]] | None:
    """An image that was made of the same before, where all of it is here (or, of its base, in a registry)."""
    try:
        told = json.loads(_place(layout, mark).read_bytes()) if mark else None
        if told is None:
            return None
        image = Descriptor.read(told["image"])
        there = layout.has(image.digest) and all(
            layout.has(each.digest) or each.digest in base.layers for each in layout.manifest(image).layers
        )
        return (image, tuple(map(str, told["packages"]))) if there else None
    except (OSError, ValueError, KeyError, InvalidInput):
        return None


def push_built(built: Built, reference: Reference, registry: Registry, *, report: Report = lambda _: None) -> Reference:
    """Push an image; the layers of its base are mounted where they are in the same registry."""
    return push(registry, built.layout, built.image, reference, elsewhere=built.base.layers, report=report)


def _packages(request: Request, base: Base, project: Project, folders: list[str] | None) -> list[str]:
    """Exact requirements. Raises InvalidInput with every finding."""
    installed, findings = read_environment(request.exclude, folders)
    findings += project.findings
    own = f"{sys.version_info[0]}.{sys.version_info[1]}"
    if base.version != own:
        hint = f"name a base with Python {own}, or build from an environment of Python {base.version}"
        findings.append(Finding("base", f"has Python {base.version}, this environment {own}", "other-python", hint))
        wanted: list[str] = []
    else:
        wanted, missing = resolve(installed, base.version, request.platform, base.musl)
        findings += missing
    if findings:
        raise InvalidInput("This environment cannot be put into an image as it is.", findings=findings)
    return wanted


def _project(project: Project, compiler: Interpreter | None, layout: Layout) -> Tree:
    if compiler is not None:
        compile_tree(project.tree, compiler, layout.folder)
    return project.tree
