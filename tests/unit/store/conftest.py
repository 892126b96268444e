"""The store's tests run on both databases, on real ones."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest

from mlplatform.store import open_store
from mlplatform.store.runstore import SqlRunStore
from tests.support.postgres_server import PostgresServer, postgres_server


@pytest.fixture(scope="session")
def postgres() -> Generator[PostgresServer]:
    with postgres_server() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where an empty store may be made."""
    if request.param == "sqlite":
        return str(tmp_path / "home" / "store.db")
    server: PostgresServer = request.getfixturevalue("postgres")
    return server.url(server.new_schema())


@pytest.fixture
def store(target: str) -> Generator[SqlRunStore]:
    opened = open_store(target)
    yield opened
    opened.close()
