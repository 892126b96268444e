"""For people's own tests: ``ml_local`` is a platform of their own, gone when the test is.

pytest finds this by the entry point ``mlplatform``. It is imported in every pytest process: what it needs is imported
where it is used.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from mlplatform.sdk.testing import LocalPlatform


@pytest.fixture
def ml_local(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalPlatform]:
    """A temporary home with a service of its own: ``p.run(...)`` in the test goes there, and nothing of it is left.

    No network is used: packages that are not here cannot be had.
    """
    from mlplatform.sdk.testing import LocalPlatform

    platform = LocalPlatform(tmp_path_factory.mktemp("mlplatform"))
    for name, value in platform.environment.items():
        monkeypatch.setenv(name, value)
    try:
        yield platform
    finally:
        platform.close()
