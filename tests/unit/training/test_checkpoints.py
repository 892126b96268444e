"""Checkpoints: whole, or not there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mlplatform.training.checkpoints import MANIFEST, Writing, newest, prune, read, sweep


def save(root: Path, step: int, text: str = "", part: tuple[int, int] | None = None, who: str = "a1-worker-0") -> Path:
    writing = Writing(root, step, part, who)
    (writing.folder / "deep").mkdir()
    (writing.folder / "deep" / "weights.bin").write_text(text or f"weights of {step}")
    return writing.finish()


def test_the_newest_one_is_found_with_its_files(tmp_path: Path) -> None:
    for step in (0, 20, 10):
        save(tmp_path, step)
    last = newest(tmp_path)
    assert last is not None
    assert (last.step, (last / "deep/weights.bin").read_text()) == (20, "weights of 20")
    assert Path(last) == tmp_path / "step-0000000020"
    earlier = newest(tmp_path, at_most=19)
    assert earlier is not None
    assert earlier.step == 10
    assert newest(tmp_path / "nowhere") is None


def test_one_that_is_being_written_is_not_there(tmp_path: Path) -> None:
    save(tmp_path, 1)
    writing = Writing(tmp_path, 2, None, "a1-worker-0")
    (writing.folder / "weights.bin").write_text("half")
    last = newest(tmp_path)
    assert last is not None
    assert last.step == 1
    writing.give_up()
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["step-0000000001"]


@pytest.mark.parametrize("damage", ["cut", "flipped", "missing", "manifest", "no manifest"])
def test_a_damaged_one_is_passed_over(tmp_path: Path, damage: str) -> None:
    save(tmp_path, 1)
    path = save(tmp_path, 2) / "deep" / "weights.bin"
    match damage:
        case "cut":
            path.write_bytes(path.read_bytes()[:-1])
        case "flipped":
            path.write_bytes(path.read_bytes()[:-1] + b"X")
        case "missing":
            path.unlink()
        case "manifest":
            (path.parent.parent / MANIFEST).write_text("{")
        case _:
            (path.parent.parent / MANIFEST).unlink()
    last = newest(tmp_path)
    assert last is not None
    assert last.step == 1


def test_the_same_step_saved_again_replaces_it(tmp_path: Path) -> None:
    save(tmp_path, 5, "one")
    save(tmp_path, 5, "two")
    last = newest(tmp_path)
    assert last is not None
    assert (last / "deep/weights.bin").read_text() == "two"
    assert [entry.name for entry in tmp_path.iterdir()] == ["step-0000000005"]


def test_parts_make_a_whole_one_when_all_are_there(tmp_path: Path) -> None:
    save(tmp_path, 3)
    for rank in (1, 0):
        save(tmp_path, 4, f"rank {rank}", (rank, 3), f"a1-worker-{rank}")
    assert read(tmp_path / "step-0000000004") is None
    last = newest(tmp_path)
    assert last is not None
    assert last.step == 3
    save(tmp_path, 4, "rank 2", (2, 3), "a1-worker-2")
    last = newest(tmp_path)
    assert last is not None
    assert last.step == 4
    assert [(part / "deep/weights.bin").read_text() for part in last.parts] == ["rank 0", "rank 1", "rank 2"]


def test_old_ones_go_but_damaged_ones_count_for_nothing(tmp_path: Path) -> None:
    for step in (1, 2, 3, 4):
        save(tmp_path, step)
    (tmp_path / "step-0000000003" / "deep" / "weights.bin").unlink()
    save(tmp_path, 9)  # of a line that was given up: it stays
    prune(tmp_path, 4, keep=2)
    assert sorted(int(entry.name[5:]) for entry in tmp_path.iterdir()) == [2, 3, 4, 9]


def test_what_writers_of_earlier_attempts_left_is_removed(tmp_path: Path) -> None:
    Writing(tmp_path, 2, None, "a1-worker-0")
    Writing(tmp_path, 2, None, "a2-worker-0")
    sweep(tmp_path, 2)
    assert [entry.name for entry in tmp_path.iterdir()] == [".writing-step-0000000002-a2-worker-0"]


WRITER = """
import sys
from pathlib import Path
from mlplatform.training.checkpoints import Writing
step = 0
while True:
    step += 1
    writing = Writing(Path(sys.argv[1]), step, None, "a1-worker-0")
    for name in range(3):
        (writing.folder / f"{name}.bin").write_bytes(bytes([step % 256]) * 50_000)
    writing.finish()
    print(step, flush=True)
"""


def test_killed_at_any_moment_the_last_one_told_is_whole(tmp_path: Path) -> None:
    for turn in range(4):
        root = tmp_path / str(turn)
        with subprocess.Popen([sys.executable, "-c", WRITER, str(root)], stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            assert writer.stdout.readline() == "1\n"
            time.sleep(0.013 * turn)
            os.kill(writer.pid, signal.SIGKILL)
            told = [1, *(int(line) for line in writer.stdout.read().split("\n")[:-1])]
        last = newest(root)
        assert last is not None
        assert last.step >= told[-1]
        assert {(last / f"{name}.bin").read_bytes() for name in range(3)} == {bytes([last.step % 256]) * 50_000}
