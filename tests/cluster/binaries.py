"""The programs of the cluster, built once a machine from the Go module beside this file.

They are kept outside the tree, in ``MLPLATFORM_TEST_CACHE`` (or ``~/.cache/mlplatform-test``), each under the hash of
go.mod, go.sum and its main: every checkout with the same sources shares them. The first build takes some ten minutes on
two cores. ``KUBEBUILDER_ASSETS`` may name a folder that has some of them already.

    python -m tests.cluster.binaries [NAME ...]     build (all of them) and print where they are
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.support.golang import cache_folder, find_go

MODULE = Path(__file__).with_name("controlplane")
COMPONENTS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy", "kubelet")
#: What goes into one run of the compiler: the first group is what an API server needs and is built first.
GROUPS = (("kubernetes", "kine"), ("kubectl", "pause", "probe"), ("kwok",), ("coredns",))
#: Built when asked for by name only.
EXTRAS = ("etcd",)
#: One tag set and cgo for all, so that packages they share compile once; only SQLite really uses C.
_TAGS = "netgo,osusergo"
_VERSION = "k8s.io/component-base/version"
_STAMP = f"-s -w -X {_VERSION}.gitVersion=v1.36.0 -X {_VERSION}.gitMajor=1 -X {_VERSION}.gitMinor=36"


class CannotBuild(RuntimeError):
    """Go or a C compiler is missing, or the build failed; the text says what to do."""


def place(name: str) -> Path:
    """Where a program is, or will be: under the hash of all that decides what comes out."""
    source = "kubernetes" if name in COMPONENTS else name
    digest = hashlib.sha256(f"{platform.machine()} {_TAGS} {_STAMP}".encode())
    for path in sorted([MODULE / "go.mod", MODULE / "go.sum", *MODULE.glob(f"cmd/{source}/*.go")]):
        digest.update(f"\n{path.relative_to(MODULE)}\n".encode() + path.read_bytes())
    return _root() / f"{source}-{digest.hexdigest()[:16]}" / name


def _root() -> Path:
    return cache_folder() / "controlplane"


def program(name: str) -> Path:
    """One program, built if it is not there yet. Raises CannotBuild."""
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    if assets and os.access(Path(assets) / name, os.X_OK):
        return Path(assets) / name
    found = place(name)
    if not found.exists():
        build("kubernetes" if name in COMPONENTS else name)
    return found


def build(*names: str) -> list[Path]:
    """Build what is missing of ``names`` (default: all but the extras), one process at a time a machine."""
    _root().mkdir(parents=True, exist_ok=True)
    groups = [[n for n in group if not names or n in names] for group in (*GROUPS, EXTRAS if names else ())]
    with open(_root() / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for group in groups:
            missing = [name for name in group if not place(name).exists()]
            if missing:
                _compile(missing)
    return [place(name) for group in groups for name in group]


def _compile(names: list[str]) -> None:
    go = find_go()
    if go is None:
        raise CannotBuild("needs Go 1.26 to build Kubernetes (https://go.dev/dl; an older Go fetches it by itself)")
    if shutil.which("cc") is None:
        raise CannotBuild("needs a C compiler to build kine's SQLite (apt-get install gcc libc6-dev)")
    print(f"building {', '.join(names)} (once a machine; minutes)", file=sys.stderr, flush=True)
    env = {**os.environ, "CGO_ENABLED": "1", "GOTOOLCHAIN": "auto"}
    flags = os.environ.get("GOFLAGS", "")
    env["GOFLAGS"] = f"{flags} -mod=readonly -trimpath -buildvcs=false".strip()
    nice = ["nice", "-n", "15"] if shutil.which("nice") else []
    with tempfile.TemporaryDirectory(dir=_root()) as out:
        command = [*nice, go, "build", "-tags", _TAGS, "-ldflags", _STAMP, "-o", f"{out}/"]
        done = subprocess.run(
            [*command, *(f"./cmd/{name}" for name in names)],
            cwd=MODULE, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            raise CannotBuild(f"go build {' '.join(names)} failed:\n{done.stderr[-4000:]}")
        for name in names:
            home = place(name).parent
            home.mkdir(exist_ok=True)
            for component in COMPONENTS if name == "kubernetes" else ():
                if not (home / component).is_symlink():
                    (home / component).symlink_to(name)
            os.replace(Path(out) / name, home / name)


if __name__ == "__main__":
    try:
        print(*build(*sys.argv[1:]), sep="\n")
    except CannotBuild as error:
        sys.exit(str(error))
