"""What whoever installs the platform decides about the pods of tasks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class PodSettings:
    """``launcher_image`` brings the launcher into any image. ``server``: the platform server's address inside the
    cluster, "" where there is none. ``env``: variables for every task, such as the tracking server's."""

    launcher_image: str = "mlplatform/launcher:dev"
    launcher_pull_policy: str = "IfNotPresent"
    user: int = 1000
    server: str = ""
    grace_seconds: int = 30
    #: Whether the cluster knows training jobs.
    trainings: bool = True
    env: Mapping[str, str] = field(default_factory=dict[str, str])
