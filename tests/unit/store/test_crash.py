"""Processes that come at once, and processes that are killed: what was acknowledged is there, whole."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mlplatform.store import open_store
from mlplatform.store.schema import NEWEST
from tests.unit.store.records import DOCUMENT, run

WRITER = """
import sys
from mlplatform.core.model import AttemptRecord
from mlplatform.core.records import Batch
from mlplatform.core.states import TaskState
from mlplatform.store import open_store
from tests.unit.store.records import entry, run, task

store = open_store(sys.argv[1])
step = int(sys.argv[2])
while True:
    step += 1
    tasks = [task(name, step, cache_note="x" * 3000) for name in "abc"]
    attempts = [AttemptRecord(item.key, 1, TaskState.SUCCEEDED, "/d") for item in tasks]
    events = [(float(step), "task", {"step": step, "name": name}) for name in "abc"]
    changed = run(priority=step)
    store.apply(Batch("run000001", changed, tasks, attempts, [entry(step)], events))
    print(step, flush=True)
"""


def start(root: Path, *command: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", *command], cwd=root, stdout=subprocess.PIPE)


def test_killed_between_and_within_batches(target: str, root: Path) -> None:
    """Killed at twelve different times: every acknowledged batch is there, the last one whole or not at all."""
    store = open_store(target)
    store.create_run(run(), DOCUMENT)
    last = 0
    for trial in range(12):
        writer = start(root, WRITER, target, str(last))
        assert writer.stdout is not None
        lines = [writer.stdout.readline() for _ in range(trial % 4 + 1)]
        time.sleep(trial * 0.0007)  # anywhere within the next batches
        os.kill(writer.pid, signal.SIGKILL)
        rest = writer.stdout.read().decode()
        writer.wait()
        writer.stdout.close()
        acknowledged = int((b"".join(lines).decode() + rest).split("\n")[-2])
        stored = store.get_run("run000001").priority
        assert acknowledged <= stored <= acknowledged + 1
        last = stored
    tasks = store.tasks("run000001")
    assert [(item.key.path[0], item.key.iteration[0]) for item in tasks] == [
        (name, step) for step in range(1, last + 1) for name in "abc"
    ]
    assert len(store.attempts("run000001")) == 3 * last
    assert len(store.cache_candidates("k", limit=10_000)) == last
    told = [(event.body["step"], event.body["name"]) for event in store.events(after=1, limit=10**6)]
    assert told == [(step, name) for step in range(1, last + 1) for name in "abc"]
    store.close()


OPENER = """
import sys
from mlplatform.store import open_store
from tests.unit.store.records import DOCUMENT, run
sys.stdin.read()
store = open_store(sys.argv[1])
store.create_run(run(int(sys.argv[2])), DOCUMENT)
assert store.get_run(f"run{int(sys.argv[2]):06d}")
store.close()
"""


@pytest.mark.parametrize("trial", range(2))
def test_six_processes_open_a_fresh_database_at_once(target: str, root: Path, trial: int) -> None:
    openers = [
        subprocess.Popen([sys.executable, "-c", OPENER, target, str(number)], cwd=root, stdin=subprocess.PIPE)
        for number in range(6)
    ]
    for opener in openers:
        assert opener.stdin is not None
        opener.stdin.close()
    assert [opener.wait(60) for opener in openers] == [0] * 6
    store = open_store(target)
    assert len(store.list_runs()) == 6
    assert store._database.rows("SELECT number FROM mlp_migrations") == [(number + 1,) for number in range(NEWEST)]
    store.close()


KILLED_WHILE_MIGRATING = """
import os, sys
from mlplatform.store import database, open_store
real, left = database._apply, [int(sys.argv[2])]

def apply(transaction, migration, types, now):
    class Counting:
        def run(self, sql, parameters=()):
            left[0] -= 1
            if left[0] < 0:
                os.kill(os.getpid(), 9)
            return transaction.run(sql, parameters)
    real(Counting(), migration, types, now)

database._apply = apply
open_store(sys.argv[1])
"""


def test_killed_while_migrating(target: str, root: Path) -> None:
    for statements in (0, 1, 7, 20):
        opener = start(root, KILLED_WHILE_MIGRATING, target, str(statements))
        assert opener.wait(60) == -signal.SIGKILL
        assert opener.stdout is not None
        opener.stdout.close()
    store = open_store(target)
    store.create_run(run(), DOCUMENT)
    assert store.get_run("run000001") == run()
    store.close()
