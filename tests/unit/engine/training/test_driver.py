"""One job on this machine, with a clock that is told and ranks that wait for a word."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from mlplatform.engine.files import read_json
from mlplatform.engine.training.driver import TROUBLE, Driver
from mlplatform.launcher.identity import is_alive
from tests.support.kube.training import group, job
from tests.support.training_machine import TrainingMachine


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[TrainingMachine]:
    made = TrainingMachine(tmp_path)
    yield made
    made.clear()


def test_progress_and_checkpoints_reach_the_status(machine: TrainingMachine) -> None:
    machine.submit(job())
    machine.run(10)
    machine.report(rank=0, step=20, totalSteps=40, checkpointStep=19, metrics=[{"name": "loss", "value": "0.5"}])
    machine.report(rank=1, step=18)
    machine.run(5)
    said = machine.status["progress"]
    assert (said["step"], said["slowestRank"], said["lagSteps"], said["checkpointStep"]) == (18, 1, 2, 19)
    assert machine.status["checkpoint"]["step"] == 19
    machine.report(rank=1, step=-1)  # nonsense changes nothing
    machine.run(1)
    assert machine.status["progress"] == said
    machine.end("worker", 1, 1)
    machine.run()
    machine.run(20)
    assert machine.status["attempts"][1]["resumedFromStep"] == 19
    assert machine.status["goodput"]["lostSeconds"] == 1


def test_another_driver_goes_on_wherever_the_one_before_was(machine: TrainingMachine) -> None:
    chance = random.Random(7)
    machine.submit(job(failurePolicy={"maxRestarts": 50, "backoffSeconds": 0}))
    for turn in range(6):
        machine.die()
        if turn % 2:
            machine.end("worker", chance.randrange(2), 1)
        machine.run(chance.choice((0.0, 5.0)))
        assert machine.phase == "Running"
        assert machine.names() == [f"job-worker-a{machine.status['attempt']}-{rank}" for rank in (0, 1)]
    assert machine.status["attempt"] == 4


def _gone(claim: Mapping[str, Any]) -> None:
    """A process that was killed needs a moment of the real clock to be gone."""
    end = time.monotonic() + 60
    while is_alive(claim["pid"], claim["pid_start"]) and time.monotonic() < end:
        time.sleep(0.005)


def test_a_rank_that_is_killed_with_its_first_process_leaves_nobody(machine: TrainingMachine) -> None:
    machine.submit(job(failurePolicy={"maxRestarts": 0}))
    claims = [read_json(rank.claim) for _, rank in machine.place.ranks()]
    os.kill(claims[1]["pid"], signal.SIGKILL)
    _gone(claims[1])
    machine.run()
    assert (machine.phase, machine.status["attempts"][0]["exitCode"]) == ("Failed", 137)


def test_one_that_does_not_end_is_killed_when_its_grace_is_over(machine: TrainingMachine) -> None:
    body = job(group(replicas=1), preemption={"gracePeriodSeconds": 30})
    machine.submit(body)
    rank = next(rank for _, rank in machine.place.ranks())
    machine.silent.add(rank.root.name)
    claim = read_json(rank.claim)
    os.kill(claim["pid"], signal.SIGSTOP)  # as one that hears no signal
    machine.change(suspend=True)
    machine.run(29)
    assert machine.phase == "Suspending"
    machine.run(1)
    machine.run(6)
    _gone(claim)
    machine.silent.clear()
    machine.run()
    assert (machine.phase, machine.names()) == ("Suspended", [])


def test_after_a_restart_of_the_machine_ranks_are_lost_and_start_again(machine: TrainingMachine) -> None:
    machine.submit(job(failurePolicy={"maxRestarts": 0}))
    machine.clear()
    for _, rank in machine.place.ranks():
        rank.exit.unlink(missing_ok=True)
        rank.claim.write_text(json.dumps({**read_json(rank.claim), "boot": "another"}))
    machine.die()
    machine.run(1)
    machine.run(30)
    assert (machine.phase, machine.status["restartsUncounted"]) == ("Running", 1)
    assert machine.status["attempts"][0]["reason"] == "NodeLost"


def test_deleted_it_goes_when_its_ranks_have(machine: TrainingMachine) -> None:
    machine.submit(job())
    machine.delete()
    for _ in range(3):
        if machine.place.root.exists():
            machine.run()
    assert not machine.place.root.exists()


def test_trouble_of_our_own_is_told_and_then_past(machine: TrainingMachine) -> None:
    machine.submit(job())
    Driver(machine.place, machine.here, machine.places).trouble("a bug", machine.now)
    told = next(one for one in machine.status["conditions"] if one["type"] == TROUBLE)
    assert (told["status"], told["message"]) == ("True", "a bug")
    machine.die()
    machine.run(1)
    told = next(one for one in machine.status["conditions"] if one["type"] == TROUBLE)
    assert (told["status"], machine.phase) == ("False", "Running")
