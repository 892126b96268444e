"""The log of a task that ranks run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mlplatform.engine.home import Home
from mlplatform.engine.training import tasklog
from mlplatform.engine.training.places import JobPlace
from mlplatform.engine.training.tasklog import TaskLog
from mlplatform.planning.training.facts import RankKey

RUNNING: dict[str, Any] = {"phase": "Running", "attempt": 1}
ENDED: dict[str, Any] = {"phase": "Complete", "attempt": 1}


class Died(Exception):
    pass


@pytest.fixture
def place(tmp_path: Path) -> JobPlace:
    place = JobPlace(Home(tmp_path / "home"), "job")
    place.rank(RankKey("worker", 0, 1)).root.mkdir(parents=True)
    return place


def say(place: JobPlace, words: str) -> None:
    with place.rank(RankKey("worker", 0, 1)).log.open("a") as file:
        file.write(words)


@pytest.mark.parametrize("dying", ["at rest", "before it writes", "after it wrote", "half way"])
def test_whoever_takes_it_up_tells_everything_once(place: JobPlace, tmp_path: Path, dying: str,
                                                   monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    log = tmp_path / "task.log"
    log.write_text("before\n")
    first = TaskLog(place, tmp_path)
    say(place, "one\n")
    first.follow(RUNNING)
    say(place, "two\n")
    with monkeypatch.context() as patch:

        def die(*_: object) -> None:
            raise Died

        if dying == "before it writes":
            patch.setattr(tasklog, "_words", die)
        elif dying != "at rest":
            patch.setattr(tasklog, "write_json", die)
        if dying != "at rest":
            with pytest.raises(Died):
                first.follow(RUNNING)
    if dying == "half way":
        log.write_bytes(log.read_bytes()[:-2])
    second = TaskLog(place, tmp_path)
    say(place, "three\n")
    second.follow(ENDED)
    second.follow(ENDED)
    assert log.read_text() == (
        "before\none\nmlplatform: the ranks are running\ntwo\nthree\nmlplatform: the ranks: complete\n"
    )


def test_one_that_had_told_nothing_yet_misses_nothing(place: JobPlace, tmp_path: Path) -> None:
    TaskLog(place, tmp_path)
    say(place, "one\n")
    TaskLog(place, tmp_path).follow(ENDED)
    assert (tmp_path / "task.log").read_text() == "one\nmlplatform: the ranks: complete\n"
