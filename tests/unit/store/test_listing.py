"""A page of runs costs one statement, and that one never walks all runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from mlplatform.core.states import RunState
from mlplatform.store import rows
from mlplatform.store.listing import page_of_runs
from mlplatform.store.runstore import SqlRunStore
from tests.unit.store.records import run

COUNT = 20_000
NAMES = {"experiment": "e3", "pipeline": "p5"}
FILTERS: list[Mapping[str, Any]] = [
    {},
    {"states": [RunState.RUNNING]},
    {"states": [RunState.SUCCEEDED, RunState.FAILED]},
    {"states": [RunState.PENDING, RunState.RUNNING, RunState.CANCELLING]},
    {"experiment": "e3"},
    {"pipeline": "p5"},
    {"experiment": "e3", "states": [RunState.FAILED]},
    {"pipeline": "p5", "states": list(RunState)},
    {"tags": {"team": "t4"}},
    {"tags": {"team": "t4", "kind": "x"}},
    {"tags": {"kind": "x"}, "states": [RunState.RUNNING]},
    {"tags": {"kind": "x"}, "states": [RunState.RUNNING, RunState.SUCCEEDED], "experiment": "e3"},
]


def state_of(number: int) -> RunState:
    if number % 5000 == 7:
        return RunState.RUNNING
    return RunState.FAILED if number % 50 == 3 else RunState.SUCCEEDED


def made(number: int) -> Any:
    return run(
        number,
        experiment=f"e{number % 20}",
        pipeline=f"p{number % 30}",
        state=state_of(number),
        tags={"team": f"t{number % 100}", "kind": "x"},
    )


@pytest.fixture
def full(store: SqlRunStore) -> SqlRunStore:
    with store._database.transaction() as to:
        to.many(
            rows.INSERT_RUN, ((*rows.run_row(made(number)), rows.searched(made(number))) for number in range(COUNT))
        )
        tags = "INSERT INTO mlp_run_tags (tag, value, run_id) VALUES (?, ?, ?)"
        to.many(tags, ((tag, value, made(n).run_id) for n in range(COUNT) for tag, value in made(n).tags.items()))
    with store._database.transaction() as to:
        to.run("ANALYZE")
    return store


class Counting:
    """A database that counts the statements of readers."""

    def __init__(self, store: SqlRunStore) -> None:
        self.asked: list[tuple[str, Sequence[Any]]] = []
        self._real = store._database

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        self.asked.append((sql, parameters))
        return self._real.rows(sql, parameters)


def expected(wanted: Mapping[str, Any]) -> list[str]:
    def fits(number: int) -> bool:
        record = made(number)
        return (
            ("states" not in wanted or record.state in wanted["states"])
            and all(getattr(record, name) == wanted[name] for name in NAMES if name in wanted)
            and dict(record.tags).items() >= dict(wanted.get("tags", {})).items()
        )

    found = []
    for number in range(COUNT - 1001, -1, -1):
        if fits(number):
            found.append(f"run{number:06d}")
            if len(found) == 50:
                break
    return found


def test_a_page_is_one_statement_that_reads_no_more_than_it_must(full: SqlRunStore) -> None:
    before = f"run{COUNT - 1000:06d}"
    for wanted in FILTERS:
        counting = Counting(full)
        store = SqlRunStore(counting)  # type: ignore[arg-type]
        assert [item.run_id for item in store.list_runs(**wanted, before=before)] == expected(wanted)
        assert len(counting.asked) == 1
        if type(full._database).__name__ == "SqliteDatabase":
            assert walks(full, *counting.asked[0]) == [], wanted


def walks(store: SqlRunStore, sql: str, parameters: Sequence[Any]) -> list[str]:
    """Steps of SQLite's plan that go over all runs or tags without an index that has them in order."""
    plan = [str(row[3]) for row in store._database.rows("EXPLAIN QUERY PLAN " + sql, parameters)]
    own = {"mlp_runs", "runs", "r", "t", "t0", "t1"}
    return [step for step in plan if step.split()[0] == "SCAN" and step.split()[1] in own and "INDEX" not in step]


def test_the_statement_of_no_filter() -> None:
    sql, parameters = page_of_runs(states=(), experiment="", pipeline="", tags={}, before="", limit=5)
    assert "WHERE" not in sql
    assert parameters == [5]
