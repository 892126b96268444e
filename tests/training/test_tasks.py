"""Training components as tasks of pipelines: a real service, real ranks."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import mlplatform as ml
from mlplatform import training
from mlplatform.core.states import RunState, TaskState
from mlplatform.engine.training.places import JobPlace
from mlplatform.sdk.run import Run
from mlplatform.sdk.testing import LocalPlatform
from tests.support.home import platform_in

PATIENCE = 120.0


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalPlatform]:
    with platform_in(tmp_path_factory.mktemp("home")) as made:
        yield made


def until(what: Callable[[], Any]) -> Any:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if found := what():
            return found
        time.sleep(0.02)
    raise AssertionError("it never came to that")


# ------------------------------------------------------------------ what people write
FACTOR = 3


def helper(value: int) -> int:
    return value * FACTOR


def together(me: training.Rank, folder: Path, step: int) -> None:
    """No rank is ahead of the others, as when they exchange gradients."""
    (folder / f"at-{me.attempt}-{step}-{me.rank}").touch()
    while not all((folder / f"at-{me.attempt}-{step}-{rank}").exists() for rank in range(me.world_size)):
        if training.stopping():
            raise SystemExit(75)
        time.sleep(0.002)


@ml.component
def prepare(rows: int) -> list:
    return list(range(rows))


@ml.training(workers=2, max_restarts=1, grace=10, spec={"failurePolicy": {"backoffSeconds": 0}})
def fit(rows: list, folder: str, steps: int = 12, pause: float = 0.0, killed: int = -1, wrong: int = -1) -> dict:
    """Each rank sums its share; rank 0 saves where it is."""
    me = training.init()
    print(f"rank {me.rank} of {me.world_size}")
    last = training.resume_from()
    begin = last.step + 1 if last else 0
    for step in range(begin, steps):
        training.report(step, {"loss": 1 / (step + 1)}, total=steps)
        together(me, Path(folder), step)
        with Path(folder, f"steps-{me.rank}").open("a") as said:
            said.write(f"{me.attempt} {step}\n")
        if me.first and training.due(step, every=4):
            with training.checkpoint(step) as place:
                (place / "state").write_text(str(step))
        if me.rank == 1 and step == killed and me.attempt == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        if me.rank == 1 and step == wrong:
            raise ValueError("this rank is wrong")
        time.sleep(pause)
    share = sum(helper(row) for row in rows[me.rank :: me.world_size])
    Path(folder, f"share-{me.rank}").write_text(str(share))
    if not me.first:
        return None  # type: ignore[return-value]
    while not all(Path(folder, f"share-{rank}").exists() for rank in range(me.world_size)):
        time.sleep(0.01)
    shares = [int(Path(folder, f"share-{rank}").read_text()) for rank in range(me.world_size)]
    return {"sum": sum(shares), "begun": begin}


@ml.pipeline
def whole(folder: str, rows: int = 10, killed: int = -1) -> dict:
    return fit(prepare(rows), folder, killed=killed)


def steps(folder: Path, rank: int = 0) -> list[tuple[int, int]]:
    lines = (folder / f"steps-{rank}").read_text().splitlines()
    return [(int(line.split()[0]), int(line.split()[1])) for line in lines]


# ------------------------------------------------------------------ tests
def test_outside_of_a_pipeline_it_is_the_function(tmp_path: Path) -> None:
    assert fit([1, 2], str(tmp_path), steps=1) == {"sum": 9, "begun": 0}


def test_ranks_share_the_work_and_rank_0_answers(platform: LocalPlatform, tmp_path: Path) -> None:
    run = platform.run(whole, folder=str(tmp_path), rows=10)
    assert run.output == {"sum": 3 * 45, "begun": 0}
    task = run.task("fit")
    assert "rank 0 of 2" in task.log
    assert "rank 1" not in task.log
    job = task.training
    assert job is not None
    assert job.phase == "Complete"
    assert job.progress["step"] == 11
    assert job.metrics == {"loss": pytest.approx(1 / 12)}
    assert "rank 1 of 2" in job.logs(1)
    assert sorted(path.name for path in (task.attempts[-1].log_file.parent / "ranks").iterdir()) == [
        "worker-a1-0.log",
        "worker-a1-1.log",
    ]


def test_a_killed_rank_starts_again_and_the_task_is_none_the_wiser(platform: LocalPlatform, tmp_path: Path) -> None:
    run = platform.run(whole, folder=str(tmp_path), rows=8, killed=9)
    assert run.output["sum"] == 3 * 28
    task = run.task("fit")
    assert [attempt.number for attempt in task.attempts] == [1]
    assert "ended by rank 1 of worker" in task.log
    assert "(attempt 2, from the checkpoint of step" in task.log
    again = [step for attempt, step in steps(tmp_path, 1) if attempt == 2]
    assert (again[0], again[-1]) == (8, 11), "from the checkpoint of step 7, to the end"


def test_the_users_error_in_any_rank_is_the_tasks(platform: LocalPlatform, tmp_path: Path) -> None:
    @ml.pipeline
    def failing(folder: str) -> dict:
        return fit.options(max_restarts=0)(prepare(3), folder, wrong=2)

    run = failing.options(home=platform.home).run(folder=str(tmp_path))
    run.wait(check=False)
    assert run.state is RunState.FAILED
    record = run.task("fit").record
    assert record is not None
    assert record.error is not None
    assert record.error.message == "ValueError: this rank is wrong"
    assert 'raise ValueError("this rank is wrong")' in record.error.traceback
    assert "what rank 1 of worker said last" in run.task("fit").log


def test_retries_of_the_task_go_on_from_its_checkpoint(platform: LocalPlatform, tmp_path: Path) -> None:
    @ml.pipeline
    def again(folder: str) -> dict:
        return fit.options(max_restarts=0, retries=1)(prepare(3), folder, killed=7, pause=0.05)

    run = again.options(home=platform.home).run(folder=str(tmp_path))
    run.wait(check=False)
    # The second try is a new job, in its first attempt: from the checkpoint of step 7 on nobody is killed.
    assert run.state is RunState.SUCCEEDED
    assert run.output == {"sum": 9, "begun": 8}
    assert len(run.task("fit").attempts) == 2


def test_cancelling_ends_the_ranks_and_leaves_no_job(platform: LocalPlatform, tmp_path: Path) -> None:
    @ml.pipeline
    def long(folder: str) -> dict:
        return fit(prepare(3), folder, steps=10_000, pause=0.05)

    run = long.options(home=platform.home).run(folder=str(tmp_path))
    until(lambda: (tmp_path / "steps-1").exists())
    job = run.task("fit").training
    assert job is not None
    run.cancel()
    run.wait(check=False)
    assert run.state is RunState.CANCELLED
    assert run.task("fit").state is TaskState.CANCELLED
    until(lambda: not JobPlace(run.client.home, job.name).object.exists())
    count = len(steps(tmp_path, 1))
    assert "rank 0 of 2" in run.task("fit").log
    time.sleep(0.3)
    assert len(steps(tmp_path, 1)) == count, "nobody is left"


def test_a_job_that_is_suspended_keeps_its_task_waiting(platform: LocalPlatform, tmp_path: Path) -> None:
    @ml.pipeline
    def slow(folder: str) -> dict:
        return fit(prepare(3), folder, steps=30, pause=0.05)

    run = slow.options(home=platform.home).run(folder=str(tmp_path))
    until(lambda: (tmp_path / "at-1-6-0").exists())
    job = run.task("fit").training
    assert job is not None
    job.suspend()
    job.wait(PATIENCE, phase="Suspended")
    assert run.task("fit").state is TaskState.RUNNING
    job.resume()
    run.wait(check=True)
    assert run.output["sum"] == 9
    assert run.output["begun"] > 0


def test_the_service_is_killed_and_the_next_one_finds_the_ranks(platform: LocalPlatform, tmp_path: Path) -> None:
    @ml.pipeline
    def slow(folder: str) -> dict:
        return fit(prepare(3), folder, steps=40, pause=0.05)

    run: Run = slow.options(home=platform.home).run(folder=str(tmp_path))
    until(lambda: (tmp_path / "steps-1").exists())
    os.kill(json.loads(run.client.home.service_file.read_text())["pid"], signal.SIGKILL)
    run.wait(check=True)
    assert run.output == {"sum": 9, "begun": 0}
    assert [attempt for attempt, _ in steps(tmp_path)] == [1] * 40, "they went on by themselves"
    assert run.task("fit").log.count("rank 0 of 2") == 1


@ml.training(workers=2, spec={"failurePolicy": {"backoffSeconds": 0}})
def reading(path: str) -> int:
    training.init()
    return int(Path(path).read_text())


def test_results_are_reused_while_what_ranks_read_is_the_same(platform: LocalPlatform, tmp_path: Path) -> None:
    (tmp_path / "data").write_text("5")

    @ml.pipeline
    def cached(path: str, workers: int = 2) -> int:
        return reading(path)

    def ran(pipeline: Any = cached) -> tuple[int, TaskState]:
        run = platform.run(pipeline, path=str(tmp_path / "data"))
        return run.output, run.task("reading").state

    assert ran() == (5, TaskState.SUCCEEDED)
    assert ran() == (5, TaskState.CACHED)
    (tmp_path / "data").write_text("6")
    assert ran() == (6, TaskState.SUCCEEDED), "what a rank read has changed"

    @ml.pipeline
    def elsewhere(path: str) -> int:
        return reading.options(gpu="A100", grace=5, max_restarts=9)(path)

    @ml.pipeline
    def wider(path: str) -> int:
        return reading.options(workers=3)(path)

    assert ran(elsewhere)[0] == 6
    assert ran(wider) == (6, TaskState.SUCCEEDED), "three ranks may answer otherwise than two"


def test_limits_of_time_are_the_tasks(platform: LocalPlatform, tmp_path: Path) -> None:
    @ml.pipeline
    def late(folder: str) -> dict:
        return fit.options(timeout=1)(prepare(3), folder, steps=10_000, pause=0.05)

    run = late.options(home=platform.home).run(folder=str(tmp_path))
    run.wait(check=False)
    record = run.task("fit").record
    assert record is not None
    assert record.error is not None
    assert "longer than its limit" in record.error.message
