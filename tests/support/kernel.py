"""A stand-in for a notebook's kernel: cells that run one after the other in one namespace, known to ``linecache``."""

from __future__ import annotations

import itertools
import json
import linecache
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path
from typing import Any

from mlplatform.capture import Captured

_numbers = itertools.count(1)


class Kernel:
    """Cells of one notebook. Their file names are IPython's of old, which carry the cell's number."""

    def __init__(self) -> None:
        self.names: dict[str, Any] = {"__name__": "__main__", "__builtins__": __builtins__}
        self._count = 0

    def run(self, text: str) -> None:
        self._count += 1
        text = textwrap.dedent(text).strip("\n") + "\n"
        filename = f"<ipython-input-{self._count}-{next(_numbers):012x}>"
        linecache.cache[filename] = (len(text), None, text.splitlines(keepends=True), filename)
        exec(compile(text, filename, "exec", dont_inherit=True), self.names)

    def __getitem__(self, name: str) -> Any:
        return self.names[name]


def elsewhere(captured: Captured, *arguments: Any, before: str = "", call: str = "print(json.dumps(result))") -> Any:
    """What the captured function returns (as JSON) in another process that has only the captured text, started in an
    empty folder."""
    script = "\n".join(
        (
            "import asyncio, inspect, json, sys, types",
            before,
            "told = json.loads(sys.stdin.read())",
            "module = sys.modules['captured'] = types.ModuleType('captured')",
            "exec(compile(told['source'], 'captured.py', 'exec'), module.__dict__)",
            "result = getattr(module, told['name'])(*told['arguments'])",
            "result = asyncio.run(result) if inspect.iscoroutine(result) else result",
            call,
        )
    )
    told = json.dumps({"source": captured.source, "name": captured.name, "arguments": arguments})
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, "-c", script],
            input=told,
            capture_output=True,
            text=True,
            cwd=folder,
            check=False,
            timeout=120,
        )
    assert done.returncode == 0, done.stderr + "\n" + captured.source
    return json.loads(done.stdout)


def project(folder: Path, files: dict[str, str]) -> Path:
    """Write a project's files."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text), encoding="utf-8")
    return folder
