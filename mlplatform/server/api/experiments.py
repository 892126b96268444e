"""Experiments: places for runs. One is known once a run names it."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Response

from mlplatform.core.catalog import Experiment
from mlplatform.server import catalog_models as models
from mlplatform.server.context import Here
from mlplatform.server.faults import RESPONSES
from mlplatform.server.plain import PlainRoute
from mlplatform.server.registry import checked_name

router = APIRouter(route_class=PlainRoute, prefix="/api/v1/experiments", tags=["experiments"], responses=RESPONSES)


@router.get("", response_model=models.ExperimentList)
def list_experiments(here: Here, archived: bool = False) -> Any:
    """Newest first."""
    found = [one for one in here.catalog.experiments() if one.archived == archived]
    return {"experiments": [experiment_json(one) for one in found]}


@router.post("", status_code=201, response_model=models.ExperimentModel)
def create_experiment(here: Here, body: models.CreateExperiment) -> Any:
    """Make one before there are runs in it."""
    return experiment_json(here.catalog.create_experiment(checked_name(body.name), here.now(), body.description))


@router.get("/{experiment_id}", response_model=models.ExperimentModel)
def get_experiment(here: Here, experiment_id: str) -> Any:
    return experiment_json(here.catalog.experiment(experiment_id))


@router.patch("/{experiment_id}", response_model=models.ExperimentModel)
def change_experiment(here: Here, experiment_id: str, body: models.ChangeExperiment) -> Any:
    """Archiving an experiment archives its runs; bringing it back does not bring them back."""
    here.catalog.change_experiment(experiment_id, archived=body.archived, description=body.description)
    return experiment_json(here.catalog.experiment(experiment_id))


@router.delete("/{experiment_id}", status_code=204)
def delete_experiment(here: Here, experiment_id: str) -> Response:
    """Forget an experiment; its runs stay."""
    here.catalog.delete_experiment(experiment_id)
    return Response(status_code=204)


def experiment_json(experiment: Experiment) -> dict[str, Any]:
    """``models.ExperimentModel``."""
    return {
        "experiment_id": experiment.experiment_id,
        "name": experiment.name,
        "description": experiment.description,
        "created_at": experiment.created_at,
        "archived": experiment.archived,
        "last_run_at": experiment.last_run_at,
    }
