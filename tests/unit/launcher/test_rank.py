"""The first process of a rank: whom it hands SIGTERM on to."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mlplatform.launcher.bundle import guest_launcher

#: A command that leaves a process behind and becomes another one; both write down that they were told.
SCRIPT = """
(trap 'echo daemon >> said; exit 0' TERM; : > up; while :; do sleep 0.05; done) &
trap 'echo command >> said; sleep 0.5; exit 75' TERM
while :; do sleep 0.05; done
"""


@pytest.mark.parametrize(("framework", "told"), [("torch", {"command", "daemon"}), ("ray", {"command"})])
def test_of_ray_the_command_alone_is_told_to_save(tmp_path: Path, framework: str, told: set[str]) -> None:
    """As in a container: what the driver needs to save has to be there until it has."""
    words = [sys.executable, guest_launcher(), "--rank", str(tmp_path), "cookie", "/bin/sh", "-c", SCRIPT]
    rank = subprocess.Popen(words, cwd=tmp_path, env={**os.environ, "MLP_FRAMEWORK": framework})
    while not (tmp_path / "up").exists():
        assert rank.poll() is None
        time.sleep(0.01)
    time.sleep(0.2)
    rank.send_signal(signal.SIGTERM)
    end = time.monotonic() + 60
    while "command" not in (said := (tmp_path / "said").read_text().split() if (tmp_path / "said").exists() else []):
        assert time.monotonic() < end
        time.sleep(0.01)
    time.sleep(0.2)
    assert set((tmp_path / "said").read_text().split()) == told, said
    assert rank.wait(60) == 0
    assert json.loads((tmp_path / "exit.json").read_text())["code"] == 75
    assert "daemon" in (tmp_path / "said").read_text().split(), "it is ended with the rank"
