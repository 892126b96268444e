"""What every request of one server shares: the store, the service's client, the artifact stores, the clock."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import Depends, Request

from mlplatform.sdk.client import LocalClient
from mlplatform.server.settings import Settings

if TYPE_CHECKING:
    from mlplatform.artifacts import Artifacts
    from mlplatform.sdk.kubernetes.assembly import Cluster
    from mlplatform.sdk.kubernetes.service import ClusterService
    from mlplatform.server.events import Hub
    from mlplatform.server.starter import Elsewhere, Starter
    from mlplatform.store.catalog import Catalog
    from mlplatform.store.runstore import SqlRunStore


@dataclass
class Context:
    """One for each app. The store is opened when it is first needed and closed with the app."""

    settings: Settings
    hub: Hub
    clock: Any = field(default=time.time)
    #: What a server in a cluster has besides; None: this one is on a machine.
    cluster: Cluster | None = None

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._store: SqlRunStore | None = None

    @property
    def store(self) -> SqlRunStore:
        """Raises StoreError if it cannot be opened; the next request tries again."""
        with self._lock:
            if self._store is None:
                from mlplatform.store import open_store

                self.settings.home.prepare()
                self._store = open_store(self.settings.store)
            return self._store

    @property
    def catalog(self) -> Catalog:
        return self.store.catalog

    @property
    def service(self) -> LocalClient | ClusterService:
        """Who runs pipelines: the service of this home (it is started when it is asked for something; a client is
        cheap), or the cluster."""
        return LocalClient(self.settings.home) if self.cluster is None else self.cluster.service

    @cached_property
    def artifacts(self) -> Artifacts:
        from mlplatform.artifacts import Artifacts

        return Artifacts()

    @cached_property
    def mlflow(self) -> Starter | Elsewhere:
        from mlplatform.server.starter import Elsewhere, Starter

        return Elsewhere(self.settings.mlflow) if self.settings.mlflow else Starter(self.settings.home)

    def now(self) -> float:
        return float(self.clock())

    def schedules_changed(self, enabled: bool) -> None:
        """Tell the service that recurring runs are not what they were; it is started if one of them is on."""
        if enabled or self.service.running():
            self.service.schedules_changed()

    def close(self) -> None:
        if self.cluster is not None:
            self.cluster.close()
        with self._lock:
            if self._store is not None:
                self._store.close()
                self._store = None


def context_of(request: Request) -> Context:
    """The context of the app that got this request."""
    found: Context = request.app.state.context
    return found


Here = Annotated[Context, Depends(context_of)]
