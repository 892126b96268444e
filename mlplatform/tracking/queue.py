"""The outbox: what MLflow is to be told, durable and in order, in one SQLite file.

The engine's service and the gateway both write it; only the gateway, which holds a lock, delivers. An operation is
acknowledged to whoever logged it once it is in here, and removed once the real server has it. Operations are delivered
at least once, so each is one that can be repeated (see ``deliver``). Order is kept within a *lane*: everything that
belongs to one task.

A transaction survives the death of any process. ``durable=True`` makes it survive a power cut too; a durable commit
carries all earlier ones along (one log file), so only the engine asks for it, when a task has ended.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import secrets
import sqlite3
import threading
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from mlplatform.tracking import faults, latest

_TABLES = """
CREATE TABLE ops (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, upstream TEXT NOT NULL, lane TEXT NOT NULL, run TEXT NOT NULL,
  kind TEXT NOT NULL, body TEXT NOT NULL, blob TEXT NOT NULL DEFAULT '', tries INTEGER NOT NULL DEFAULT 0,
  rejected TEXT NOT NULL DEFAULT '');
CREATE INDEX ops_pending ON ops (upstream, rejected, lane, seq);
CREATE TABLE runs (
  id TEXT PRIMARY KEY, upstream TEXT NOT NULL, experiment TEXT NOT NULL, name TEXT NOT NULL, parent TEXT NOT NULL,
  owner TEXT NOT NULL, start_time INTEGER NOT NULL, end_time INTEGER NOT NULL DEFAULT 0,
  status TEXT NOT NULL DEFAULT 'RUNNING', tags TEXT NOT NULL DEFAULT '{}', real TEXT NOT NULL DEFAULT '',
  creating INTEGER NOT NULL DEFAULT 0, artifact_uri TEXT NOT NULL DEFAULT '', fingerprint TEXT NOT NULL DEFAULT '',
  incarnation TEXT NOT NULL DEFAULT '', adopted INTEGER NOT NULL DEFAULT 0, mirrored INTEGER NOT NULL DEFAULT 1,
  outcome TEXT NOT NULL DEFAULT '') WITHOUT ROWID;
CREATE INDEX runs_parent ON runs (owner, parent);
CREATE INDEX runs_real ON runs (real);
CREATE TABLE models (
  id TEXT PRIMARY KEY, upstream TEXT NOT NULL, run TEXT NOT NULL, body TEXT NOT NULL, status TEXT NOT NULL,
  created INTEGER NOT NULL, real TEXT NOT NULL DEFAULT '', creating INTEGER NOT NULL DEFAULT 0,
  artifact_uri TEXT NOT NULL DEFAULT '') WITHOUT ROWID;
CREATE TABLE params (run TEXT, key TEXT, value TEXT, PRIMARY KEY (run, key)) WITHOUT ROWID;
CREATE TABLE tags (run TEXT, key TEXT, value TEXT, PRIMARY KEY (run, key)) WITHOUT ROWID;
CREATE TABLE metrics (
  run TEXT, key TEXT, step INTEGER, timestamp INTEGER, value TEXT,
  PRIMARY KEY (run, key, step, timestamp, value)) WITHOUT ROWID;
CREATE TABLE ids (upstream TEXT, reserved TEXT, real TEXT, PRIMARY KEY (upstream, reserved)) WITHOUT ROWID;
CREATE TABLE answers (fingerprint TEXT PRIMARY KEY, incarnation TEXT, body TEXT) WITHOUT ROWID;
"""
#: What each version of the file has more than the one before. An older program goes on with a newer file: tables are
#: only added.
_VERSIONS = (_TABLES, latest.TABLE)


@dataclass(frozen=True, slots=True)
class Op:
    """One queued operation. ``run`` is the reserved id it is about; ``blob`` a file with its body, if it has one."""

    seq: int
    upstream: str
    lane: str
    run: str
    kind: str
    body: dict[str, Any]
    blob: str
    tries: int


@dataclass(frozen=True, slots=True)
class Place:
    """Where an operation belongs: its server, its lane (all of one task) and the run it is about."""

    upstream: str
    lane: str
    run: str

    def about(self, run: str) -> Place:
        """The same lane, about another run."""
        return Place(self.upstream, self.lane, run)


@contextlib.contextmanager
def locked(path: Path) -> Generator[IO[str]]:
    """Hold an exclusive lock on ``path`` (made if needed), waiting for it. It ends with the process."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with open(path, "a+", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield file


class Queue:
    """One process's door to the outbox of ``folder``. Safe to share between threads. ``journal``: SQLite's journal mode
    (a write-ahead log needs a local disk).

    Raises:
        sqlite3.Error: the file cannot be opened or written (a full disk).
    """

    def __init__(self, folder: Path, *, durable: bool = False, journal: str = "wal") -> None:
        self.folder = folder
        self.blobs = folder / "blobs"
        self.blobs.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = threading.RLock()
        with locked(folder / "queue.lock"):  # a fresh database is made by one process
            self._db = sqlite3.connect(
                folder / "queue.db", timeout=30.0, isolation_level=None, check_same_thread=False, cached_statements=256
            )
            self._db.row_factory = sqlite3.Row
            self._db.execute(f"PRAGMA journal_mode={journal}")
            self._db.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
            version = self._db.execute("PRAGMA user_version").fetchone()[0]
            if version < len(_VERSIONS):
                with self.transaction():
                    for tables in _VERSIONS[version:]:
                        for statement in tables.split(";\n"):
                            self._db.execute(statement)
                    self._db.execute(f"PRAGMA user_version={len(_VERSIONS)}")

    def close(self) -> None:
        with self._lock:
            self._db.close()

    @contextlib.contextmanager
    def transaction(self) -> Generator[sqlite3.Connection]:
        """All or nothing, visible to the other processes at its end."""
        with self._lock:
            faults.point("before-write")
            self._db.execute("BEGIN IMMEDIATE")
            with contextlib.ExitStack() as undo:
                undo.callback(self._db.execute, "ROLLBACK")
                yield self._db
                undo.pop_all()
            faults.point("before-commit")
            self._db.execute("COMMIT")
            faults.point("after-commit")

    def rows(self, sql: str, *args: Any) -> list[sqlite3.Row]:
        with self._lock:
            return self._db.execute(sql, args).fetchall()

    def row(self, sql: str, *args: Any) -> sqlite3.Row | None:
        with self._lock:
            return self._db.execute(sql, args).fetchone()

    # ------------------------------------------------------------------ operations
    def pending(self, upstream: str = "", up_to: int | None = None) -> int:
        """How many operations still wait (of one server, or of all)."""
        limit = 2**62 if up_to is None else up_to
        where = "rejected = '' AND seq <= ?" + (" AND upstream = ?" if upstream else "")
        row = self.row(f"SELECT count(*) FROM ops WHERE {where}", limit, *([upstream] if upstream else []))  # noqa: S608 - fixed texts
        return row[0] if row else 0

    def upstreams(self) -> list[str]:
        """Servers with something waiting for them."""
        return [row[0] for row in self.rows("SELECT DISTINCT upstream FROM ops WHERE rejected = ''")]

    def last_seq(self) -> int:
        row = self.row("SELECT max(seq) FROM ops")
        return (row[0] if row else 0) or 0

    def head(self, upstream: str, skip_lanes: Sequence[str] = (), limit: int = 400) -> list[Op]:
        """The next operations of the lane that waited longest (leaving out ``skip_lanes``)."""
        marks = ",".join("?" * len(skip_lanes))
        first = self.row(
            f"SELECT lane FROM ops WHERE upstream = ? AND rejected = '' AND lane NOT IN ({marks}) ORDER BY seq LIMIT 1",  # noqa: S608 - question marks only
            upstream,
            *skip_lanes,
        )
        if first is None:
            return []
        rows = self.rows(
            "SELECT * FROM ops WHERE upstream = ? AND rejected = '' AND lane = ? ORDER BY seq LIMIT ?",
            upstream,
            first[0],
            limit,
        )
        return [_op(row) for row in rows]

    def done(self, ops: Sequence[Op]) -> None:
        """The server has these: forget them and their bodies."""
        with self.transaction() as db:
            db.executemany("DELETE FROM ops WHERE seq = ?", [(op.seq,) for op in ops])
        for op in ops:
            self.drop_blob(op.blob)

    def rejected(self, op: Op, reason: str) -> None:
        """The server will never take this one: keep it aside with its reason, and let the others pass."""
        with self.transaction() as db:
            db.execute("UPDATE ops SET rejected = ? WHERE seq = ?", (reason[:2000] or "refused", op.seq))
        self.drop_blob(op.blob)

    def tried(self, op: Op) -> None:
        with self.transaction() as db:
            db.execute("UPDATE ops SET tries = tries + 1 WHERE seq = ?", (op.seq,))

    def rejections(self) -> list[tuple[Op, str]]:
        return [(_op(row), row["rejected"]) for row in self.rows("SELECT * FROM ops WHERE rejected != '' ORDER BY seq")]

    # ------------------------------------------------------------------ bodies on disk
    def new_blob(self) -> Path:
        """A fresh path for a body; it counts once an operation names it."""
        return self.blobs / f"{int(time.time())}-{secrets.token_hex(8)}"

    def drop_blob(self, blob: str) -> None:
        if blob and Path(blob).parent == self.blobs:
            Path(blob).unlink(missing_ok=True)

    def sweep_blobs(self, older_than: float = 3600.0) -> int:
        """Remove bodies that no operation names (their writer died before it could say so)."""
        named = {row[0] for row in self.rows("SELECT blob FROM ops WHERE blob != ''")}
        removed = 0
        for path in self.blobs.iterdir():
            if str(path) not in named and time.time() - path.stat().st_mtime > older_than:
                path.unlink(missing_ok=True)
                removed += 1
        return removed


def add(db: sqlite3.Connection, place: Place, kind: str, body: dict[str, Any], blob: str = "") -> int:
    """Queue one operation inside a transaction; returns its place in the order."""
    text = json.dumps(body, separators=(",", ":"), ensure_ascii=False)
    cursor = db.execute(
        "INSERT INTO ops (upstream, lane, run, kind, body, blob) VALUES (?, ?, ?, ?, ?, ?)",
        (place.upstream, place.lane, place.run, kind, text, blob),
    )
    return int(cursor.lastrowid or 0)


def _op(row: sqlite3.Row) -> Op:
    return Op(
        seq=row["seq"],
        upstream=row["upstream"],
        lane=row["lane"],
        run=row["run"],
        kind=row["kind"],
        body=json.loads(row["body"]),
        blob=row["blob"],
        tries=row["tries"],
    )
