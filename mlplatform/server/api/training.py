"""Training jobs, and the cluster that they run on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Path, Query
from fastapi.responses import FileResponse

from mlplatform.apis.names import LABEL_RUN
from mlplatform.core.errors import InvalidInput, KubernetesError, MlPlatformError, NotFound
from mlplatform.core.values import child
from mlplatform.kube.objects import Key, controller_of
from mlplatform.planning.training.facts import RankKey
from mlplatform.planning.training.tracked import tracked_run
from mlplatform.planning.training.view import job_detail, job_summary
from mlplatform.server import logfiles, models
from mlplatform.server import training_models as shapes
from mlplatform.server.cluster.tracking import task_of
from mlplatform.server.context import Context, Here
from mlplatform.server.faults import RESPONSES
from mlplatform.server.plain import PlainRoute
from mlplatform.server.training import Jobs, jobs_of
from mlplatform.tracking.ids import reserved_run_id

if TYPE_CHECKING:
    from mlplatform.sdk.kubernetes.assembly import Cluster

router = APIRouter(route_class=PlainRoute, prefix="/api/v1", tags=["training jobs"], responses=RESPONSES)

Name = Annotated[str, Path(max_length=63, pattern="^[a-z]([-a-z0-9]*[a-z0-9])?$")]
Group = Annotated[str, Query(max_length=12)]
Rank = Annotated[int, Query(ge=0, le=4999)]
Attempt = Annotated[int, Query(ge=0, le=2**31, description="Which attempt; 0: the one it is in.")]

#: Phases of a job that wants to run and does not.
_WAITS = ("Created", "Queued", "Starting", "Restarting")


@router.get("/surroundings", response_model=shapes.Surroundings)
def surroundings(here: Here) -> Any:
    """Whether there is a cluster, and training jobs: what pages there are."""
    if here.cluster is not None:
        return {"cluster": here.cluster.namespace, "training": True}
    return {"cluster": "", "training": bool(jobs_of(here).marks())}


@router.get("/training-jobs", response_model=shapes.TrainingPage)
def listed(
    here: Here,
    q: Annotated[str, Query(max_length=200, description="Words that are in the name.")] = "",
    phase: Annotated[list[str], Query(max_length=20, description="Of these phases only.")] = [],  # noqa: B006 - FastAPI copies it
    limit: Annotated[int, Query(ge=1, le=5000)] = 1000,
) -> Any:
    """Training jobs, the newest first."""
    words = q.lower().split()
    rows = [job_summary(body, here.now()) for body in jobs_of(here).bodies()]
    rows = [row for row in rows if all(word in row["name"] for word in words) and (not phase or row["phase"] in phase)]
    rows.sort(key=lambda row: (-(row["created_at"] or 0.0), row["name"]))
    note = f"The newest {limit} of {len(rows)}; search for the others." if len(rows) > limit else ""
    return {"training_jobs": rows[:limit], "total": len(rows), "note": note}


@router.get("/training-jobs/{name}", response_model=shapes.TrainingDetail)
def one(here: Here, name: Name) -> Any:
    """A training job with its groups, ranks, attempts and where its time went."""
    jobs = jobs_of(here)
    body = jobs.body(name)
    found = job_detail(body, jobs.ranks(name), here.now())
    if found["mlflow_run_id"]:
        return {**found, "mlflow": _mlflow(found), "commands": _commands(jobs, name)}
    known = _mlflow_there(here, here.cluster, body) if here.cluster is not None else _mlflow_here(body)
    mlflow = f"mlflow/open/{known}" if known else ""
    return {**found, "mlflow_run_id": known, "mlflow": mlflow, "commands": _commands(jobs, name)}


def _mlflow_here(body: Mapping[str, Any]) -> str:
    """This machine's MLflow knows a job by the same id from its beginning; that of a task is its run's."""
    owner = str(child(child(body, "metadata"), "labels").get(LABEL_RUN) or "")
    return reserved_run_id(owner) if owner else _mlflow_own(body)


def _mlflow_own(body: Mapping[str, Any]) -> str:
    """The run of a job that is no task."""
    run = tracked_run(body)
    return reserved_run_id(run.run_id) if run is not None else ""


def _mlflow_there(here: Context, cluster: Cluster, body: Mapping[str, Any]) -> str:
    """The same of a cluster's job; one that is a task has that of the task."""
    if cluster.tracker is None:
        return ""
    task = task_of(body)
    if task is None:
        return _mlflow_own(body)
    owner = controller_of(body) or {}
    place = Key(cluster.namespace, str(owner.get("name") or ""))
    try:
        run_id = cluster.mirror.take(cluster.mirror.find(place, str(owner.get("uid") or "")))
    except MlPlatformError:  # the run is gone, and the job is about to go
        return ""
    return reserved_run_id(run_id, task[0].name, task[0].iteration)


def _mlflow(found: dict[str, Any]) -> str:
    if not found["mlflow_run_id"]:
        return ""
    return f"mlflow/#/experiments/{found['mlflow_experiment_id'] or '0'}/runs/{found['mlflow_run_id']}"


def _commands(jobs: Jobs, name: str) -> dict[str, str]:
    """Command lines that do the same."""
    if not jobs.namespace:
        words = {"describe": "show", "suspend": "suspend", "resume": "resume", "delete": "delete"}
        return {what: f"mlplatform training {word} {name}" for what, word in words.items()}
    tail = f"trainingjob {name} -n {jobs.namespace}"
    patch = f"kubectl patch {tail} --type merge -p"
    return {
        "describe": f"kubectl describe {tail}",
        "suspend": f'{patch} \'{{"spec":{{"suspend":true}}}}\'',
        "resume": f'{patch} \'{{"spec":{{"suspend":false}}}}\'',
        "delete": f"kubectl delete {tail}",
    }


@router.post("/training-jobs/{name}/suspend", response_model=shapes.Done)
def suspend(here: Here, name: Name) -> Any:
    """Ask its ranks to save, and let go of all they have. It can be resumed."""
    jobs_of(here).suspend(name, True)
    return {"name": name}


@router.post("/training-jobs/{name}/resume", response_model=shapes.Done)
def resume(here: Here, name: Name) -> Any:
    """Go on from the newest checkpoint."""
    jobs_of(here).suspend(name, False)
    return {"name": name}


@router.delete("/training-jobs/{name}", response_model=shapes.Done)
def delete(here: Here, name: Name) -> Any:
    """Stop it and forget it. Claims that are to be retained stay."""
    jobs_of(here).delete(name)
    return {"name": name}


@router.get("/training-jobs/{name}/log", response_model=models.LogPart)
def log_part(
    here: Here,
    name: Name,
    group: Group,
    rank: Rank,
    attempt: Attempt = 0,
    offset: Annotated[int, Query(ge=-(2**62), le=2**62, description="In bytes; negative: from the end.")] = 0,
    limit: Annotated[int, Query(ge=4, le=logfiles.PART)] = 256 * 1024,
) -> Any:
    """Part of what a rank printed. Parts never cut a character: read on at ``next_offset``."""
    key = _key(here, name, group, rank, attempt)
    path, ended = jobs_of(here).log(name, key)
    try:
        part = logfiles.read_part(path, offset, limit)
    except NotFound:
        if ended:
            raise
        part = logfiles.Part(0, 0, 0, "")
    return {
        "attempt": key.attempt,
        "offset": part.offset,
        "next_offset": part.following,
        "size": part.size,
        "complete": ended and part.following >= part.size,
        "text": part.text,
    }


@router.get(
    "/training-jobs/{name}/log-file",
    response_class=FileResponse,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
def log_whole(here: Here, name: Name, group: Group, rank: Rank, attempt: Attempt = 0) -> FileResponse:
    """The whole log of a rank, to be saved."""
    key = _key(here, name, group, rank, attempt)
    path, _ = jobs_of(here).log(name, key)
    if not path.is_file():
        raise NotFound("there is no log", hint="The rank has printed nothing yet, or its log was not kept.")
    filename = f"{name}-{group}-{rank}-attempt{key.attempt}.log"
    return FileResponse(path, media_type="text/plain; charset=utf-8", filename=filename)


def _key(here: Context, name: str, group: str, rank: int, attempt: int) -> RankKey:
    jobs = jobs_of(here)
    if not attempt:
        found = job_detail(jobs.body(name), jobs.ranks(name), here.now())["rank_rows"]
        row = next((row for row in found if (row["group"], row["rank"]) == (group, rank)), None)
        if row is None:
            raise NotFound(f"{name} has no rank {rank} in a group {group!r}")
        attempt = int(row["attempt"])
    return RankKey(group, rank, attempt)


@router.get("/cluster", response_model=shapes.ClusterView)
def cluster(here: Here) -> Any:
    """Nodes and accelerators, what is free, who waits and why."""
    if here.cluster is None:
        raise InvalidInput("this server shows a machine, not a cluster", hint="GET /api/v1/machine tells of it.")
    jobs = here.cluster.jobs
    found = jobs.cluster()
    try:
        waiting = [
            row
            for body in jobs.bodies()
            if (row := job_summary(body, here.now()))["phase"] in _WAITS and not row["suspend"]
        ]
    except KubernetesError as error:
        waiting = []
        found["notes"].append(error.message)
    return {**found, "waiting_jobs": waiting}
