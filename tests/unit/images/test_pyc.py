from __future__ import annotations

import importlib.util
import marshal
import random
import sys
from pathlib import Path

import pytest

from mlplatform.core.errors import EnvironmentFailed
from mlplatform.images.interpreter import Interpreter
from mlplatform.images.pyc import compile_tree
from mlplatform.images.tree import Tree

SOURCES = {
    "a.py": "A = {'b', 'a'} if 'x' in {'x', 'y'} else None\nclass A:\n    'doc'\n    def f(self): return 'shared'\n",
    "b.py": "import os\ndef g(shared='shared'):\n    return os.sep in {'/', '\\\\', 'shared'}\n",
    "sub/c.py": "A = 1\n",
    "bad.py": "print 'python 2'\n",
    "template.txt": "no python",
}


@pytest.fixture(scope="module")
def python() -> Interpreter:
    return Interpreter.of(sys.executable)


def tree(names: list[str]) -> Tree:
    found = Tree()
    for name in names:
        found.file(f"lib/{name}", SOURCES[name].encode())
    return found


def test_compiled_files_are_found_and_never_checked_against_their_source(python: Interpreter, tmp_path: Path) -> None:
    found = tree(list(SOURCES))
    compile_tree(found, python, tmp_path, under="lib/", root="/mlplatform")
    tag = python.cache_tag
    made = [path for path, _ in found.entries() if path.endswith(".pyc")]
    assert made == [f"lib/__pycache__/a.{tag}.pyc", f"lib/__pycache__/b.{tag}.pyc", f"lib/sub/__pycache__/c.{tag}.pyc"]
    source = found[made[0]].source
    assert isinstance(source, Path)
    data = source.read_bytes()
    assert data[:4] == importlib.util.MAGIC_NUMBER
    assert int.from_bytes(data[4:8], "little") == 0b01
    assert data[8:16] == importlib.util.source_hash(SOURCES["a.py"].encode())
    assert marshal.loads(data[16:]).co_filename == "/mlplatform/lib/a.py"


def test_they_do_not_depend_on_what_else_is_compiled_or_in_which_order(python: Interpreter, tmp_path: Path) -> None:
    def contents(folder: str, batches: list[list[str]]) -> dict[str, bytes]:
        made: dict[str, bytes] = {}
        for batch in batches:
            found = tree(batch)
            compile_tree(found, python, tmp_path / folder)
            for path, entry in found.entries():
                if path.endswith(".pyc") and isinstance(entry.source, Path):
                    made[path] = entry.source.read_bytes()
        return made

    names = list(SOURCES)
    random.Random(1).shuffle(names)
    assert contents("one", [list(SOURCES)]) == contents("two", [[name] for name in names])


def test_they_may_stand_in_the_place_of_their_source(python: Interpreter, tmp_path: Path) -> None:
    found = tree(["a.py", "bad.py"])
    compile_tree(found, python, tmp_path, sourceless=True)
    assert [path for path, _ in found.entries()] == ["lib", "lib/a.pyc", "lib/bad.py"]


def test_an_interpreter_that_does_not_run_is_told(python: Interpreter, tmp_path: Path) -> None:
    import dataclasses

    broken = dataclasses.replace(python, executable="/bin/false")
    with pytest.raises(EnvironmentFailed, match="could not compile"):
        compile_tree(tree(["a.py"]), broken, tmp_path)
    with pytest.raises(EnvironmentFailed, match="cannot be asked"):
        Interpreter.of("/bin/false")
