"""What the demonstration says, around a runner that only pretends."""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from mlplatform import demo


class Runner:
    """Answers with prepared results, one after the other."""

    def __init__(self, *results: Mapping[str, Any]) -> None:
        self.results = list(results)
        self.calls: list[tuple[Path, Mapping[str, Any], str]] = []

    def __call__(self, file: Path, parameters: Mapping[str, Any], experiment: str) -> Mapping[str, Any]:
        self.calls.append((file, parameters, experiment))
        return self.results.pop(0)


def result(states: str, report: Path | None = None, state: str = "SUCCEEDED") -> dict[str, Any]:
    tasks = [{"name": f"task-{i}", "state": word, "outputs": {}} for i, word in enumerate(states.split())]
    if report:
        tasks.append({"name": "keep-the-best", "state": "CACHED", "outputs": {"report": {"uri": f"file://{report}"}}})
    outputs = {"best_kind": "random forest", "accuracy": 0.9712}
    return {"run_id": "01run", "state": state, "outputs": outputs, "tasks": tasks}


def test_it_runs_twice_and_tells_what_came_of_it(tmp_path: Path) -> None:
    report = tmp_path / "report.md"
    report.write_text("# Digits\n\n```\n  ##  \n7 read as 7\n```\n")
    runner = Runner(result("SUCCEEDED SUCCEEDED", report), result("CACHED CACHED", report))
    runner.results[0]["tasks"][-1]["state"] = "SUCCEEDED"
    said: list[str] = []
    assert demo.main(runner, said.append) == 0
    text = "\n".join(said)
    assert "The random forest won: it reads 97.1% of the unseen digits correctly." in text
    assert "  ##  \n7 read as 7" in text
    assert ": 3 results were reused" in text
    assert "mlplatform runs show 01run" in text
    assert runner.calls[0] == runner.calls[1] == (demo.pipeline_file(), demo.parameters(), "demo")


def test_it_claims_no_speed_that_an_earlier_cache_gave() -> None:
    said: list[str] = []
    demo.main(Runner(result("CACHED"), result("CACHED")), said.append)
    assert "cached from an earlier demonstration already" in "\n".join(said)


@pytest.mark.parametrize("states", [("FAILED",), ("SUCCEEDED", "CANCELLED")])
def test_a_run_that_fails_is_said_to_have_failed(states: tuple[str, ...]) -> None:
    said: list[str] = []
    assert demo.main(Runner(*(result("SUCCEEDED", state=state) for state in states)), said.append) == 1
    assert f"ended {states[-1]}" in said[-1]
    assert "mlplatform runs logs 01run" in said[-1]


def test_downloads_are_said_beforehand_unless_there_are_none() -> None:
    for offline, words in ((False, " MB"), (True, "--offline")):
        said: list[str] = []
        demo.main(Runner(result("", state="FAILED")), said.append, offline=offline)
        assert words in said[0]


def test_the_data_are_what_the_note_says() -> None:
    rows = gzip.decompress(Path(demo.parameters()["digits_uri"]).read_bytes()).decode().split()
    assert len(rows) == 1797
    values = [[float(value) for value in row.split(",")] for row in rows]
    assert {len(row) for row in values} == {65}
    assert {value for row in values for value in row[:-1]} == set(range(17))
    assert {row[-1] for row in values} == set(range(10))
    assert Path(demo.parameters()["digits_uri"]).stat().st_size < 200_000
