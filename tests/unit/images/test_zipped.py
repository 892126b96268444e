"""Modules in one file: the same in every build, importable, and no folder left behind."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from mlplatform.images.tree import Tree
from mlplatform.images.zipped import drop_empty_folders, zip_compiled, zip_modules


def test_modules_move_into_a_zip_that_python_imports_from(tmp_path: Path) -> None:
    def made() -> Tree:
        tree = Tree()
        tree.file("lib/pack/b.py", b"word = 'from the zip'\n")
        tree.file("lib/pack/__init__.py", b"")
        tree.file("lib/pack/data.json", b"{}")
        tree.file("lib/os.py", b"")
        tree.folder("lib/pack/nothing")
        zip_modules(tree, "lib", "all.zip", lambda path: path.endswith(".py") and path != "os.py")
        return tree

    tree = made()
    assert [path for path, _ in tree.entries()] == ["all.zip", "lib", "lib/os.py", "lib/pack", "lib/pack/data.json"]
    assert tree.digest() == made().digest()
    content = tree["all.zip"].source
    assert isinstance(content, bytes)
    (tmp_path / "all.zip").write_bytes(content)
    code = f"import sys; sys.path.insert(0, {str(tmp_path / 'all.zip')!r}); import pack.b; print(pack.b.word)"
    assert subprocess.check_output([sys.executable, "-I", "-c", code], text=True).strip() == "from the zip"


def test_what_is_compiled_beside_its_source_is_also_in_a_zip(tmp_path: Path) -> None:
    tree = Tree()
    tree.file("lib/pack/a.py", b"x = 1\n")
    tree.file("lib/pack/__pycache__/a.cpython-311.pyc", b"compiled")
    tree.file("lib/pack/deeper/__pycache__/b.cpython-311.pyc", b"compiled")
    zip_compiled(tree, "lib", "own.zip")
    content = tree["own.zip"].source
    assert isinstance(content, bytes)
    (tmp_path / "own.zip").write_bytes(content)
    listed = subprocess.check_output([sys.executable, "-m", "zipfile", "-l", str(tmp_path / "own.zip")], text=True)
    assert [line.split()[0] for line in listed.splitlines()[1:]] == ["pack/a.pyc", "pack/deeper/b.pyc"]
    assert "lib/pack/a.py" in tree


def test_folders_of_links_stay_and_empty_ones_go() -> None:
    tree = Tree()
    tree.folder("data/aws/nothing")
    tree.symlink("bin/python", "launcher")
    drop_empty_folders(tree)
    assert [path for path, _ in tree.entries()] == ["bin", "bin/python"]
