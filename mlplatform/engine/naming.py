"""Small choices about a task's surroundings: folder and file names, runtime versions, words for the installer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlplatform.engine.env_kfp import NEWEST_KNOWN, version_key
from mlplatform.planning.naming import file_name, folder_name, list_outputs, pip_words

#: Below an attempt's folder: local copies of inputs that lie elsewhere.
REMOTE_INPUTS = "inputs"


def runtime_version(named: str) -> str:
    """The kfp runtime for a component: the one it names, but none older than the one everything is tested with.

    A newer runtime runs every older component, while documents made from kfp's main branch name releases that lack what
    they use. One runtime for all of a machine's tasks also means one warm interpreter.
    """
    return named if version_key(named) > version_key(NEWEST_KNOWN) else NEWEST_KNOWN


def tracking_names(spec: Mapping[str, Any]) -> list[str]:
    """Variables of the task that lead to the tracking server: a container gets them too."""
    return [name for name in spec["env"] if name.startswith("MLFLOW_")]


__all__ = [
    "REMOTE_INPUTS",
    "file_name",
    "folder_name",
    "list_outputs",
    "pip_words",
    "runtime_version",
    "tracking_names",
]
