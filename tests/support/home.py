"""A home folder of its own for a test, driven by the installed command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from mlplatform.sdk.testing import LocalPlatform
from tests.support.pipelines import Builder


@dataclass
class TestHome:
    """``folder`` is the working folder of every command (the project); the home is inside it."""

    __test__ = False

    folder: Path
    env: dict[str, str] = field(default_factory=dict)

    @property
    def root(self) -> Path:
        return self.folder / "home"

    def command(
        self, *words: str, timeout: float = 120, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run ``mlplatform WORDS --home HOME``."""
        merged = {**os.environ, "MLPLATFORM_IDLE_SECONDS": "30", **self.env, **(env or {})}
        line = [sys.executable, "-m", "mlplatform.cli.main", *words, "--home", str(self.root)]
        return subprocess.run(
            line, env=merged, cwd=self.folder, capture_output=True, text=True, timeout=timeout, check=False
        )

    def json(self, *words: str, **kwargs: Any) -> dict[str, Any]:
        """The JSON object that a command prints, whatever its exit status."""
        done = self.command(*words, "--output", "json", **kwargs)
        assert done.stdout.strip(), f"{words}: exit {done.returncode}, no output\n{done.stderr}"
        return json.loads(done.stdout)

    def run(self, builder: Builder, *words: str, **kwargs: Any) -> dict[str, Any]:
        """Run a pipeline; its document is written into the project folder."""
        path = self.folder / f"{builder.name}.json"
        path.write_text(builder.text())
        return self.json("run", str(path), *words, **kwargs)

    def stop(self) -> None:
        self.command("service", "stop")


@contextmanager
def home_in(folder: Path, **env: str) -> Iterator[TestHome]:
    """A home below ``folder`` whose service is stopped afterwards."""
    folder.mkdir(parents=True, exist_ok=True)
    home = TestHome(folder, env)
    try:
        yield home
    finally:
        home.stop()


def states(result: Mapping[str, Any]) -> dict[str, str]:
    """Task path (with iteration) -> state, groups left out."""
    return {
        task["name"] + "".join(f"[{i}]" for i in task["iteration"]): task["state"]
        for task in result["tasks"]
        if not task.get("is_group")
    }


@contextmanager
def platform_in(folder: Path) -> Iterator[LocalPlatform]:
    """A home for runs that tests of this process make, as ``ml_local`` gives one for a single test."""
    made = LocalPlatform(folder)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in made.environment.items():
            patch.setenv(name, value)
        try:
            yield made
        finally:
            made.close()
