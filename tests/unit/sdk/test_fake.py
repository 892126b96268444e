"""The fake service of these tests offers what the real one offers."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from mlplatform.engine.ops import Operations
from tests.unit.sdk.fake_service import FakeService


def test_the_fake_knows_the_operations_of_the_real_one(tmp_path: Path) -> None:
    handlers, streams = Operations(cast(Any, None), cast(Any, None), "1").tables()
    with FakeService(tmp_path / "s") as fake:
        assert set(fake.operations) == set(handlers)
        assert set(fake.streams) == set(streams)
