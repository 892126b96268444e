"""Kueue's manager, built once a machine from its Go module and kept like the cluster's programs.

That takes some five minutes on two cores. .ci/run does it in the background after Kubernetes, and tests wait for one
that is being built; elsewhere it is built on request: ``MLPLATFORM_TEST_KUEUE=1``, or

    python -m tests.cluster.kueue_program      build it and print where it is
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.cluster.binaries import CannotBuild
from tests.cluster.network import CannotRun
from tests.support.golang import cache_folder, find_go
from tests.support.locks import taken

VERSION = "v0.19.2"
MODULE = "sigs.k8s.io/kueue"
#: Seconds that a test waits for a build that is going on.
PATIENCE = 1200.0


def program() -> Path:
    """Kueue's manager. Raises CannotRun where it is not built and may not be, CannotBuild."""
    asked = os.environ.get("MLPLATFORM_TEST_KUEUE") == "1" or os.environ.get("CI", "").lower() in ("1", "true", "yes")
    return build(asked=asked)


def build(*, asked: bool = True) -> Path:
    """The same, built if it is not there; one process at a time a machine. ``asked``: whether it may be."""
    found = cache_folder() / "controlplane" / f"kueue-{VERSION}-{platform.machine()}" / "kueue"
    if found.exists():
        return found
    found.parent.mkdir(parents=True, exist_ok=True)
    with open(found.parent / "lock", "a") as lock:
        if not taken(lock, PATIENCE):
            raise CannotRun(f"Kueue {VERSION} is still being built after {PATIENCE:g} s")
        if not found.exists():
            if not asked:
                words = "python -m tests.cluster.kueue_program does, in five minutes"
                raise CannotRun(f"Kueue {VERSION} is not built on this machine yet: {words}")
            _build(found)
    return found


def go() -> str:
    """Raises CannotBuild."""
    found = find_go()
    if found is None:
        raise CannotBuild("needs Go 1.26 to build Kueue (https://go.dev/dl; an older Go fetches it by itself)")
    return found


def _build(place: Path) -> None:
    print(f"building Kueue {VERSION} (once a machine; minutes)", file=sys.stderr, flush=True)
    nice = ["nice", "-n", "15"] if shutil.which("nice") else []
    with tempfile.TemporaryDirectory(dir=place.parent) as out:
        env = {
            **os.environ,
            "CGO_ENABLED": "0",
            "GOTOOLCHAIN": "auto",
            "GOBIN": out,
            "GOFLAGS": "-trimpath -buildvcs=false",
        }
        words = [go(), "install", "-tags", "netgo,osusergo", "-ldflags", "-s -w", f"{MODULE}/cmd/kueue@{VERSION}"]
        done = subprocess.run(
            [*nice, *words], cwd="/", env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise CannotBuild(f"{' '.join(words)} failed:\n{done.stderr[-4000:]}")
        os.replace(Path(out) / "kueue", place)


if __name__ == "__main__":
    try:
        print(build())
    except (CannotBuild, CannotRun) as error:
        sys.exit(str(error))
