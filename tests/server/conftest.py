"""A server with a real home, shared by the tests of a module; the databases are real ones."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest

from tests.support.postgres_server import PostgresServer, postgres_server
from tests.support.server import Served, served_in


@pytest.fixture(scope="session")
def postgres() -> Generator[PostgresServer]:
    with postgres_server() as server:
        yield server


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Generator[Served]:
    """A server over SQLite, as a user has it."""
    with served_in(tmp_path_factory.mktemp("served")) as server:
        yield server


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path
