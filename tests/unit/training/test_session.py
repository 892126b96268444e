"""The calls of mlplatform.training, each in a process of its own: they are about a process' life."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from mlplatform.training import due

ROOT = Path(__file__).parents[3]


def script(text: str, tmp_path: Path, **env: str) -> subprocess.Popen[str]:
    file = tmp_path / "train.py"
    file.write_text("from mlplatform import training\nimport json, os, signal, sys, time\n" + text)
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("MLP_", "MLFLOW_"))}
    environ |= {"PYTHONPATH": str(ROOT), **env}
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [sys.executable, str(file)], cwd=tmp_path, env=environ, text=True, stdin=pipe, stdout=pipe, stderr=pipe
    )


def done(text: str, tmp_path: Path, **env: str) -> tuple[int, str]:
    process = script(text, tmp_path, **env)
    out, errors = process.communicate(timeout=60)
    assert "Traceback" not in errors, errors
    return process.returncode, out


SAVE = """
last = training.resume_from()
print(last.step if last else None)
for step in range(last.step + 1 if last else 0, 5):
    with training.checkpoint(step) as folder:
        (folder / "state.json").write_text(json.dumps(step))
"""


def test_by_itself_a_script_saves_and_begins_anew(tmp_path: Path) -> None:
    assert done(SAVE, tmp_path) == (0, "None\n")
    assert sorted(entry.name for entry in (tmp_path / "checkpoints").iterdir()) == [
        f"step-000000000{step}" for step in (2, 3, 4)
    ]
    assert done(SAVE, tmp_path) == (0, "None\n")


def test_in_a_job_it_goes_on_from_the_newest_whole_one(tmp_path: Path) -> None:
    job = {"MLP_CHECKPOINT_DIR": str(tmp_path / "saved"), "MLP_CHECKPOINT_KEEP": "2"}
    assert done(SAVE, tmp_path, **job) == (0, "None\n")
    assert done(SAVE, tmp_path, **job) == (0, "4\n")
    (tmp_path / "saved" / "step-0000000004" / "state.json").write_text("!")
    assert done(SAVE, tmp_path, **job) == (0, "3\n")


def test_ranks_with_folders_of_their_own_go_on_from_the_step_that_all_have(tmp_path: Path) -> None:
    job = {"MLP_CHECKPOINT_DIR": str(tmp_path / "saved"), "MLP_CHECKPOINT_SCOPE": "Rank"}
    assert done(SAVE, tmp_path, **job) == (0, "None\n")
    assert done(SAVE, tmp_path, **job, MLP_RESUME_STEP="3") == (0, "3\n")
    assert done(SAVE, tmp_path, **job, MLP_ATTEMPT="2") == (0, "None\n"), "there is none that all have"


def test_a_block_that_fails_leaves_no_checkpoint(tmp_path: Path) -> None:
    text = """
try:
    with training.checkpoint(1) as folder:
        (folder / "half").write_text("x")
        raise OSError(28, "No space left on device")
except OSError as error:
    print(type(error).__name__, error.errno, error, os.listdir("checkpoints"))
"""
    code, out = done(text, tmp_path)
    assert code == 0
    began = (
        f"CheckpointError 28 the checkpoint of step 1 could not be saved in {tmp_path}/checkpoints: No space left on"
    )
    assert out.startswith(began)
    assert out.endswith("KiB are free) []\n")


def test_what_is_no_fault_of_the_disk_stays_what_it_is(tmp_path: Path) -> None:
    text = """
try:
    with training.checkpoint(1) as folder:
        open(folder / "none")
except FileNotFoundError as error:
    print(os.listdir("checkpoints"))
"""
    assert done(text, tmp_path) == (0, "[]\n")


def test_the_error_that_ends_it_is_left_where_the_pods_last_word_is(tmp_path: Path) -> None:
    process = script("training.init()\nraise RuntimeError('no luck')", tmp_path, MLP_LAST_WORD=str(tmp_path / "word"))
    _, errors = process.communicate(timeout=60)
    assert errors.rstrip().endswith("RuntimeError: no luck")
    assert (tmp_path / "word").read_text() == "RuntimeError: no luck"


def test_values_of_secrets_are_not_told_there(tmp_path: Path) -> None:
    env = {"MLP_LAST_WORD": str(tmp_path / "word"), "MLP_SECRET_NAMES": "TOKEN,OTHER", "TOKEN": "hush-hush"}
    process = script("training.init()\nraise ValueError('bad: ' + os.environ['TOKEN'])", tmp_path, **env)
    process.communicate(timeout=60)
    assert (tmp_path / "word").read_text() == "ValueError: bad: ***"


def test_where_nothing_more_can_be_written_the_newest_whole_one_is_used(tmp_path: Path) -> None:
    text = """
import resource
with training.checkpoint(1) as folder:
    (folder / "weights").write_bytes(b"1" * 100)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))  # as a disk that is full: the write itself fails
try:
    with training.checkpoint(2) as folder:
        (folder / "weights").write_bytes(b"2" * 100_000)
except OSError as error:
    print(type(error).__name__, os.listdir("saved"))
"""
    job = {"MLP_CHECKPOINT_DIR": str(tmp_path / "saved")}
    assert done(text, tmp_path, **job) == (0, "OSError ['step-0000000001']\n")
    assert done("print(training.resume_from().step)", tmp_path, **job) == (0, "1\n")


LOOP = """
training.init()
print("ready", flush=True)
step = 0
while True:
    step += 1
    time.sleep(0.01)
    training.report(step, {"loss": 1 / step}, total=1000)
    if training.due(step, every=10_000):
        with training.checkpoint(step) as folder:
            (folder / "state.json").write_text(json.dumps(step))
"""


def test_sigterm_ends_it_after_a_checkpoint_with_exit_code_75(tmp_path: Path) -> None:
    progress = tmp_path / "progress.json"
    process = script(LOOP, tmp_path, MLP_PROGRESS_FILE=str(progress), MLP_RANK="0", MLP_GROUP="worker", MLP_ATTEMPT="2")
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (75, "")
    told = json.loads(progress.read_text())
    saved = int(os.listdir(tmp_path / "checkpoints")[0][5:])
    assert (told["checkpointStep"], told["group"], told["rank"], told["attempt"]) == (saved, "worker", 0, 2)
    assert told["checkpointUri"].endswith(f"step-{saved:010d}")
    assert told["totalSteps"] == 1000


def test_a_second_sigterm_means_no_more_than_the_first(tmp_path: Path) -> None:
    text = """
training.init()
for _ in range(2):  # torchrun hands on what its processes got as well
    os.kill(os.getpid(), signal.SIGTERM)
with training.checkpoint(3) as folder:
    (folder / "state").write_text("saved")
print("never reached")
"""
    assert done(text, tmp_path) == (75, "")


def test_a_stuck_process_shows_its_stacks(tmp_path: Path) -> None:
    text = """
training.init()
def stuck_here():
    print("ready", flush=True)
    sys.stdin.read()
stuck_here()
"""
    process = script(text, tmp_path)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGUSR2)
    _, errors = process.communicate("", timeout=60)
    assert process.returncode == 0
    assert "in stuck_here" in errors


def test_parts_of_all_ranks_are_one_checkpoint(tmp_path: Path) -> None:
    text = """
with training.checkpoint(7, sharded=True) as folder:
    (folder / "weights").write_text(f"part {training.world().rank}")
last = training.resume_from()
print(last.step if last else None, [(part / "weights").read_text() for part in last.parts] if last else "")
"""
    job = {"MLP_CHECKPOINT_DIR": str(tmp_path / "saved"), "MLP_WORLD_SIZE": "2"}
    progress = [tmp_path / "0.json", tmp_path / "1.json"]
    assert done(text, tmp_path, **job, MLP_RANK="0", MLP_PROGRESS_FILE=str(progress[0])) == (0, "None \n")
    assert done(text, tmp_path, **job, MLP_RANK="1", MLP_PROGRESS_FILE=str(progress[1])) == (
        0,
        "7 ['part 0', 'part 1']\n",
    )
    assert not progress[0].exists()
    assert json.loads(progress[1].read_text())["checkpointStep"] == 7


def test_when_to_save() -> None:
    assert [step for step in range(10) if due(step, every=4)] == [3, 7]


def test_a_driver_of_ray_that_took_sigterm_over_still_saves(tmp_path: Path) -> None:
    """``ray.init`` has SIGTERM end the process at once."""
    (tmp_path / "ray.py").write_text(
        "import signal, sys\ndef init():\n    signal.signal(signal.SIGTERM, lambda *_: sys.exit(15))\n"
    )
    text = """
training.init()
import ray
ray.init()
training.report(0, {})
os.kill(os.getpid(), signal.SIGTERM)
with training.checkpoint(0) as folder:
    (folder / "state").touch()
"""
    assert done(text, tmp_path, MLP_CHECKPOINT_DIR=str(tmp_path / "saved")) == (75, "")
