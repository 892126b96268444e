"""Programs in a root folder of their own, as containers have it, without an engine."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from mlplatform.images.layout import Layout
from mlplatform.images.model import Descriptor

#: The environment comes last, since some of it would reach every program on the way.
_ENTER = (
    "import json, os, sys, warnings; os.chroot(sys.argv[1]); os.chdir('/'); "
    "os.execvpe(sys.argv[3], sys.argv[3:], json.loads(sys.argv[2]))"
)


def unpack(layout: Layout, image: Descriptor, root: Path) -> Path:
    """The files of an image, its layers one over the other."""
    root.mkdir(parents=True, exist_ok=True)
    for blob in layout.manifest(image).layers:
        with gzip.open(layout.path(blob.digest)) as plain, tarfile.open(fileobj=plain, mode="r|") as tar:
            tar.extractall(root, filter=lambda member, _: member)
    return root


def inside(
    root: Path, *command: str, env: Mapping[str, str] | None = None, check: bool = True
) -> subprocess.CompletedProcess[str]:
    """Run a command with ``root`` as its root folder and nothing but ``env`` as its environment. Skips where this
    user may not do that."""
    path = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
    words = [sys.executable, "-I", "-S", "-c", _ENTER, str(root), json.dumps({**path, **(env or {})}), *command]
    if os.geteuid() != 0:
        unshare = [shutil.which("unshare") or "unshare", "--user", "--map-root-user"]
        if (
            not shutil.which("unshare")
            or subprocess.run([*unshare, "true"], capture_output=True, check=False).returncode
        ):
            pytest.skip("this user may not have a root folder of their own (unprivileged user namespaces are off)")
        words = [*unshare, *words]
    done = subprocess.run(words, env=path, capture_output=True, text=True, timeout=300, check=False)
    assert not check or done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done
