"""The files of the web app, and KFP's links into it.

The app's addresses are behind ``#``, so it works under any prefix, and ``kfp.Client``'s links (``/#/runs/details/ID``)
reach it without us. Files with a digest in their name are kept by browsers for ever.
"""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse, HTMLResponse
from starlette.exceptions import HTTPException

from mlplatform.server.context import Here
from mlplatform.ui import STATIC, static_folder

router = APIRouter(include_in_schema=False)

_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".woff2": "font/woff2",
    ".json": "application/json",
    ".webmanifest": "application/manifest+json",
    ".map": "application/json",
    ".txt": "text/plain; charset=utf-8",
}
_UNBUILT: Final = """<!doctype html><html lang="en"><meta charset="utf-8"><title>mlplatform</title>
<h1>The pages are not built</h1>
<p>This installation has no web app in it. In a checkout, <code>make build</code> builds it (it needs Node.js).
The API answers all the same: <a href="api/v1/openapi.json">its document</a>.</p></html>"""


@router.get("/healthz")
def healthz() -> dict[str, str]:
    """Whether the server answers. Open to all."""
    return {"status": "ok"}


@router.get("/readyz")
def readyz(here: Here, response: Response) -> dict[str, str]:
    """Whether everything is known that is asked for: of a cluster's runs, once all were listed. Open to all."""
    waits = here.cluster is not None and not here.cluster.mirror.synced
    response.status_code = 503 if waits else 200
    return {"status": "waiting for the cluster" if waits else "ok"}


@router.get("/")
@router.get("/index.html")
def index() -> Response:
    folder = static_folder()
    if folder is None:
        return HTMLResponse(_UNBUILT)
    return FileResponse(folder / "index.html", media_type=_TYPES[".html"], headers={"cache-control": "no-cache"})


@router.get("/{path:path}")
def file(request: Request, path: str) -> Response:
    """A file of the app; never one outside of it."""
    found = (STATIC / path).resolve() if "\0" not in path else STATIC
    media = _TYPES.get(found.suffix)
    if not found.is_relative_to(STATIC.resolve()) or media is None or not found.is_file():
        raise HTTPException(404, "there is no such page")
    hashed = path.startswith("assets/")
    headers = {"cache-control": "public, max-age=31536000, immutable" if hashed else "no-cache"}
    packed = found.with_name(found.name + ".gz")
    if packed.is_file() and "gzip" in request.headers.get("accept-encoding", ""):
        headers |= {"content-encoding": "gzip", "vary": "accept-encoding"}
        return FileResponse(packed, media_type=media, headers=headers)
    return FileResponse(found, media_type=media, headers=headers)
