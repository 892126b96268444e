"""The run store: what runs did, are doing and left behind. SQLite by default, PostgreSQL by URL.

One transaction a batch, on the disk before it is acknowledged; a process killed at any point leaves a consistent
database. Plain SQL, no mapper: see docs/adr/0002.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from mlplatform.core.errors import InvalidInput

if TYPE_CHECKING:
    from mlplatform.store.runstore import SqlRunStore

_SCHEME = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]*):")
_POSTGRESQL = frozenset({"postgresql", "postgres", "postgresql+psycopg"})

__all__ = ["open_store"]


def open_store(target: str | Path) -> SqlRunStore:
    """Open the store at a path, ``sqlite:///PATH`` (an absolute path makes four slashes) or
    ``postgresql://user@host/database``; create and migrate it if need be.

    Raises:
        InvalidInput: the target is no such thing.
        Unsupported: PostgreSQL without psycopg.
        StoreError: it cannot be opened, or a newer version made it.
    """
    from mlplatform.store.runstore import SqlRunStore

    text = str(target)
    scheme = None if isinstance(target, Path) else _SCHEME.match(text)
    name = scheme[1].lower() if scheme else ""
    if name in _POSTGRESQL:
        from mlplatform.store.postgresql import PostgresDatabase

        return SqlRunStore(PostgresDatabase("postgresql" + text[len(name) :]))
    if name == "sqlite" and text.lower().startswith("sqlite:///"):
        text = text[len("sqlite:///") :]
    elif name:
        raise InvalidInput(
            f"{name}: is no kind of store",
            hint="Give the path of a file, sqlite:///PATH or postgresql://user@host/database.",
        )
    if not text or text == ":memory:":
        raise InvalidInput(
            "the store needs the path of a file", hint="A store in memory would be lost with its process."
        )

    from mlplatform.store.sqlite import SqliteDatabase

    return SqlRunStore(SqliteDatabase(Path(text).expanduser().absolute()))
