"""Compiled Python that is the same in every build: hash-based, without a machine's paths, kept by its source."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from mlplatform.core.errors import EnvironmentFailed
from mlplatform.images.interpreter import Interpreter
from mlplatform.images.layout import disk_failure
from mlplatform.images.tree import Entry, Tree

_WORKER: Final = Path(__file__).with_name("compile_worker.py")
_AT_ONCE: Final = 2


def compile_tree(
    tree: Tree, python: Interpreter, cache: Path, *, under: str = "", root: str = "", sourceless: bool = False
) -> None:
    """Put a ``.pyc`` beside every ``.py`` of ``tree`` below ``under``.

    Args:
        python: whose byte code it is to be.
        cache: folder for what was compiled, by content.
        root: the folder the tree will lie in, for tracebacks.
        sourceless: in the place of the source.

    Raises:
        EnvironmentFailed: the interpreter does not run, or the disk is full.
    """
    folder = cache / "pyc" / python.cache_tag
    wanted: dict[str, Path] = {}
    missing: dict[str, tuple[str, Entry]] = {}
    for path, entry in tree.entries():
        if path.endswith(".py") and path.startswith(under) and entry.source is not None:
            wanted[path] = folder / _key(f"{root}/{path}", entry, python)
            if not wanted[path].exists():
                missing[path] = (f"{root}/{path}", entry)
    try:
        _compile([(*missing[path], wanted[path]) for path in sorted(missing)], python, folder)
    except OSError as error:
        raise disk_failure(folder, error) from error
    for path, made in wanted.items():
        if not made.exists():
            continue
        if sourceless:
            tree.remove(path)
            tree.file(path + "c", made, executable=False)
        else:
            above, _, name = path.rpartition("/")
            tree.file(f"{above}/__pycache__/{name[:-3]}.{python.cache_tag}.pyc", made, executable=False)


def _key(path: str, entry: Entry, python: Interpreter) -> str:
    data = entry.source if isinstance(entry.source, bytes) else entry.source.read_bytes() if entry.source else b""
    told = f"{python.version} {path} ".encode()  # the name is in the result, for tracebacks
    return hashlib.sha256(told + hashlib.sha256(data).digest()).hexdigest() + ".pyc"


def _compile(work: list[tuple[str, Entry, Path]], python: Interpreter, folder: Path) -> None:
    if not work:
        return
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="mlplatform-pyc-") as scratch:
        requests = [Path(scratch) / f"requests-{number}" for number in range(_AT_ONCE)]
        for number, file in enumerate(requests):
            lines = [json.dumps([name, _file(entry, scratch), str(to)]) for name, entry, to in work[number::_AT_ONCE]]
            file.write_text("\n".join(lines), encoding="utf-8")
        with ThreadPoolExecutor(_AT_ONCE) as threads:
            for running in [threads.submit(_run, python, file) for file in requests]:
                running.result()


def _file(entry: Entry, scratch: str) -> str:
    if isinstance(entry.source, Path):
        return str(entry.source.absolute())
    descriptor, name = tempfile.mkstemp(dir=scratch)
    with os.fdopen(descriptor, "wb") as file:
        file.write(entry.source or b"")
    return name


def _run(python: Interpreter, requests: Path) -> None:
    env = {"PYTHONHASHSEED": "0", "PATH": os.environ.get("PATH", "")}
    command = [python.executable, "-I", "-S", "-B", str(_WORKER), str(requests)]
    done = subprocess.run(command, env=env, cwd="/", capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        raise EnvironmentFailed(f"{python.executable} could not compile the files of the image: {last}")
