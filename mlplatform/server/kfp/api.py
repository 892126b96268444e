"""The routes for health, experiments and pipelines."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, File, Query, Request, UploadFile

from mlplatform.core.catalog import Experiment, PipelineVersion, RegisteredPipeline
from mlplatform.core.errors import InvalidInput, NotFound
from mlplatform.server import registry
from mlplatform.server.context import Context, Here
from mlplatform.server.kfp import bodies
from mlplatform.server.kfp.filters import Page, paged
from mlplatform.server.kfp.specs import in_thread, spec_of
from mlplatform.server.kfp.words import experiment_json, pipeline_json, storage, version_json
from mlplatform.server.plain import PlainRoute

router = APIRouter(route_class=PlainRoute, prefix="/apis/v2beta1", include_in_schema=False)

_EXPERIMENT: Final[dict[str, Callable[[Experiment], Any]]] = {
    "id": lambda one: one.experiment_id,
    "experiment_id": lambda one: one.experiment_id,
    "name": lambda one: one.name,
    "display_name": lambda one: one.name,
    "description": lambda one: one.description,
    "created_at": lambda one: one.created_at,
    "last_run_created_at": lambda one: one.last_run_at,
    "storage_state": lambda one: storage(one.archived),
    "namespace": lambda one: "",
}
_PIPELINE: Final[dict[str, Callable[[RegisteredPipeline], Any]]] = {
    "id": lambda one: one.pipeline_id,
    "pipeline_id": lambda one: one.pipeline_id,
    "name": lambda one: one.name,
    "display_name": lambda one: one.display_name or one.name,
    "description": lambda one: one.description,
    "created_at": lambda one: one.created_at,
    "namespace": lambda one: "",
}
_VERSION: Final[dict[str, Callable[[PipelineVersion], Any]]] = {
    "id": lambda one: one.version_id,
    "pipeline_version_id": lambda one: one.version_id,
    "name": lambda one: one.name,
    "display_name": lambda one: one.display_name or one.name,
    "description": lambda one: one.description,
    "created_at": lambda one: one.created_at,
}


def list_options(
    filter: str = "",
    sort_by: Annotated[str, Query(max_length=200)] = "",
    page_token: Annotated[str, Query(max_length=2000)] = "",
    page_size: Annotated[int, Query(ge=-(2**31), le=2**31)] = 0,
) -> Page:
    """The options every list has. An address of 64 KiB is refused before it comes here."""
    return Page(filter, sort_by, page_token, page_size)


Options = Annotated[Page, Depends(list_options)]


@router.get("/healthz")
def healthz() -> dict[str, Any]:
    return {"multi_user": False, "pipeline_store": "database"}


# ------------------------------------------------------------------ experiments
@router.get("/experiments")
def list_experiments(here: Here, page: Options) -> dict[str, Any]:
    found, total, token = paged(here.catalog.experiments(), page, _EXPERIMENT, "created_at")
    return {"experiments": [experiment_json(one) for one in found], "total_size": total, "next_page_token": token}


@router.post("/experiments")
async def create_experiment(here: Here, request: Request) -> dict[str, Any]:
    body = await bodies.body_of(request)
    name = registry.checked_name(bodies.text(body, "display_name") or bodies.text(body, "name"))
    description = bodies.text(body, "description")
    return experiment_json(await in_thread(lambda: here.catalog.create_experiment(name, here.now(), description)))


@router.get("/experiments/{experiment_id}")
def get_experiment(here: Here, experiment_id: str) -> dict[str, Any]:
    return experiment_json(here.catalog.experiment(experiment_id))


@router.delete("/experiments/{experiment_id}")
def delete_experiment(here: Here, experiment_id: str) -> dict[str, Any]:
    here.catalog.delete_experiment(experiment_id)
    return {}


@router.post("/experiments/{experiment_id}:archive")
def archive_experiment(here: Here, experiment_id: str) -> dict[str, Any]:
    here.catalog.change_experiment(experiment_id, archived=True)
    return {}


@router.post("/experiments/{experiment_id}:unarchive")
def unarchive_experiment(here: Here, experiment_id: str) -> dict[str, Any]:
    here.catalog.change_experiment(experiment_id, archived=False)
    return {}


# ------------------------------------------------------------------ pipelines
@router.get("/pipelines")
def list_pipelines(here: Here, page: Options) -> dict[str, Any]:
    found, total, token = paged(here.catalog.pipelines(), page, _PIPELINE, "created_at")
    return {"pipelines": [pipeline_json(one) for one in found], "total_size": total, "next_page_token": token}


@router.post("/pipelines")
async def create_pipeline(here: Here, request: Request) -> dict[str, Any]:
    return pipeline_json(await in_thread(_pipeline_from, here, await bodies.body_of(request)))


@router.post("/pipelines/create")
async def create_pipeline_and_version(here: Here, request: Request) -> dict[str, Any]:
    body = await bodies.body_of(request)
    pipeline, version = bodies.inside(body, "pipeline"), bodies.inside(body, "pipeline_version")
    made, _ = await in_thread(registry.upload_pipeline, here, _upload(pipeline, version))
    return pipeline_json(made)


@router.post("/pipelines/upload")
def upload_pipeline(
    here: Here,
    uploadfile: Annotated[UploadFile, File()],
    name: str = "",
    display_name: str = "",
    description: str = "",
    tags: str = "",
) -> dict[str, Any]:
    upload = registry.Upload(
        uploadfile.file.read(), uploadfile.filename or "", name, display_name, description, tags=bodies.tags_text(tags)
    )
    made, _ = registry.upload_pipeline(here, upload)
    return pipeline_json(made)


@router.post("/pipelines/upload_version")
def upload_version(
    here: Here,
    uploadfile: Annotated[UploadFile, File()],
    pipelineid: str,
    name: str = "",
    display_name: str = "",
    description: str = "",
    tags: str = "",
) -> dict[str, Any]:
    upload = registry.Upload(
        uploadfile.file.read(), uploadfile.filename or "", name, display_name, description, tags=bodies.tags_text(tags)
    )
    return _version_json(here, registry.upload_version(here, pipelineid, upload))


@router.get("/pipelines/names/{name}")
def get_pipeline_by_name(here: Here, name: str) -> dict[str, Any]:
    return pipeline_json(here.catalog.pipeline_named(name))


@router.get("/pipelines/{pipeline_id}")
def get_pipeline(here: Here, pipeline_id: str) -> dict[str, Any]:
    return pipeline_json(here.catalog.pipeline(pipeline_id))


@router.patch("/pipelines/{pipeline_id}")
async def change_pipeline(here: Here, pipeline_id: str, request: Request) -> dict[str, Any]:
    changes = _changes(await bodies.body_of(request))
    return pipeline_json(await in_thread(lambda: here.catalog.change_pipeline(pipeline_id, **changes)))


@router.delete("/pipelines/{pipeline_id}")
def delete_pipeline(here: Here, pipeline_id: str, cascade: bool = False) -> dict[str, Any]:
    versions = here.catalog.versions(pipeline_id)
    if versions and not cascade:
        raise InvalidInput(
            f"pipeline {pipeline_id} has {len(versions)} version(s)", hint="Delete those first, or ask to cascade."
        )
    here.catalog.delete_pipeline(pipeline_id)
    return {}


# ------------------------------------------------------------------ versions
@router.get("/pipelines/{pipeline_id}/versions")
def list_versions(here: Here, pipeline_id: str, page: Options) -> dict[str, Any]:
    here.catalog.pipeline(pipeline_id)
    found, total, token = paged(here.catalog.versions(pipeline_id), page, _VERSION, "created_at")
    told = [_version_json(here, one) for one in found]
    return {"pipeline_versions": told, "total_size": total, "next_page_token": token}


@router.post("/pipelines/{pipeline_id}/versions")
async def create_version(here: Here, pipeline_id: str, request: Request) -> dict[str, Any]:
    body = await bodies.body_of(request)
    return _version_json(here, await in_thread(registry.upload_version, here, pipeline_id, _upload(body, body)))


@router.get("/pipelines/{pipeline_id}/versions/{version_id}")
def get_version(here: Here, pipeline_id: str, version_id: str) -> dict[str, Any]:
    return _version_json(here, _version(here, pipeline_id, version_id))


@router.patch("/pipelines/{pipeline_id}/versions/{version_id}")
async def change_version(here: Here, pipeline_id: str, version_id: str, request: Request) -> dict[str, Any]:
    changes = _changes(await bodies.body_of(request))

    def change() -> dict[str, Any]:
        known = _version(here, pipeline_id, version_id)
        return _version_json(here, here.catalog.change_version(known.version_id, **changes))

    return await in_thread(change)


@router.delete("/pipelines/{pipeline_id}/versions/{version_id}")
def delete_version(here: Here, pipeline_id: str, version_id: str) -> dict[str, Any]:
    here.catalog.delete_version(_version(here, pipeline_id, version_id).version_id)
    return {}


def _pipeline_from(here: Context, body: dict[str, Any]) -> RegisteredPipeline:
    return registry.create_pipeline(
        here,
        bodies.text(body, "name"),
        bodies.text(body, "display_name"),
        bodies.text(body, "description"),
        bodies.tags(body) or {},
    )


def _changes(body: dict[str, Any]) -> dict[str, Any]:
    """KFP lets these two change; whatever else a client sends along of the message stays as it was."""
    name = bodies.text(body, "display_name")
    return {"display_name": registry.checked_name(name) if name else None, "tags": bodies.tags(body)}


def _version(here: Context, pipeline_id: str, version_id: str) -> PipelineVersion:
    found = here.catalog.version(version_id)
    if found.pipeline_id != pipeline_id:
        raise NotFound(f"pipeline {pipeline_id!r} has no version {version_id!r}")
    return found


def _version_json(here: Context, version: PipelineVersion) -> dict[str, Any]:
    return version_json(version, spec_of(here, version.document))


def _upload(named: Mapping[str, Any], version: Mapping[str, Any]) -> registry.Upload:
    """The document of ``version`` under the names of ``named``. Raises InvalidInput if there is no document."""
    document = bodies.document_of(version)
    if not document:
        raise InvalidInput(
            "there is no pipeline_spec in the request",
            hint="Upload the document; a package_url of another machine is not fetched.",
        )
    return registry.Upload(
        document.encode(),
        name=bodies.text(named, "name"),
        display_name=bodies.text(named, "display_name"),
        description=bodies.text(named, "description"),
        code_source_url=bodies.text(version, "code_source_url"),
        tags=bodies.tags(named) or {},
    )
