"""A server of a cluster in memory, over HTTP: training jobs on nodes with accelerators, as pages show them."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvicorn

from mlplatform.engine.home import open_home
from mlplatform.kube.client import Client
from mlplatform.kube.objects import NODES, RESOURCE_QUOTAS, Key, Object, uid_of
from mlplatform.kube.ours import PIPELINE_RUNS, RECORDS, TRAINING_JOBS
from mlplatform.sdk.kubernetes.assembly import Cluster
from mlplatform.sdk.local import store_target
from mlplatform.sdk.records import LOG_NAME
from mlplatform.server.app import create_app
from mlplatform.server.settings import Settings, load_token
from tests.support.kube.training import TrainingCluster

PATIENCE = 120.0


@dataclass
class ClusterSite:
    """``cluster``: its API server, operator and machines; the test moves them."""

    folder: Path
    token: str
    url: str = ""
    cluster: TrainingCluster = field(default_factory=lambda: TrainingCluster(now=round(time.time(), 3)))

    def node(self, name: str, *, product: str = "", count: int = 0, **more: Object) -> None:
        """A node, before any pod is on it."""
        body: Object = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}}
        if product:
            body["metadata"]["labels"] = {"nvidia.com/gpu.product": product, "nvidia.com/gpu.memory": "81920"}
        made = self.cluster.client.create(NODES, {**body, **more})
        allocatable = {"cpu": "32", "memory": "256Gi", **({"nvidia.com/gpu": str(count)} if count else {})}
        ready = [{"type": "Ready", "status": "True"}]
        self.cluster.client.replace_status(NODES, {**made, "status": {"allocatable": allocatable, "conditions": ready}})

    def report(self, name: str, **progress: Any) -> None:
        """What the progress endpoint writes."""
        patch = [{"op": "add", "path": "/status/progress", "value": progress}]
        self.cluster.client.patch(TRAINING_JOBS, Key("default", name), patch, kind="json", subresource="status")

    def quota(self) -> None:
        body = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "team", "namespace": "default"}}
        made = self.cluster.client.create(RESOURCE_QUOTAS, body)
        told = {"hard": {"requests.nvidia.com/gpu": "16"}, "used": {"requests.nvidia.com/gpu": "6"}}
        self.cluster.client.replace_status(RESOURCE_QUOTAS, {**made, "status": told})

    def printed(self, job: Object, pod: str, text: str) -> None:
        """What a rank printed, as the server keeps it."""
        place = self.folder / "server" / "logs" / "training" / uid_of(job) / pod
        place.mkdir(parents=True, exist_ok=True)
        (place / LOG_NAME).write_text(text)
        (place / "complete").touch()


@contextmanager
def cluster_site(folder: Path) -> Generator[ClusterSite]:
    home = open_home(folder)
    home.prepare()
    (home.root / "logs").mkdir(exist_ok=True)
    token = load_token(home)
    site = ClusterSite(home.root, token)
    for kind in (PIPELINE_RUNS, RECORDS, RESOURCE_QUOTAS):
        site.cluster.fake.register(kind)
    app = create_app(Settings(home, store_target(home), token, trust_user=False))
    context = app.state.context
    client = Client(site.cluster.fake, sleep=lambda _: None)
    context.cluster = Cluster(client, "default", lambda: context.store, home.server / "logs")
    listener = socket.create_server(("127.0.0.1", 0))
    site.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, ws="none", timeout_graceful_shutdown=2))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    end = time.monotonic() + PATIENCE
    while not server.started:
        assert thread.is_alive(), "the server ended"
        assert time.monotonic() < end, "the server did not start"
        time.sleep(0.02)
    try:
        yield site
    finally:
        server.should_exit = True
        thread.join(20)
