"""Artifacts: a list, one with its lineage, what is in it, and its bytes behind signed addresses."""

from __future__ import annotations

import subprocess
import sys
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from fastapi.responses import FileResponse

from mlplatform.core.errors import ArtifactError, NotFound
from mlplatform.core.model import Artifact, Values
from mlplatform.core.records import ArtifactLink
from mlplatform.server import contents, kinds, models, words
from mlplatform.server.context import Context, Here
from mlplatform.server.faults import RESPONSES
from mlplatform.server.plain import PlainRoute
from mlplatform.server.previews import preview

router = APIRouter(route_class=PlainRoute, prefix="/api/v1", tags=["artifacts"], responses=RESPONSES)

#: What a page of somebody else's may do here: run its own scripts, as nobody, and reach nothing but its own artifact.
_SANDBOX = (
    "sandbox allow-scripts; default-src 'self' data: blob: 'unsafe-inline' 'unsafe-eval'; connect-src 'none'; "
    "form-action 'none'; base-uri 'none'; frame-ancestors 'self'"
)
_BYTES: dict[int | str, dict[str, Any]] = {200: {"content": {"application/octet-stream": {"schema": {}}}}}
_LINKS = 1000
_RENDER_SECONDS = 60.0

Uri = Annotated[str, Query(min_length=1, max_length=4000)]


@router.get("/artifacts", response_model=models.ArtifactPage)
def list_artifacts(
    here: Here,
    q: Annotated[str, Query(max_length=500, description="Words in its name or address.")] = "",
    type: Annotated[str, Query(max_length=200, description="Such as system.Model.")] = "",
    run: Annotated[str, Query(max_length=100)] = "",
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    cursor: Annotated[str, Query(max_length=8000)] = "",
) -> Any:
    """What tasks made, newest runs first."""
    after: Any = words.from_cursor(cursor, ((str,), (str,), (str,), (str,), (int,))) if cursor else None
    found = here.store.artifact_page(words=q.split()[:8], type=type, run_id=run, after=after, limit=limit + 1)
    more = len(found) > limit
    return {
        "artifacts": [link_json(link) for link, _ in found[:limit]],
        "next_cursor": words.to_cursor(found[limit - 1][1]) if more else "",
    }


@router.get("/artifacts/detail", response_model=models.ArtifactDetail)
def get_artifact(here: Here, uri: Uri) -> Any:
    """One artifact by its address: what it is, who made it, who used it."""
    links = here.store.artifact_links(uri=uri)
    artifact = _artifact(here, uri, links)
    return {
        "artifact": artifact.to_json(),
        "made_by": [_place(link) for link in links if link.role == "output"][-_LINKS:],
        "used_by": [_place(link) for link in links if link.role == "input"][-_LINKS:],
        "reused_by": [_place(link) for link in links if link.role == "reuse"][-_LINKS:],
        "content": contents.address(here, uri, artifact.type),
        "raw": contents.address(here, uri, artifact.type, save=True),
        "exists": _exists(here, uri),
    }


@router.get("/artifacts/preview", response_model=models.Preview)
def get_preview(here: Here, uri: Uri, path: Annotated[str, Query(max_length=4000)] = "") -> Any:
    """What is in an artifact, as far as it can be shown; ``path``: a file of one that is a folder."""
    return preview(here, _artifact(here, uri, here.store.artifact_links(uri=uri)), path)


@router.get("/content/{word}/{where}/{path:path}", response_class=FileResponse, responses=_BYTES)
def get_content(here: Here, word: str, where: str, path: str, save: bool = False) -> Response:
    """The bytes of an artifact, by an address that ``artifacts/detail`` or ``artifacts/preview`` gave."""
    uri, type_ = contents.read_address(here, word, where)
    file = contents.inside(contents.place_of(here, uri), path)
    with contents.opened(file) as stream:
        head: bytes = stream.read(4096)
    kind, media = kinds.kind_of(path or file.name, type_, head)
    headers = {
        "content-security-policy": _SANDBOX,
        "cross-origin-resource-policy": "cross-origin",
        "cross-origin-opener-policy": "unsafe-none",
        "cache-control": "private, max-age=300",
    }
    if save:
        return FileResponse(file, media_type="application/octet-stream", filename=file.name, headers=headers)
    if kind == "notebook" and (page := _rendered(str(file))) is not None:
        return Response(page, media_type="text/html; charset=utf-8", headers=headers)
    return FileResponse(file, media_type=media, headers=headers)


def _rendered(file: str) -> bytes | None:
    """A notebook as a page, by nbconvert in a process of its own; None where it is not installed or fails."""
    command = [sys.executable, "-m", "nbconvert", "--to", "html", "--stdout", "--log-level", "ERROR", file]
    try:
        done = subprocess.run(
            command, capture_output=True, stdin=subprocess.DEVNULL, timeout=_RENDER_SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout


def _artifact(here: Context, uri: str, links: list[ArtifactLink]) -> Artifact:
    """The artifact as its maker (or else a user of it) recorded it. Raises NotFound: nobody did."""
    if not links:
        raise NotFound("no run made or used an artifact at this address")
    best = next((link for link in reversed(links) if link.role == "output"), links[-1])
    values = Values()
    if best.task is not None:
        task = here.store.task(best.run_id, best.task)
        values = task.inputs if best.role == "input" else task.outputs
    found = values.artifacts.get(best.name)
    items = (found,) if isinstance(found, Artifact) else found or ()
    recorded = next((item for item in items if item.uri == uri), None)
    return recorded or Artifact(best.name, uri, best.type or "system.Artifact", {}, best.digest, best.size)


def _exists(here: Context, uri: str) -> bool | None:
    """Whether a local one is there; None for one that lies elsewhere (asking could take long)."""
    try:
        return here.artifacts.local_path(uri).exists() if here.artifacts.is_local(uri) else None
    except (ArtifactError, OSError, ValueError):
        return False


def _place(link: ArtifactLink) -> dict[str, Any]:
    return {
        "run_id": link.run_id,
        "task": link.task.name if link.task else "",
        "iteration": list(link.task.iteration) if link.task else [],
    }


def link_json(link: ArtifactLink) -> dict[str, Any]:
    """``models.ArtifactLinkModel``."""
    return {
        **_place(link),
        "role": link.role,
        "name": link.name,
        "position": link.position,
        "uri": link.uri,
        "digest": link.digest,
        "type": link.type,
        "size": link.size,
    }
