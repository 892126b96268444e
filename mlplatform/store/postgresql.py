"""PostgreSQL, by URL, for homes that several machines or a server share. Through psycopg 3 (extra ``postgresql``).

A lost connection is opened again at the next call. A write whose acknowledgement was lost is reported as failed;
applying it again is safe.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, LiteralString, cast
from urllib.parse import urlsplit

from mlplatform.core.errors import InvalidInput, MlPlatformError, NotFound, StoreError, Unsupported
from mlplatform.store.database import Row, Transaction, is_current, migrate, schema_number

if TYPE_CHECKING:
    import psycopg

_TYPES: Final = {
    "text": 'TEXT COLLATE "C"',
    "int": "BIGINT",
    "real": "DOUBLE PRECISION",
    "bytes": "BYTEA",
    "serial": "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
    "clustered": "",
    "random_id": "replace(CAST(gen_random_uuid() AS TEXT), '-', '')",
}

#: One writer at a time in one schema, as in SQLite. Events would otherwise become visible out of the order of their
#: numbers, and somebody who follows them would miss some.
_LOCK: Final = "SELECT pg_advisory_xact_lock(1835821169, hashtext(current_schema()))"
_TABLE_EXISTS: Final = "SELECT 1 WHERE to_regclass('mlp_migrations') IS NOT NULL"
_IDLE_READERS: Final = 4

#: What a connection is told unless the URL says otherwise. Seconds, except the last (milliseconds).
_DEFAULTS: Final = {
    "application_name": "mlplatform",
    "connect_timeout": "10",
    "client_encoding": "utf8",
    "keepalives_idle": "30",
    "tcp_user_timeout": "30000",
}
_SESSION: Final = (
    "SELECT set_config('lock_timeout', '30s', false), "
    "CASE WHEN current_setting('synchronous_commit') = 'off' THEN set_config('synchronous_commit', 'on', false) END"
)


class PostgresDatabase:
    """One PostgreSQL database (and schema: the first of its search path). Usable from several threads."""

    def __init__(self, url: str) -> None:
        """Connect, and migrate. ``url``: as libpq takes it.

        Raises:
            Unsupported: psycopg is not installed.
            InvalidInput: the URL cannot be read.
            StoreError: the server cannot be reached or used.
        """
        try:
            import psycopg
        except ImportError as error:
            raise Unsupported(
                f"a store on PostgreSQL needs psycopg, which cannot be imported ({error})",
                hint="Install it with: pip install 'mlplatform[postgresql]'",
            ) from error
        self._psycopg = psycopg
        self._where = "the store " + _shown(url)
        self._parameters = self._read(url)
        self._lock = threading.Lock()
        self._readers: list[psycopg.Connection[Row]] = []
        self._writer: psycopg.Connection[Row] | None = None
        self._leaked: list[object] = []
        self._closed = False
        self._pid = os.getpid()
        if not is_current(schema_number(self.rows, _TABLE_EXISTS), self._where):
            with self.transaction() as to:
                number = schema_number(to.rows, _TABLE_EXISTS)  # another process may have been first
                if not is_current(number, self._where):
                    migrate(to, number, _TYPES, time.time())

    def _read(self, url: str) -> dict[str, Any]:
        from psycopg.conninfo import conninfo_to_dict

        try:
            parameters = {**_DEFAULTS, **conninfo_to_dict(url)}
        except self._psycopg.Error:
            parameters = {}  # libpq's words may quote a part of the password: neither say nor chain them
        if not parameters or "@" in str(parameters.get("host", "")):
            raise InvalidInput(
                f"{self._where}: its URL cannot be read",
                hint="Write postgresql://USER:PASSWORD@HOST:PORT/DATABASE, special characters as %40 and the like.",
            )
        return parameters

    # ------------------------------------------------------------------ reading and writing
    def rows(self, sql: str, parameters: Sequence[object] = ()) -> list[Row]:
        reader, fresh = self._borrow()
        try:
            found = reader.execute(_translated(sql), parameters).fetchall()
        except self._psycopg.Error as error:
            lost = reader.closed
            reader.close()
            if lost and not fresh:  # it was idle while the server went away and came back
                self._forget_readers()
                return self.rows(sql, parameters)
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
                raise StoreError(f"{self._where} is closed")
            writer = self._begin()
            try:
                yield _Postgres(writer)
                writer.commit()
            except self._psycopg.Error as error:
                raise self._error(error) from error
            finally:
                with suppress(self._psycopg.Error):  # nothing to roll back, or no connection: the server does it
                    writer.rollback()

    def compact(self) -> None:
        """The server does so by itself."""

    def close(self) -> None:
        self._after_fork()
        with self._lock:
            self._closed = True
            for connection in (*self._readers, self._writer):
                if connection is not None:
                    connection.close()
            self._readers.clear()
            self._writer = None

    # ------------------------------------------------------------------ connections
    def _begin(self) -> psycopg.Connection[Row]:
        if self._writer is not None and not self._writer.closed:
            try:
                return self._locked(self._writer)
            except self._psycopg.OperationalError as error:
                if not self._writer.closed:
                    with suppress(self._psycopg.Error):
                        self._writer.rollback()
                    raise self._error(error) from error
        self._writer = self._connect()
        try:
            return self._locked(self._writer)
        except self._psycopg.Error as error:
            self._writer.close()
            raise self._error(error) from error

    def _locked(self, connection: psycopg.Connection[Row]) -> psycopg.Connection[Row]:
        with connection.pipeline():
            connection.execute("BEGIN")
            connection.execute(_LOCK)
        return connection

    def _connect(self) -> psycopg.Connection[Row]:
        try:
            connection = self._psycopg.connect(autocommit=True, **self._parameters)
        except self._psycopg.Error as error:
            raise self._error(error) from error
        try:
            encoding = connection.info.parameter_status("server_encoding")
            if encoding != "UTF8":
                raise StoreError(
                    f"{self._where} is encoded in {encoding}", hint="Create a database WITH ENCODING 'UTF8'."
                )
            connection.execute(_SESSION)
        except self._psycopg.Error as error:
            connection.close()
            raise self._error(error) from error
        except StoreError:
            connection.close()
            raise
        return connection

    def _borrow(self) -> tuple[psycopg.Connection[Row], bool]:
        """A reading connection, and whether it is a new one."""
        self._after_fork()
        with self._lock:
            if self._closed:
                raise StoreError(f"{self._where} is closed")
            if self._readers:
                return self._readers.pop(), False
        return self._connect(), True

    def _forget_readers(self) -> None:
        with self._lock:
            idle, self._readers = self._readers, []
        for reader in idle:
            reader.close()

    def _after_fork(self) -> None:
        """A connection belongs to the process that opened it; closing it here would end it there."""
        if os.getpid() == self._pid:
            return
        self._leaked += [self._writer, *self._readers]
        self._readers, self._writer = [], None
        self._lock = threading.Lock()
        self._pid = os.getpid()

    def _error(self, error: psycopg.Error) -> MlPlatformError:
        errors = self._psycopg.errors
        words = " ".join(str(error).split())
        match error:
            case errors.ForeignKeyViolation():
                return NotFound("the run does not exist (any more)", hint="It was deleted while this was going on.")
            case errors.DiskFull():
                hint = "Free some space on the server; nothing was half-written and nothing stored is lost."
                return StoreError(f"{self._where} failed: the server's disk is full", hint=hint)
            case errors.InsufficientPrivilege():
                hint = "The user needs the right to create tables once, and to read and write them."
                return StoreError(f"{self._where} failed: {words}", hint=hint)
            case errors.LockNotAvailable():
                return StoreError(f"{self._where} failed: another process keeps it locked", hint="Try again later.")
            case self._psycopg.OperationalError():
                hint = "Check that the server runs and that host, port, user, password and database are right."
                return StoreError(f"{self._where} failed: {words}", hint=hint)
            case _:
                return StoreError(f"{self._where} failed: {words}")


class _Postgres:
    def __init__(self, connection: psycopg.Connection[Row]) -> None:
        self._connection = connection

    def run(self, sql: str, parameters: Sequence[object] = ()) -> int:
        return self._connection.execute(_translated(sql), parameters).rowcount

    def many(self, sql: str, rows: Iterable[Sequence[object]]) -> None:
        with self._connection.cursor() as cursor:
            cursor.executemany(_translated(sql), rows)

    def rows(self, sql: str, parameters: Sequence[object] = ()) -> list[Row]:
        return self._connection.execute(_translated(sql), parameters).fetchall()


@lru_cache(256)
def _translated(sql: str) -> LiteralString:
    """Our statements hold no question mark and no percent sign but placeholders."""
    return cast("LiteralString", sql.replace("?", "%s"))


def _shown(url: str) -> str:
    """The URL without password and options."""
    try:
        parts = urlsplit(url)
        if "@" in parts.path or url.count("@") > 1:  # a password that is not escaped
            return "postgresql://..."
        user = f"{parts.username}@" if parts.username else ""
        port = f":{parts.port}" if parts.port else ""
        return f"postgresql://{user}{parts.hostname or ''}{port}{parts.path}"
    except ValueError:
        return "postgresql://..."
