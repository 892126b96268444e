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

from tests.support.tally import summary

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


def check(folder: Path, *words: str, **variables: str) -> tuple[dict[str, re.Match[str]], list[str]]:
    """Run the suite's own check: case name -> the line that tells of it, and what all runs come to."""
    tally = folder / "tally.jsonl"
    tally.touch()
    env = {**os.environ, "MLPLATFORM_TRACKING": "off", "TALLY_FILE": str(tally), "TALLY_ORIGINALS": str(SUITE)}
    env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{env['PATH']}"
    env["NOTEBOOK_CMD"] = f"{sys.executable} {ROOT / 'tests' / 'support' / 'tally.py'}"
    command = [sys.executable, str(SUITE / "check.py"), "--jobs", "2", *words]
    done = subprocess.run(
        command, env=env | variables, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False
    )
    found = {match["name"]: match for line in done.stdout.splitlines() if (match := LINE.fullmatch(line))}
    wanted = [name for name in CASES if "--only" not in words or words[words.index("--only") + 1] in name]
    assert sorted(found) == sorted(wanted), (done.stdout + done.stderr)[-4000:]
    return found, summary(tally.read_text(encoding="utf-8").splitlines())


@pytest.fixture(scope="module")
def checked(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, re.Match[str]], list[str]]:
    """All cases, run once."""
    return check(tmp_path_factory.mktemp("tally"))


@pytest.fixture(scope="module")
def results(checked: tuple[dict[str, re.Match[str]], list[str]]) -> dict[str, re.Match[str]]:
    return checked[0]


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
def test_few_notebooks_run_as_one_task(
    checked: tuple[dict[str, re.Match[str]], list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    if not CASES:
        pytest.skip(f"no conformance suite at {SUITE}")
    results, sums = checked
    one = [name for name, told in results.items() if told["tasks"] == "1"]
    assert len(one) <= ONE_TASK * len(results), one
    with capsys.disabled():
        print(f"\nnotebooks: {len(one)} of {len(results)} as one task; " + "; ".join(sums))


@pytest.mark.cannot_run_here("the suite is kept beside this repository, not in it")
@pytest.mark.slow
@pytest.mark.timeout(4800)
def test_side_by_side_gives_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The probes of what may go wrong with several processes; MLPLATFORM_CONFORMANCE_PARALLEL=1: everything."""
    if not CASES:
        pytest.skip(f"no conformance suite at {SUITE}")
    words = [] if os.environ.get("MLPLATFORM_CONFORMANCE_PARALLEL") else ["--only", "probe", "--no-edits"]
    results, sums = check(tmp_path, *words, MLPLATFORM_PARALLEL="3")
    with capsys.disabled():
        print("\nnotebooks, side by side: " + "; ".join(sums))
    wrong = {name: told["words"] for name, told in results.items() if told["state"].strip() != "ok"}
    assert not wrong
