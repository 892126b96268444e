"""MLflow as the engine sees it: tells what happened and returns at once, whatever state MLflow is in."""

from __future__ import annotations

import getpass
import json
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from mlplatform.core.errors import TrackingError
from mlplatform.core.model import RunRecord, TaskKey, TaskRecord
from mlplatform.tracking import describe, mirror
from mlplatform.tracking.door import Door, ask
from mlplatform.tracking.ids import Caller, load_secret, reserved_experiment_id, reserved_run_id, seal
from mlplatform.tracking.models import queue_documents, queue_models
from mlplatform.tracking.queue import Place, Queue, add
from mlplatform.tracking.settings import HOME, Settings, usable

_log = logging.getLogger(__name__)
HOOK = Path(__file__).with_name("userhook.py")
#: A run in which no task logged anything is brought to the home's MLflow after this long (seconds), or when somebody
#: looks; starting a server for each of them would cost more than the runs.
LAZY = float(os.environ.get("MLPLATFORM_TRACKING_LAZY_SECONDS") or 15.0)


@dataclass(frozen=True, slots=True)
class TaskEnvironment:
    """What a task needs to log (the engine's ``TrackingEnvironment``)."""

    env: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    hook: Path | None = None


def user_name() -> str:
    """Who we are, for MLflow's ``mlflow.user``."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return "mlplatform"


def _no_environment(run_id: str) -> Mapping[str, str]:
    return {}


@dataclass(frozen=True, slots=True)
class TrackingOptions:
    """How a home tracks.

    ``tracking_uri``: an MLflow server for all runs (else each submitter's own MLFLOW_TRACKING_URI, else the home's).
    ``python``: an interpreter that may have mlflow installed, to run the home's server. ``maker``: ``module:function``
    that makes an environment for a list of requirements and returns its Python (else uv does it in the cache).
    ``environment_of``: the environment of a run's submitter by run id, while it is known.
    ``network_disk``: the home lies on a network file system (SQLite then keeps a rollback journal). ``address``: what
    tasks call instead of the gateway's own port, where they run elsewhere and somebody passes it on. ``lasting``: the
    runs outlive this folder, so that an MLflow run may be there of which the outbox knows nothing: look first.
    """

    tracking_uri: str = ""
    python: str = ""
    maker: str = ""
    environment_of: Callable[[str], Mapping[str, str]] = _no_environment
    network_disk: bool = False
    address: str = ""
    lasting: bool = False


class MlflowTracker:
    """Implements ``engine.ports.Tracker``. Every method writes to the outbox and returns, whatever state MLflow is in.

    If the outbox itself cannot be written (a full disk) the record is kept in memory and written when it can be.
    """

    def __init__(self, folder: Path, options: TrackingOptions | None = None) -> None:
        self._folder = folder
        self._options = options or TrackingOptions()
        self._settings = Settings(folder)
        journal = "truncate" if self._options.network_disk else "wal"
        self._settings.keep_server_options(
            python=self._options.python,
            maker=self._options.maker,
            journal=journal,
            lasting="yes" if self._options.lasting else "",
        )
        self._queue = Queue(folder, durable=True, journal=journal)
        self._secret = load_secret(folder)
        self._door = Door(folder)
        self._user = user_name()
        self._upstreams: dict[str, str] = {}
        self._environments: dict[str, Mapping[str, str]] = {}
        self._backlog: list[Callable[[sqlite3.Connection], Any]] = []
        self._due = time.monotonic() + LAZY
        self._important = False
        self._stop = threading.Event()
        self._minder = threading.Thread(target=self._mind, daemon=True, name="tracking")
        self._minder.start()

    # ------------------------------------------------------------------ engine.ports.Tracker
    def run_started(self, run: RunRecord) -> str:
        """Queue the creation of the run's MLflow run; returns its reserved id. Idempotent, also after a resume."""
        reserved = reserved_run_id(run.run_id)
        upstream = self._upstream(run)
        place = Place(upstream, reserved, reserved)

        def write(db: sqlite3.Connection) -> None:
            new = mirror.declare_run(
                db,
                reserved,
                upstream=upstream,
                experiment=run.experiment or "Default",
                name=run.name or run.pipeline or run.run_id,
                start_time=describe.milliseconds(run.started_at or run.created_at),
                tags={"mlflow.user": self._user, **describe.run_tags(run)},
            )
            if new:
                add(db, place, "touch", {})
                mirror.queue_log(db, place, params=describe.params(run.parameters))
                if inputs := describe.datasets(run.artifacts):
                    add(db, place, "inputs", {"datasets": inputs})
            elif db.execute("SELECT status FROM runs WHERE id = ?", (reserved,)).fetchone()[0] != "RUNNING":
                mirror.queue_status(db, place, "RUNNING")
                db.execute("UPDATE runs SET outcome = '' WHERE id = ?", (reserved,))

        self._write(write)
        return reserved

    def task_environment(self, run: RunRecord, key: TaskKey, attempt: int) -> TaskEnvironment:
        """Variables and hook for one attempt. Writes nothing: a task that never logs costs nothing."""
        theirs = self._environment(run.run_id)
        if (uri := theirs.get("MLFLOW_TRACKING_URI", "")) and not usable(uri) and not self._options.tracking_uri:
            return TaskEnvironment()  # databricks and the like: their own way, untouched
        caller = Caller(
            run=reserved_run_id(run.run_id, key.name, key.iteration),
            parent=reserved_run_id(run.run_id),
            experiment=run.experiment or "Default",
            name=str(key),
            upstream=self._upstream(run),
            tags={"mlflow.user": self._user, **describe.task_tags(run.run_id, key.name, key.iteration)},
        )
        return TaskEnvironment(self._variables(caller, theirs), HOOK)

    def rank_environment(self, run: RunRecord) -> Mapping[str, str]:
        """Variables for the ranks of a training job: they log into the run itself, in every attempt; its state is not
        theirs to say. Writes nothing."""
        theirs = self._environment(run.run_id)
        if (uri := theirs.get("MLFLOW_TRACKING_URI", "")) and not usable(uri) and not self._options.tracking_uri:
            return {}
        caller = Caller(
            run=reserved_run_id(run.run_id),
            parent="",
            experiment=run.experiment or "Default",
            name=run.name,
            upstream=self._upstream(run),
            tags={"mlflow.user": self._user, **describe.run_tags(run)},
        )
        return {**self._variables(caller, theirs), "MLFLOW_RUN_ID": caller.run}

    def _variables(self, caller: Caller, theirs: Mapping[str, str]) -> dict[str, str]:
        """What MLflow's client reads. ``theirs``: the environment of whoever submitted the run."""
        token = seal(self._secret, caller)
        address = self._options.address or self._door.url
        host = urlsplit(address).hostname or ""
        env = {
            "MLFLOW_TRACKING_URI": address,
            "MLFLOW_TRACKING_TOKEN": token,
            # user and password win over the token, and over ~/.mlflow/credentials: so they must be ours as well
            "MLFLOW_TRACKING_USERNAME": self._user,
            "MLFLOW_TRACKING_PASSWORD": token,
            "MLFLOW_TRACKING_AUTH": "",
            "MLFLOW_EXPERIMENT_NAME": caller.experiment,
            "MLFLOW_EXPERIMENT_ID": reserved_experiment_id(caller.experiment),
            "MLFLOW_RUN_ID": "",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD": "false",
            "MLPLATFORM_MLFLOW_URI": address,
            "MLPLATFORM_MLFLOW_RUN_ID": caller.run,
        }
        for name in ("NO_PROXY", "no_proxy"):
            known = theirs.get(name, "")
            env[name] = known if host in known.split(",") else ",".join(filter(None, [known, host]))
        if replaced := {name: theirs[name] for name in env if name.startswith("MLFLOW_") and theirs.get(name)}:
            env["MLPLATFORM_MLFLOW_REPLACED"] = json.dumps(replaced)
        return env

    def task_finished(self, run: RunRecord, task: TaskRecord) -> str:
        """Queue a task's metrics, models, datasets and final state; returns its reserved MLflow run id, or '' if it has
        nothing to show (it logged nothing and made no metrics or models). Idempotent."""
        status = describe.TASK_STATUS.get(task.state)
        if status is None or task.is_group:
            return ""
        reserved = reserved_run_id(run.run_id, task.key.name, task.key.iteration)
        row = self._queue.row("SELECT adopted, outcome FROM runs WHERE id = ?", reserved)
        metrics = describe.metrics(task.outputs, describe.milliseconds(task.finished_at))
        models = [(name, item) for name, item in describe.each(task.outputs.artifacts) if describe.is_model(item)]
        documents = describe.documents(task.outputs)
        if not (metrics or models or documents or (row is not None and row["adopted"])):
            return ""
        outcome = f"{task.attempt} {task.state} {task.finished_at}"
        if row is not None and row["outcome"] == outcome:
            return reserved
        self._important = True
        upstream = self._upstream(run)
        place = Place(upstream, reserved, reserved)
        end = describe.milliseconds(task.finished_at)

        def write(db: sqlite3.Connection) -> None:
            mirror.declare_run(
                db,
                reserved,
                upstream=upstream,
                experiment=run.experiment or "Default",
                name=str(task.key),
                parent=reserved_run_id(run.run_id),
                start_time=describe.milliseconds(task.started_at or task.finished_at),
                tags={
                    "mlflow.user": self._user,
                    **describe.task_tags(run.run_id, task.key.name, task.key.iteration),
                },
            )
            if inputs := describe.datasets(task.inputs.artifacts):
                add(db, place, "inputs", {"datasets": inputs})
            seconds = max(0.0, (task.finished_at or 0.0) - (task.started_at or task.finished_at or 0.0))
            mirror.queue_log(
                db,
                place,
                metrics=[*metrics, *describe.duration(seconds, end)],
                params=describe.params(task.inputs.parameters),
                tags=describe.tags(describe.task_end_tags(task)),
            )
            queue_models(db, models, place)
            queue_documents(db, self._queue, documents, place)
            mirror.queue_status(db, place, status, end)
            for child in db.execute(
                "SELECT id FROM runs WHERE owner = ? AND status = 'RUNNING'", (reserved,)
            ).fetchall():
                mirror.queue_status(db, place.about(child["id"]), status, end)
            db.execute("UPDATE runs SET adopted = 1, outcome = ? WHERE id = ?", (outcome, reserved))

        self._write(write)
        return reserved

    def keep_files(self, run: RunRecord, files: Mapping[str, bytes]) -> None:
        """Queue small files as artifacts of the run, by their paths in it. Again is the same."""
        reserved = reserved_run_id(run.run_id)
        place = Place(self._upstream(run), reserved, reserved)
        self._write(lambda db: queue_documents(db, self._queue, files, place))

    def run_finished(self, run: RunRecord) -> None:
        """Queue the run's outputs and final state. Idempotent."""
        status = describe.RUN_STATUS.get(run.state)
        if status is None:
            return
        reserved = self.run_started(run) if not self._known(run) else reserved_run_id(run.run_id)
        upstream = self._upstream(run)
        place = Place(upstream, reserved, reserved)
        end = describe.milliseconds(run.finished_at)
        outcome = f"{run.state} {run.finished_at}"

        def write(db: sqlite3.Connection) -> None:
            row = db.execute("SELECT outcome FROM runs WHERE id = ?", (reserved,)).fetchone()
            if row is not None and row["outcome"] == outcome:
                return
            mirror.queue_log(
                db,
                place,
                metrics=describe.output_metrics(run, end),
                tags=describe.tags({**run.tags, **describe.run_end_tags(run)}),
            )
            mirror.queue_status(db, place, status, end)
            left = "SELECT id FROM runs WHERE parent = ? AND status = 'RUNNING' AND adopted = 1"
            for child in db.execute(left, (reserved,)).fetchall():  # logged something after its end was told
                mirror.queue_status(db, Place(upstream, child["id"], child["id"]), status, end)
            db.execute("UPDATE runs SET outcome = ? WHERE id = ?", (outcome, reserved))

        self._write(write)
        self._upstreams.pop(run.run_id, None)
        self._environments.pop(run.run_id, None)
        if self._important or upstream != HOME:
            self._door.want()
        self._due = time.monotonic() + LAZY

    def ui_url(self, run: RunRecord) -> str:
        """A link that opens the run in MLflow's pages (starting the home's server if it does not run)."""
        return f"{self._door.url}/open/{reserved_run_id(run.run_id)}"

    def close(self) -> None:
        """Leave. What is queued stays queued; a gateway sees to it if somebody may be waiting for it."""
        if self._stop.is_set():
            return
        self._stop.set()
        self._minder.join(5.0)
        waiting = self._important and self._queue.pending() > 0
        self._door.close(hand_over=waiting or any(name != HOME for name in self._queue.upstreams()))
        self._queue.close()

    # ------------------------------------------------------------------ beside the port
    def flush(self, timeout: float = 60.0) -> bool:
        """Wait until MLflow has everything queued by now; False if it has not within ``timeout`` seconds."""
        self._write(None)
        if not self._queue.pending():
            return not self._backlog
        try:
            return bool(ask(self._folder, "flush", timeout)["done"])
        except TrackingError as error:
            _log.warning("%s", error)
            return False

    def real_run_id(self, reserved: str) -> str:
        """The server's own id of a run (the same, on the home's server); empty until it is created there."""
        row = self._queue.row("SELECT real FROM runs WHERE id = ?", reserved)
        return row["real"] if row is not None else ""

    # ------------------------------------------------------------------ inside
    def _environment(self, run_id: str) -> Mapping[str, str]:
        """The submitter's environment, read once a run."""
        known = self._environments.get(run_id)
        if known is None:
            known = self._environments[run_id] = dict(self._options.environment_of(run_id))
        return known

    def _known(self, run: RunRecord) -> bool:
        return self._queue.row("SELECT 1 FROM runs WHERE id = ?", reserved_run_id(run.run_id)) is not None

    def _upstream(self, run: RunRecord) -> str:
        """Which MLflow a run's records go to: decided when it starts, the same to its end."""
        known = self._upstreams.get(run.run_id)
        if known is None:
            row = self._queue.row("SELECT upstream FROM runs WHERE id = ?", reserved_run_id(run.run_id))
            known = row["upstream"] if row is not None else ""
            if not known or self._settings.target(known) is None:
                known = self._choose(run.run_id, known)
            self._upstreams[run.run_id] = known
        return known

    def _choose(self, run_id: str, before: str = "") -> str:
        env = self._environment(run_id)
        uri = self._options.tracking_uri or env.get("MLFLOW_TRACKING_URI", "")
        if not uri or uri in (self._door.url, env.get("MLPLATFORM_MLFLOW_URI", "")):
            return HOME
        if not usable(uri):
            _log.warning("MLFLOW_TRACKING_URI of run %s is neither a server nor a database: tracked at home", run_id)
            return HOME
        try:
            return self._settings.keep_target(uri, env, before).name
        except OSError as error:
            _log.error("the MLflow server of run %s cannot be remembered: %s", run_id, error)
            return HOME

    def _write(self, write: Callable[[sqlite3.Connection], Any] | None) -> None:
        """One transaction, after what could not be written earlier."""
        if write is not None:
            self._backlog.append(write)
        while self._backlog:
            try:
                with self._queue.transaction() as db:
                    self._backlog[0](db)
            except sqlite3.OperationalError as error:
                _log.error("the MLflow outbox cannot be written (%s): kept in memory for now", error)
                return
            self._backlog.pop(0)

    def _mind(self) -> None:
        """Have pending records delivered once the time has come, and again if the gateway gave up."""
        while not self._stop.wait(1.0):
            if time.monotonic() < self._due:
                continue
            self._due = time.monotonic() + 4 * LAZY
            try:
                if self._queue.pending():
                    self._door.want()
            except sqlite3.Error as error:
                _log.error("the MLflow outbox cannot be read: %s", error)
