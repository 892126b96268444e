"""What make does to get an environment, with a uv that only writes down what it was asked."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FAKE_UV = """#!{python}
import os, pathlib, sys
if sys.argv[1:] == ["--version"]:
    print("uv 99.0.0")
    sys.exit()
with open({log!r}, "a") as log:
    print(*sys.argv[1:], file=log)
if "venv" in sys.argv:
    python = pathlib.Path(sys.argv[-2] if sys.argv[-1] == "--offline" else sys.argv[-1]) / "bin" / "python"
    python.parent.mkdir(parents=True, exist_ok=True)
    python.touch()
sys.exit(int(os.environ.get("FAKE_UV_STATUS", "0")))
"""


class Machine:
    """A machine whose only uv is the fake one."""

    def __init__(self, folder: Path) -> None:
        self.log = folder / "log"
        self.uv = folder / "uv"
        self.uv.write_text(FAKE_UV.format(python=sys.executable, log=str(self.log)))
        self.uv.chmod(0o755)
        self.into = folder / "env"
        self.cache = folder / "cache"

    def make(self, kind: str, *options: str, **variables: str) -> subprocess.CompletedProcess[str]:
        env = {k: v for k, v in os.environ.items() if k not in ("OFFLINE", "CI")}
        env |= {"MLPLATFORM_UV": str(self.uv), "MLPLATFORM_CACHE": str(self.cache), **variables}
        command = [sys.executable, "-I", str(ROOT / ".ci/environment.py"), kind, "--into", str(self.into), *options]
        return subprocess.run(command, env=env, capture_output=True, text=True, check=False)

    @property
    def asked(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_it_is_made_from_the_lock_and_then_left_alone(machine: Machine) -> None:
    first = machine.make("dev")
    assert first.returncode == 0, first.stderr
    assert [line.split(" --")[0] for line in machine.asked] == ["venv", "pip sync", "pip install"]
    assert "--require-hashes" in machine.asked[1]
    assert "--no-deps" in machine.asked[2]
    second = machine.make("dev")
    assert (second.returncode, second.stderr) == (0, "")
    assert len(machine.asked) == 3


def test_it_says_first_what_it_downloads(machine: Machine) -> None:
    assert " MB of packages" in machine.make("demo").stderr
    assert "offline" in Machine(machine.into.parent).make("dev", "--offline").stderr


def test_offline_reaches_uv(machine: Machine) -> None:
    machine.make("demo", OFFLINE="1")
    assert machine.asked
    assert all(line.endswith("--offline") for line in machine.asked)


def test_an_environment_of_somebody_elses_is_never_changed(machine: Machine) -> None:
    (machine.into / "bin").mkdir(parents=True)
    (machine.into / "bin/python").touch()
    done = machine.make("dev")
    assert done.returncode == 0
    assert "as it is" in done.stderr
    assert machine.asked == []


def test_an_interrupted_one_is_finished_next_time(machine: Machine) -> None:
    assert machine.make("dev", FAKE_UV_STATUS="1").returncode == 1
    before = len(machine.asked)
    assert machine.make("dev").returncode == 0
    assert [line.split(" --")[0] for line in machine.asked[before:]][-2:] == ["pip sync", "pip install"]


def test_a_failure_is_told_in_one_sentence(machine: Machine) -> None:
    done = machine.make("dev", FAKE_UV_STATUS="2")
    assert done.returncode == 1
    assert "error: uv venv ended with exit status 2" in done.stderr
    assert "Traceback" not in done.stderr


def test_another_interpreter_means_another_environment(machine: Machine, tmp_path: Path) -> None:
    machine.make("dev")
    stale = machine.into / "lib"
    stale.mkdir()
    other = tmp_path / "python3"
    other.symlink_to(os.path.realpath(sys.executable))
    env = {**os.environ, "MLPLATFORM_UV": str(machine.uv), "MLPLATFORM_CACHE": str(machine.cache)}
    command = [str(other), "-I", str(ROOT / ".ci/environment.py"), "dev", "--into", str(machine.into)]
    subprocess.run(command, env=env, capture_output=True, check=True)
    assert not stale.exists()
    assert (machine.into / "bin/python").exists()
