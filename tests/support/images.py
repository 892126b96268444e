"""Images that the tests run on, made on this machine, since no public registry can be reached from it.

Each is an OCI archive in the cache folder, keyed by what it is made from: made once, then found. As a command::

    python -m tests.support.images FOLDER [NAME...]    archives of the named images (all of them) as FOLDER/NAME.tar
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

from mlplatform.images.layers import write_image, write_layer
from mlplatform.images.layout import Layout
from mlplatform.images.model import Settings
from mlplatform.images.tree import Tree
from tests.support.s3_server import cache_folder

NATIVE = Path(__file__).with_name("native")
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#: Of what is written below: raised when an image is made in another way.
VERSION = 1
#: Debian's own packages that a debootstrapped image holds besides the essential ones.
_PYTHON = "python3,python3-pip,ca-certificates"
_MPI = "python3,python3-numpy,python3-mpi4py,openmpi-bin,openssh-server,openssh-client"


def archive(name: str) -> Path:
    """The OCI archive of a test image; the image in it is called ``localhost/mlplatform-test/NAME:1``."""
    make, inputs = IMAGES[name]
    key = hashlib.sha256("\n".join([name, str(VERSION), *inputs()]).encode()).hexdigest()[:16]
    folder = cache_folder() / "images"
    folder.mkdir(parents=True, exist_ok=True)
    made = folder / f"{name}-{key}.tar"
    with open(folder / f"{name}.lock", "wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            with tempfile.TemporaryDirectory(prefix="mlplatform-test-image-") as scratch:
                tree, settings = make(Path(scratch))
                layout = Layout(Path(scratch) / "layout")
                layer = write_layer(tree, layout, 0, f"tests/support/images.py {name}")
                layout.export(write_image(layout, [layer], settings, 0), made, reference(name))
            for old in folder.glob(f"{name}-*.tar"):
                if old != made:
                    old.unlink()
    return made


def reference(name: str) -> str:
    return f"localhost/mlplatform-test/{name}:1"


# ------------------------------------------------------------------ the images
def pause(scratch: Path) -> tuple[Tree, Settings]:
    """What the kubelet's sandboxes hold."""
    tree = Tree()
    tree.file("pause", compiled("pause.c", scratch / "pause", "cc", "-static"), executable=True)
    return tree, Settings(entrypoint=("/pause",), user="65535:65535")


def static(scratch: Path) -> tuple[Tree, Settings]:
    """One static program and nothing else: no shell, no C library, no Python, no /tmp."""
    tree = Tree()
    tree.file("app", compiled("app.c", scratch / "app", "cc", "-static"), executable=True)
    return tree, Settings(entrypoint=("/app",), environment={"APP_HOME": "/data"})


def musl(scratch: Path) -> tuple[Tree, Settings]:
    """As Alpine is: musl's loader, programs linked to it, busybox for everything else; root by default."""
    tree = Tree()
    tree.file("usr/bin/app", compiled("app.c", scratch / "app", "musl-gcc"), executable=True)
    tree.file("lib/ld-musl-x86_64.so.1", Path("/lib/ld-musl-x86_64.so.1").resolve(), executable=True)
    _busybox(tree)
    return tree, Settings(command=("/bin/sh",), environment={"PATH": PATH})


def busybox(scratch: Path) -> tuple[Tree, Settings]:
    """A shell and its tools, and no Python."""
    tree = Tree()
    _busybox(tree)
    return tree, Settings(command=("/bin/sh",), environment={"PATH": PATH})


def bullseye(scratch: Path) -> tuple[Tree, Settings]:
    """Debian 11 with its Python 3.9."""
    return _debian("bullseye", scratch)


def python311(scratch: Path) -> tuple[Tree, Settings]:
    """Debian 12 with its Python 3.11, where pip may install (as in the image python:3.11)."""
    return _debian("bookworm", scratch)


def mpi(scratch: Path) -> tuple[Tree, Settings]:
    """Debian 12 with Open MPI, an SSH server and a user for whom pods run."""
    return _debian("bookworm", scratch, _MPI, "mpi:x:1000:1000::/tmp:/bin/sh\n")


def _none() -> list[str]:
    return []


def _source(*names: str) -> Callable[[], list[str]]:
    return lambda: [(NATIVE / name).read_text() for name in names]


IMAGES: dict[str, tuple[Callable[[Path], tuple[Tree, Settings]], Callable[[], list[str]]]] = {
    "pause": (pause, _source("pause.c")),
    "static": (static, _source("app.c")),
    "musl": (musl, _source("app.c")),
    "busybox": (busybox, _none),
    "bullseye": (bullseye, lambda: [_PYTHON]),
    "python311": (python311, lambda: [_PYTHON]),
    "mpi": (mpi, lambda: [_MPI]),
}


# ------------------------------------------------------------------ what they are made of
def compiled(source: str, to: Path, compiler: str, *options: str) -> Path:
    command = [compiler, "-Os", "-s", *options, "-o", str(to), str(NATIVE / source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return to


def _busybox(tree: Tree) -> None:
    binary = shutil.which("busybox")
    assert binary, "busybox is not installed (Debian: busybox-static)"
    tree.file("bin/busybox", Path(binary), executable=True)
    applets = subprocess.run([binary, "--list"], capture_output=True, text=True, check=True).stdout.split()
    for applet in applets:
        if applet != "busybox":
            tree.symlink(f"bin/{applet}", "busybox")
    tree.folder("tmp", 0o1777)
    tree.file("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n")


def _debian(suite: str, scratch: Path, packages: str = _PYTHON, user: str = "") -> tuple[Tree, Settings]:
    """``user``: a line of /etc/passwd."""
    if os.geteuid() != 0:
        pytest.skip("debootstrap makes a Debian for root only")
    root = scratch / "root"
    with _shared("debootstrap"):  # it mounts, and two at once on two cores are no quicker
        command = ["debootstrap", "--variant=minbase", f"--include={packages}", suite, str(root), debian_mirror()]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr)[-2000:]
    for unwanted in ("var/cache/apt", "var/lib/apt/lists", "var/log", "usr/share/doc", "usr/share/man", "proc", "sys"):
        shutil.rmtree(root / unwanted, ignore_errors=True)
        (root / unwanted).mkdir(parents=True, exist_ok=True)
    for file in (root / "usr/lib").glob("python3*/EXTERNALLY-MANAGED"):
        file.unlink()
    (root / "usr/local/bin/python").symlink_to("/usr/bin/python3")
    with open(root / "etc/passwd", "a", encoding="ascii") as file:
        file.write(user)
    tree = Tree()
    tree.add(root, "", lambda path: not path.startswith("dev/"), exact=True)
    return tree, Settings(command=("python3",), environment={"PATH": PATH, "LANG": "C.UTF-8"})


def debian_mirror() -> str:
    """Where this machine's apt gets Debian from."""
    command = ["apt-get", "indextargets", "--format", "$(SITE)", "Created-By: Packages"]
    sites = subprocess.run(command, capture_output=True, text=True, check=False).stdout.split()
    found = [site for site in sites if site.rstrip("/").endswith("/debian")]
    assert found, "apt on this machine knows no archive of Debian"
    return found[0]


@contextlib.contextmanager
def _shared(name: str) -> Generator[None]:
    folder = cache_folder() / "images"
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / f"{name}.lock", "wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def main(arguments: list[str]) -> None:
    folder = Path(arguments[0])
    folder.mkdir(parents=True, exist_ok=True)
    for name in arguments[1:] or IMAGES:
        made = archive(name)
        shutil.copyfile(made, folder / f"{name}.tar")
        print(f"{reference(name)}  {made.stat().st_size / 1e6:.1f} MB  {folder / name}.tar", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
