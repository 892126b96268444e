"""PipelineRun: one pod a task, decided by the planner that one machine has too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlplatform.controllers.framework.model import Controller
    from mlplatform.controllers.pipelinerun.controller import ReadLog


def controllers(environ: Mapping[str, str], read_log: ReadLog | None = None) -> Sequence[Controller[Any]]:
    """The controllers of this package as an operator's environment wants them.

    Args:
        environ: ``MLPLATFORM_LAUNCHER_IMAGE``, ``MLPLATFORM_LAUNCHER_PULL_POLICY``, ``MLPLATFORM_TASK_USER``,
            ``MLPLATFORM_SERVER_URL``; ``MLPLATFORM_TASK_ENV_NAME=value`` sets variable NAME in every task.
        read_log: reads the last lines of a pod's log, for results that are too large for a termination message.
    """
    from mlplatform.controllers.pipelinerun.controller import PipelineRuns
    from mlplatform.render.settings import PodSettings

    prefix, plain = "MLPLATFORM_TASK_ENV_", PodSettings()
    settings = PodSettings(
        launcher_image=environ.get("MLPLATFORM_LAUNCHER_IMAGE") or plain.launcher_image,
        launcher_pull_policy=environ.get("MLPLATFORM_LAUNCHER_PULL_POLICY") or plain.launcher_pull_policy,
        user=int(environ.get("MLPLATFORM_TASK_USER") or plain.user),
        server=environ.get("MLPLATFORM_SERVER_URL") or "",
        env={name[len(prefix) :]: value for name, value in environ.items() if name.startswith(prefix)},
    )
    return (PipelineRuns(settings, read_log),)
