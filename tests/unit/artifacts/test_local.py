"""Local artifacts: whole or not at all."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from mlplatform.artifacts import Artifacts, local
from mlplatform.artifacts.local import Method
from mlplatform.core.errors import ArtifactError, Unsupported


@pytest.fixture
def store() -> Artifacts:
    return Artifacts()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "source"
    (root / "sub" / "empty").mkdir(parents=True)
    (root / "a.txt").write_text("a")
    (root / "sub" / "run.sh").write_text("#!/bin/sh\n")
    (root / "sub" / "run.sh").chmod(0o755)
    (root / "inside").symlink_to("a.txt")
    (root / "nowhere").symlink_to("not-there")
    return root


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


# ------------------------------------------------------------------ URIs
@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("/a/b c", "/a/b c"),
        ("rel/x", "rel/x"),
        ("file:///a/b", "/a/b"),
        ("file://localhost/a/b", "/a/b"),
        ("FILE:///a%20b", "/a b"),
        ("/a%20b", "/a%20b"),
        ("file:///a?b#c", "/a?b#c"),
    ],
)
def test_local_uris(store: Artifacts, uri: str, path: str) -> None:
    assert store.is_local(uri)
    assert store.local_path(uri) == Path(path)


def test_a_file_whose_name_has_percent_signs_is_found(store: Artifacts, tmp_path: Path) -> None:
    (tmp_path / "100%20").write_text("x")
    assert store.local_path(f"file://{tmp_path}/100%20") == tmp_path / "100%20"


@pytest.mark.parametrize("uri", ["", "file://", "file://host/a", "s3://b/k", "file:///a\0b"])
def test_no_local_paths(store: Artifacts, uri: str) -> None:
    with pytest.raises(ArtifactError):
        store.local_path(uri)


@pytest.mark.parametrize("uri", ["oci://models.example/a:1", "hdfs://x/y", "nothing://x/y"])
def test_schemes_without_a_store_say_what_to_do(store: Artifacts, uri: str, tmp_path: Path) -> None:
    assert not store.is_local(uri)
    for call in (
        lambda: store.fetch(uri, tmp_path / "x"),
        lambda: store.put(tmp_path, uri),
        lambda: store.digest(uri),
        lambda: store.exists(uri),
        lambda: store.remove(uri),
    ):
        with pytest.raises(Unsupported) as caught:
            call()
        assert caught.value.hint
    assert not (tmp_path / "x").exists()


# ------------------------------------------------------------------ copies
@pytest.mark.parametrize("method", ["reflink", "copy", "hardlink"])
def test_a_tree_there_and_back(tree: Path, tmp_path: Path, method: Method) -> None:
    store = Artifacts(local_copies=method)
    target = tmp_path / "deep" / "er" / "target"
    store.put(tree, f"file://{target}")
    assert store.digest(str(target)) == store.digest(str(tree))
    assert names(target) == {"a.txt", "sub", "inside", "nowhere"}
    assert not (target / "inside").is_symlink()
    assert (target / "sub" / "run.sh").stat().st_mode & stat.S_IXUSR
    back = store.fetch(str(target), tmp_path / "back")
    assert store.digest(str(back)) == store.digest(str(tree))
    assert names(target.parent) == {"target"}
    same = (target / "a.txt").stat().st_ino == (tree / "a.txt").stat().st_ino
    assert same == (method == "hardlink")
    assert (back / "a.txt").stat().st_ino != (target / "a.txt").stat().st_ino


def test_a_file_replaces_a_file_a_folder_and_the_other_way_round(store: Artifacts, tree: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    for source in (tree / "a.txt", tree, tree, tree / "sub" / "run.sh", tree / "a.txt"):
        store.put(source, str(target))
        assert store.digest(str(target)) == store.digest(str(source))
    assert names(tmp_path) == {"source", "target"}


def test_put_onto_itself_changes_nothing(store: Artifacts, tree: Path) -> None:
    before = store.digest(str(tree))
    store.put(tree, f"file://{tree}")
    assert store.digest(str(tree)) == before


def test_a_name_of_255_bytes(store: Artifacts, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    long = tmp_path / ("ü" * 127)
    store.put(tmp_path / "a", str(long))
    assert long.read_text() == "x"


@pytest.mark.parametrize("target", ["../secret", "/etc/passwd"])
def test_links_out_of_the_tree_are_refused(store: Artifacts, tree: Path, tmp_path: Path, target: str) -> None:
    (tmp_path / "secret").write_text("s")
    (tree / "sub" / "out").symlink_to(target if target[0] == "/" else "../" + target)
    with pytest.raises(ArtifactError, match=r"sub/out leads out of the folder"):
        store.put(tree, str(tmp_path / "target"))
    assert names(tmp_path) == {"source", "secret"}


def test_every_entry_that_is_no_file_is_named(store: Artifacts, tree: Path, tmp_path: Path) -> None:
    os.mkfifo(tree / "pipe-1")
    os.mkfifo(tree / "sub" / "pipe-2")
    with pytest.raises(
        ArtifactError, match=r"pipe-1 is no file.*pipe-2 is no file|pipe-2 is no file.*pipe-1 is no file"
    ):
        store.put(tree, str(tmp_path / "target"))
    with pytest.raises(ArtifactError, match="no file and no folder"):
        store.put(tree / "pipe-1", str(tmp_path / "target"))


def test_what_is_not_there(store: Artifacts, tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    assert not store.exists(str(missing))
    store.remove(str(missing))
    for call in (lambda: store.fetch(str(missing), tmp_path / "x"), lambda: store.digest(str(missing))):
        with pytest.raises(ArtifactError, match="does not exist"):
            call()
    with pytest.raises(ArtifactError, match="does not exist"):
        store.put(missing, str(tmp_path / "x"))
    assert names(tmp_path) == set()


def test_remove(store: Artifacts, tree: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tree)
    store.remove(str(tmp_path / "link"))
    assert tree.is_dir()
    store.remove(f"file://{tree}")
    assert names(tmp_path) == set()
    with pytest.raises(ArtifactError, match="root of a file system"):
        store.remove("/")


def test_a_failed_rename_leaves_the_old_tree(
    store: Artifacts, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "target"
    store.put(tree / "sub", str(target))
    before = store.digest(str(target))
    real = os.rename

    def rename(source: str | Path, to: str | Path) -> None:
        if str(source).endswith(".partial"):
            raise OSError(5, "Input/output error")
        real(source, to)

    monkeypatch.setattr(local.os, "rename", rename)
    with pytest.raises(ArtifactError, match="Input/output error"):
        store.put(tree, str(target))
    assert store.digest(str(target)) == before
    assert names(tmp_path) == {"source", "target"}


AS_NOBODY = """
import os, sys, fcntl
from pathlib import Path
from mlplatform.artifacts import Artifacts
from mlplatform.core.errors import ArtifactError

if os.getuid() == 0:  # root is refused nothing
    os.setgid(65534)
    os.setuid(65534)
for call in (lambda: Artifacts().digest("a"), lambda: Artifacts().put(Path("b"), "closed/b")):
    try:
        call()
    except ArtifactError as error:
        print(error)
"""


def test_no_permission_is_said(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    for name in ("a", "b"):
        (tmp_path / name).write_text("x")
    (tmp_path / "a").chmod(0)
    (tmp_path / "closed").mkdir(mode=0o500)
    ran = subprocess.run([sys.executable, "-c", AS_NOBODY], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert ran.stdout.count("permission denied") == 2, ran.stdout + ran.stderr
    assert ran.stdout.count("Check who owns") == 2


ON_SMALL_DISK = """
import os, subprocess, sys
from pathlib import Path
disk, tree, small = Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(disk)], check=True)
from mlplatform.artifacts import Artifacts
from mlplatform.core.errors import ArtifactError
store = Artifacts()
store.put(small, str(disk / "target"))
for call in (lambda: store.put(tree, str(disk / "target")), lambda: store.fetch(str(tree), disk / "target")):
    try:
        call()
    except ArtifactError as error:
        print(error)
assert [path.name for path in disk.iterdir()] == ["target"], list(disk.iterdir())
assert store.digest(str(disk / "target")) == store.digest(str(small))
"""


@pytest.mark.cannot_run_here("mounting a small disk takes user namespaces, which a machine may forbid")
def test_a_full_disk_leaves_what_was_there(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tree / "sub" / "large").write_bytes(os.urandom(400_000))
    command = ["unshare", "--user", "--map-root-user", "--mount"]
    try:
        probe = [*command, "mount", "-t", "tmpfs", "x", str(tmp_path / "disk")]
        subprocess.run(probe, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no mount namespace here: {error}")
    command += [sys.executable, "-c", ON_SMALL_DISK, str(tmp_path / "disk"), str(tree), str(tree / "a.txt")]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.count("the disk is full") == 2, ran.stdout
    assert ran.stdout.count("Free some space") == 2
