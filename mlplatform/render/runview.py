"""A PipelineRun as the planner sees it: the same for the controller and for whoever reads its status."""

from __future__ import annotations

from mlplatform.apis.pipelinerun import PipelineRun
from mlplatform.planning.accepting import Accepted
from mlplatform.planning.model import RunView
from mlplatform.render.places import WORKSPACE, run_store


def job_name(run: PipelineRun, accepted: Accepted) -> str:
    """What ``{{$.pipeline_job_name}}`` stands for."""
    return f"{accepted.pipeline.name}-{run.uid}"


def workspace_path(accepted: Accepted) -> str:
    """The folder that all tasks share, "" where the pipeline asks for none."""
    return WORKSPACE if accepted.settings.workspace is not None else ""


def run_view(run: PipelineRun, accepted: Accepted) -> RunView:
    """The run's inputs, without any fact."""
    return RunView(
        run_id=run.uid,
        job_name=job_name(run, accepted),
        parameters=accepted.parameters,
        artifacts=accepted.artifacts,
        created_at=run.created_at,
        pipeline_root=run_store(run).root,
        workspace=workspace_path(accepted),
    )
