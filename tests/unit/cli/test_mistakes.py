"""Each of the commonest mistakes gets exactly the words of its golden file, and never our traceback."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.pipelines import chain
from tests.unit.cli.mistakes import MISTAKES, Mistake

GOLDEN = Path(__file__).parent / "golden"
PAGE = Path(__file__).resolve().parents[3] / "docs" / "mistakes.md"
WRITE = os.environ.get("MLPLATFORM_GOLDEN") == "write"

_INTRODUCTION = """# The commonest mistakes, and what you are told

<!-- Made from tests/unit/cli/mistakes.py; the texts are tested to the letter. -->

Every message says what is wrong, where, and what to do next. All findings come at once; `--output json` has them as
data (`error.code` and `error.findings`). The exit status is 2 where the request was wrong and nothing ran, 1 where a
run failed.
"""


def typed(folder: Path, command: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if name not in ("CI", "FORCE_COLOR", "PYTHONPATH")}
    clean |= {"MLPLATFORM_HOME": str(folder / "home"), "MLPLATFORM_IDLE_SECONDS": "20", "MLPLATFORM_OFFLINE": "1"}
    return subprocess.run(
        [sys.executable, "-m", "mlplatform.cli.main", *shlex.split(command)],
        cwd=folder, env={**clean, **env}, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip


def normal(text: str, folder: Path) -> str:
    """Without what differs from time to time: ids, seconds, places."""
    text = re.sub(r"^ *[~^]+\n", "", text, flags=re.MULTILINE)  # where Pythons point differs
    text = re.sub(r"^.*waiting  \(its environment\)\n", "", text, flags=re.MULTILINE)  # told where it takes a while
    text = text.replace(str(folder), ".").replace(sys.executable, "PYTHON")
    text = re.sub(r"\b1[0-9a-hjkmnp-tv-z]{17}\b", "RUN", text)
    text = re.sub(r"\b(failing|wanting|chain)-[0-9a-hjkmnp-tv-z]{6}\b", r"\1-ABCDEF", text)
    text = re.sub(r"http://127\.0\.0\.1:\d+/", "http://127.0.0.1:PORT/", text)
    text = re.sub(r"\b\d+\.\ds\b", "0.1s", text)
    text = re.sub(r"(divide|use)-[0-9a-f]{10}", r"\1-0123456789", text)
    return re.sub(r"python\d\.\d+", "python3", text)


@pytest.fixture
def folder(tmp_path: Path):
    yield tmp_path
    if (tmp_path / "home").exists():
        typed(tmp_path, "service stop", {})


def result(mistake: Mistake, folder: Path) -> str:
    mistake.make(folder)
    if mistake.name == "resume-succeeded":
        (folder / "chain.json").write_text(chain(1).text())
        assert typed(folder, "run chain.json", {}).returncode == 0
    done = typed(folder, mistake.command, dict(mistake.env))
    assert "mlplatform/cli/" not in done.stdout + done.stderr
    assert done.returncode == mistake.exit, done.stdout + done.stderr
    return normal(f"{done.stderr}{done.stdout}", folder)


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.name)
def test_the_words(mistake: Mistake, folder: Path) -> None:
    text = result(mistake, folder)
    file = GOLDEN / f"{mistake.name}.txt"
    if WRITE:
        file.write_text(text)
    assert text == file.read_text()
    if not mistake.needs_service and mistake.name != "home-not-usable":
        assert not (folder / "home").exists(), "a wrong request made a home"


def page() -> str:
    parts = [_INTRODUCTION]
    for mistake in MISTAKES:
        text = (GOLDEN / f"{mistake.name}.txt").read_text().rstrip("\n")
        parts.append(f"## {mistake.title}\n\n```text\n$ mlplatform {mistake.command}\n{text}\n```\n")
    return "\n".join(parts)


def test_the_page_has_the_words() -> None:
    if WRITE:
        PAGE.write_text(page())
    assert PAGE.read_text() == page()


def test_there_are_no_other_golden_files() -> None:
    assert {file.stem for file in GOLDEN.glob("*.txt")} == {mistake.name for mistake in MISTAKES}
    assert len(MISTAKES) >= 15
