"""What :class:`~mlplatform.sdk.client.LocalClient` is to the service of a home, for runs that are on a cluster."""

from __future__ import annotations

import fcntl
import logging
import os
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, Final, NoReturn

from mlplatform.core.errors import MlPlatformError, NotFound, Unsupported
from mlplatform.core.model import Artifact, AttemptRecord, RunRecord
from mlplatform.core.records import Batch
from mlplatform.core.values import child
from mlplatform.engine.home import Home
from mlplatform.ir.dump import to_json
from mlplatform.ir.load import loads
from mlplatform.sdk.client import LocalClient
from mlplatform.sdk.kubernetes import notebooks
from mlplatform.sdk.kubernetes.assembly import Cluster
from mlplatform.sdk.kubernetes.history import STORE
from mlplatform.sdk.kubernetes.home import Place, read_place
from mlplatform.sdk.kubernetes.images import with_environment
from mlplatform.sdk.kubernetes.stores import make_known, uploaded
from mlplatform.sdk.notebook_submit import TAG
from mlplatform.sdk.records import store_target

_log = logging.getLogger(__name__)

#: The tag of a run that goes on where another one ended, with other code: that one's id.
RESUMES: Final = "mlplatform.resumes"

#: Seconds between two looks at the history for news.
LOOK: Final = 0.15
#: Seconds without any word of the cluster before its trouble is told.
_TROUBLE: Final = 5.0
#: Seconds that a first look at a namespace may take.
_PATIENCE: Final = 20.0

_sites: dict[str, Site] = {}
_turn: Final = threading.Lock()


class Site:
    """A namespace as this process follows it: one for each home, however many clients. Whoever holds the home's lock
    copies; other processes read what it copied, and take over when it is gone."""

    def __init__(self, home: Home, place: Place) -> None:
        from mlplatform.kube.transport import connect
        from mlplatform.store import open_store

        home.prepare()
        self.home = home
        self.store = open_store(store_target(home))
        client = connect(place.kubeconfig or None, place.context or None)
        self.cluster = Cluster(client, place.namespace, lambda: self.store, home.root / "logs" / "pods")
        self._lock: IO[bytes] | None = None
        self.followed = False

    def follow(self) -> None:
        """Copy what happens, unless somebody does already."""
        self.followed = True
        if self._lock is not None:
            return
        file = (self.home.root / "mirror.lock").open("ab")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return
        self._lock = file
        self.cluster.start()


def site_of(home: Home, place: Place) -> Site:
    """Raises KubernetesError, StoreError."""
    with _turn:
        found = _sites.get(str(home.root))
        if found is None:
            found = _sites[str(home.root)] = Site(home, place)
        return found


class ClusterClient(LocalClient):
    """Talks to the cluster of a home (see :func:`mlplatform.sdk.kubernetes.home.cluster_home`).

    Every operation raises KubernetesError if the API server cannot be reached or refuses it.
    """

    def __init__(self, home: Home) -> None:
        super().__init__(home)
        place = read_place(home)
        if place is None:
            raise NotFound(f"{home.root} is no home of a cluster's runs")
        self.place = place

    @property
    def site(self) -> Site:
        return site_of(self.home, self.place)

    # ------------------------------------------------------------------ the cluster
    def start_early(self) -> None:
        """The cluster runs already."""

    def ensure(self) -> None:
        """See that what happens is copied."""
        self.site.follow()

    def look(self) -> None:
        """See that the store tells what is true now."""
        site = self.site
        if not site.followed:
            site.follow()
            site.cluster.mirror.caught_up(_PATIENCE)

    def running(self) -> bool:
        return True

    def status(self) -> dict[str, Any]:
        return self.site.cluster.service.status()

    # ------------------------------------------------------------------ operations
    def submit(self, submission: Mapping[str, Any]) -> str:
        """As :meth:`LocalClient.submit`. Components that name no image and need one get this environment's
        (:mod:`mlplatform.sdk.kubernetes.images`, which says what it raises)."""
        document = self.prepared(str(submission.get("document") or ""))
        service = self.site.cluster.service
        given: dict[str, Any] = dict(submission.get("artifacts") or {})
        if notebooks.is_notebook(document):
            notebooks.require_store(service.store)
            given[notebooks.FOLDER] = notebooks.kept_folder(self.home, Path(str(submission["cwd"])))
        artifacts = self._uploaded(given, service.store)
        return service.submit({**submission, "document": document, "artifacts": artifacts})

    def prepared(self, document: str) -> str:
        """With the image of this environment where components want it, and with what tasks of a notebook pass on."""
        with_images = with_environment(document, os.environ)
        return notebooks.for_pods(with_images) or with_images

    def _uploaded(
        self, artifacts: Mapping[str, Mapping[str, Any]], store: Mapping[str, Any]
    ) -> dict[str, dict[str, Any]]:
        self._know(store)
        return uploaded(artifacts, store, self.place.namespace)

    def _know(self, store: Mapping[str, Any]) -> None:
        make_known(store, self.place.namespace, lambda: self.site.cluster.client, os.environ)

    def know(self, run: RunRecord) -> RunRecord:
        """As :meth:`LocalClient.know`; a notebook's run that has ended gets its executed notebook."""
        self._know(child(run.context, STORE))
        if not run.state.finished or notebooks.FOLDER not in run.artifacts:
            return run
        store = self.site.store
        try:
            told = notebooks.executed(
                self.home, run, store.document(run.spec_digest), store.attempts(run.run_id), store.tasks(run.run_id)
            )
        except (MlPlatformError, OSError) as error:
            _log.warning("run %s: its notebook could not be written: %s", run.run_id, error)
            return run
        if told is not run:
            store.apply(Batch(run.run_id, told, [], []))
        return told

    def bring_values(self, run: RunRecord) -> None:
        """As :meth:`LocalClient.bring_values`."""
        self._know(child(run.context, STORE))
        store = self.site.store
        notebooks.bring_state(self.home, run, store.document(run.spec_digest), store.tasks(run.run_id))

    def watch(self, run_id: str, after: int = 0) -> Iterator[dict[str, Any]]:
        """Events of a run until it is finished, as the local service tells them; ``trouble`` while the cluster cannot
        be heard."""
        site = self.site
        quiet, told = time.monotonic(), ""
        while True:
            site.follow()
            finished = site.store.get_run(run_id).state.finished
            events = site.store.events(after=after, run_id=run_id)
            for event in events:
                after = event.seq
                yield {"seq": event.seq, "at": event.at, "kind": event.kind, "body": dict(event.body)}
            if finished and not events:
                site.cluster.logs.wait(10.0)
                self.know(site.store.get_run(run_id))
                return
            trouble = site.cluster.mirror.trouble
            if events or not trouble:
                quiet, told = time.monotonic(), "" if not trouble else told
            elif trouble != told and time.monotonic() - quiet > _TROUBLE:
                told = trouble
                yield {"seq": after, "at": time.time(), "kind": "trouble", "body": {"message": trouble}}
            if not events:
                time.sleep(LOOK)

    def cancel(self, run_id: str, *, force: bool = False) -> str:
        return self.site.cluster.service.cancel(run_id, force=force)

    def resume(
        self,
        run_id: str,
        document: str | None = None,
        *,
        env: Mapping[str, str],
        interpreter: Mapping[str, Any],
        artifacts: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> str:
        """As :meth:`LocalClient.resume`. A run of a cluster keeps the pipeline that it was started with: with another
        one, or with other objects, it goes on as a new run, whose id is returned, and which reuses what stands."""
        run = self.site.store.get_run(run_id)
        given = {name: value.to_json() for name, value in run.artifacts.items() if isinstance(value, Artifact)}
        others = {name for name, entry in (artifacts or {}).items()
                  if name not in given or entry.get("digest") != given[name].get("digest")}  # fmt: skip
        if document is not None:
            known = self.site.store.document(run.spec_digest)
            document = self.prepared(document)
            if others or to_json(loads(known)) != to_json(loads(document)):
                return self._anew(run, document, {**given, **(artifacts or {})})
        return self.site.cluster.service.resume(run_id)

    def _anew(self, run: RunRecord, document: str, artifacts: Mapping[str, Mapping[str, Any]]) -> str:
        pipeline = loads(document)
        known = pipeline.root.inputs
        folder = os.path.dirname(run.tags.get(TAG, ""))
        submission: dict[str, Any] = {
            "document": document,
            "parameters": {name: value for name, value in run.parameters.items() if name in known.parameters},
            "artifacts": {name: entry for name, entry in artifacts.items() if name in known.artifacts},
            "name": run.name,
            "experiment": run.experiment,
            "tags": {**run.tags, RESUMES: run.run_id},
            "cache": True,
            "cwd": folder,
        }
        return self.submit(submission)

    def delete(self, run_id: str) -> str:
        return self.site.cluster.service.delete(run_id)

    def annotate(self, run_id: str, *, tags: Mapping[str, str] | None = None, note: str | None = None) -> str:
        self.site.store.annotate(run_id, tags=dict(tags or {}), note=note)
        return run_id

    def why(self, run_id: str, task: str) -> dict[str, Any]:
        from mlplatform.engine.why import explain_task

        return dict(explain_task(self.site.store, run_id, task))

    def bring_log(self, run: RunRecord, attempt: AttemptRecord, *, wait: bool = True) -> None:
        """See that the file of an attempt's log has what the pod wrote."""
        self.site.cluster.look_at_log(run, attempt)
        if wait and attempt.state.finished:
            self.site.cluster.logs.wait(30.0)

    # ------------------------------------------------------------------ what only a machine has
    def plan(self, submission: Mapping[str, Any]) -> list[dict[str, Any]]:
        _only_here("What would run is known")

    def stop(self, timeout: float = 30.0) -> int | None:
        _only_here("A service can be stopped")

    def cache_clear(self, *, run_id: str = "", identity: str = "") -> int:
        raise Unsupported(
            "results on a cluster are kept with their runs",
            hint="Delete the runs they came from, or run with the cache switched off.",
        )

    def gc(self, older_than_days: float | None = None) -> dict[str, Any]:
        _only_here("Old runs are collected")

    def flush_tracking(self, timeout: float = 60.0) -> bool:
        return True

    def stay(self, on: bool = True) -> None:
        _only_here("A service stays")

    def schedules_changed(self) -> None:
        """Recurring runs are objects of the cluster."""


def _only_here(what: str) -> NoReturn:
    raise Unsupported(f"{what} on this machine only, not for the runs of a cluster.", hint="Leave --backend out.")


def follow_all(home: Home) -> None:
    """Read the namespace once, here and now: for those who look at it and leave. Raises KubernetesError."""
    place = read_place(home)
    if place is not None:
        site = site_of(home, place)
        lock = (home.root / "mirror.lock").open("ab")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            site.cluster.mirror.refresh()
        except BlockingIOError:
            return  # somebody copies it all the time
        finally:
            lock.close()
