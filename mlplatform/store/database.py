"""The little that SQLite and PostgreSQL do differently, behind one door: connections, transactions, placeholders.

SQL is written with ``?``. One writer at a time on both databases: what is read inside a transaction stays true until
its commit, and events become visible in the order of their numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Final, Protocol

from mlplatform.core.errors import StoreError
from mlplatform.store.schema import MIGRATIONS, NEWEST, Migration

Row = tuple[Any, ...]

_TABLE: Final = """
CREATE TABLE mlp_migrations (
    number {int} PRIMARY KEY,
    name {text} NOT NULL,
    applied_at {real} NOT NULL
)"""


class Transaction(Protocol):
    """Statements that are committed together when the block ends, or not at all."""

    def run(self, sql: str, parameters: Sequence[Any] = ()) -> int:
        """Execute; returns how many rows changed."""
        ...

    def many(self, sql: str, rows: Iterable[Sequence[Any]]) -> None: ...
    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]: ...


class Database(Protocol):
    """An open database. Usable from several threads."""

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        """One reading statement, outside any transaction of ours. Raises StoreError."""
        ...

    def transaction(self) -> AbstractContextManager[Transaction]:
        """The one writing transaction of this database. Raises StoreError, also at its end; NotFound if a row's run
        does not exist (any more)."""
        ...

    def compact(self) -> None:
        """Give space of deleted rows back to the file system, where that is ours to do."""
        ...

    def close(self) -> None: ...


def is_current(number: int, where: str) -> bool:
    """Whether a schema of this number needs no migration.

    Raises:
        StoreError: the database was made by a newer version.
    """
    if number > NEWEST:
        raise StoreError(
            f"{where} was made by a newer mlplatform (schema {number}; this version knows {NEWEST})",
            hint="Upgrade with `pip install --upgrade mlplatform`, or use another home with --home.",
        )
    return number == NEWEST


def schema_number(rows: Callable[[str], list[Row]], table_exists: str) -> int:
    """The number of the last migration; 0 for an empty database. ``table_exists``: SQL that finds the table."""
    if not rows(table_exists):
        return 0
    return rows("SELECT COALESCE(MAX(number), 0) FROM mlp_migrations")[0][0]


def migrate(transaction: Transaction, number: int, types: dict[str, str], now: float) -> None:
    """Bring the schema up to date from ``number`` inside ``transaction``, which keeps every other process out."""
    if number == 0:
        transaction.run(_TABLE.format(**types))
    for migration in MIGRATIONS:
        if migration.number > number:
            _apply(transaction, migration, types, now)


def _apply(transaction: Transaction, migration: Migration, types: dict[str, str], now: float) -> None:
    for statement in migration.statements:
        transaction.run(statement.format(**types))
    transaction.run(
        "INSERT INTO mlp_migrations (number, name, applied_at) VALUES (?, ?, ?)",
        (migration.number, migration.name, now),
    )
