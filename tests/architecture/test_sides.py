"""The two halves of the suite: every folder is in one, and two summaries become one (tests/support/sides.py)."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path, PurePath

import pytest

from tests.support.sides import VARIABLE, exit_code, side_of, summary, together

ROOT = Path(__file__).resolve().parents[2]


def test_which_half_a_test_is_in() -> None:
    assert side_of(PurePath("engine/test_kill.py"), on_a_cluster=False) == "1"
    assert side_of(PurePath("unit/core/test_values.py"), on_a_cluster=False) == "2"
    assert side_of(PurePath("unit/cli/test_main.py"), on_a_cluster=False) == "1"
    assert side_of(PurePath("notebooks/test_to_the_cluster.py"), on_a_cluster=True) == "2"


@pytest.mark.parametrize(
    ("line", "counts", "seconds"),
    [
        ("======== 1 failed, 612 passed, 6 skipped, 1 rerun in 1291.46s (0:21:31) ========",
         {"failed": 1, "passed": 612, "skipped": 6, "rerun": 1}, 1291.46),
        ("=== 2 passed, 9 warnings, 2 errors in 3.00s ===", {"passed": 2, "warning": 9, "error": 2}, 3.0),
        ("=== 1 passed, 1 warning, 1 error in 90061.00s (1 day, 1:01:01) ===",
         {"passed": 1, "warning": 1, "error": 1}, 90061.0),
        ("============ no tests ran in 0.10s ============", {}, 0.1),
        ("1 passed, 5089 deselected, 4 warnings in 43.14s", {"passed": 1, "deselected": 5089, "warning": 4}, 43.14),
    ],
)  # fmt: skip
def test_a_summary_is_read(line: str, counts: dict[str, int], seconds: float) -> None:
    assert summary(["== short test summary info ==", line, ""]) == (Counter(counts), seconds)


def test_a_half_that_died_has_none() -> None:
    assert summary(["tests/engine/test_kill.py ..", "Fatal Python error: Segmentation fault"]) is None


def test_two_summaries_become_one() -> None:
    whole = Counter({"passed": 3, "failed": 1}) + Counter({"passed": 2, "error": 1, "warning": 2})
    assert together(whole, 3723.5).strip("= ") == "1 failed, 5 passed, 2 warnings, 1 error in 3723.50s (1:02:03)"
    assert summary([together(whole, 3723.5)]) == (whole, 3723.5)
    assert "no tests ran" in together(Counter(), 0.0)


@pytest.mark.parametrize(
    ("codes", "whole"), [((0, 0), 0), ((0, 5), 0), ((5, 5), 5), ((1, 0), 1), ((0, -9), -9), ((1, 5), 1)]
)
def test_the_worse_half_decides(codes: tuple[int, int], whole: int) -> None:
    assert exit_code(codes) == whole


def test_a_process_runs_its_half_only() -> None:
    told = [sys.executable, "-m", "pytest", "--collect-only", "-q", "tests/architecture", "tests/examples"]
    folders = {"1": "tests/examples/", "2": "tests/architecture/"}
    for side in folders:
        env = os.environ | {VARIABLE: side}
        done = subprocess.run(told, cwd=ROOT, env=env, capture_output=True, text=True, check=True)
        assert {one: f"\n{folder}" in f"\n{done.stdout}" for one, folder in folders.items()} == {
            one: one == side for one in folders
        }
