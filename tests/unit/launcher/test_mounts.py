"""Folders at absolute paths, really mounted: as this user and, where this is root, as somebody without rights."""

from __future__ import annotations

import codecs
import ctypes
import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mlplatform.launcher import mounts

pytestmark = [
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="mount namespaces are Linux's"),
    pytest.mark.cannot_run_here("mount namespaces are Linux's"),
]
NOBODY = 65534
USERS = [None, 1234, NOBODY] if os.getuid() == 0 else [None]


@pytest.fixture
def place() -> Path:
    """A folder that other users reach too (pytest's own is private)."""
    path = Path(tempfile.mkdtemp(prefix="mounts-"))
    path.chmod(0o777)
    return path


def in_child(place: Path, user: int | None, body: Callable[[], Any]) -> Any:
    """What ``body`` gives in a forked process of its own; its error as text."""
    scratch = place / "scratch"
    scratch.mkdir(exist_ok=True)
    scratch.chmod(0o777)
    codecs.lookup("ascii")  # the child may not reach this interpreter's files any more
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(read)
        try:
            if user is not None:
                os.setgroups([])
                os.setresgid(user, user, user)
                os.setresuid(user, user, user)
                ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # as after an exec: /proc/self is the user's
            os.environ["TMPDIR"] = str(scratch)
            os.chdir(scratch)
            told = {"value": body()}
        except BaseException as error:  # the child must not run on as a second pytest
            told = {"error": f"{type(error).__name__}: {error}"}
        with os.fdopen(write, "w") as pipe:
            json.dump(told, pipe)
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        told = json.load(pipe)
    os.waitpid(pid, 0)
    assert "error" not in told, told["error"]
    return told["value"]


def table() -> list[str]:
    """The mount table without what other processes of the machine do meanwhile."""
    return [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if "mounts-" in line]


def missing() -> str:
    return f"/mlplatform-test-{os.getpid()}"


def source(place: Path) -> Path:
    folder = place / "claim"
    folder.mkdir()
    folder.chmod(0o777)
    (folder / "old.txt").write_text("kept")
    return folder


@pytest.mark.parametrize("user", USERS)
def test_a_folder_appears_at_a_path_that_does_not_exist(place: Path, user: int | None) -> None:
    claim, before = source(place), os.listdir("/")
    target = missing() + "/data"

    def body() -> list[Any]:
        mounts.apply([{"target": target, "source": str(claim), "read_only": False}])
        Path(target, "new.txt").write_text("made inside")
        child = os.popen(f"cat {target}/old.txt").read()  # children see it too
        return [Path(target, "old.txt").read_text(), child, os.getcwd(), os.getuid()]

    assert in_child(place, user, body) == [
        "kept",
        "kept",
        str(place / "scratch"),
        os.getuid() if user is None else user,
    ]
    assert (claim / "new.txt").read_text() == "made inside"
    assert os.listdir("/") == before
    assert table() == []


@pytest.mark.parametrize("user", USERS)
def test_everything_else_stays_where_it_was(place: Path, user: int | None) -> None:
    before = sorted(name for name in os.listdir("/"))

    def body() -> list[Any]:
        mounts.apply([{"target": missing(), "files": {}, "read_only": True}])
        assert sorted(os.listdir("/")) == sorted([*before, missing()[1:]])
        assert os.readlink("/proc/self") == str(os.getpid())
        Path(os.environ["TMPDIR"], "written").write_text("x")
        return [os.path.samefile("/usr", "/usr/."), os.path.isdir("/proc/1"), os.path.exists("/dev/null")]

    assert in_child(place, user, body) == [True, True, True]
    assert (place / "scratch" / "written").read_text() == "x"


@pytest.mark.parametrize("user", USERS)
def test_files_in_memory_are_read_only_and_nowhere_on_disk(place: Path, user: int | None) -> None:
    target = "/mnt/" + missing()[1:]

    def body() -> list[Any]:
        mounts.apply([{"target": target, "files": {"password": "s3cret é\n"}, "read_only": True}])
        try:
            Path(target, "more").write_text("no")
        except OSError as error:
            return [Path(target, "password").read_text(encoding="utf-8"), error.strerror]
        return ["it was writable"]

    assert in_child(place, user, body) == ["s3cret é\n", "Read-only file system"]
    assert "s3cret" not in "".join(path.read_text() for path in place.rglob("*") if path.is_file())
    assert not Path(target).exists()


@pytest.mark.parametrize("user", USERS)
def test_an_existing_folder_and_a_single_file_are_covered(place: Path, user: int | None) -> None:
    claim = source(place)

    def body() -> list[Any]:
        mounts.apply(
            [
                {"target": "/usr/share", "source": str(claim), "read_only": True},
                {"target": "/etc/hostname", "source": str(claim / "old.txt"), "read_only": True},
            ]
        )
        return [os.listdir("/usr/share"), Path("/etc/hostname").read_text()]

    assert in_child(place, user, body) == [["old.txt"], "kept"]
    assert "doc" in os.listdir("/usr/share")


@pytest.mark.parametrize("user", USERS)
def test_fresh_volumes_even_over_the_temporary_folder(place: Path, user: int | None) -> None:
    claim = source(place)

    def body() -> list[Any]:
        mounts.apply(
            [
                {"target": tempfile.gettempdir(), "volume": "tmp", "read_only": False},
                {"target": missing() + "/a", "volume": "shared", "read_only": False},
                {"target": missing() + "/b", "volume": "shared", "read_only": False},
                {"target": missing() + "/claim", "source": str(claim), "read_only": False},
                {"target": missing() + "/memory", "volume": "m", "memory": True, "size": 1 << 16, "read_only": False},
            ]
        )
        Path(missing(), "a", "x").write_text("seen twice")
        try:
            Path(missing(), "memory", "big").write_bytes(bytes(1 << 17))
            full = ""
        except OSError as error:
            full = error.strerror
        scratch = os.environ["TMPDIR"]
        Path(scratch, "result").write_text("still reachable")
        inside = [Path(missing(), "b", "x").read_text(), Path(missing(), "claim", "old.txt").read_text(), full]
        return [*inside, [name for name in os.listdir(tempfile.gettempdir()) if name.startswith("pytest")]]

    assert in_child(place, user, body) == ["seen twice", "kept", "No space left on device", []]
    assert (place / "scratch" / "result").read_text() == "still reachable"


@pytest.mark.parametrize("user", [user for user in USERS if user])
def test_nobody_gains_rights(place: Path, user: int) -> None:
    def body() -> list[str]:
        mounts.apply([{"target": missing(), "files": {}, "read_only": True}])
        lines = Path("/proc/self/status").read_text().splitlines()
        return [line.split()[1] for line in lines if line.startswith(("CapEff", "CapPrm"))]

    assert in_child(place, user, body) == ["0" * 16, "0" * 16]


@pytest.mark.parametrize(
    ("mount", "words"),
    [
        ({"target": "/proc", "files": {}}, "nothing can be mounted at '/proc'"),
        ({"target": "relative", "files": {}}, "nothing can be mounted at 'relative'"),
        ({"target": "/x", "source": "/no/such/folder"}, "/no/such/folder, which belongs at /x, is not there"),
        ({"target": "/etc/hostname/x", "files": {}}, "/etc/hostname is no folder"),
        ({"target": "/etc/hostname", "files": {}}, "/etc/hostname is a file; what belongs there is a folder"),
        ({"target": "/tmp", "source": "/usr"}, "would hide the task's own folder"),
    ],
)
def test_what_cannot_be_says_so(place: Path, mount: dict[str, Any], words: str) -> None:
    def body() -> str:
        try:
            mounts.apply([{"read_only": False, **mount}])
        except mounts.MountError as error:
            return str(error)
        return "it was mounted"

    assert words in in_child(place, None, body)


def test_nothing_to_mount_is_no_namespace() -> None:
    before = os.readlink("/proc/self/ns/mnt")
    mounts.apply([])
    assert os.readlink("/proc/self/ns/mnt") == before


def test_elsewhere_containers_are_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mounts.sys, "platform", "darwin")
    with pytest.raises(mounts.MountError, match=r"needs Linux.*--containers docker"):
        mounts.apply([{"target": "/data", "source": "/usr", "read_only": True}])


def test_a_kernel_that_forbids_it_is_told_with_a_way_out(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Forbidding:
        def unshare(self, _flags: int) -> int:
            ctypes.set_errno(1)
            return -1

    monkeypatch.setattr(mounts.ctypes, "CDLL", lambda *_a, **_k: Forbidding())
    monkeypatch.setenv("TMPDIR", str(place))
    with pytest.raises(mounts.MountError) as caught:
        mounts.apply([{"target": missing(), "files": {}, "read_only": True}])
    assert "the kernel gives this process no namespace of its own: Operation not permitted" in str(caught.value)
    assert "--containers docker" in str(caught.value)
