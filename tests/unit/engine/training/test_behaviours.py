"""The behaviours of a training job that have nothing to do with pods, lived through by a cluster in memory and by real
processes of this machine at once: after each thing that happens, the two statuses are the same, field by field."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mlplatform.engine.files import read_json
from mlplatform.engine.training import driver as driver_module
from mlplatform.engine.training import ranks as ranks_module
from mlplatform.planning.training.facts import RankKey
from tests.support.kube.training import group, job
from tests.support.training_machine import Both, TrainingMachine
from tests.unit.controllers.trainingjob import test_behaviours as cluster_tests

#: By their numbers in the design. Those below them are told otherwise of processes than of pods. Of the 45, the rest
#: have no notion here: 6 (node selectors), 9, 10 (the API server refuses), 12, 17, 26, 39, 40 (objects that others
#: delete or forge: a process that is gone has ended), 31-35, 37 (quota, admission, topology, preemption), 36 (nodes: of
#: a machine that restarts, see test_driver).
SHARED = [
    cluster_tests.test_01_created_suspended_it_has_no_pods,
    cluster_tests.test_02_unsuspended_it_is_resumed,
    cluster_tests.test_03_all_ranks_succeed,
    cluster_tests.test_04_ranks_fail,
    cluster_tests.test_07_past_its_deadline_it_fails_and_its_pods_go,
    cluster_tests.test_08_suspended_past_its_deadline_it_goes_on_with_a_new_clock,
    cluster_tests.test_11_a_group_of_no_ranks_is_fine,
    cluster_tests.test_18_success_of_any_group_ends_the_others,
    cluster_tests.test_19_all_waits_for_all,
    cluster_tests.test_20_without_restarts_the_first_failure_fails,
    cluster_tests.test_21_restarts_reach_their_limit,
    cluster_tests.test_22_an_uncounted_restart_spares_the_budget,
    cluster_tests.test_27_it_waits_for_both_it_depends_on_also_after_suspension,
    cluster_tests.test_41_half_of_the_ranks_done_suspended_resumed_all_run,
    cluster_tests.test_42_one_rank_without_a_place_is_never_running,
]


#: Each so many-th moment of a job's life kills its driver: all of them take minutes (MLPLATFORM_TEST_STRIDE=1).
STRIDE = int(os.environ.get("MLPLATFORM_TEST_STRIDE") or 19)


@pytest.fixture
def both(tmp_path: Path) -> Iterator[Both]:
    world = Both(tmp_path)
    yield world
    world.clear()


@pytest.mark.parametrize("behaviour", SHARED, ids=lambda one: one.__name__.removeprefix("test_"))
def test_on_both(behaviour: Callable[[Any], None], both: Both) -> None:
    behaviour(both)


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[TrainingMachine]:
    made = TrainingMachine(tmp_path)
    yield made
    made.thaw()
    made.clear()


def place_of(machine: TrainingMachine, name: str, rank: int, attempt: int = 1) -> Any:
    return machine.place.rank(RankKey(name, rank, attempt))


# ------------------------------------------------------------------ both, in words that both understand
def test_23_the_first_rule_that_fits_wins(both: Both) -> None:
    codes = {"exitCodes": {"values": [9]}}
    rules = [
        {"action": "Fail", "groups": ["two"], **codes},
        {"action": "RestartUncounted", **codes},
        {"action": "Fail", **codes},
    ]
    both.submit(job(group("one", 1), group("two", 1), failurePolicy={"rules": rules}))
    both.end("one", 0, 9)
    both.run()
    both.run(10)
    assert (both.phase, both.status["restartsUncounted"]) == ("Running", 1)
    both.end("two", 0, 9)
    both.run()
    assert both.phase == "Failed"


def test_24_nobody_new_before_all_old_ones_are_gone(both: Both) -> None:
    both.submit(job())
    both.freeze("worker", 1)
    both.end("worker", 0, 1)
    both.run()
    both.run(100)
    assert (both.phase, both.names()) == ("Restarting", ["job-worker-a1-1"])
    both.thaw()
    both.run()
    assert (both.phase, both.names()) == ("Running", ["job-worker-a2-0", "job-worker-a2-1"])


def test_25_restarting_a_group_leaves_the_other_ranks(both: Both) -> None:
    both.submit(job(group("one", 2), group("two", 2), failurePolicy={"restartScope": "Group"}))
    before = both.machine.pids("one")
    both.end("two", 1, 1)
    both.run()
    both.run(60)
    assert both.phase == "Running"
    assert both.names() == ["job-one-a1-0", "job-one-a1-1", "job-two-a2-0", "job-two-a2-1"]
    assert both.machine.pids("one") == before


def test_30_an_elastic_group_grows_and_shrinks(both: Both) -> None:
    elastic = {"min": 1, "max": 4}
    both.submit(job(group(replicas=2, elastic=elastic)))
    before = both.machine.pids("worker")
    both.change(groups=[group(replicas=4, elastic=elastic)])
    assert (both.phase, len(both.names())) == ("Running", 4)
    assert before.items() <= both.machine.pids("worker").items()
    both.change(groups=[group(replicas=2, elastic=elastic)])
    assert both.machine.pids("worker") == before
    assert both.status["attempt"] == 1


def test_38_suspended_and_resumed_while_it_stops(both: Both) -> None:
    both.submit(job())
    both.freeze("worker", 0)
    both.freeze("worker", 1)
    for suspend in (True, False, True, False):
        both.change(suspend=suspend)
        assert both.phase == "Suspending"
    assert both.names() == ["job-worker-a1-0", "job-worker-a1-1"]
    both.thaw()
    both.run()
    assert (both.phase, both.names()) == ("Running", ["job-worker-a2-0", "job-worker-a2-1"])
    assert both.says("Suspended") == ("False", "Resumed", "")


# ------------------------------------------------------------------ what only files and processes can show
def test_05_what_somebody_else_manages_is_left_alone(machine: TrainingMachine) -> None:
    machine.submit(job(managedBy=cluster_tests.OTHER))
    machine.change(suspend=True)
    machine.change(suspend=False)
    assert (machine.status, machine.names()) == ({}, [])


def test_13_the_grace_period_reaches_the_ranks(machine: TrainingMachine) -> None:
    machine.submit(job(preemption={"gracePeriodSeconds": 77}))
    machine.change(suspend=True)
    stops = [read_json(rank.stop) for _, rank in machine.place.ranks()]
    assert [stop["until"] - stop["at"] for stop in stops] == [77.0, 77.0]


def test_14_mpis_launcher_has_a_list_of_hosts(machine: TrainingMachine) -> None:
    groups = (group("launcher", 1, role="launcher"), group("worker", 2, procsPerReplica=3))
    machine.submit(job(*groups, framework="mpi"))
    assert (machine.place.root / "a1" / "hostfile").read_text() == "localhost slots=6\n"


def test_15_and_16_progress_is_replaced_by_sense_and_untouched_by_nonsense(machine: TrainingMachine) -> None:
    machine.submit(job(group(replicas=1)))
    machine.report(step=5, progressPercentage=50)
    machine.run(1)
    assert machine.status["progress"]["percent"] == 50
    machine.report(step=6)
    machine.run(1)
    said = machine.status["progress"]
    assert (said["step"], "percent" in said) == (6, False)
    for nonsense in ({}, {"step": 7, "progressPercentage": 101}):
        machine.report(**nonsense)
        machine.run(1)
        assert machine.status["progress"] == said


@pytest.mark.parametrize("when", ["Retain", "Delete"])
def test_28_claims_when_it_ends_and_when_it_is_deleted(machine: TrainingMachine, when: str) -> None:
    asked = {"scope": "Rank", "claimSpec": cluster_tests.CLAIM, "whenFinished": when, "whenDeleted": when}
    machine.submit(job(checkpoint=asked))
    assert machine.claims() == ["job-worker-0", "job-worker-1"]
    machine.end("worker", 0, 1)
    machine.run()
    machine.run(60)
    assert machine.claims() == ["job-worker-0", "job-worker-1"], "the same over attempts"
    machine.end_all()
    machine.run()
    assert machine.phase == "Complete"
    kept = ["job-worker-0", "job-worker-1"] if when == "Retain" else []
    assert machine.claims() == kept
    machine.delete()
    assert (machine.claims(), machine.place.root.exists()) == (kept, False)


def test_29_after_its_time_it_goes_and_nothing_comes_back(machine: TrainingMachine) -> None:
    machine.submit(job(runPolicy={"ttlSecondsAfterFinished": 30}))
    machine.end_all()
    machine.run()
    machine.run(29)
    assert machine.phase == "Complete"
    machine.run(1)
    assert not machine.place.root.exists()


def test_43_what_cannot_be_made_is_told_and_tried_again(machine: TrainingMachine, tmp_path: Path) -> None:
    folder = tmp_path / "not-yet"
    body = job()
    for one in body["spec"]["groups"]:
        one["template"]["spec"]["containers"][0]["workingDir"] = str(folder)
    machine.submit(body)
    told = next(one for one in machine.status["conditions"] if one["type"] == "Placed")
    assert (told["status"], told["reason"]) == ("False", "CreationRefused")
    assert f"the working folder {folder} of group 'worker' is not there" in told["message"]
    folder.mkdir()
    machine.run(30)
    assert machine.phase == "Running"


def test_44_resumed_and_running_its_phase_is_running(machine: TrainingMachine) -> None:
    machine.submit(job(group(replicas=1)))
    machine.run(20)
    machine.report(step=100, checkpointStep=100)
    machine.run(10)
    machine.change(suspend=True)
    assert machine.phase == "Suspended"
    machine.change(suspend=False)
    assert machine.phase == "Running"
    claim = read_json(place_of(machine, "worker", 0, 2).claim)
    variables = Path(f"/proc/{claim['pid']}/environ").read_bytes().split(b"\0")
    assert b"MLP_RESUME_STEP=100" in variables


class _Killed(BaseException):
    """The process is gone at this very moment."""


def _come_to_rest(machine: TrainingMachine) -> None:
    """A rank that was about to be made and never was is given up after a while, and made again."""
    never = [rank for _, rank in machine.place.ranks() if rank.start.exists() and not rank.log.exists()]
    machine.silent |= {rank.root.name for rank in never}
    machine.run()
    if never:
        machine.run(ranks_module.CLAIMING)
        machine.silent.clear()
        machine.run()


def test_45_a_driver_that_is_killed_at_every_write_comes_to_the_same_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = -1

    def deadly(function: Callable[..., Any]) -> Callable[..., Any]:
        def called(*args: Any, **kwargs: Any) -> Any:
            nonlocal left
            left -= 1
            if left == 0:
                raise _Killed
            done = function(*args, **kwargs)
            left -= 1
            if left == 0:
                raise _Killed
            return done

        return called

    monkeypatch.setattr(driver_module, "write_json", deadly(driver_module.write_json))
    monkeypatch.setattr(ranks_module, "write_json", deadly(ranks_module.write_json))
    for name in ("start", "stop", "forget"):
        monkeypatch.setattr(ranks_module.Ranks, name, deadly(getattr(ranks_module.Ranks, name)))

    def lived(at: int) -> tuple[tuple[Any, ...], bool]:
        """(how it ended, whether it died): two failures and a suspension."""
        nonlocal left
        machine, dead = TrainingMachine(tmp_path / str(at)), False

        def on(step: Callable[[], None]) -> None:
            nonlocal dead
            try:
                step()
            except _Killed:
                dead = True
                machine.die()
                _come_to_rest(machine)
            alive = {
                key.attempt for key, rank in machine.place.ranks() if rank.claim.exists() and not rank.exit.exists()
            }
            assert len(alive) <= 1, "no two attempts at once"

        left = at
        on(lambda: machine.submit(job(group(replicas=2), failurePolicy={"backoffSeconds": 0})))
        for rank in (0, 1):
            machine.end("worker", rank, 1)
            on(machine.run)
            on(lambda: machine.run(1))
        on(lambda: machine.change(suspend=True))
        on(lambda: machine.change(suspend=False))
        machine.end_all()
        on(machine.run)
        left = -1
        status = machine.status
        machine.clear()
        attempts = [(one["number"], one.get("reason"), one.get("rank")) for one in status["attempts"]]
        return (status["phase"], status.get("restartsCounted"), attempts, status["groups"]), dead

    undisturbed, _ = lived(-1)
    assert undisturbed[0] == "Complete"
    at, deaths = 1, 0
    while True:
        ended, dead = lived(at)
        if not dead:
            break
        assert ended == undisturbed, f"killed at write {at}"
        deaths += 1
        at += STRIDE
    assert deaths >= 4, "it has as many moments as that"
