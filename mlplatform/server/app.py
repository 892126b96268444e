"""The app: routes, errors, who may come in. ``python -m mlplatform.server`` serves one; tests make their own."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING

from fastapi import FastAPI
from starlette.middleware.gzip import GZipMiddleware

from mlplatform import __version__
from mlplatform.server import contents, faults, mlflow, pages
from mlplatform.server.access import Activity, Guard
from mlplatform.server.api import (
    artifacts,
    compare,
    events,
    experiments,
    logs,
    machine,
    pipelines,
    pods,
    recurring,
    runs,
    tasks,
    training,
)
from mlplatform.server.cluster.doors import Doors
from mlplatform.server.cluster.pods import Pods
from mlplatform.server.cluster.reviews import Reviews
from mlplatform.server.cluster.tracking import tracker_of
from mlplatform.server.context import Context
from mlplatform.server.events import Hub
from mlplatform.server.kfp import api as kfp_api
from mlplatform.server.kfp import runs as kfp_runs
from mlplatform.server.settings import Settings

if TYPE_CHECKING:
    from mlplatform.sdk.kubernetes.assembly import Cluster

_ABOUT = """Everything the pages do, for programs. Send the home's token (`mlplatform token`) as a bearer; programs of
the same user on the same machine need none. Times are seconds since the epoch, UTC. Errors all have one shape."""


def create_app(settings: Settings) -> FastAPI:
    """An app over one home. Nothing is opened before the first request needs it."""

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
        contents.forget_fetched(app.state.context)
        if app.state.context.cluster is not None:
            app.state.context.cluster.start()
        yield
        app.state.context.hub.close()
        app.state.context.close()

    app = FastAPI(
        title="mlplatform",
        version=__version__,
        description=_ABOUT,
        openapi_url="/api/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )
    app.state.context = Context(settings, Hub())
    if settings.cluster:
        app.state.context.cluster = _cluster(app.state.context)
    app.state.activity = Activity()
    for module in (compare, runs, logs, tasks, events, pipelines, experiments, recurring, artifacts, machine, pods):
        app.include_router(module.router)
    app.include_router(training.router)
    for router in (kfp_api.router, kfp_runs.router, mlflow.router):
        app.include_router(router)
    app.include_router(pages.router)
    faults.install(app)
    app.add_middleware(GZipMiddleware, minimum_size=1000, compresslevel=5)
    cluster = app.state.context.cluster
    doors = None
    if cluster is not None:
        reviews = Reviews(cluster.client, cluster.namespace, app.state.context.now)
        doors = Doors(settings, reviews, Pods(cluster.client, reviews, app.state.context.now))
    app.add_middleware(Guard, settings=settings, activity=app.state.activity, doors=doors)
    return app


def _cluster(context: Context) -> Cluster:
    """Raises KubernetesError: there is no cluster to talk to."""
    from mlplatform.kube.transport import connect
    from mlplatform.sdk.kubernetes.assembly import Cluster

    settings = context.settings
    client = connect(settings.kubeconfig or None, settings.context or None)
    logs = settings.home.server / "logs"
    tracker = tracker_of(settings)
    return Cluster(client, settings.cluster, lambda: context.store, logs, context.now, tracker=tracker)
