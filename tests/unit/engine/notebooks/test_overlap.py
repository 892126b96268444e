"""Which tasks may run beside others, and whether what one did stands."""

from __future__ import annotations

from typing import Any

import pytest

from mlplatform.engine.notebooks.overlap import Reach, conflict, met, reach_of, spoiled
from mlplatform.engine.notebooks.state import State
from mlplatform.planning.notebook_component import CellSource, NotebookTask


def task(*sources: str) -> NotebookTask:
    return NotebookTask("t", 1, tuple(CellSource(number, source) for number, source in enumerate(sources)))


def record(**parts: Any) -> dict[str, Any]:
    plain: dict[str, Any] = {
        "reads": {}, "writes": {}, "deleted": [], "whole": None, "groups": {}, "blocks": [], "doubt": "", "left": [],
        "files": {"reads": [], "own_reads": {}, "writes": {}, "sockets": [], "executed": False, "doubt": ""},
    }  # fmt: skip
    return plain | parts


@pytest.mark.parametrize(
    ("source", "reads", "writes", "alone"),
    [
        ("y = f(x)", {"f", "x"}, {"y"}, ""),
        ("model.fit(X, y)", {"model", "X", "y"}, {"model"}, ""),
        ("score = model.score(X)", {"model", "X"}, {"score"}, ""),
        ("df['a'] = 1\nrows[0].x.y = 2\ndel table[1]", {"df", "rows", "table"}, {"df", "rows", "table"}, ""),
        ("z = np.random.rand()", {"np", "@numpy.random"}, {"z", "@numpy.random"}, ""),
        ("rng = np.random.default_rng(0)", {"np"}, {"rng"}, ""),
        ("exec('x = 1')", {"exec"}, set(), "it can reach any variable"),
        ("mlflow.log_metric('a', 1)", {"mlflow"}, {"mlflow"}, "it talks to the outside"),
        ("!ls", set(), set(), "it talks to the outside"),
    ],
)
def test_reach_by_text(source: str, reads: set[str], writes: set[str], alone: str) -> None:
    found = reach_of(task(source), None)
    assert reads <= found.reads
    assert writes <= found.writes
    assert found.alone == alone
    assert ("@random" in found.reads) == ("@numpy.random" in reads)


def test_what_is_known_of_the_last_run_counts_more_than_the_text() -> None:
    found = reach_of(task("model.fit(X)"), record(reads={"X": ["c", "g"]}, writes={"score": ["c", "g"]}))
    assert (found.reads, found.writes, found.alone) == ({"X"}, {"score"}, "")
    files = {"writes": {"/x": "d"}}
    assert reach_of(task("x"), record(files=files)).alone == "it writes files"
    lost = record(writes={"lock": ["c", "g"]}, groups={"g": {"why": "lock: a lock"}})
    assert reach_of(task("x"), lost).alone == "lock: a lock"


def reach(reads: str = "", writes: str = "", alone: str = "") -> Reach:
    return Reach(frozenset(reads.split()), frozenset(writes.split()), alone)


@pytest.mark.parametrize(
    ("mine", "other", "words"),
    [
        (reach("x"), reach("x", "y"), ""),
        (reach("x"), reach("", "x"), "variable x is changed before its turn"),
        (reach("x"), reach("", "@environment"), "the environment is changed before its turn"),
        (reach("x"), reach("", "@numpy.random"), ""),
        (reach("x", "", "it writes files"), reach(), "it writes files"),
        (reach("x"), reach("", "", "it can reach any variable"), "a task before it can reach any variable"),
        (reach("x"), reach("", "", "it writes files"), ""),
    ],
)
def test_conflict(mine: Reach, other: Reach, words: str) -> None:
    assert conflict(mine, [reach(), other]) == words


def test_spoiled() -> None:
    base = State({"x": ("1", "g"), "y": ("1", "h"), "@environment": ("e", "i")})
    assert spoiled(["x", "@environment"], base, base) == ""
    other = State({**base.names, "y": ("2", "h"), "new": ("1", "j")})
    assert spoiled(["x"], base, other) == ""
    assert spoiled(["y"], base, other) == "variable y, which it began with, changed"
    assert spoiled([], base, State({**base.names, "@folder": ("f", "k")})) == "the working folder changed"
    assert spoiled([], base, State(unknown=True)) == "what the tasks before it did is not known"


def files(**parts: Any) -> dict[str, Any]:
    return record()["files"] | parts


@pytest.mark.parametrize(
    ("read", "wrong"),
    [
        ({"path": "/d/a.txt", "kind": "file"}, True),
        ({"path": "/d/a.txt", "kind": "missing"}, True),
        ({"path": "/d", "kind": "listing"}, True),
        ({"path": "/d", "kind": "absent", "names": ["a.txt"]}, True),
        ({"path": "/d", "kind": "absent", "names": ["b.txt"]}, False),
        ({"path": "/d/b.txt", "kind": "file"}, False),
    ],
)
def test_a_file_that_was_written_beside_it(read: dict[str, Any], wrong: bool) -> None:
    mine, other = record(files=files(reads=[read])), record(files=files(writes={"/d/a.txt": "digest"}))
    assert bool(met(mine, [other], [other])) is wrong
    assert met(mine, [], [other]) == ""


def test_what_was_met_outside_and_inside_libraries() -> None:
    plain = record()
    assert met(plain, [plain], [plain]) == ""
    assert met(record(files=files(sockets=["x"])), [], []) == "it touched the outside"
    assert met(plain, [record(files=files(doubt="?"))], []) == "which files a task beside it touched is not known"
    assert met(plain, [None], []) == "which files a task beside it touched is not known"
    left = record(left=["counter altair:Chart._n"])
    assert met(left, [plain], [plain]) == ""
    assert met(left, [], [left]) == "a counter in altair would not have been as it found it"
    assert met(left, [], [record(left=None)]) == "what tasks before it left in libraries is not known"
