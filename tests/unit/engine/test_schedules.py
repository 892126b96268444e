"""Recurring runs in the service: made once a tick, noted after they are durable, whatever dies in between."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import pytest

from mlplatform.core.catalog import PipelineVersion, RecurringRun, Trigger
from mlplatform.core.errors import NotFound, StoreError
from mlplatform.engine.schedules import Schedules
from mlplatform.engine.submission import Submission
from mlplatform.planning.recurring import run_id_of
from tests.support.fakes import FakeClock

EVERY_MINUTE = RecurringRun(
    "r1", "minutely", Trigger(interval=60), 0.0, 0.0, 0.0, document="sha256:d", max_concurrency=10, parameters={"a": 1}
)


class Catalog:
    def __init__(self, *entries: RecurringRun) -> None:
        self.entries = {entry.recurring_id: entry for entry in entries}
        self.unfinished = 0
        self.fail_noting = False

    def recurring(self, *, enabled: bool | None = None) -> list[RecurringRun]:
        return [entry for entry in self.entries.values() if enabled in (None, entry.enabled)]

    def change_recurring(self, recurring_id: str, change: Callable[[RecurringRun], RecurringRun]) -> RecurringRun:
        if self.fail_noting:
            raise StoreError("the disk is full")
        self.entries[recurring_id] = change(self.entries[recurring_id])
        return self.entries[recurring_id]

    def unfinished_of(self, recurring_id: str) -> int:
        return self.unfinished

    def version(self, version_id: str) -> PipelineVersion:
        return PipelineVersion(version_id, "p1", "v", 0.0, "sha256:of-version")

    def newest_version(self, pipeline_id: str) -> PipelineVersion:
        if pipeline_id == "gone":
            raise NotFound("there is no pipeline 'gone'")
        return PipelineVersion("newest", pipeline_id, "v", 0.0, "sha256:of-newest")


class Store:
    def document(self, digest: str) -> bytes:
        return digest.encode()


class Core:
    """The little of ``engine.core.Core`` that is used."""

    def __init__(self) -> None:
        self.clock = FakeClock(0.0)
        self.store = Store()

    async def in_thread(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)


class Manager:
    """As the real one: the same run id is the same run."""

    def __init__(self) -> None:
        self.runs: dict[str, Submission] = {}

    async def submit(self, submission: Submission) -> str:
        self.runs.setdefault(submission.run_id, submission)
        return submission.run_id


class World:
    def __init__(self, *entries: RecurringRun) -> None:
        self.catalog, self.core, self.manager = Catalog(*entries), Core(), Manager()

    def look(self, at: float) -> float:
        """A service looks, a new one each time."""
        self.core.clock.time = at
        schedules = Schedules(cast(Any, self.core), cast(Any, self.manager), self.catalog)
        wait = asyncio.run(schedules.look())
        self.enabled = schedules.enabled
        return wait


def test_a_tick_makes_one_run_with_everything_it_needs() -> None:
    world = World(EVERY_MINUTE)
    assert world.look(59.0) == pytest.approx(1.0)
    assert world.manager.runs == {}
    assert world.look(61.0) == 30.0
    assert list(world.manager.runs) == [run_id_of("r1", 60.0)]
    made = world.manager.runs[run_id_of("r1", 60.0)]
    assert (made.document, made.parameters, made.name) == ("sha256:d", {"a": 1}, "minutely 1970-01-01T00:01:00Z")
    assert made.tags == {
        "mlplatform/recurring-run-id": "r1",
        "mlplatform/scheduled-for": "1970-01-01T00:01:00Z",
    }
    assert world.enabled == 1


def test_what_dies_between_the_run_and_its_note_makes_no_second_run() -> None:
    world = World(EVERY_MINUTE)
    world.catalog.fail_noting = True
    for _ in range(3):
        with pytest.raises(StoreError):
            world.look(61.0)
    world.catalog.fail_noting = False
    world.look(62.0)
    assert list(world.manager.runs) == [run_id_of("r1", 60.0)]
    assert world.catalog.entries["r1"].ticked_at == 60.0


def test_enough_unfinished_runs_hold_the_next_and_it_is_looked_at_soon() -> None:
    world = World(replace(EVERY_MINUTE, max_concurrency=2))
    world.catalog.unfinished = 1
    assert world.look(185.0) == 1.0
    assert len(world.manager.runs) == 1
    world.catalog.unfinished = 0
    world.look(186.0)
    assert list(world.manager.runs) == [run_id_of("r1", tick) for tick in (60.0, 120.0, 180.0)]


def test_versions_are_taken_as_they_are_then() -> None:
    by_version = replace(EVERY_MINUTE, recurring_id="a", document="", pipeline_id="p1", version_id="v1")
    newest = replace(EVERY_MINUTE, recurring_id="b", document="", pipeline_id="p1")
    world = World(by_version, newest)
    world.look(61.0)
    documents = {run.tags["mlplatform/version-id"]: run.document for run in world.manager.runs.values()}
    assert documents == {"v1": "sha256:of-version", "newest": "sha256:of-newest"}


def test_a_tick_that_can_make_no_run_is_told_and_over() -> None:
    world = World(replace(EVERY_MINUTE, document="", pipeline_id="gone"))
    world.look(61.0)
    entry = world.catalog.entries["r1"]
    assert "no pipeline 'gone'" in entry.trouble
    assert entry.ticked_at == 60.0
    assert world.manager.runs == {}


def test_what_is_off_makes_nothing_and_holds_nobody() -> None:
    world = World(replace(EVERY_MINUTE, enabled=False))
    assert world.look(1e6) == 30.0
    assert (world.manager.runs, world.enabled) == ({}, 0)
