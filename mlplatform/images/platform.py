"""The platform's own images: each is one bundle (see ``bundle``) and nothing else, so no base image is needed.

A copy of the Python that makes them, with the versions of packages that are installed beside it.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Final

from mlplatform import __version__
from mlplatform.core.errors import InvalidInput
from mlplatform.images.bundle import write_bundle
from mlplatform.images.cache import image_cache
from mlplatform.images.dates import source_date
from mlplatform.images.interpreter import Interpreter
from mlplatform.images.layers import write_image, write_layer
from mlplatform.images.layout import Layout
from mlplatform.images.model import Descriptor, Platform, Settings
from mlplatform.images.packages import Target, installed_versions, own_requirements, unpacked
from mlplatform.images.references import Reference
from mlplatform.images.registry import Registry, push
from mlplatform.images.registry.client import Report
from mlplatform.images.registry.transport import Transport

#: Where the bundle lies in its image; a copy of it runs anywhere.
ROOT: Final = "/mlplatform"
#: Who runs it: nobody in particular, as restricted pods want it.
USER: Final = "65532:65532"
#: The kfp whose runtime is packed where none is installed; its interface to user code is the same since 2.6.
KFP: Final = "2.17.0"


@dataclass(frozen=True, slots=True)
class Part:
    """One image of the platform.

    ``extras``: of this package; ``only``: of the requirements without extras, these (empty: all of them); ``more``:
    what an image of a whole system would have; ``kfp``: with kfp's runtime for guests; ``pages``: with the built web
    pages; ``rooms``: of this package's folders these alone (empty: all of them).
    """

    title: str
    entrypoint: tuple[str, ...]
    command: tuple[str, ...] = ()
    extras: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    more: tuple[str, ...] = ()
    kfp: bool = False
    pages: bool = False
    rooms: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict[str, str])


#: What MLflow's image does unless its pod says otherwise.
_MLFLOW: Final = (
    *("--host", "0.0.0.0", "--port", "5000", "--nice", "0"),  # noqa: S104 - a pod's
    *("--artifacts", "/data/artifacts", "--lock", "/data/mlflow.lock"),
)

PARTS: Final[Mapping[str, Part]] = {
    "launcher": Part(
        "mlplatform launcher: copied into every pod of a run", (f"{ROOT}/bin/launcher",),
        extras=("s3",), only=("msgspec",), kfp=True,
        rooms=("launcher", "artifacts", "core", "training", "tracking/userhook.py"),
    ),
    "operator": Part(
        "mlplatform operator: all controllers", (f"{ROOT}/bin/mlplatform",), ("operator",),
        extras=("kubernetes",), more=("tzdata",),
    ),
    "server": Part(
        "mlplatform server: API and pages", (f"{ROOT}/bin/mlplatform",), ("server",),
        extras=("kubernetes", "postgresql", "s3"), more=("tzdata",), pages=True,
    ),
    "mlflow": Part(
        "MLflow tracking server", (f"{ROOT}/bin/python", "-m", "mlplatform.tracking.standalone.realserver"), _MLFLOW,
        extras=("mlflow", "postgresql", "s3"),
        environment={
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true",
        },
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class ImageRef:
    """An image that was built. ``name``: what the archive calls it; ``archive``: where it was written, if it was."""

    name: str
    digest: str
    descriptor: Descriptor
    layout: Layout
    archive: Path | None = None


def build_part(
    part: str, target: Path | None = None, *, name: str = "", python: str = "", layout: Layout | None = None
) -> ImageRef:
    """Build one of ``PARTS``.

    Args:
        target: an OCI archive to write, as ``ctr -n k8s.io images import`` takes it; None: none.
        name: what the image is called in the archive (``registry:5000/mlplatform/operator:dev``).
        python: the interpreter to pack, instead of the one that runs this.
        layout: where its blobs go, instead of the cache folder.

    Raises:
        InvalidInput: there is no such part.
        EnvironmentFailed: packages cannot be had, a library is missing, the disk is full.
        Unsupported: this interpreter cannot be packed.
    """
    if part not in PARTS:
        raise InvalidInput(f"{part!r} is no image of the platform.", hint=f"There is: {', '.join(PARTS)}.")
    wanted = PARTS[part]
    packed = Interpreter.of(python or sys.executable)
    layout = layout or Layout(image_cache())
    date = source_date()
    with ExitStack() as stack:
        target_python = Target(packed.executable)
        packages = stack.enter_context(unpacked(requirements(wanted), target_python, constraints=installed_versions()))
        kfp = None
        if wanted.kfp:
            kfp = stack.enter_context(unpacked([f"kfp=={_kfp_version()}"], target_python, dependencies=False))
        trees = write_bundle(
            packed, packages, layout.folder, under=ROOT, kfp=kfp, pages=wanted.pages, rooms=wanted.rooms
        )
        layers = [write_layer(tree, layout, date, f"mlplatform: {what}") for what, tree in trees.items()]
    settings = Settings(
        entrypoint=wanted.entrypoint,
        command=wanted.command,
        user=USER,
        environment={"PATH": f"{ROOT}/bin", **wanted.environment},
        labels={"org.opencontainers.image.title": wanted.title, "org.opencontainers.image.version": __version__},
    )
    image = write_image(layout, layers, settings, date, platform=Platform("linux", packed.architecture()))
    name = name or f"mlplatform/{part}:{__version__}"
    if target is not None:
        layout.export(image, target, name)
    return ImageRef(name, image.digest, image, layout, target)


def push_platform(
    prefix: str,
    parts: Sequence[str] = tuple(PARTS),
    *,
    insecure: bool = False,
    layout: Layout | None = None,
    report: Report = lambda _: None,
) -> dict[str, Reference]:
    """Build images of the platform and push them as ``PREFIX/PART:VERSION``; returns each one's name by digest.

    Args:
        prefix: a registry, with a path if wanted (``registry.example.com/team``).

    Raises:
        InvalidInput, EnvironmentFailed, Unsupported: of ``build_part`` and ``registry.push``.
    """
    names = {part: Reference.parse(f"{prefix.rstrip('/')}/mlplatform-{part}:{__version__}") for part in parts}
    pushed: dict[str, Reference] = {}
    for part, name in names.items():
        built = build_part(part, name=str(name), layout=layout)
        registry = Registry(Transport(name.host, insecure=insecure))
        pushed[part] = push(registry, built.layout, built.descriptor, name, report=report)
    return pushed


def requirements(part: Part) -> list[str]:
    """What the image of a part needs to be installed, this package aside."""
    found = [each for each in own_requirements() if not part.only or each.startswith(part.only)]
    for extra in part.extras:
        found += own_requirements(extra)
    return [*found, *part.more]


def _kfp_version() -> str:
    try:
        return metadata.version("kfp")
    except metadata.PackageNotFoundError:
        return KFP
