"""The launcher image: what an init container copies into a pod so that a task runs in an image of any kind.

The image holds nothing but ``/mlplatform`` (see ``bundle``). It is a copy of the Python that makes it.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Final

from mlplatform import __version__
from mlplatform.images.bundle import write_bundle
from mlplatform.images.cache import image_cache
from mlplatform.images.dates import source_date
from mlplatform.images.interpreter import Interpreter
from mlplatform.images.layers import write_image, write_layer
from mlplatform.images.layout import Layout
from mlplatform.images.model import Descriptor, Platform, Settings
from mlplatform.images.packages import Target, installed_versions, own_requirements, unpacked

#: Where the bundle lies in its image; a copy of it runs anywhere.
ROOT: Final = "/mlplatform"
NAME: Final = f"mlplatform/launcher:{__version__}"
#: The kfp whose runtime is packed where none is installed; its interface to user code is the same since 2.6.
KFP: Final = "2.17.0"


@dataclass(frozen=True, slots=True)
class ImageRef:
    """An image that was built. ``name``: what the archive calls it; ``archive``: where it was written, if it was."""

    name: str
    digest: str
    descriptor: Descriptor
    layout: Layout
    archive: Path | None = None


def build_launcher(
    target: Path | None = None, *, name: str = NAME, python: str = "", layout: Layout | None = None
) -> ImageRef:
    """Build the launcher image.

    Args:
        target: an OCI archive to write, as ``ctr -n k8s.io images import`` takes it; None: none.
        name: what the image is called in the archive (``registry:5000/mlplatform/launcher:dev``).
        python: the interpreter to pack, instead of the one that runs this.
        layout: where its blobs go, instead of the cache folder.

    Raises:
        EnvironmentFailed: packages cannot be had, a library is missing, the disk is full.
        Unsupported: this interpreter cannot be packed.
    """
    packed = Interpreter.of(python or sys.executable)
    layout = layout or Layout(image_cache())
    date = source_date()
    versions = installed_versions()
    with (
        unpacked(
            [*_needed(), *own_requirements("s3")[len(own_requirements()) :]],
            Target(packed.executable),
            constraints=versions,
        ) as packages,
        unpacked([f"kfp=={_kfp_version()}"], Target(packed.executable), dependencies=False) as kfp,
    ):
        tree = write_bundle(packed, packages, layout.folder, kfp=kfp, under=ROOT)
        layer = write_layer(tree, layout, date, "mlplatform launcher")
    settings = Settings(
        entrypoint=(f"{ROOT}/bin/launcher",),
        user="65532:65532",
        environment={"PATH": f"{ROOT}/bin"},
        labels={
            "org.opencontainers.image.title": "mlplatform launcher",
            "org.opencontainers.image.version": __version__,
        },
    )
    image = write_image(layout, [layer], settings, date, platform=Platform("linux", packed.architecture()))
    if target is not None:
        layout.export(image, target, name)
    return ImageRef(name, image.digest, image, layout, target)


def _needed() -> list[str]:
    """Of the package's own requirements, what the launcher imports."""
    return [each for each in own_requirements() if each.startswith("msgspec")]


def _kfp_version() -> str:
    try:
        return metadata.version("kfp")
    except metadata.PackageNotFoundError:
        return KFP
