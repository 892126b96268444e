from __future__ import annotations

import os
from pathlib import Path

import pytest

from mlplatform.core.errors import InvalidInput
from mlplatform.images.tree import Tree


def paths(tree: Tree) -> list[str]:
    return [path for path, _ in tree.entries()]


def test_folders_nobody_named_come_before_what_is_in_them() -> None:
    tree = Tree()
    tree.file("/usr/bin/b", b"b")
    tree.file("usr/bin/a", b"a")
    tree.symlink("usr/a-link", "bin/a")
    assert paths(tree) == ["usr", "usr/a-link", "usr/bin", "usr/bin/a", "usr/bin/b"]
    assert tree["usr/bin"].mode == 0o755 if "usr/bin" in tree else True
    assert tree.size() == 2


def test_a_folder_is_taken_in_with_the_usual_modes_whatever_the_umask_was(tmp_path: Path) -> None:
    (tmp_path / "run.sh").write_text("x")
    (tmp_path / "run.sh").chmod(0o700)
    (tmp_path / "data").write_text("x")
    (tmp_path / "data").chmod(0o600)
    (tmp_path / "sub").mkdir(mode=0o700)
    (tmp_path / "sub" / "__pycache__").mkdir()
    (tmp_path / "sub" / "__pycache__" / "x.pyc").write_text("x")
    (tmp_path / "link").symlink_to("data")
    tree = Tree()
    tree.add(tmp_path, "opt", lambda path: path != "nothing")
    assert {path: (oct(entry.mode), entry.link) for path, entry in tree.entries()} == {
        "opt": ("0o755", ""),
        "opt/data": ("0o644", ""),
        "opt/link": ("0o777", "data"),
        "opt/run.sh": ("0o755", ""),
        "opt/sub": ("0o755", ""),
    }


def test_a_root_filesystem_keeps_its_modes(tmp_path: Path) -> None:
    (tmp_path / "tmp").mkdir()
    (tmp_path / "tmp").chmod(0o1777)
    (tmp_path / "su").write_text("x")
    (tmp_path / "su").chmod(0o4755)
    tree = Tree()
    tree.add(tmp_path, "", exact=True)
    assert [(path, oct(entry.mode)) for path, entry in tree.entries()] == [("su", "0o4755"), ("tmp", "0o1777")]


@pytest.mark.parametrize("path", ["../etc/passwd", "a/../../b", "", "/", "a\0b"])
def test_a_path_cannot_leave_the_image(path: str) -> None:
    with pytest.raises(InvalidInput):
        Tree().file(path, b"")


def test_the_digest_tells_content_mode_and_link_apart(tmp_path: Path) -> None:
    def digest(name: str = "a", content: bytes = b"x", executable: bool = False, link: str = "t") -> str:
        tree = Tree()
        tree.file(name, content, executable=executable)
        tree.symlink("link", link)
        return tree.digest()

    assert digest() == digest()
    assert len({digest(), digest("b"), digest(content=b"y"), digest(executable=True), digest(link="u")}) == 5
    file = tmp_path / "a"
    file.write_bytes(b"x")
    os.utime(file, (1, 1))
    tree = Tree()
    tree.file("a", file)
    tree.symlink("link", "t")
    assert tree.digest() == digest()
