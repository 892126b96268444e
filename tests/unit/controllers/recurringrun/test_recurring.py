"""Runs made by the clock: one for each tick, no more at once than may be, and no more kept than are wanted."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from mlplatform.apis.names import API_VERSION
from mlplatform.apis.times import read_time, told_time
from mlplatform.controllers.framework.manager import Manager
from mlplatform.controllers.recurringrun.controller import RecurringRuns
from mlplatform.kube.client import Client
from mlplatform.kube.objects import Key
from mlplatform.kube.ours import PIPELINE_RUNS, RECURRING_RUNS
from tests.support.kube.fake import FakeServer
from tests.support.kube.faults import Killed, Mortal
from tests.support.kube.refusals import refuse
from tests.support.kube.toy import manager

BEGIN = read_time("2026-01-01T00:00:00Z") or 0.0
KEY = Key("default", "nightly")


class Clockwork:
    """A fake API server whose time is moved by hand."""

    def __init__(self, **spec: Any) -> None:
        self.now = BEGIN
        self.fake = FakeServer(lambda: self.now)
        for resource in (PIPELINE_RUNS, RECURRING_RUNS):
            self.fake.register(resource)
        self.client = Client(self.fake)
        body = {
            "apiVersion": API_VERSION,
            "kind": "RecurringRun",
            "metadata": {"name": KEY.name, "namespace": KEY.namespace},
            "spec": {"template": {"spec": {"document": "x"}, "labels": {"team": "a"}}, **spec},
        }
        self.client.create(RECURRING_RUNS, body)
        self.operator = self.start()

    def start(self, transport: Any = None) -> Manager:
        return manager(transport or self.fake, (RecurringRuns(),), now=lambda: self.now)

    def at(self, seconds: float) -> Clockwork:
        self.now = BEGIN + seconds
        self.operator.loops[0].wake_all()
        self.operator.settle()
        return self

    @property
    def runs(self) -> list[str]:
        return [run["metadata"]["name"].removeprefix("nightly-") for run in self.client.list(PIPELINE_RUNS).items]

    def end(self, state: str = "SUCCEEDED") -> None:
        for run in self.client.list(PIPELINE_RUNS).items:
            if not run.get("status", {}).get("finishedAt"):
                status = {"state": state, "finishedAt": told_time(self.now)}
                self.client.replace_status(PIPELINE_RUNS, {**run, "status": status})

    def status(self) -> Any:
        return self.client.get(RECURRING_RUNS, KEY)["status"]

    def condition(self, name: str) -> tuple[str, str]:
        found = next(item for item in self.status()["conditions"] if item["type"] == name)
        return found["status"], found["reason"]


def test_a_run_for_each_tick() -> None:
    clock = Clockwork(schedule="0 * * * *")
    assert clock.at(60).runs == []
    assert clock.status()["nextAt"] == "2026-01-01T01:00:00.000Z"
    assert clock.at(3600).runs == ["20260101-010000"]
    run = clock.client.list(PIPELINE_RUNS).items[0]
    assert run["metadata"]["labels"]["team"] == "a"
    assert run["metadata"]["ownerReferences"][0]["name"] == "nightly"
    assert clock.status()["active"] == ["nightly-20260101-010000"]
    clock.end()
    assert clock.at(7201).runs == ["20260101-010000", "20260101-020000"]
    assert clock.status()["tickedAt"] == "2026-01-01T02:00:00.000Z"


def test_one_that_goes_on_holds_the_next() -> None:
    clock = Clockwork(intervalSeconds=60, catchup=True)
    assert len(clock.at(60).runs) == 1
    assert len(clock.at(185).runs) == 1
    assert clock.condition("Scheduled") == ("True", "Waiting")
    for _ in range(2):
        clock.end()
        clock.at(186)
    assert len(clock.runs) == 3


def test_without_catchup_only_the_latest_is_made_up_for() -> None:
    clock = Clockwork(schedule="0 * * * *", maxConcurrency=5)
    assert clock.at(5 * 3600 + 10).runs == ["20260101-050000"]


def test_a_zone_of_its_own() -> None:
    clock = Clockwork(schedule="30 3 * * *", timezone="Asia/Kolkata")
    clock.at(1)
    assert clock.status()["nextAt"] == "2026-01-01T22:00:00.000Z"


def test_resting() -> None:
    clock = Clockwork(schedule="0 * * * *", suspend=True)
    assert clock.at(7200).runs == []
    assert clock.condition("Scheduled") == ("False", "Suspended")


@pytest.mark.parametrize("spec", [{"schedule": "every day"}, {"schedule": "0 * * * *", "timezone": "Mars/Olympus"}])
def test_what_is_wrong_is_told(spec: dict[str, str]) -> None:
    clock = Clockwork(**spec)
    assert clock.at(7200).runs == []
    assert clock.condition("Accepted") == ("False", "Invalid")


def test_old_runs_go() -> None:
    clock = Clockwork(intervalSeconds=60, successfulRunsHistoryLimit=2, failedRunsHistoryLimit=1)
    for number, state in enumerate(["SUCCEEDED", "FAILED", "SUCCEEDED", "FAILED", "SUCCEEDED"], 1):
        clock.at(60 * number)
        clock.end(state)
    clock.at(301)
    assert clock.runs == ["20260101-000300", "20260101-000400", "20260101-000500"]


def test_a_refused_run_is_told() -> None:
    clock = Clockwork(schedule="0 * * * *")

    def admit(verb: str, resource: Any, body: Any) -> None:
        if resource == PIPELINE_RUNS:
            raise refuse(403, "not allowed here", "Forbidden")

    clock.fake.admit.append(admit)
    assert clock.at(3600).runs == []
    assert clock.condition("Scheduled") == ("False", "Refused")


def test_dying_before_or_after_any_write_makes_each_run_once() -> None:
    def play(die_at: int, moment: str) -> tuple[list[str], Any, int]:
        clock = Clockwork(intervalSeconds=60, successfulRunsHistoryLimit=1)
        mortal = Mortal(clock.fake, die_at, moment)
        clock.operator = clock.start(mortal)
        made: set[str] = set()
        for seconds in (30, 61, 122, 183):
            try:
                clock.at(seconds)
            except Killed:
                clock.operator = clock.start()
                clock.operator.settle()
            made.update(clock.runs)
            clock.end()
        return sorted(made), clock.status(), len(mortal.written)

    wanted, status, writes = play(0, "before")
    assert len(wanted) == 3
    assert writes >= 7
    for number, moment in itertools.product(range(1, writes + 1), ("before", "after")):
        found, told, _ = play(number, moment)
        assert (found, told["tickedAt"]) == (wanted, status["tickedAt"]), (number, moment)
