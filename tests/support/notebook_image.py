"""An image for cells of notebooks: Debian's Python 3.11 with what a session needs of this environment's packages."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from functools import lru_cache
from importlib import metadata
from pathlib import Path

from tests.support.images import archive, reference
from tests.support.podman import podman

NAME = "localhost/mlplatform-test/cells:1"
_PACKAGES = (
    "ipython", "ipython-pygments-lexers", "traitlets", "prompt-toolkit", "pygments", "stack-data", "executing",
    "asttokens", "pure-eval", "matplotlib-inline", "pexpect", "ptyprocess", "wcwidth", "cloudpickle",
    "typing-extensions",
)  # fmt: skip
_PLACE = "/usr/local/lib/python3.11/dist-packages"


@lru_cache(maxsize=1)
def plain_image() -> str:
    """A Python 3.11 with pip and nothing else. Raises RuntimeError without Podman."""
    real = podman()
    try:
        real.run("image", "exists", reference("python311"))
    except subprocess.CalledProcessError:
        real.run("load", "--quiet", "--input", str(archive("python311")))
    return reference("python311")


@lru_cache(maxsize=1)
def cells_image() -> str:
    """The same with IPython and cloudpickle."""
    real = podman()
    try:
        real.run("image", "exists", NAME)
        return NAME
    except subprocess.CalledProcessError:
        pass
    with tempfile.TemporaryDirectory() as folder:
        for package in _PACKAGES:
            _copy(package, Path(folder))
        made = real.run("create", plain_image()).strip()
        real.run("cp", f"{folder}/.", f"{made}:{_PLACE}")
        real.run("commit", "--quiet", made, NAME)
        real.run("rm", made)
    return NAME


def _copy(package: str, folder: Path) -> None:
    """The files of an installed package, without what it was tested with."""
    for file in metadata.files(package) or ():
        if ".." in file.parts or "__pycache__" in file.parts or "tests" in file.parts:
            continue
        target = folder / file
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(str(file.locate()), target)
