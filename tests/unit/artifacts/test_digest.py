"""The digest of a tree, and that the launcher's own copy of the rule says the same."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlplatform.artifacts import digest
from mlplatform.launcher import digest as launcher_digest


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_a_file(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_bytes(b"abc" * 700_000)
    assert digest.digest_path(str(file)) == ("sha256:" + sha(b"abc" * 700_000), 2_100_000)


def test_a_tree_by_hand(tmp_path: Path) -> None:
    (tmp_path / "z").write_bytes(b"1")
    (tmp_path / "a b" / "empty").mkdir(parents=True)
    (tmp_path / "a b" / "ü").write_bytes(b"22")
    (tmp_path / "gone").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe")
    expected = (
        b"mlplatform-tree-1\n"
        + b"d - a b/empty\0"
        + b"f " + sha(b"22").encode() + b" " + "a b/ü".encode() + b"\0"
        + b"l " + sha(b"nowhere").encode() + b" gone\0"
        + b"o - pipe\0"
        + b"f " + sha(b"1").encode() + b" z\0"
    )  # fmt: skip
    assert digest.digest_path(str(tmp_path)) == ("sha256:" + sha(expected), 3)


def test_links_count_as_what_they_lead_to_and_modes_not_at_all(tmp_path: Path) -> None:
    plain, linked = tmp_path / "plain", tmp_path / "linked"
    for root in (plain, linked):
        (root / "data").mkdir(parents=True)
        (root / "data" / "x").write_text("x")
    (plain / "copy").mkdir()
    (plain / "copy" / "x").write_text("x")
    (linked / "copy").symlink_to("data")
    (linked / "data" / "x").chmod(0o700)
    assert digest.digest_path(str(plain)) == digest.digest_path(str(linked))
    (linked / "data" / "x").write_text("y")
    assert digest.digest_path(str(plain)) != digest.digest_path(str(linked))


def test_a_link_in_a_circle_ends(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "up").symlink_to("..")
    before = digest.digest_path(str(tmp_path))
    (tmp_path / "sub" / "up").unlink()
    (tmp_path / "sub" / "up").symlink_to("../../" + tmp_path.name)
    assert digest.digest_path(str(tmp_path)) != before


NAMES = st.binary(min_size=1, max_size=6).filter(lambda name: name not in (b".", b"..") and not set(name) & {0, 47})
TREES = st.recursive(
    st.binary(max_size=20) | st.just("link"), lambda inside: st.dictionaries(NAMES, inside, max_size=4), max_leaves=12
)


def build(path: bytes, tree: object) -> None:
    if isinstance(tree, bytes):
        with open(path, "wb") as file:
            file.write(tree)
    elif isinstance(tree, dict):
        os.mkdir(path)
        for name, inside in tree.items():
            build(os.path.join(path, name), inside)
    else:
        os.symlink(b"../..", path)


@settings(max_examples=60, deadline=None)
@given(tree=st.dictionaries(NAMES, TREES, max_size=4))
def test_the_launcher_agrees(tmp_path_factory: pytest.TempPathFactory, tree: dict[bytes, object]) -> None:
    root = tmp_path_factory.mktemp("tree") / "a" / "root"
    root.parent.mkdir()
    build(os.fsencode(root), tree)
    assert digest.digest_path(str(root)) == launcher_digest.digest_path(str(root))


def test_it_stands_alone() -> None:
    code = "import sys, runpy; runpy.run_path(sys.argv[1]); print(any(m.startswith('mlplatform') for m in sys.modules))"
    command = [sys.executable, "-I", "-c", code, digest.__file__]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == "False"
