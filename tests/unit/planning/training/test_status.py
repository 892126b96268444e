"""What users read of a job: phase, conditions and counts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mlplatform.apis.conditions import condition
from mlplatform.apis.times import told_time
from mlplatform.apis.trainingstatus import GroupStatus, ProgressStatus, TrainingJobStatus
from mlplatform.planning.training.facts import RankFact, RankKey, RankState, Stage
from mlplatform.planning.training.spec import FailurePolicy, Framework, Group, Health, OnHang, TrainingSpec
from mlplatform.planning.training.status import PHASES, status_of
from tests.unit.planning.training.world import World


class Told(World):
    """A world that keeps the status too."""

    status: TrainingJobStatus = TrainingJobStatus()

    def tell(self) -> TrainingJobStatus:
        self.decide()
        self.status = status_of(self.spec, self.view(), self.ledger, self.now, before=self.status, generation=3)
        return self.status

    def says(self, kind: str) -> tuple[str, str] | None:
        found = condition(self.status.conditions, kind)
        return (found.status, found.reason) if found else None


def world(replicas: int = 2, **more: object) -> Told:
    groups = more.pop("groups", (Group("worker", replicas=replicas),))
    return Told(TrainingSpec("job", Framework.TORCH, groups, **more), now=1_700_000_000.0)  # pyright: ignore[reportArgumentType]


def test_from_creation_to_the_end() -> None:
    job = world()
    assert job.tell().phase == "Starting"
    assert (job.says("QuotaReserved"), job.says("Placed")) == (("True", "Reserved"), ("False", "WaitingForPlaces"))
    assert job.says("Running") == ("False", "Starting")
    job.settle()
    assert job.tell().phase == "Running"
    assert (job.says("Placed"), job.says("Running")) == (("True", "Placed"), ("True", "AllRanksWork"))
    assert job.status.start_time == told_time(job.now)
    assert job.status.groups == (
        GroupStatus("worker", desired=2, admitted=2, active=2, ready=2, attempt=1, begun=True, whole=2),
    )
    job.now += 7
    job.end("worker", 1)
    assert job.tell().groups[0].succeeded == 1
    assert job.status.groups[0].done == "1"
    job.end_all("worker")
    job.settle()
    done = job.tell()
    assert (done.phase, done.reason, done.completion_time) == ("Complete", "Completed", told_time(job.now))
    assert job.says("Complete") == ("True", "Completed")
    assert job.says("Failed") is None
    assert job.says("Running") == ("False", "Complete")
    assert (done.groups[0].succeeded, done.groups[0].active, done.groups[0].admitted) == (2, 0, 0)
    assert done.goodput is not None
    assert (done.goodput.productive_seconds, done.goodput.wall_seconds, done.goodput.percent) == (7, 7, 100)


def test_time_alone_is_no_news() -> None:
    job = world()
    job.settle()
    first = job.tell()
    job.now += 100
    assert job.tell() is first
    job.save(5)
    later = job.tell()
    assert later is not first
    assert later.goodput is not None
    assert later.goodput.productive_seconds == 100


def test_suspended_resumed_and_running_again() -> None:
    job = world(suspend=True)
    assert job.tell().phase == "Suspended"
    assert (job.says("Suspended"), job.says("QuotaReserved")) == (("True", "Suspended"), ("False", "Suspended"))
    job.change(suspend=False)
    assert job.tell().phase == "Starting"
    assert job.says("Suspended") == ("False", "Resumed")
    job.settle()
    assert job.tell().phase == "Running"
    assert job.says("Suspended") == ("False", "Resumed")
    job.change(suspend=True)
    assert job.tell().phase == "Suspending"
    job.settle()
    assert job.tell().phase == "Suspended"


def test_a_failed_job_keeps_its_counts() -> None:
    job = world(3, failure=FailurePolicy(max_restarts=0))
    job.settle()
    job.end("worker", 1, 3)
    failed = job.tell()
    assert (failed.phase, failed.reason) == ("Failed", "RestartsExhausted")
    assert failed.groups[0].failed == 1
    job.ranks = {key: replace(fact, state=RankState.FAILED, exit_code=143) for key, fact in job.ranks.items()}
    assert job.tell().groups[0].failed == 1
    job.ranks.clear()
    assert job.tell().groups[0].failed == 1
    assert job.status.attempts[-1].exit_code == 3


def test_a_restart_names_what_failed() -> None:
    job = world()
    job.settle()
    job.end("worker", 1, 137, "OOMKilled")
    told = job.tell()
    assert (told.phase, told.reason, told.restarts_counted) == ("Restarting", "OOMKilled", 1)
    assert job.says("Restarting") == ("True", "OOMKilled")
    attempt = told.attempts[0]
    assert (attempt.rank, attempt.node, attempt.exit_code, attempt.counted) == (1, "node-1", 137, True)
    job.settle()
    job.settle(10)
    assert job.tell().phase == "Running"
    assert job.says("Restarting") == ("False", "Past")
    assert job.status.attempt == 2


def test_one_rank_without_a_place_is_never_running_and_says_why() -> None:
    job = world(2)
    job.room = 1
    job.settle()
    key = RankKey("worker", 1, 1)
    job.ranks[key] = RankFact(key, RankState.PENDING, message="0/3 nodes are available: 3 Insufficient nvidia.com/gpu.")
    assert job.tell().phase == "Starting"
    placed = condition(job.status.conditions, "Placed")
    assert placed is not None
    assert placed.message == "no place for worker-1: 0/3 nodes are available: 3 Insufficient nvidia.com/gpu."


def test_creation_refused_says_why() -> None:
    job = world(2)
    job.refused[RankKey("worker", 0, 1)] = "exceeded quota: gpus"
    job.tell()
    assert job.says("Placed") == ("False", "CreationRefused")
    placed = condition(job.status.conditions, "Placed")
    assert placed is not None
    assert placed.message == "no place for worker-0, worker-1: exceeded quota: gpus"


def test_a_rank_that_does_not_become_ready_says_why() -> None:
    job = world(1)
    job.tell()
    key = RankKey("worker", 0, 1)
    job.ranks[key] = RankFact(key, RankState.STARTING, message="ErrImagePull: not found", placed_at=job.now)
    job.tell()
    running = condition(job.status.conditions, "Running")
    assert running is not None
    assert running.message == "waiting for worker-0: ErrImagePull: not found"


def test_a_gang_that_lacks_a_rank_just_now_is_not_running() -> None:
    job = world(2)
    job.settle()
    assert job.tell().phase == "Running"
    key = RankKey("worker", 1, 1)
    job.ranks[key] = replace(job.ranks[key], state=RankState.STOPPING)
    assert job.tell().phase == "Restarting"
    assert job.says("Running") == ("False", "Restarting")


def test_a_queued_job_says_what_it_waits_for() -> None:
    job = world(1)
    job.admitted = False
    job.decide()
    job.status = status_of(
        job.spec, job.view(), job.ledger, job.now, quota="insufficient quota for gpus in flavor a100"
    )
    assert job.status.phase == "Queued"
    found = condition(job.status.conditions, "QuotaReserved")
    assert found is not None
    assert (found.reason, found.message) == ("WaitingForQuota", "insufficient quota for gpus in flavor a100")
    assert job.status.groups[0].admitted == 0


def test_a_hang_that_is_only_reported() -> None:
    job = world(1, health=Health(progress_timeout=60, on_hang=OnHang.REPORT))
    job.settle()
    job.tell()
    assert job.says("Hung") is None
    job.settle(60)
    assert job.tell().phase == "Running"
    assert job.says("Hung") is not None
    assert job.says("Hung")[0] == "True"  # pyright: ignore[reportOptionalSubscript]
    job.save(7)
    job.tell()
    assert job.says("Hung") == ("False", "Past")


def test_what_others_write_is_taken_over() -> None:
    job = world()
    job.status = TrainingJobStatus(progress=ProgressStatus(percent=12))
    assert job.tell().progress == ProgressStatus(percent=12)


@pytest.mark.parametrize("stage", Stage)
def test_every_stage_has_a_phase(stage: Stage) -> None:
    job = world()
    job.decide()
    told = status_of(job.spec, job.view(), replace(job.ledger, stage=stage), job.now)
    assert told.phase in PHASES
