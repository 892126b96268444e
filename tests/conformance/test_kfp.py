"""The KFP conformance suite against the installed command, by fork and by spawn; one test a case.

The suite is not part of this repository: ``MLPLATFORM_CONFORMANCE`` names the folder that holds ``kfp/check.py``;
without it, ``shared/conformance`` beside the checkout is looked for.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
SUITE = Path(os.environ.get("MLPLATFORM_CONFORMANCE") or ROOT.parent / "shared" / "conformance") / "kfp"
MODES = ("fork", "spawn")


def case_names() -> list[str]:
    cases = SUITE / "cases.json"
    if not cases.is_file():
        return []
    return [case["name"] for case in json.loads(cases.read_text(encoding="utf-8"))["cases"]]


CASES = case_names()


@pytest.fixture(scope="module", params=MODES)
def results(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """All cases in one mode, run once: case name -> its result."""
    mode: str = request.param
    if mode == "fork" and sys.platform != "linux":
        pytest.skip("forking from a warm interpreter is Linux's way")
    report = tmp_path_factory.mktemp(f"conformance-{mode}") / "results.json"
    env = {**os.environ, "MLPLATFORM_EXECUTION": mode}
    env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{env['PATH']}"
    command = [sys.executable, str(SUITE / "check.py"), "--jobs", "2", "--json", str(report)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    assert report.is_file(), (done.stdout + done.stderr)[-4000:]
    found = {result["name"]: result for result in json.loads(report.read_text(encoding="utf-8"))["results"]}
    assert sorted(found) == sorted(CASES)
    return found


@pytest.mark.cannot_run_here("the suite is kept beside this repository, not in it")
def test_the_suite_is_here() -> None:
    if not CASES:
        pytest.skip(f"no conformance suite at {SUITE}; MLPLATFORM_CONFORMANCE may name another folder")
    assert len(CASES) >= 147


@pytest.mark.cannot_run_here("the suite is kept beside this repository, not in it")
@pytest.mark.slow
@pytest.mark.timeout(2400)
@pytest.mark.parametrize("name", CASES)
def test_case(name: str, results: dict[str, Any]) -> None:
    assert results[name]["differences"] == []
