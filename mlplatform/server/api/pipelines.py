"""Pipelines and their versions: uploaded, looked at, compared, deleted."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, File, Form, Query, Request, Response, UploadFile

from mlplatform.core.catalog import PipelineVersion, RegisteredPipeline
from mlplatform.core.errors import NotFound
from mlplatform.ir.load import loads
from mlplatform.server import catalog_models as models
from mlplatform.server import registry
from mlplatform.server.api.tasks import graph_answer
from mlplatform.server.context import Context, Here
from mlplatform.server.faults import RESPONSES
from mlplatform.server.models import GraphModel
from mlplatform.server.plain import PlainRoute

router = APIRouter(route_class=PlainRoute, prefix="/api/v1/pipelines", tags=["pipelines"], responses=RESPONSES)

Short = Annotated[str, Form(max_length=200)]
Long = Annotated[str, Form(max_length=100_000)]
Document = Annotated[UploadFile, File(description="YAML, JSON or a package (.zip, .tar.gz).")]


@router.get("", response_model=models.PipelinePage)
def list_pipelines(
    here: Here,
    q: Annotated[str, Query(max_length=500)] = "",
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
    cursor: Annotated[str, Query(pattern=r"^\d{0,9}$")] = "",
) -> Any:
    """Pipelines, newest first."""
    words = q.lower().split()
    found = [p for p in here.catalog.pipelines() if all(word in f"{p.name} {p.description}".lower() for word in words)]
    begin = int(cursor or 0)
    page = found[begin : begin + limit]
    return {
        "pipelines": [pipeline_json(pipeline) for pipeline in page],
        "next_cursor": str(begin + limit) if begin + limit < len(found) else "",
        "total": len(found),
    }


@router.post("", status_code=201, response_model=models.Uploaded)
def upload_pipeline(
    here: Here, file: Document, name: Short = "", display_name: Short = "", description: Long = ""
) -> Any:
    """Store a new pipeline with its first version. Without a name it is called as the document says."""
    upload = registry.Upload(file.file.read(), file.filename or "", name, display_name, description)
    pipeline, version = registry.upload_pipeline(here, upload)
    return {"pipeline": pipeline_json(pipeline), "version": version_json(version)}


@router.post("/check", response_model=models.Checked)
def check_document(file: Document) -> Any:
    """What a document is and which parameters it takes, without storing it; refused with every finding."""
    _, pipeline = registry.read_document(file.file.read(), file.filename or "")
    return {
        "name": pipeline.name,
        "inputs": registry.input_fields(pipeline),
        "artifacts": sorted(pipeline.root.inputs.artifacts),
    }


@router.get("/{pipeline_id}", response_model=models.PipelineDetail)
def get_pipeline(here: Here, pipeline_id: str) -> Any:
    """One pipeline, with its newest version."""
    pipeline = here.catalog.pipeline(pipeline_id)
    newest = here.catalog.versions(pipeline_id)[:1]
    return {**pipeline_json(pipeline), "newest": version_detail(here, newest[0]) if newest else None}


@router.delete("/{pipeline_id}", status_code=204)
def delete_pipeline(here: Here, pipeline_id: str) -> Response:
    """Remove a pipeline with all its versions. Its runs stay."""
    here.catalog.delete_pipeline(pipeline_id)
    return Response(status_code=204)


@router.get("/{pipeline_id}/versions", response_model=models.VersionPage)
def list_versions(here: Here, pipeline_id: str) -> Any:
    """Its versions, newest first."""
    here.catalog.pipeline(pipeline_id)
    return {"versions": [version_json(version) for version in here.catalog.versions(pipeline_id)]}


@router.post("/{pipeline_id}/versions", status_code=201, response_model=models.VersionModel)
def upload_version(
    here: Here,
    pipeline_id: str,
    file: Document,
    name: Short = "",
    display_name: Short = "",
    description: Long = "",
    code_source_url: Short = "",
) -> Any:
    """Store a further version."""
    upload = registry.Upload(file.file.read(), file.filename or "", name, display_name, description, code_source_url)
    return version_json(registry.upload_version(here, pipeline_id, upload))


@router.get("/{pipeline_id}/versions/{version_id}", response_model=models.VersionDetail)
def get_version(here: Here, pipeline_id: str, version_id: str) -> Any:
    """One version with its parameters and its document's text (two of them make a diff)."""
    return version_detail(here, _version(here, pipeline_id, version_id))


@router.delete("/{pipeline_id}/versions/{version_id}", status_code=204)
def delete_version(here: Here, pipeline_id: str, version_id: str) -> Response:
    """Remove a version. Its runs stay."""
    here.catalog.delete_version(_version(here, pipeline_id, version_id).version_id)
    return Response(status_code=204)


@router.get(
    "/{pipeline_id}/versions/{version_id}/graph",
    response_class=Response,
    responses={200: {"model": GraphModel}, 304: {}},
)
def get_version_graph(
    here: Here,
    request: Request,
    pipeline_id: str,
    version_id: str,
    collapsed: Annotated[list[str], Query(max_length=5000)] = [],  # noqa: B006 - FastAPI copies it
    direction: Annotated[str, Query(pattern="^(down|right)$")] = "down",
) -> Response:
    """A version as nodes and edges with coordinates."""
    version = _version(here, pipeline_id, version_id)
    return graph_answer(here, request, version.document, collapsed, direction)


def _version(here: Context, pipeline_id: str, version_id: str) -> PipelineVersion:
    version = here.catalog.version(version_id)
    if version.pipeline_id != pipeline_id:
        raise NotFound(f"pipeline {pipeline_id!r} has no version {version_id!r}")
    return version


def pipeline_json(pipeline: RegisteredPipeline) -> dict[str, Any]:
    """``models.PipelineModel``."""
    return {
        "pipeline_id": pipeline.pipeline_id,
        "name": pipeline.name,
        "display_name": pipeline.display_name or pipeline.name,
        "description": pipeline.description,
        "created_at": pipeline.created_at,
        "versions": pipeline.versions,
    }


def version_json(version: PipelineVersion) -> dict[str, Any]:
    """``models.VersionModel``."""
    return {
        "version_id": version.version_id,
        "pipeline_id": version.pipeline_id,
        "name": version.name,
        "display_name": version.display_name or version.name,
        "description": version.description,
        "created_at": version.created_at,
        "document": version.document,
        "code_source_url": version.code_source_url,
    }


def version_detail(here: Context, version: PipelineVersion) -> dict[str, Any]:
    """``models.VersionDetail``."""
    text = here.store.document(version.document)
    pipeline = loads(text)
    return {
        **version_json(version),
        "pipeline_name": pipeline.name,
        "inputs": registry.input_fields(pipeline),
        "artifacts": sorted(pipeline.root.inputs.artifacts),
        "text": text.decode("utf-8", "replace"),
    }
