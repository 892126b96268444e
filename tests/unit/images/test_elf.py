from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mlplatform.images import elf
from mlplatform.images.entry import compiled, program

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """A program that finds its library by an absolute path and by one relative to itself."""
    (tmp_path / "answer.c").write_text("int answer(void) { return 42; }\n")
    (tmp_path / "main.c").write_text("int answer(void); int main(void) { return answer(); }\n")
    options = ["-g", "-O0"]
    subprocess.run(
        ["cc", *options, "-shared", "-fPIC", "-o", tmp_path / "libanswer.so", tmp_path / "answer.c"], check=True
    )
    return tmp_path


def link(folder: Path, run_path: str) -> Path:
    made = folder / "main"
    words = ["cc", "-g", "-o", made, folder / "main.c", f"-L{folder}", "-lanswer", f"-Wl,-rpath,{run_path}"]
    subprocess.run(words, check=True)
    return made


def test_what_a_program_needs(library: Path) -> None:
    found = elf.read(link(library, str(library)))
    assert found is not None
    assert found.needed[0] == "libanswer.so"
    assert any(name.startswith("libc.") for name in found.needed)
    assert Path(found.interpreter).exists()
    assert found.architecture in ("amd64", "arm64")


def test_a_portable_program_looks_where_it_is_told_to_only(library: Path) -> None:
    made = link(library, str(library))
    assert subprocess.run([made], check=False).returncode == 42
    found = elf.read(made)
    assert found is not None
    made.write_bytes(elf.portable(found))
    assert subprocess.run([made], capture_output=True, check=False).returncode == 127
    env = {"LD_LIBRARY_PATH": str(library)}
    assert subprocess.run([made], env=env, check=False).returncode == 42
    assert made.stat().st_size < len(found.data)


def test_a_path_relative_to_the_file_stays(library: Path) -> None:
    made = link(library, "$ORIGIN")
    found = elf.read(made)
    assert found is not None
    made.write_bytes(elf.portable(found))
    assert subprocess.run([made], check=False).returncode == 42


def test_what_is_no_program(tmp_path: Path) -> None:
    for data in (b"", b"#!/bin/sh\n", b"\x7fELF\x01\x01" + bytes(80)):
        (tmp_path / "x").write_bytes(data)
        assert elf.read(tmp_path / "x") is None


# ------------------------------------------------------------------ the first program
def _bundle(folder: Path, entry: bytes) -> Path:
    """A bundle whose loader prints what it is called with."""
    for name in ("bin", "lib"):
        (folder / name).mkdir(parents=True)
    (folder / "lib/loader.so").write_text(
        f"#!{sys.executable}\nimport json, os, sys\n"
        "print(json.dumps([sys.argv, {k: v for k, v in os.environ.items() if 'LD_' in k}]))\n"
    )
    (folder / "bin/launcher").write_bytes(entry)
    for file in (folder / "lib/loader.so", folder / "bin/launcher"):
        file.chmod(0o755)
    for name in ("mlplatform", "python"):
        (folder / "bin" / name).symlink_to("launcher")
    return folder


@pytest.mark.parametrize("made", ["kept", "compiled"])
def test_the_first_program_starts_the_loader_of_its_own_folder(tmp_path: Path, made: str) -> None:
    entry = program("amd64") if made == "kept" else compiled("amd64")
    root = _bundle(tmp_path / "bundle", entry)
    start = [str(root / "lib/loader.so"), "--argv0", str(root / "bin/python"), "--library-path", str(root / "lib")]
    start.append(str(root / "libexec/python"))
    env = {"PATH": os.environ["PATH"], "LD_BIND_NOW": "1"}
    for name, more in (
        ("launcher", ["-I", "-m", "mlplatform.launcher.pod"]),
        ("mlplatform", ["-I", "-m", "mlplatform.cli.main"]),
        ("python", []),
    ):
        told = subprocess.run([root / "bin" / name, "a", "b c"], env=env, capture_output=True, text=True, check=True)
        words, loader = eval(told.stdout)
        assert words == [*start, *more, "a", "b c"]
        assert loader == {"MLPLATFORM_KEPT_LD_BIND_NOW": "1"}


def test_a_bundle_without_its_loader_says_so(tmp_path: Path) -> None:
    root = _bundle(tmp_path / "bundle", program("amd64"))
    (root / "lib/loader.so").unlink()
    told = subprocess.run([root / "bin/launcher"], capture_output=True, text=True, check=False)
    assert (told.returncode, told.stderr) == (
        127,
        "mlplatform: the bundle is not whole: its loader cannot be started\n",
    )


def test_the_kept_program_is_static_and_small() -> None:
    data = program("amd64")
    assert data[:4] == b"\x7fELF"
    assert len(data) < 4096
