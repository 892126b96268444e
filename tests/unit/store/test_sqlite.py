"""What is SQLite's own: journals, locks, damaged and full disks, forks."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from mlplatform.core.errors import InvalidInput, StoreError
from mlplatform.core.records import Batch
from mlplatform.store import open_store, sqlite
from mlplatform.store.runstore import SqlRunStore
from mlplatform.store.schema import NEWEST
from tests.unit.store.records import DOCUMENT, run, task


def ask(path: Path, sql: str) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(path)
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.close()


def pragma(store: SqlRunStore, name: str) -> object:
    return store._database._writer.execute(f"PRAGMA {name}").fetchone()[0]  # type: ignore[attr-defined]


@pytest.mark.parametrize("form", ["{}", "sqlite:///{}", "SQLite:///{}"])
def test_targets(tmp_path: Path, form: str) -> None:
    path = tmp_path / "new" / "ü ?#.db"
    open_store(form.format(path)).close()
    assert ask(path, "SELECT number FROM mlp_migrations") == [(number,) for number in range(1, NEWEST + 1)]
    assert path.stat().st_mode & 0o077 == 0
    open_store(path).close()


@pytest.mark.parametrize("target", ["", ":memory:", "mysql://x/y", "sqlite:relative", "redis:x"])
def test_no_targets(target: str) -> None:
    with pytest.raises(InvalidInput):
        open_store(target)


def test_every_commit_is_on_the_disk(tmp_path: Path) -> None:
    store = open_store(tmp_path / "s.db")
    assert (pragma(store, "journal_mode"), pragma(store, "synchronous"), pragma(store, "foreign_keys")) == ("wal", 2, 1)
    store.close()
    assert [path.name for path in tmp_path.iterdir()] == ["s.db"]


def test_on_a_network_file_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "s.db"
    open_store(path).close()  # made on a local disk, then moved
    monkeypatch.setattr(sqlite, "is_network", lambda _: True)
    store = open_store(path)
    assert (pragma(store, "journal_mode"), pragma(store, "synchronous")) == ("truncate", 2)
    other = open_store(path)
    store.create_run(run(1), DOCUMENT)
    other.create_run(run(2), DOCUMENT)
    assert len(store.list_runs()) == len(other.list_runs()) == 2
    store.close()
    other.close()


def test_a_database_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    open_store(path).close()
    connection = sqlite3.connect(path)
    connection.execute("INSERT INTO mlp_migrations VALUES (?, 'future', 1)", (NEWEST + 1,))
    connection.commit()
    connection.close()
    before = path.read_bytes()
    words = f"newer mlplatform .schema {NEWEST + 1}; this version knows {NEWEST}"
    with pytest.raises(StoreError, match=words) as caught:
        open_store(path)
    assert "--upgrade" in caught.value.hint
    assert path.read_bytes() == before


def test_no_database(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("this is a text that is no database " * 100)
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    for name, words in (
        ("text", "no SQLite database"),
        ("folder", "cannot be opened"),
        ("file/s.db", "cannot be opened"),
    ):
        with pytest.raises(StoreError, match=words) as caught:
            open_store(tmp_path / name)
        assert caught.value.hint
    assert (tmp_path / "text").read_text().startswith("this is a text")


def test_a_damaged_database_is_said(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    store = open_store(path)
    for number in range(200):
        store.create_run(run(number, note="x" * 500), DOCUMENT)
    store.close()
    data = bytearray(path.read_bytes())
    data[8192:-8192] = os.urandom(len(data) - 16384)
    path.write_bytes(data)
    with pytest.raises(StoreError, match="damaged") as caught:
        open_store(path).list_runs(limit=1000)
    assert "backup" in caught.value.hint


def test_a_full_disk_half_writes_nothing(tmp_path: Path) -> None:
    store = open_store(tmp_path / "s.db")
    store.create_run(run(), DOCUMENT)
    pages = pragma(store, "page_count")
    pragma(store, f"max_page_count = {int(str(pages)) + 4}")
    batch = Batch("run000001", run(name="changed"), tasks=[task("a"), task("b", cache_note="x" * 100_000)])
    with pytest.raises(StoreError, match="disk is full") as caught:
        store.apply(batch)
    assert caught.value.retryable
    assert "Free some space" in caught.value.hint
    assert store.get_run("run000001") == run()
    assert store.tasks("run000001") == []
    pragma(store, "max_page_count = 1073741823")
    store.apply(batch)
    assert store.tasks("run000001") == batch.tasks
    store.close()


ON_SMALL_DISK = """
import os, subprocess, sys
from pathlib import Path
folder = Path(sys.argv[1])
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3000k", "tmpfs", str(folder)], check=True)
from mlplatform.core.errors import StoreError
from mlplatform.core.records import Batch
from mlplatform.store import open_store
from tests.unit.store.records import DOCUMENT, run, task
store = open_store(folder / "s.db")
store.create_run(run(), DOCUMENT)
done = 0
while True:
    try:
        store.apply(Batch("run000001", tasks=[task("t", done, cache_note=os.urandom(20_000).hex())]))
    except StoreError as error:
        print(error.message.partition("failed: ")[2])
        break
    done += 1
assert len(store.tasks("run000001")) == done > 5, done
store.close()
assert open_store(folder / "s.db")._database.rows("PRAGMA integrity_check") == [("ok",)]
"""


@pytest.mark.cannot_run_here("mounting a small disk takes user namespaces, which a machine may forbid")
def test_a_disk_that_really_is_full(tmp_path: Path, root: Path) -> None:
    command = ["unshare", "--user", "--map-root-user", "--mount"]
    try:
        subprocess.run([*command, "mount", "-t", "tmpfs", "x", str(tmp_path)], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no mount namespace here: {error}")
    command += [sys.executable, "-c", ON_SMALL_DISK, str(tmp_path)]
    ran = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.strip() in ("the disk is full", "the disk reports an error")


def test_a_locked_database_is_waited_for_and_then_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "_PATIENCE", 0.05)
    store = open_store(tmp_path / "s.db")
    holder = sqlite3.connect(tmp_path / "s.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match="locked"):
        store.create_run(run(), DOCUMENT)
    assert store.list_runs() == []
    holder.execute("ROLLBACK")
    holder.close()
    store.create_run(run(), DOCUMENT)
    store.close()


def test_a_child_of_a_fork_has_connections_of_its_own(tmp_path: Path) -> None:
    store = open_store(tmp_path / "s.db")
    store.create_run(run(1), DOCUMENT)
    assert len(store.list_runs()) == 1
    child = os.fork()
    if child == 0:
        status = 1
        try:
            store.create_run(run(2), DOCUMENT)
            status = 0 if store.get_run("run000002") == run(2) else 2
        finally:
            os._exit(status)
    store.create_run(run(3), DOCUMENT)
    assert os.waitpid(child, 0)[1] == 0
    assert len(store.list_runs()) == 3
    store.close()
    assert ask(tmp_path / "s.db", "PRAGMA integrity_check") == [("ok",)]


def test_space_of_deleted_runs_is_given_back(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    store = open_store(path)
    for number in range(50):
        store.create_run(run(number, note=os.urandom(10_000).hex()), DOCUMENT)
    store.compact()
    full = path.stat().st_size
    for number in range(50):
        store.delete_run(f"run{number:06d}")
    store.compact()
    assert full > 1_000_000
    assert path.stat().st_size < full / 4
    store.close()
