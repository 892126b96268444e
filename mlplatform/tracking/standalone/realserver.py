# pyright: basic, reportMissingImports=false, reportPrivateImportUsage=false, reportAttributeAccessIssue=false
"""Runs the real MLflow server in one process. Stand-alone: executed by the interpreter that has mlflow, which may not
have mlplatform. ``python realserver.py --backend URI --artifacts FOLDER --port N --lock FILE``

Compared with ``mlflow server`` it saves one of two processes (each holds mlflow's 184 MiB) and half the start, makes
and migrates the database once, under a lock (a fresh SQLite file opened by several processes at once breaks), and lets
a creator name the id of what it creates by the tag ``mlplatform.reserved``, so that the ids tasks have seen hold.
Where mlflow is built differently than expected, the last is left out (the gateway translates ids anyway).

In a cluster it is what MLflow's Deployment runs (operators/mlflow): then it listens beyond this machine and says by
which names it may be called. Its database is that of ``MLPLATFORM_MLFLOW_STORE``, or a file beside the artifacts.
"""

import argparse
import contextlib
import contextvars
import fcntl
import importlib.util
import os
import signal
import sqlite3
import sys
import threading
import time
import uuid

RESERVED_TAG = "mlplatform.reserved"
_wanted = contextvars.ContextVar("wanted", default="")


class _NamedIds:
    """Stands in for the uuid module where MLflow makes up ids: the next one may be named beforehand."""

    def __getattr__(self, name):
        return getattr(uuid, name)

    def uuid4(self):
        wanted = _wanted.get()
        if wanted:
            _wanted.set("")
            return uuid.UUID(hex=wanted)
        return uuid.uuid4()


def _reserved(tags):
    for tag in tags or ():
        if getattr(tag, "key", "") == RESERVED_TAG:
            return tag.value
    return ""


def _wrap(store, name, tags_of, prefix):
    original = getattr(store, name)

    def create(self, *args, **kwargs):
        reserved = _reserved(tags_of(args, kwargs))[len(prefix) :]
        token = _wanted.set(reserved if len(reserved) == 32 else "")
        try:
            return original(self, *args, **kwargs)
        finally:
            _wanted.reset(token)

    setattr(store, name, create)


def let_creators_name_ids():
    """Raises ImportError or AttributeError where MLflow is built differently."""
    from mlflow.store.tracking import sqlalchemy_store
    from mlflow.store.tracking.dbmodels.models import SqlExperiment
    from sqlalchemy import event

    store = sqlalchemy_store.SqlAlchemyStore
    assert sqlalchemy_store.uuid is uuid
    _wrap(store, "create_run", lambda a, k: k.get("tags") or (a[3] if len(a) > 3 else ()), "")
    _wrap(store, "create_logged_model", lambda a, k: k.get("tags") or (a[3] if len(a) > 3 else ()), "m-")
    sqlalchemy_store.uuid = _NamedIds()

    def name_experiment(_mapper, _connection, target):
        for tag in target.tags:
            if tag.key == RESERVED_TAG and tag.value.isdigit() and target.experiment_id is None:
                target.experiment_id = int(tag.value)

    event.listen(SqlExperiment, "before_insert", name_experiment)


def leave_with(pid):
    """End when the process that wanted this server is gone."""
    while True:
        time.sleep(1.0)
        if os.getppid() != pid:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(5.0)
            os._exit(0)


class Noticed:
    """The app, noting when somebody other than the gateway uses it (a browser, a notebook), by a file's time."""

    def __init__(self, app, path):
        self._app = app
        self._path = path
        self._noted = 0.0

    async def __call__(self, scope, receive, send):
        due = self._path and scope["type"] == "http" and time.monotonic() - self._noted > 5.0
        if due and dict(scope["headers"]).get(b"user-agent") != b"mlplatform":
            self._noted = time.monotonic()
            with open(self._path, "w"):
                os.utime(self._path)
        await self._app(scope, receive, send)


def database_of(options):
    """The URL as SQLAlchemy takes it: psycopg 3 is what the platform's own image has."""
    url = options.backend or os.environ.get("MLPLATFORM_MLFLOW_STORE") or ""
    if not url:
        return "sqlite:///" + os.path.join(os.path.dirname(os.path.abspath(options.artifacts)), "mlflow.db")
    scheme, _, rest = url.partition("://")
    if scheme in ("postgres", "postgresql") and importlib.util.find_spec("psycopg2") is None:
        return "postgresql+psycopg://" + rest
    return url


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--backend", default="", help="a database's URL instead of the variable's")
    parser.add_argument("--artifacts", required=True)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--allowed-hosts", default="", help="host:port, ...: other names it may be called by")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--lock", required=True)
    parser.add_argument("--parent", type=int, default=0)
    parser.add_argument("--journal", default="", help="SQLite's journal mode, for a database that is ours alone")
    parser.add_argument("--used", default="", help="file whose time says when somebody last used the server")
    parser.add_argument("--nice", type=int, default=10)
    options = parser.parse_args()
    backend = database_of(options)
    os.nice(options.nice)
    if options.allowed_hosts:
        os.environ["MLFLOW_SERVER_ALLOWED_HOSTS"] = options.allowed_hosts
    if options.parent:
        threading.Thread(target=leave_with, args=(options.parent,), daemon=True).start()
    if "://" not in options.artifacts:
        os.makedirs(options.artifacts, exist_ok=True)
    os.environ.update(
        _MLFLOW_SERVER_FILE_STORE=backend,
        _MLFLOW_SERVER_ARTIFACT_ROOT="mlflow-artifacts:/",
        _MLFLOW_SERVER_ARTIFACT_DESTINATION=options.artifacts,
        _MLFLOW_SERVER_SERVE_ARTIFACTS="true",
        _MLFLOW_SGI_NAME="uvicorn",
    )
    with open(options.lock, "a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        from mlflow.server.handlers import initialize_backend_stores

        initialize_backend_stores(backend, default_artifact_root="mlflow-artifacts:/")
        if options.journal and backend.startswith("sqlite:///"):
            # One flush to disk a commit instead of several: deliveries of many small runs take a third less time.
            with contextlib.closing(sqlite3.connect(backend[len("sqlite:///") :], timeout=20.0)) as database:
                database.execute("PRAGMA journal_mode=" + options.journal)
    try:
        let_creators_name_ids()
    except (ImportError, AttributeError, AssertionError) as error:
        sys.stderr.write(f"ids are not named beforehand in this mlflow: {error!r}\n")
    import uvicorn
    from mlflow.server.fastapi_app import app

    uvicorn.run(Noticed(app, options.used), host=options.host, port=options.port, log_level="warning", access_log=False)


if __name__ == "__main__":
    main()
