from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mlplatform.engine.home import Home, open_home
from mlplatform.sdk.client import LocalClient
from tests.unit.sdk.fake_service import FakeService


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = open_home(tmp_path / "h")
    home.prepare()
    return home


@pytest.fixture
def service(home: Home) -> Iterator[FakeService]:
    with FakeService(home.socket) as fake:
        yield fake


@pytest.fixture
def client(home: Home, service: FakeService) -> LocalClient:
    return LocalClient(home)
