"""Brings the outbox to a real MLflow server: in order, and so that doing it twice is doing it once.

How each kind of operation can be repeated after a death between the server's commit and our note of it:

- creating a run, model or version: looked up by the tag ``mlplatform.reserved`` whenever a creation may have begun
- parameters, tags, states, artifacts: the same value again changes nothing
- metrics: MLflow keeps one row per key, step, time and value
- inputs: MLflow keeps one row per dataset and run; outputs: those that are there already are left out
- anything else a task sent (traces, assessments, registry edits) is sent again as it is

An operation the server refuses is kept aside with its reason and the others pass: one bad value never stops a queue.
"""

from __future__ import annotations

import json
import logging
import shutil
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from mlplatform.tracking import faults, limits
from mlplatform.tracking.ids import DEFAULT_EXPERIMENT, RESERVED_TAG, reserved_experiment_id
from mlplatform.tracking.mirror import forget_details
from mlplatform.tracking.queue import Op, Queue
from mlplatform.tracking.translate import Translator
from mlplatform.tracking.upstream import Connection, Json, Refused, Response, Unavailable, items

_log = logging.getLogger(__name__)
#: A server that answers 5xx to one operation this often, while it is otherwise well, will never take it.
_PATIENCE = 6
_GONE = "RESOURCE_DOES_NOT_EXIST"

#: Stores a file under a URI the server does not take uploads for (s3 and the like); raises OSError.
Uploader = Callable[[str, str, Path], None]


class Deliverer:
    """Delivers what waits for one server, over one connection at a time."""

    def __init__(self, queue: Queue, upstream: str, uploader: Uploader | None = None, *, lasting: bool = False) -> None:
        """``lasting``: what is to be made may be there without our knowing (see ``client.TrackingOptions``)."""
        self._lasting = lasting
        self._queue = queue
        self._upstream = upstream
        self.ids = Translator(queue, upstream)
        self._uploader = uploader
        self._kinds: Mapping[str, Callable[[Connection, Op], None]] = {
            "touch": self._touch,
            "status": self._status,
            "inputs": self._inputs,
            "outputs": self._outputs,
            "model": self._model,
            "artifact": self._artifact,
            "register": self._register,
            "raw": self._raw,
        }

    def step(self, server: Connection) -> bool:
        """Deliver what one lane has at its front; False if nothing waits.

        Raises:
            Unavailable: the server is not there; nothing is lost, call again later.
        """
        ops = self._queue.head(self._upstream)
        if not ops:
            return False
        first = ops[0]
        if first.kind == "log":
            count = next((i for i, op in enumerate(ops) if op.kind != "log" or op.run != first.run), len(ops))
            self._attempt(server, ops[:count])
        else:
            self._attempt(server, ops[:1])
        return True

    def _attempt(self, server: Connection, ops: Sequence[Op]) -> None:
        first = ops[0]
        try:
            if first.kind == "log":
                self._log(server, ops)
            elif (deliver := self._kinds.get(first.kind)) is not None:
                deliver(server, first)
            faults.point("delivered")
            self._queue.done(ops)
        except Refused as error:
            if len(ops) > 1:
                for op in ops:
                    self._attempt(server, [op])
                return
            self._put_aside(first, str(error))
        except FileNotFoundError as error:
            self._put_aside(first, f"its file is gone: {error}")
        except Unavailable as error:
            if error.hint.startswith("5"):
                self._queue.tried(first)
                if first.tries + 1 >= _PATIENCE and self._alive(server):
                    self._put_aside(first, error.message)
                    return
            raise

    def _put_aside(self, op: Op, reason: str) -> None:
        _log.warning("a %s for run %s was refused: %s", op.kind, op.run, reason)
        self._queue.rejected(op, reason)

    def _alive(self, server: Connection) -> bool:
        try:
            return server.send("GET", "/health").status < 500
        except Unavailable:
            return False

    # ------------------------------------------------------------------ names
    def real_experiment(self, server: Connection, name: str) -> str:
        """The server's id of an experiment, made or restored if needed."""
        reserved = reserved_experiment_id(name)
        if known := self.ids.real_id(reserved):
            return known
        try:
            found = server.call("GET", "experiments/get-by-name", query={"experiment_name": name})["experiment"]
            real = str(found["experiment_id"])
            if found.get("lifecycle_stage") == "deleted":
                server.call("POST", "experiments/restore", {"experiment_id": real})
        except Refused as error:
            if error.reason != _GONE:
                raise
            tags = [{"key": RESERVED_TAG, "value": reserved}]
            try:
                real = str(server.call("POST", "experiments/create", {"name": name, "tags": tags})["experiment_id"])
            except Refused as clash:
                if clash.reason != "RESOURCE_ALREADY_EXISTS":
                    raise
                found = server.call("GET", "experiments/get-by-name", query={"experiment_name": name})["experiment"]
                real = str(found["experiment_id"])
        faults.point("experiment-made")
        self._remember_id(reserved, real)
        return real

    def _remember_id(self, reserved: str, real: str) -> None:
        with self._queue.transaction() as db:
            db.execute("INSERT OR REPLACE INTO ids VALUES (?, ?, ?)", (self._upstream, reserved, real))

    def real_run(self, server: Connection, run: str) -> str:
        """The server's id of a run; the run and its parents are created if they are not there yet."""
        row = self._queue.row("SELECT * FROM runs WHERE id = ?", run)
        if row is None:
            return run  # not one of ours: an id the server gave
        if row["real"]:
            return row["real"]
        parent = self.real_run(server, row["parent"]) if row["parent"] else ""
        experiment = self.real_experiment(server, row["experiment"])
        found = self._find_run(server, experiment, run) if row["creating"] or self._lasting else None
        if found is None:
            with self._queue.transaction() as db:
                db.execute("UPDATE runs SET creating = 1 WHERE id = ?", (run,))
            found = self._create_run(server, row, experiment, parent)
        faults.point("run-made")
        info = found["info"]
        with self._queue.transaction() as db:
            db.execute(
                "UPDATE runs SET real = ?, artifact_uri = ? WHERE id = ?",
                (info["run_id"], info.get("artifact_uri", ""), run),
            )
        return info["run_id"]

    def _create_run(self, server: Connection, row: sqlite3.Row, experiment: str, parent: str) -> Json:
        tags = {**json.loads(row["tags"]), RESERVED_TAG: row["id"], "mlflow.runName": row["name"]}
        if parent:
            tags["mlflow.parentRunId"] = parent
        body: Json = {
            "experiment_id": experiment,
            "start_time": row["start_time"],
            "run_name": row["name"],
            "user_id": tags.get("mlflow.user", ""),
            "tags": [{"key": key, "value": limits.cut(value, limits.TAG_VALUE)} for key, value in tags.items()],
        }
        try:
            return server.call("POST", "runs/create", body)["run"]
        except Refused as error:
            if error.reason == _GONE or "deleted" in str(error):  # the experiment went away under us
                with self._queue.transaction() as db:
                    db.execute(
                        "DELETE FROM ids WHERE upstream = ? AND reserved = ?",
                        (self._upstream, reserved_experiment_id(row["experiment"])),
                    )
                body["experiment_id"] = self.real_experiment(server, row["experiment"])
                return server.call("POST", "runs/create", body)["run"]
            found = self._find_run(server, experiment, row["id"])
            if found is None:
                raise
            return found

    def _find_run(self, server: Connection, experiment: str, run: str) -> Json | None:
        query = {
            "experiment_ids": [experiment],
            "filter": f"tags.`{RESERVED_TAG}` = '{run}'",
            "max_results": 1,
            "run_view_type": "ALL",
        }
        runs = items(server.call("POST", "runs/search", query), "runs")
        return runs[0] if runs else None

    # ------------------------------------------------------------------ runs
    def _touch(self, server: Connection, op: Op) -> None:
        self.real_run(server, op.run)

    def _log(self, server: Connection, ops: Sequence[Op]) -> None:
        run = self.real_run(server, ops[0].run)
        metrics: list[Json] = [m for op in ops for m in op.body.get("metrics", ())]
        params: list[Json] = [p for op in ops for p in op.body.get("params", ())]
        tags = {t["key"]: t for op in ops for t in op.body.get("tags", ())}
        refusals: list[str] = []
        for some_metrics, some_params, some_tags in limits.batches(
            [self.ids.values(m) for m in metrics], _once(params), list(tags.values())
        ):
            body = {"run_id": run, "metrics": some_metrics, "params": some_params, "tags": some_tags}
            try:
                server.call("POST", "runs/log-batch", body)
            except Refused as error:
                if len(ops) > 1:
                    raise
                refusals += self._log_singly(server, run, body, str(error))
        if refusals:
            raise Refused(400, "PARTLY", "; ".join(refusals))

    def _log_singly(self, server: Connection, run: str, body: Mapping[str, Any], reason: str) -> list[str]:
        """A batch is taken whole or not at all: find out which item was the bad one, so that the others count."""
        items = [(part, item) for part in ("metrics", "params", "tags") for item in body[part]]
        if len(items) == 1:
            return [f"{items[0][1].get('key')}: {reason}"]
        refusals: list[str] = []
        for part, item in items:
            try:
                server.call("POST", "runs/log-batch", {"run_id": run, part: [item]})
            except Refused as error:
                refusals.append(f"{item.get('key')}: {error}")
        return refusals

    def _status(self, server: Connection, op: Op) -> None:
        run = self.real_run(server, op.run)
        server.call("POST", "runs/update", {"run_id": run, **op.body})
        row = self._queue.row("SELECT status, mirrored FROM runs WHERE id = ?", op.run)
        if row is None or op.body["status"] == "RUNNING" or row["status"] == "RUNNING" or not row["mirrored"]:
            return
        more = self._queue.row("SELECT 1 FROM ops WHERE run = ? AND seq > ? AND rejected = ''", op.run, op.seq)
        if more is None:
            with self._queue.transaction() as db:
                forget_details(db, op.run)

    def _inputs(self, server: Connection, op: Op) -> None:
        body = self.ids.values({**op.body, "run_id": op.run})
        body["run_id"] = self.real_run(server, op.run)
        server.call("POST", "runs/log-inputs", body)

    def _outputs(self, server: Connection, op: Op) -> None:
        run = self.real_run(server, op.run)
        there: Json = server.call("GET", "runs/get", query={"run_id": run})["run"].get("outputs") or {}
        known = {item.get("model_id") for item in items(there, "model_outputs")}
        models = [self.ids.values(item) for item in items(op.body, "models")]
        if models := [item for item in models if item.get("model_id") not in known]:
            server.call("POST", "runs/outputs", {"run_id": run, "models": models})

    # ------------------------------------------------------------------ models
    def _model(self, server: Connection, op: Op) -> None:
        self.real_model(server, op.body["model_id"])

    def real_model(self, server: Connection, model: str) -> str:
        """The server's id of a logged model, created if it is not there yet."""
        row = self._queue.row("SELECT * FROM models WHERE id = ?", model)
        if row is None:
            return model
        if row["real"]:
            return row["real"]
        run = self._queue.row("SELECT experiment FROM runs WHERE id = ?", row["run"])
        experiment = self.real_experiment(server, run["experiment"] if run else DEFAULT_EXPERIMENT)
        found = self._find_model(server, experiment, model) if row["creating"] or self._lasting else None
        if found is None:
            with self._queue.transaction() as db:
                db.execute("UPDATE models SET creating = 1 WHERE id = ?", (model,))
            body = self.ids.values(json.loads(row["body"]))
            body["experiment_id"] = experiment
            body["tags"] = [*(body.get("tags") or []), {"key": RESERVED_TAG, "value": model}]
            if body.get("source_run_id"):
                body["source_run_id"] = self.real_run(server, json.loads(row["body"])["source_run_id"])
            try:
                found = server.call("POST", "logged-models", body)["model"]
            except Refused:
                found = self._find_model(server, experiment, model)
                if found is None:
                    raise
        faults.point("model-made")
        info = found["info"]
        with self._queue.transaction() as db:
            db.execute(
                "UPDATE models SET real = ?, artifact_uri = ? WHERE id = ?",
                (info["model_id"], info.get("artifact_uri", ""), model),
            )
        return info["model_id"]

    def _find_model(self, server: Connection, experiment: str, model: str) -> Json | None:
        query = {"experiment_ids": [experiment], "filter": f"tags.`{RESERVED_TAG}` = '{model}'", "max_results": 1}
        models = items(server.call("POST", "logged-models/search", query), "models")
        return models[0] if models else None

    def _register(self, server: Connection, op: Op) -> None:
        """A version of a registered model, and its alias.

        ``body``: ``name``, ``key`` (found again by), ``request``, ``alias``, ``reserved_version`` (told to the task).
        """
        name, key = op.body["name"], op.body["key"]
        try:
            server.call("POST", "registered-models/create", {"name": name})
        except Refused as error:
            if error.reason != "RESOURCE_ALREADY_EXISTS":
                raise
        quoted = name.replace("'", "''")
        query = {"filter": f"name = '{quoted}' and tags.`{RESERVED_TAG}` = '{key}'", "max_results": 1}
        found = items(server.call("GET", "model-versions/search", query=query), "model_versions")
        if found:
            version = found[0]["version"]
        else:
            body = self.ids.values(op.body["request"])
            body["tags"] = [*(body.get("tags") or []), {"key": RESERVED_TAG, "value": key}]
            version = server.call("POST", "model-versions/create", {**body, "name": name})["model_version"]["version"]
        faults.point("version-made")
        self._remember_id(f"version:{name}:{op.body.get('reserved_version', key)}", str(version))
        if alias := op.body.get("alias"):
            server.call("POST", "registered-models/alias", {"name": name, "alias": alias, "version": str(version)})

    # ------------------------------------------------------------------ artifacts
    def _artifact(self, server: Connection, op: Op) -> None:
        """``body``: path inside the run's or model's folder; ``owner`` run or model id, or a whole ``raw`` path."""
        path, file = op.body["path"], Path(op.blob)
        if raw := op.body.get("raw"):
            server.upload(quote(unquote(self.ids.text(raw))), file)
            return
        owner = op.body["owner"]
        table, real = ("models", self.real_model) if owner.startswith("m-") else ("runs", self.real_run)
        real(server, owner)
        row = self._queue.row(f"SELECT artifact_uri FROM {table} WHERE id = ?", owner)  # noqa: S608 - two fixed names
        root = urlsplit(row["artifact_uri"] if row else "")
        if root.scheme == "mlflow-artifacts":
            server.upload(quote(f"{root.path.strip('/')}/{path}"), file)
        elif root.scheme in ("", "file"):
            target = Path(unquote(root.path)) / path
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary = target.with_name(f".{target.name}.part")
            shutil.copyfile(file, temporary)
            temporary.replace(target)
        elif self._uploader is not None:
            self._uploader(root.geturl(), path, file)
        else:
            raise Refused(400, "NO_UPLOADER", f"artifacts at {root.scheme}:// cannot be written from here")

    # ------------------------------------------------------------------ everything else
    def _raw(self, server: Connection, op: Op) -> None:
        if op.run:
            self.real_run(server, op.run)  # what a task sends is about its run, which must be there
        self.forward(server, op.body["method"], op.body["target"], op.body.get("headers") or {}, _blob(op))

    def forward(
        self, server: Connection, method: str, target: str, headers: Mapping[str, str], body: bytes
    ) -> Response:
        """Send a task's own request on, with the server's ids in place of ours. Raises Unavailable or Refused."""
        translated = {name: self.ids.text(value) for name, value in headers.items()}
        if "json" in translated.get("content-type", "json"):
            text = body.decode("utf-8", "surrogatepass")
            body = self.ids.versions(self.ids.text(text)).encode("utf-8", "surrogatepass")
        return server.checked(server.send(method, self.ids.text(target), body or None, translated))


def _once(params: Sequence[Json]) -> list[Json]:
    """The first value of each parameter counts (MLflow's rule: they do not change)."""
    seen: dict[str, Json] = {}
    for param in params:
        seen.setdefault(param["key"], param)
    return list(seen.values())


def _blob(op: Op) -> bytes:
    return Path(op.blob).read_bytes() if op.blob else str(op.body.get("text", "")).encode()
