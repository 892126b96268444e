"""The notebook conformance suite against the installed command: pipeline == linear, edits rerun what must and no more.

The suite is not part of this repository: ``MLPLATFORM_CONFORMANCE`` names the folder that holds ``notebooks/check.py``;
without it, ``shared/conformance`` beside the checkout is looked for.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SUITE = Path(os.environ.get("MLPLATFORM_CONFORMANCE") or ROOT.parent / "shared" / "conformance") / "notebooks"
LINE = re.compile(r"(?P<state>ok  |FAIL) (?P<name>\S+\.ipynb) (?P<tasks>\d+) tasks ?(?P<words>.*)")
#: Of the notebooks that can be split, at most this share may run as one task.
ONE_TASK = 0.15


def case_names() -> list[str]:
    cases = SUITE / "cases.json"
    if not cases.is_file():
        return []
    return [case["file"] for case in json.loads(cases.read_text(encoding="utf-8"))["cases"]]


CASES = case_names()


@pytest.fixture(scope="module")
def results() -> dict[str, re.Match[str]]:
    """All cases, run once: case name -> the line that tells of it."""
    env = {**os.environ, "MLPLATFORM_TRACKING": "off"}
    env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{env['PATH']}"
    command = [sys.executable, str(SUITE / "check.py"), "--jobs", "2"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    found = {match["name"]: match for line in done.stdout.splitlines() if (match := LINE.fullmatch(line))}
    assert sorted(found) == sorted(CASES), (done.stdout + done.stderr)[-4000:]
    return found


@pytest.mark.cannot_run_here("the suite is kept beside this repository, not in it")
def test_the_suite_is_here() -> None:
    if not CASES:
        pytest.skip(f"no conformance suite at {SUITE}; MLPLATFORM_CONFORMANCE may name another folder")
    assert len(CASES) >= 60


@pytest.mark.cannot_run_here("the suite is kept beside this repository, not in it")
@pytest.mark.slow
@pytest.mark.timeout(2400)
@pytest.mark.parametrize("name", CASES)
def test_case(name: str, results: dict[str, re.Match[str]]) -> None:
    assert results[name]["state"].strip() == "ok", results[name]["words"]


@pytest.mark.cannot_run_here("the suite is kept beside this repository, not in it")
@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_few_notebooks_run_as_one_task(results: dict[str, re.Match[str]]) -> None:
    if not CASES:
        pytest.skip(f"no conformance suite at {SUITE}")
    one = [name for name, told in results.items() if told["tasks"] == "1"]
    assert len(one) <= ONE_TASK * len(results), one
