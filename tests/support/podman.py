"""A real Podman for tests, on machines where its defaults do not work (a container without systemd, crun too new for
the kernel), and an image made here: no registry is needed.

Debian and Ubuntu: ``apt-get install podman runc uidmap busybox-static``.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

#: Commands of the image, all of them busybox.
_WORDS = "sh echo cat ls mkdir sleep id env touch printf test dd tail true false head wc kill seq dirname rm sort"
_COMMANDS = tuple(_WORDS.split())
_CONF = """[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
netns = "host"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
"""


@dataclass(frozen=True)
class Podman:
    """``env``: what the client needs beyond the environment; ``image``: a busybox."""

    env: dict[str, str]
    image: str

    def run(self, *words: str) -> str:
        """What ``podman WORDS`` prints. Raises CalledProcessError."""
        env = {**os.environ, **self.env}
        return subprocess.run(["podman", *words], env=env, check=True, capture_output=True, text=True).stdout

    def names(self) -> list[str]:
        """Containers of ours that are there, running or not."""
        listed = self.run("ps", "--all", "--filter", "name=mlplatform-", "--format", "{{.Names}}")
        return listed.split()


@lru_cache(maxsize=1)
def podman() -> Podman:
    """The Podman of this machine with the image in place. Raises RuntimeError with what is missing."""
    if shutil.which("podman") is None:
        raise RuntimeError("podman is not installed (apt-get install podman runc uidmap)")
    folder = Path(tempfile.mkdtemp(prefix="mlplatform-podman-"))
    conf = folder / "containers.conf"
    runtime = 'runtime = "runc"\n' if shutil.which("runc") or Path("/usr/sbin/runc").exists() else ""
    conf.write_text(_CONF + runtime)
    found = Podman({"CONTAINERS_CONF": str(conf)}, "")
    busybox = static_busybox(folder)
    image = (
        "localhost/mlplatform-test:" + hashlib.sha256(busybox.read_bytes() + str(_COMMANDS).encode()).hexdigest()[:12]
    )
    try:
        found.run("image", "exists", image)
    except subprocess.CalledProcessError:
        found.run("import", str(_archive(busybox, folder)), image)
    return Podman(found.env, image)


def static_busybox(folder: Path) -> Path:
    """A statically linked busybox: the machine's, or Debian's package without installing it."""
    for place in ("/bin/busybox", "/usr/bin/busybox"):
        if Path(place).exists() and not _dynamic(Path(place)):
            return Path(place)
    if shutil.which("apt-get") is None:
        raise RuntimeError("no static busybox here (apt-get install busybox-static)")
    subprocess.run(["apt-get", "download", "busybox-static"], cwd=folder, check=True, capture_output=True)
    package = next(folder.glob("busybox-static_*.deb"))
    subprocess.run(["dpkg-deb", "-x", str(package), str(folder / "deb")], check=True)
    return next(path for path in folder.glob("deb/**/busybox") if path.is_file())


def _dynamic(binary: Path) -> bool:
    """Whether the program asks for a loader (an ELF interpreter)."""
    return b"/ld-linux" in binary.read_bytes()[:4096] or b"/ld-musl" in binary.read_bytes()[:4096]


def _archive(busybox: Path, folder: Path) -> Path:
    archive = folder / "image.tar"
    with tarfile.open(archive, "w") as tar:
        for name in ("bin", "tmp", "etc"):
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if name == "tmp" else 0o755
            tar.addfile(entry)
        program = tarfile.TarInfo("bin/busybox")
        program.size, program.mode = busybox.stat().st_size, 0o755
        with busybox.open("rb") as file:
            tar.addfile(program, file)
        for command in _COMMANDS:
            entry = tarfile.TarInfo(f"bin/{command}")
            entry.type, entry.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(entry)
    return archive
