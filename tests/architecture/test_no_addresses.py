"""Nothing committed names a package registry's host or a folder of somebody's machine."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

#: Spelled in pieces, so that this file does not name them either. Package names (``pypi-server``) are fine.
REGISTRIES = re.compile(
    r"|".join(
        head + r"\." + tail
        for head, tail in (
            ("py" + "pi", "org"),
            ("python" + "hosted", "org"),
            ("registry", "npm" + "js" + r"\.org"),
            ("registry", "yarn" + r"pkg\.com"),
            ("crates", "io"),
            ("proxy", "golang" + r"\.org"),
            ("conda", "anaconda" + r"\.org"),
            ("deb", "debian" + r"\.org"),
            ("archive", "ubuntu" + r"\.com"),
            ("registry-1", "docker" + r"\.io"),
        )
    )
)
MACHINE_PATHS = re.compile(r"(?<![\w.<{$-])/(?:work/(?:main|shared|cache|\.library)|home/[a-z]\w*/|Users/[A-Za-z]\w*/)")


def texts() -> list[tuple[str, str]]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    found: list[tuple[str, str]] = []
    for name in listed.stdout.decode().split("\0"):
        file = ROOT / name
        if name and file.is_file():
            data = file.read_bytes()
            if b"\0" not in data:
                found.append((name, data.decode("utf-8", "replace")))
    return found


@pytest.mark.parametrize("pattern", [REGISTRIES, MACHINE_PATHS], ids=["registries", "machine paths"])
def test_no_committed_file_names(pattern: re.Pattern[str]) -> None:
    found = [
        f"{name}:{number}: {match.group()}"
        for name, text in texts()
        for number, line in enumerate(text.splitlines(), 1)
        if (match := pattern.search(line))
    ]
    assert not found, "\n".join(found[:40])
