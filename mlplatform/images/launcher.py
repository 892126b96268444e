"""The launcher image: what an init container copies into a pod so that a task runs in an image of any kind.

The image holds nothing but ``/mlplatform`` (see ``bundle``): a copy of the Python that makes it, the launcher,
and kfp's runtime for the Python of the image around it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from mlplatform import __version__
from mlplatform.images.layout import Layout
from mlplatform.images.platform import ImageRef, build_part

NAME: Final = f"mlplatform/launcher:{__version__}"


def build_launcher(
    target: Path | None = None, *, name: str = NAME, python: str = "", layout: Layout | None = None
) -> ImageRef:
    """Build the launcher image; ``platform.build_part`` says what the arguments are and what is raised."""
    return build_part("launcher", target, name=name, python=python, layout=layout)
