"""Training jobs of this machine with real processes, the service's and the ranks', and what befalls them."""

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
from mlplatform.engine.home import open_home
from mlplatform.engine.training.jobs import rank_log
from mlplatform.launcher import tree
from mlplatform.sdk.client import LocalClient
from mlplatform.sdk.training.run import TrainingRun

SUMS = Path(__file__).parent / "scripts" / "sums.py"
PATIENCE = 240.0


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("MLPLATFORM_IDLE_SECONDS", "60")
    home = tmp_path / "home"
    yield home
    LocalClient(home).stop()
    left = [one.pid for one in ranks_of(home)]
    tree.send(ranks_of(home), signal.SIGKILL)
    assert left == []


def ranks_of(home: Path) -> list[tree.Found]:
    """Every process of a rank of this home."""
    return [one for one in tree.processes() if str(home / "training").encode() in environment(one.pid)]


def environment(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return b""


def train(home: Path, *words: str, workers: int = 2, **settings: Any) -> TrainingRun:
    out = home.parent / "out"
    out.mkdir(exist_ok=True)
    settings = {"grace": 20, **settings, "spec": {"failurePolicy": {"backoffSeconds": 0}, **settings.get("spec", {})}}
    return ml.TrainingJob(SUMS, ["--out", str(out), *words], workers=workers, **settings).run(home=home)


def expected(rank: int, steps: int = 30) -> int:
    state = rank
    for step in range(steps):
        state = (31 * state + step) % 1_000_003
    return state


def final(home: Path, rank: int = 0) -> int:
    return int((home.parent / "out" / f"final-{rank}").read_text())


def steps(home: Path, rank: int = 0) -> list[tuple[int, int]]:
    """(attempt, step) in the order in which they were done."""
    lines = (home.parent / "out" / f"steps-{rank}").read_text().splitlines()
    return [(int(line.split()[0]), int(line.split()[1])) for line in lines]


def until(what: Callable[[], Any]) -> Any:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if found := what():
            return found
        time.sleep(0.02)
    raise AssertionError("it never came to that")


def pids(run: TrainingRun, home: Path, rank: int, attempt: int = 1) -> list[int]:
    """The processes of a rank, its first one first."""
    folder = rank_log(open_home(home), run.name, "worker", rank, attempt).parent
    claim = json.loads((folder / "claim").read_text())
    return [claim["pid"], *(one.pid for one in tree.below(claim["pid"]))]


def test_two_ranks_to_the_end(home: Path) -> None:
    run = train(home).wait(PATIENCE)
    assert (run.phase, final(home, 0)) == ("Complete", expected(0))
    assert run.status["groups"][0]["succeeded"] == 2
    assert run.progress["step"] == 29
    assert run.metrics == {"state": float(expected(0))}
    assert run.status["checkpoint"]["step"] == 29
    assert "rank 1 of 2, attempt 1, from step " in run.logs(1)
    assert set(run.goodput) <= {"percent", "wallSeconds", "productiveSeconds", "startupSeconds", "queuedSeconds"}
    assert ml.training_run(run.name[:5], home=home).name == run.name


def test_a_rank_that_is_killed_costs_at_most_what_was_not_saved(home: Path) -> None:
    run = train(home, "--wait-at", "13")
    until(lambda: run.progress.get("step") == 12 and run.progress.get("checkpointStep") == 9)
    os.kill(pids(run, home, 0)[-1], signal.SIGKILL)
    until(lambda: run.status.get("attempt") == 2)
    (home.parent / "out" / "go").touch()
    run.wait(PATIENCE)
    assert final(home, 0) == expected(0)
    assert steps(home) == [*((1, step) for step in range(13)), *((2, step) for step in range(10, 30))]
    first = run.attempts[0]
    assert (first["rank"], first["exitCode"], first["action"]) == (0, 137, "Restart")
    assert run.attempts[1]["resumedFromStep"] == 9
    spent = run.status["ledger"]["spent"]
    assert spent["lost"] > 0
    assert sum(spent.values()) == pytest.approx(1000 * run.goodput["wallSeconds"], abs=1000)


def test_suspended_it_saves_and_goes_on_from_there(home: Path) -> None:
    run = train(home, "--wait-at", "13")
    until(lambda: run.progress.get("step") == 12)
    run.suspend()
    run.wait(PATIENCE, phase="Suspended")
    assert ranks_of(home) == []
    # SIGTERM ended the wait: the step it waited at was done and saved.
    assert run.status["checkpoint"]["step"] == 13
    (home.parent / "out" / "go").touch()
    run.resume()
    run.wait(PATIENCE)
    assert (final(home, 0), run.attempts[-1]["resumedFromStep"]) == (expected(0), 13)
    assert [step for _, step in steps(home)] == list(range(30))


def test_the_service_is_killed_and_nothing_is_lost_or_done_twice(home: Path) -> None:
    run = train(home, "--wait-at", "13")
    until(lambda: run.progress.get("step") == 12)
    before = pids(run, home, 0), pids(run, home, 1)
    os.kill(LocalClient(home).status()["pid"], signal.SIGKILL)
    (home.parent / "out" / "go").touch()  # it goes on, and may even end, while nobody looks
    run.wait(PATIENCE)
    assert (final(home, 0), run.status["attempt"]) == (expected(0), 1)
    assert [step for _, step in steps(home)] == list(range(30))
    assert not [pid for pid in before[0] + before[1] if Path(f"/proc/{pid}").exists()]


def test_a_hang_shows_its_stacks_and_starts_again(home: Path) -> None:
    run = train(home, "--hang-at", "7", hang_seconds=2, spec={"health": {"progressTimeoutSeconds": 2}})
    run.wait(PATIENCE)
    first = run.attempts[0]
    assert (first["reason"], first.get("action"), first.get("rank")) == ("Hung", "RestartAvoidNode", 1), run.attempts
    assert "in stuck_in_a_collective" in run.logs(1, attempt=1)
    assert final(home, 1) == expected(1) or final(home, 0) == expected(0)


def test_ranks_that_save_for_themselves_go_on_from_what_all_have(home: Path) -> None:
    run = train(home, "--wait-at", "13", "--each", checkpoints="each")
    until(lambda: run.progress.get("checkpointStep") == 9 and run.progress.get("step") == 12)
    folder = home / "claims" / f"{run.name}-worker-1"
    assert sorted(entry.name for entry in folder.iterdir()) == ["step-0000000004", "step-0000000009"]
    os.kill(pids(run, home, 0)[-1], signal.SIGKILL)
    until(lambda: run.status.get("attempt") == 2)
    (home.parent / "out" / "go").touch()
    run.wait(PATIENCE)
    # Rank 1 was asked to end and saved one more; rank 0 has not got that one.
    assert [final(home, rank) for rank in (0, 1)] == [expected(0), expected(1)]
    assert run.attempts[1]["resumedFromStep"] == 9


def test_the_first_process_of_a_rank_is_killed_too(home: Path) -> None:
    run = train(home, "--wait-at", "13", max_restarts=0)
    until(lambda: run.progress.get("step") == 12)
    family = pids(run, home, 1)
    os.kill(family[0], signal.SIGKILL)
    with pytest.raises(ml.TrainingFailed, match="0 restarts were allowed"):
        run.wait(PATIENCE)
    assert run.attempts[0]["exitCode"] == 137
    until(lambda: ranks_of(home) == [])


def test_deleted_it_leaves_its_checkpoints_and_nothing_else(home: Path) -> None:
    run = train(home, "--wait-at", "13")
    until(lambda: run.progress.get("step") == 12)
    run.cancel()
    until(lambda: not (home / "training" / run.name).exists())
    assert ranks_of(home) == []
    assert [entry.name for entry in (home / "claims").iterdir()] == [f"{run.name}-checkpoint"]
    assert not list((home / "private").iterdir())
    with pytest.raises(ml.NotFound if hasattr(ml, "NotFound") else Exception):
        ml.training_run(run.name, home=home)


def test_a_script_that_fails_tells_its_own_words(home: Path, tmp_path: Path) -> None:
    script = tmp_path / "broken.py"
    script.write_text("raise ValueError('no such column: price')\n")
    with pytest.raises(ml.TrainingFailed, match="ValueError: no such column: price"):
        ml.TrainingJob(script, max_restarts=0).run(home=home, wait=True)


def test_a_command_that_is_not_there_fails_at_once(home: Path) -> None:
    with pytest.raises(ml.TrainingFailed, match="no-such-program"):
        ml.TrainingJob(["no-such-program"], workers=2).run(home=home, wait=True)


def test_a_function_is_taken_with_all_it_reaches(home: Path, tmp_path: Path) -> None:
    factor = 3

    def multiply(number: int, out: str) -> None:
        from mlplatform import training

        me = training.init()
        Path(out, f"{me.rank}").write_text(str(factor * number + me.rank))

    job = ml.TrainingJob(multiply, {"number": 14, "out": str(tmp_path)}, workers=2)
    job.run(home=home).wait(PATIENCE)
    assert [(tmp_path / name).read_text() for name in ("0", "1")] == ["42", "43"]


def test_more_gpus_than_there_are(home: Path) -> None:
    run = ml.TrainingJob(["true"], workers=2, gpus_per_worker=4).run(home=home)
    told = "4 of this machine's 0 GPUs are asked for"

    def why() -> list[Any]:
        conditions = run.status.get("conditions", ())
        return [one for one in conditions if one["type"] == "Placed" and told in one["message"]]

    assert until(why)[0]["status"] == "False"
    assert run.phase == "Starting"
    run.cancel()
    until(lambda: not (home / "training" / run.name).exists())
