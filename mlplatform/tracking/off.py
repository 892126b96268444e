"""Tracking switched off (``MLPLATFORM_TRACKING=off``): nothing is written to MLflow, and none is started.

Tasks keep their own word: code that calls MLflow reaches whatever the submitter's ``MLFLOW_TRACKING_URI`` names.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final

from mlplatform.core.errors import InvalidInput
from mlplatform.core.model import RunRecord, TaskKey, TaskRecord
from mlplatform.tracking.client import TaskEnvironment

VARIABLE: Final = "MLPLATFORM_TRACKING"


def switched_off() -> bool:
    """Whether the user wants no tracking.

    Raises:
        InvalidInput: the variable holds another word than ``on`` or ``off``.
    """
    word = os.environ.get(VARIABLE, "").strip().lower()
    if word not in ("", "on", "off"):
        raise InvalidInput(f"{VARIABLE} is {word!r}; it can be 'on' or 'off'")
    return word == "off"


class NoTracker:
    """Implements ``engine.ports.Tracker`` without MLflow."""

    def run_started(self, run: RunRecord) -> str:
        return ""

    def task_environment(self, run: RunRecord, key: TaskKey, attempt: int) -> TaskEnvironment:
        return TaskEnvironment()

    def rank_environment(self, run: RunRecord) -> Mapping[str, str]:
        return {}

    def keep_files(self, run: RunRecord, files: Mapping[str, bytes]) -> None:
        return None

    def task_finished(self, run: RunRecord, task: TaskRecord) -> str:
        return ""

    def run_finished(self, run: RunRecord) -> None:
        return None

    def ui_url(self, run: RunRecord) -> str:
        return ""

    def close(self) -> None:
        return None
