"""SQLite: one file, nothing to install.

Write-ahead log on local disks, rollback journal on network file systems, and every commit on the disk before it is
acknowledged (``synchronous=FULL``). One connection writes, others read beside it.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from mlplatform.core.errors import MlPlatformError, NotFound, StoreError
from mlplatform.store.database import Row, Transaction, is_current, migrate, schema_number
from mlplatform.store.filesystem import is_network

_TYPES: Final = {
    "text": "TEXT",
    "int": "INTEGER",
    "real": "REAL",
    "bytes": "BLOB",
    "serial": "INTEGER PRIMARY KEY AUTOINCREMENT",
    "clustered": " WITHOUT ROWID",
    "random_id": "lower(hex(randomblob(16)))",
}

_TABLE_EXISTS: Final = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'mlp_migrations'"

#: Seconds to wait for another process that writes.
_PATIENCE: Final = 15.0
_IDLE_READERS: Final = 4

#: By primary result code (sqlite.org/rescode.html): what happened, what to do.
_MEANING: Final = {
    sqlite3.SQLITE_FULL: ("the disk is full", "Free some space; nothing was half-written and nothing stored is lost."),
    sqlite3.SQLITE_BUSY: ("another process keeps it locked", "See which with `mlplatform doctor`, or try again later."),
    sqlite3.SQLITE_LOCKED: ("another connection keeps it locked", "Try again."),
    sqlite3.SQLITE_READONLY: ("it may not be written", "Check who owns the file and its folder, and their modes."),
    sqlite3.SQLITE_CANTOPEN: ("it cannot be opened", "Check that its folder exists and is yours."),
    sqlite3.SQLITE_PERM: ("it may not be opened", "Check who owns the file and its folder, and their modes."),
    sqlite3.SQLITE_IOERR: ("the disk reports an error", "Check the disk and its free space."),
    sqlite3.SQLITE_CORRUPT: (
        "the file is damaged",
        "Restore it from a backup, or move it away to begin with an empty store; artifacts and logs stay.",
    ),
    sqlite3.SQLITE_NOTADB: ("the file is no SQLite database", "Give the path of a store, or of a file not there yet."),
}


class SqliteDatabase:
    """One SQLite file. Safe to use from several threads and, after a fork, from the child."""

    def __init__(self, path: Path) -> None:
        """Open (and create, and migrate) the file. Raises StoreError."""
        self.path = path
        self._lock = threading.Lock()
        self._readers: list[sqlite3.Connection] = []
        self._leaked: list[sqlite3.Connection] = []
        self._closed = False
        self._wrote = False
        self._pid = os.getpid()
        self._network = is_network(path)
        self._writer = self._open()

    # ------------------------------------------------------------------ reading and writing
    def rows(self, sql: str, parameters: Sequence[object] = ()) -> list[Row]:
        reader = self._borrow()
        try:
            found: list[Row] = reader.execute(sql, parameters).fetchall()
        except sqlite3.Error as error:
            reader.close()
            raise self._error(error) from error
        with self._lock:
            if len(self._readers) < _IDLE_READERS and not self._closed:
                self._readers.append(reader)
                return found
        reader.close()
        return found

    @contextmanager
    def transaction(self) -> Generator[Transaction]:
        self._after_fork()
        with self._lock:
            if self._closed:
                raise StoreError(f"the store {self.path} is closed")
            writer = self._writer
            try:
                writer.execute("BEGIN IMMEDIATE")
                yield _Sqlite(writer)
                writer.execute("COMMIT")
                self._wrote = True
            except sqlite3.Error as error:
                raise self._error(error) from error
            finally:
                if writer.in_transaction:
                    with suppress(sqlite3.Error):  # after some errors SQLite has rolled back by itself
                        writer.execute("ROLLBACK")

    def compact(self) -> None:
        with self._lock:
            try:
                self._writer.executescript("PRAGMA incremental_vacuum")  # execute() would stop after one page
                self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            except sqlite3.Error as error:
                raise self._error(error) from error

    def close(self) -> None:
        self._after_fork()
        with self._lock:
            if self._closed:
                return
            self._closed = True
            if self._wrote:
                with suppress(sqlite3.Error):  # statistics for the query planner are a courtesy
                    self._writer.execute("PRAGMA busy_timeout = 0")
                    self._writer.execute("PRAGMA analysis_limit = 400")
                    self._writer.execute("PRAGMA optimize")
            for connection in (*self._readers, self._writer):
                connection.close()
            self._readers.clear()

    # ------------------------------------------------------------------ connections
    def _open(self) -> sqlite3.Connection:
        """The writer, on an up-to-date schema."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            # Parameters may be confidential; SQLite gives its side files the mode of the database.
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        except OSError as error:
            raise StoreError(
                f"the store {self.path} cannot be opened: {error.strerror}",
                hint="Check that its folder exists, is yours and has space, or choose another home with --home.",
            ) from error
        connection = self._connect()
        try:
            current = self._is_current(connection)  # before anything is changed
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # counts for a file without tables only
            self._journal(connection)
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA journal_size_limit = 67108864")
            if not current:
                self._migrate(connection)
        except sqlite3.Error as error:
            connection.close()
            raise self._error(error) from error
        except MlPlatformError:
            connection.close()
            raise
        return connection

    def _is_current(self, connection: sqlite3.Connection) -> bool:
        return is_current(schema_number(_Sqlite(connection).rows, _TABLE_EXISTS), f"the store {self.path}")

    def _migrate(self, connection: sqlite3.Connection) -> None:
        transaction = _Sqlite(connection)
        connection.execute("BEGIN IMMEDIATE")
        if not self._is_current(connection):  # another process may have been first
            migrate(transaction, schema_number(transaction.rows, _TABLE_EXISTS), _TYPES, time.time())
        connection.execute("COMMIT")

    def _journal(self, connection: sqlite3.Connection) -> None:
        """Choose the journal. Changing it asks for the whole file and does not wait for others by itself."""
        wanted = "truncate" if self._network else "wal"
        give_up = time.monotonic() + _PATIENCE
        while True:
            try:
                connection.execute(f"PRAGMA journal_mode = {wanted}").fetchall()
            except sqlite3.OperationalError as error:
                if _code(error) not in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED) or time.monotonic() > give_up:
                    raise
                time.sleep(0.01)
            else:
                return

    def _connect(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = None
        try:
            connection = sqlite3.connect(
                self.path,
                timeout=_PATIENCE,
                isolation_level=None,
                check_same_thread=False,
                cached_statements=256,
            )
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute("PRAGMA temp_store = MEMORY")
            connection.execute("PRAGMA case_sensitive_like = ON")  # as in PostgreSQL; what is searched is lower case
        except sqlite3.Error as error:
            if connection is not None:
                connection.close()
            raise self._error(error) from error
        return connection

    def _borrow(self) -> sqlite3.Connection:
        self._after_fork()
        with self._lock:
            if self._closed:
                raise StoreError(f"the store {self.path} is closed")
            if self._readers:
                return self._readers.pop()
        reader = self._connect()
        reader.execute("PRAGMA query_only = ON")
        return reader

    def _after_fork(self) -> None:
        """A connection must not be used, nor closed, by a process that did not open it."""
        if os.getpid() == self._pid:
            return
        self._leaked += [self._writer, *self._readers]
        self._readers = []
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._writer = self._open()

    def _error(self, error: sqlite3.Error) -> Exception:
        if isinstance(error, sqlite3.ProgrammingError):
            return error  # a bug of ours: trying again would not help
        code = getattr(error, "sqlite_errorcode", None)
        if code == sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY:
            return NotFound("the run does not exist (any more)", hint="It was deleted while this was going on.")
        what, hint = _MEANING.get(_code(error), (str(error), ""))
        return StoreError(f"the store {self.path} failed: {what}", hint=hint)


class _Sqlite:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def run(self, sql: str, parameters: Sequence[object] = ()) -> int:
        return self._connection.execute(sql, parameters).rowcount

    def many(self, sql: str, rows: Iterable[Sequence[object]]) -> None:
        self._connection.executemany(sql, rows)

    def rows(self, sql: str, parameters: Sequence[object] = ()) -> list[Row]:
        return self._connection.execute(sql, parameters).fetchall()


def _code(error: sqlite3.Error) -> int:
    """The primary result code; the extended one has details in its upper bytes."""
    return (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF
