"""A platform for one test."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlplatform.sdk.client import LocalClient
    from mlplatform.sdk.run import Run


class LocalPlatform:
    """What the fixture ``ml_local`` gives.

    Attributes:
        home: the temporary home folder.
        environment: variables that point this process at it, and keep it off the network.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        self.environment: Mapping[str, str] = {
            "MLPLATFORM_HOME": str(home),
            "MLPLATFORM_OFFLINE": "1",
            "MLPLATFORM_TRACKING": "off",
        }

    @property
    def client(self) -> LocalClient:
        """The service of this home."""
        from mlplatform.sdk.client import LocalClient

        return LocalClient(self.home)

    def run(self, pipeline: Any, /, **arguments: Any) -> Run:
        """Run a pipeline here and wait until it has succeeded.

        Raises:
            TaskFailed: with the task's own traceback.
        """
        run: Run = pipeline.options(home=self.home).run(**arguments)
        run.wait(check=True)
        return run

    def close(self) -> None:
        """Stop the service."""
        self.client.stop()
