"""Recurring runs over a service that is killed again and again: every tick has its run, and none has two."""

from __future__ import annotations

import itertools
import os
import signal
import time
from datetime import datetime
from typing import Any

from tests.support.pipelines import chain
from tests.support.server import Served

PATIENCE = 300.0


def made_by(served: Served, recurring: str) -> list[str]:
    """The ticks that have runs, in order, each as often as it has one."""
    runs = served.get("/api/v1/runs", limit=500)["runs"]
    return sorted(run["origin"]["scheduled_for"] for run in runs if run["origin"]["recurring_id"] == recurring)


def test_no_tick_is_lost_or_doubled_when_the_service_is_killed(served: Served) -> None:
    wanted = {
        "name": "every second",
        "trigger": {"interval": 1.0},
        "document": chain(1).text(),
        "max_concurrency": 100,
        "catchup": True,
    }
    entry = served.post("/api/v1/recurring-runs", wanted, status=201)
    assert len(entry["next"]) == 5
    recurring = entry["recurring_id"]
    for kills in range(3):
        end = time.monotonic() + PATIENCE
        while len(made_by(served, recurring)) < 2 * (kills + 1):
            assert time.monotonic() < end, made_by(served, recurring)
            time.sleep(0.1)
        os.kill(served.home.json("service", "status")["pid"], signal.SIGKILL)
        time.sleep(1.2)  # ticks pass while nobody is there
        served.home.command("up", "--no-browser")
    off = served.ask("PATCH", f"/api/v1/recurring-runs/{recurring}", {"enabled": False}).json()
    assert (off["enabled"], off["next"]) == (False, [])
    ticks = made_by(served, recurring)
    seconds = [datetime.fromisoformat(tick).timestamp() for tick in ticks]
    assert [round(b - a) for a, b in itertools.pairwise(seconds)] == [1] * (len(seconds) - 1), ticks
    assert served.ask("DELETE", f"/api/v1/recurring-runs/{recurring}").status == 204


def test_a_service_with_a_recurring_run_stays(served: Served) -> None:
    body: dict[str, Any] = {"name": "yearly", "trigger": {"cron": "0 0 1 1 *"}, "document": chain(1).text()}
    recurring = served.post("/api/v1/recurring-runs", body, status=201)["recurring_id"]
    assert served.home.json("service", "status")["recurring_runs"] == 1
    assert served.get("/api/v1/machine")["recurring_runs"] == 1
    served.ask("DELETE", f"/api/v1/recurring-runs/{recurring}")
    assert served.home.json("service", "status")["recurring_runs"] == 0


def test_a_wrong_one_is_refused_with_all_that_is_wrong(served: Served) -> None:
    body = {"name": "x", "trigger": {"cron": "99 * * * *", "timezone": "Nowhere"}, "document": chain(1).text()}
    answer = served.ask("POST", "/api/v1/recurring-runs", body)
    assert answer.status == 400
    assert {finding["code"] for finding in answer.json()["error"]["findings"]} == {"bad-cron", "bad-timezone"}
