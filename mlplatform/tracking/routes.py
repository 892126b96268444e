"""MLflow's REST interface as tasks see it: writes are queued and answered at once, reads are answered from what is
known here or from the real server after everything queued before has reached it.

A task's own run is adopted by the first run it makes; further ones become its children. Whatever a task says about the
state of its own run, only the engine ends it.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from mlplatform.tracking import limits, mirror
from mlplatform.tracking.ids import (
    DEFAULT_EXPERIMENT,
    Caller,
    reserved_child_id,
    reserved_experiment_id,
    reserved_model_id,
)
from mlplatform.tracking.queue import Queue, add
from mlplatform.tracking.station import Station
from mlplatform.tracking.upstream import Json, Refused, Unavailable

#: How long a task that must read from the server waits for our own server to start and to catch up (seconds).
READ_PATIENCE = 30.0
_API = re.compile(r"^/(?:ajax-)?api/[23]\.0/mlflow/(.*)$")
_ARTIFACTS = re.compile(r"^/(?:ajax-)?api/2\.0/mlflow-artifacts/artifacts(?:/(.*))?$")
_OWNED = re.compile(r"^[^/]+/(?:models/)?((?:m-)?[0-9a-f]{32})/artifacts/(.+)$")
_VERSION = "3.4.0"
_LOGGED_MODEL = re.compile(r"^logged-models/(m-[0-9a-f]{32})(?:/(tags|params))?$")


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back to the task; ``file``: the body is this file."""

    status: int
    body: bytes = b"{}"
    content_type: str = "application/json"
    file: Path | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """One request of a task. ``blob``: where a large body was put."""

    caller: Caller
    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes = b""
    blob: Path | None = None

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def query(self) -> dict[str, str]:
        return dict(parse_qsl(urlsplit(self.target).query))

    def json(self) -> Json:
        """The body as an object. Raises ValueError."""
        value = json.loads(self.body or b"{}")
        if not isinstance(value, dict):
            raise ValueError("not a JSON object")
        return value  # pyright: ignore[reportUnknownVariableType]


def reply(value: Json, status: int = 200) -> Answer:
    return Answer(status, json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass"))


def refuse(message: str, code: str = "RESOURCE_DOES_NOT_EXIST", status: int = 404) -> Answer:
    return reply({"error_code": code, "message": message}, status)


class TaskApi:
    """Answers tasks. ``station`` gives the server a caller's records go to. Thread-safe."""

    def __init__(self, queue: Queue, station: Callable[[str], Station], incarnation: str) -> None:
        self._queue = queue
        self._station = station
        self._incarnation = incarnation
        self._table: dict[tuple[str, str], Callable[[Request], Answer]] = {
            ("POST", "runs/create"): self.create_run,
            ("POST", "runs/update"): self.update_run,
            ("GET", "runs/get"): self.get_run,
            ("POST", "runs/log-metric"): self.log_metric,
            ("POST", "runs/log-parameter"): self.log_parameter,
            ("POST", "runs/set-tag"): self.set_tag,
            ("POST", "runs/log-batch"): self.log_batch,
            ("POST", "runs/log-inputs"): self.log_inputs,
            ("POST", "runs/outputs"): self.log_outputs,
            ("GET", "metrics/get-history"): self.get_history,
            ("GET", "experiments/get"): self.get_experiment,
            ("GET", "experiments/get-by-name"): self.get_experiment_by_name,
            ("POST", "experiments/create"): self.create_experiment,
            ("POST", "logged-models"): self.create_model,
            ("POST", "model-versions/create"): self.create_version,
            ("POST", "registered-models/create"): self.create_registered_model,
        }

    def handle(self, request: Request) -> Answer:
        """Raises ValueError, KeyError or TypeError for a request that is not of MLflow's form."""
        if match := _ARTIFACTS.match(request.path):
            return self._artifact(request, unquote(match[1] or ""))
        match = _API.match(request.path)
        path = match[1] if match else ""
        if (handler := self._table.get((request.method, path))) is not None:
            return handler(request)
        if path == "server-info":
            return reply({"store_type": "SqlStore", "workspaces_enabled": False, "multipart_uploads_enabled": False})
        if request.path == "/version":
            return self._version(request)
        if model := _LOGGED_MODEL.match(path):
            return self._known_model(request, model[1], model[2] or "")
        if request.method == "GET" or path.endswith(("/search", "/batchGetInfos", "/metrics")):
            return self._read(request)
        return self._write_through(request)

    # ------------------------------------------------------------------ own run
    def _declare(self, db: Any, caller: Caller, adopt: bool) -> None:
        """See that the task's own run is known; ``adopt``: it has something to show now."""
        mirror.declare_run(
            db,
            caller.run,
            upstream=caller.upstream,
            experiment=caller.experiment,
            name=caller.name,
            parent=caller.parent,
            start_time=_now(),
            tags=caller.tags,
        )
        if adopt:
            db.execute("UPDATE runs SET adopted = 1 WHERE id = ?", (caller.run,))

    def _lane(self, caller: Caller) -> dict[str, str]:
        return {"upstream": caller.upstream, "lane": caller.run}

    def _wake(self, caller: Caller) -> None:
        self._station(caller.upstream).wake()

    # ------------------------------------------------------------------ runs
    def create_run(self, request: Request) -> Answer:
        caller, body = request.caller, request.json()
        tags = {str(t["key"]): str(t.get("value", "")) for t in body.get("tags") or ()}
        name = str(body.get("run_name") or tags.get("mlflow.runName") or "")
        fingerprint = hashlib.sha256(request.body).hexdigest()
        with self._queue.transaction() as db:
            self._declare(db, caller, adopt=False)
            own = db.execute(
                "SELECT adopted, fingerprint, incarnation FROM runs WHERE id = ?", (caller.run,)
            ).fetchone()
            again = own["fingerprint"] == fingerprint and own["incarnation"] != self._incarnation
            if (not own["adopted"] or again) and tags.get("mlflow.parentRunId", caller.run) == caller.run:
                run = caller.run
                db.execute(
                    "UPDATE runs SET adopted = 1, fingerprint = ?, incarnation = ? WHERE id = ?",
                    (fingerprint, self._incarnation, run),
                )
                add(db, **self._lane(caller), run=run, kind="touch", body={})
                self._apply_wishes(db, caller, name, tags)
            else:
                run = self._create_child(db, request, body, name, tags, fingerprint)
        self._wake(caller)
        return self._run(run)

    def _apply_wishes(self, db: Any, caller: Caller, name: str, tags: Mapping[str, str]) -> None:
        """The name and tags that user code gave to the run which turned out to be its task's own."""
        mine = {key: value for key, value in tags.items() if key not in ("mlflow.parentRunId", "mlflow.runName")}
        if name:
            mine["mlflow.runName"] = name
            mirror.rename(db, caller.run, name)
        mirror.queue_log(
            db, **self._lane(caller), run=caller.run, tags=[{"key": k, "value": v} for k, v in mine.items()]
        )

    def _create_child(
        self, db: Any, request: Request, body: Json, name: str, tags: Mapping[str, str], fingerprint: str
    ) -> str:
        """A run below the task's own. A request repeated because an earlier gateway died in it makes no second one."""
        caller = request.caller
        same = db.execute(
            "SELECT id, incarnation FROM runs WHERE owner = ? AND fingerprint = ?", (caller.run, fingerprint)
        ).fetchall()
        for row in same:
            if row["incarnation"] != self._incarnation:
                db.execute("UPDATE runs SET incarnation = ? WHERE id = ?", (self._incarnation, row["id"]))
                return row["id"]
        run = reserved_child_id(caller.run, fingerprint, len(same))
        start = int(body.get("start_time") or _now())
        mirror.declare_run(
            db,
            run,
            upstream=caller.upstream,
            experiment=caller.experiment,
            name=name or f"{caller.name} {time.strftime('%H:%M:%S', time.gmtime(start / 1000))}",
            parent=tags.get("mlflow.parentRunId") or caller.run,
            owner=caller.run,
            start_time=start,
            tags={k: v for k, v in tags.items() if k not in ("mlflow.parentRunId", "mlflow.runName")},
            fingerprint=fingerprint,
            incarnation=self._incarnation,
        )
        add(db, **self._lane(caller), run=run, kind="touch", body={})
        return run

    def update_run(self, request: Request) -> Answer:
        caller, body = request.caller, request.json()
        run = _run_of(body)
        name = str(body.get("run_name") or "")
        with self._queue.transaction() as db:
            if run == caller.run:  # its state is the engine's to say
                self._declare(db, caller, adopt=True)
                add(db, **self._lane(caller), run=run, kind="touch", body={})
                if name:
                    self._apply_wishes(db, caller, name, {})
            elif body.get("status") or name:
                status = str(body.get("status") or "RUNNING")
                mirror.queue_status(
                    db, **self._lane(caller), run=run, status=status, end_time=int(body.get("end_time") or 0), name=name
                )
        self._wake(caller)
        row = mirror.run_row(self._queue, run)
        return reply({"run_info": mirror.run_json(self._queue, row)["info"] if row else {"run_id": run}})

    def get_run(self, request: Request) -> Answer:
        run = request.query.get("run_id") or request.query.get("run_uuid") or ""
        if run == request.caller.run:
            with self._queue.transaction() as db:
                self._declare(db, request.caller, adopt=False)
        row = mirror.run_row(self._queue, run)
        if row is None or not row["mirrored"]:
            answer = self._read(request)
            if answer.status == 200 or row is None:
                return answer
        return self._run(run)

    def _run(self, run: str) -> Answer:
        row = mirror.run_row(self._queue, run)
        return (
            refuse(f"Run with id={run} not found") if row is None else reply({"run": mirror.run_json(self._queue, row)})
        )

    # ------------------------------------------------------------------ values
    def _log(self, request: Request, run: str, **parts: list[Json]) -> Answer:
        caller = request.caller
        for param in parts.get("params", ()):
            param["value"] = limits.cut(str(param.get("value", "")), limits.PARAM_VALUE)
        for tag in parts.get("tags", ()):
            tag["value"] = limits.cut(str(tag.get("value", "")), limits.TAG_VALUE)
        with self._queue.transaction() as db:
            if run == caller.run:
                self._declare(db, caller, adopt=True)
            mirror.queue_log(db, **self._lane(caller), run=run, **parts)
        self._wake(caller)
        return reply({})

    def log_metric(self, request: Request) -> Answer:
        body = request.json()
        metric = {key: value for key, value in body.items() if key not in ("run_id", "run_uuid")}
        metric.setdefault("timestamp", _now())
        return self._log(request, _run_of(body), metrics=[metric])

    def log_parameter(self, request: Request) -> Answer:
        body = request.json()
        return self._log(request, _run_of(body), params=[{"key": body["key"], "value": body.get("value", "")}])

    def set_tag(self, request: Request) -> Answer:
        body = request.json()
        return self._log(request, _run_of(body), tags=[{"key": body["key"], "value": body.get("value", "")}])

    def log_batch(self, request: Request) -> Answer:
        body = request.json()
        parts = {part: list(body.get(part) or ()) for part in ("metrics", "params", "tags")}
        return self._log(request, _run_of(body), **parts)

    def _queue_about_run(self, request: Request, kind: str) -> Answer:
        caller, body = request.caller, request.json()
        run = _run_of(body)
        with self._queue.transaction() as db:
            if run == caller.run:
                self._declare(db, caller, adopt=True)
            add(db, **self._lane(caller), run=run, kind=kind, body=body)
        self._wake(caller)
        return reply({})

    def log_inputs(self, request: Request) -> Answer:
        return self._queue_about_run(request, "inputs")

    def log_outputs(self, request: Request) -> Answer:
        return self._queue_about_run(request, "outputs")

    def get_history(self, request: Request) -> Answer:
        run = request.query.get("run_id") or request.query.get("run_uuid") or ""
        row = mirror.run_row(self._queue, run)
        if row is None or not row["mirrored"]:
            return self._read(request)
        return reply({"metrics": mirror.history(self._queue, run, request.query.get("metric_key", ""))})

    # ------------------------------------------------------------------ experiments
    def _experiment(self, name: str) -> Answer:
        reserved = reserved_experiment_id(name)
        experiment = {
            "experiment_id": reserved,
            "name": name,
            "artifact_location": f"mlflow-artifacts:/{reserved}",
            "lifecycle_stage": "active",
            "tags": [],
        }
        return reply({"experiment": experiment})

    def _names(self, caller: Caller) -> dict[str, str]:
        """Experiments a task may name without anybody asking the server: id -> name."""
        rows = self._queue.rows(
            "SELECT DISTINCT experiment FROM runs"
            " UNION SELECT real FROM ids WHERE upstream = ? AND reserved GLOB 'name:*'",
            caller.upstream,
        )
        names = {caller.experiment, DEFAULT_EXPERIMENT, *(row[0] for row in rows)}
        return {reserved_experiment_id(name): name for name in names}

    def get_experiment(self, request: Request) -> Answer:
        name = self._names(request.caller).get(request.query.get("experiment_id", ""))
        return self._experiment(name) if name else self._read(request)

    def get_experiment_by_name(self, request: Request) -> Answer:
        name = request.query.get("experiment_name", "")
        if name in self._names(request.caller).values():
            return self._experiment(name)
        if self._station(request.caller.upstream).healthy:
            return self._read(request)
        return refuse(f"Could not find experiment with name '{name}'")

    def create_experiment(self, request: Request) -> Answer:
        """Nothing is made: a task's runs stay in the experiment of its pipeline, whatever it calls it."""
        name, caller = str(request.json()["name"]), request.caller
        if name in self._names(caller).values():
            return refuse(f"Experiment(name={name}) already exists.", "RESOURCE_ALREADY_EXISTS", 400)
        reserved = reserved_experiment_id(name)
        with self._queue.transaction() as db:
            db.execute("INSERT OR REPLACE INTO ids VALUES (?, ?, ?)", (caller.upstream, f"name:{reserved}", name))
        return reply({"experiment_id": reserved})

    # ------------------------------------------------------------------ models
    def create_model(self, request: Request) -> Answer:
        caller, body = request.caller, request.json()
        body["experiment_id"] = reserved_experiment_id(caller.experiment)
        fingerprint = hashlib.sha256(b"model" + caller.run.encode() + request.body).hexdigest()
        source = str(body.get("source_run_id") or "")
        with self._queue.transaction() as db:
            earlier = db.execute("SELECT * FROM answers WHERE fingerprint = ?", (fingerprint,)).fetchone()
            if earlier is not None and earlier["incarnation"] != self._incarnation:
                model = earlier["body"]
            else:
                count = db.execute("SELECT count(*) FROM models WHERE run = ?", (caller.run,)).fetchone()[0]
                model = reserved_model_id(caller.run, str(body.get("name") or ""), f"{fingerprint}:{count}")
                self._declare(db, caller, adopt=source == caller.run)
                db.execute(
                    "INSERT INTO models (id, upstream, run, body, status, created) VALUES (?, ?, ?, ?, ?, ?)",
                    (model, caller.upstream, caller.run, json.dumps(body), "LOGGED_MODEL_PENDING", _now()),
                )
                add(db, **self._lane(caller), run=caller.run, kind="model", body={"model_id": model})
            db.execute("INSERT OR REPLACE INTO answers VALUES (?, ?, ?)", (fingerprint, self._incarnation, model))
        self._wake(caller)
        row = self._queue.row("SELECT * FROM models WHERE id = ?", model)
        return reply({"model": mirror.model_json(row) if row else {}})

    def _known_model(self, request: Request, model: str, part: str) -> Answer:
        row = self._queue.row("SELECT * FROM models WHERE id = ?", model)
        if row is None:
            return self._read(request) if request.method == "GET" else self._write_through(request)
        if request.method == "GET":
            return reply({"model": mirror.model_json(row)})
        with self._queue.transaction() as db:
            body = json.loads(row["body"])
            sent = request.json()
            if part:
                body[part] = [*(body.get(part) or []), *(sent.get(part) or [])]
                db.execute("UPDATE models SET body = ? WHERE id = ?", (json.dumps(body), model))
            elif sent.get("status"):
                db.execute("UPDATE models SET status = ? WHERE id = ?", (str(sent["status"]), model))
            self._queue_raw(db, request)
        self._wake(request.caller)
        row = self._queue.row("SELECT * FROM models WHERE id = ?", model)
        return reply({"model": mirror.model_json(row) if row else {}})

    def create_registered_model(self, request: Request) -> Answer:
        answer = self._write_through(request, patience=READ_PATIENCE / 2)
        if answer.body == b"{}":
            return reply({"registered_model": {"name": request.json()["name"], "creation_timestamp": _now()}})
        return answer

    def create_version(self, request: Request) -> Answer:
        """Register a model version; while the server is away under a number of our own, replaced later."""
        caller, body = request.caller, request.json()
        key = hashlib.sha256(b"version" + caller.run.encode() + request.body).hexdigest()[:32]
        version = str(900000000 + int(key[:7], 16) % 99999999)
        with self._queue.transaction() as db:
            self._declare(db, caller, adopt=True)
            details = {"name": body["name"], "key": key, "request": body, "reserved_version": version}
            seq = add(db, **self._lane(caller), run=caller.run, kind="register", body=details)
        station = self._station(caller.upstream)
        if station.ready(READ_PATIENCE / 2) and station.drain(READ_PATIENCE / 2, seq):
            found = self._queue.row(
                "SELECT real FROM ids WHERE upstream = ? AND reserved = ?",
                caller.upstream,
                f"version:{body['name']}:{version}",
            )
            version = found[0] if found else version
        made = {**body, "version": version, "status": "READY", "current_stage": "None", "creation_timestamp": _now()}
        return reply({"model_version": made})

    # ------------------------------------------------------------------ artifacts
    def _artifact(self, request: Request, path: str) -> Answer:
        caller = request.caller
        if request.method == "PUT":
            if request.blob is None:
                raise ValueError("an upload without a body")
            owned = _OWNED.match(path)
            owner = owned[1] if owned else ""
            body = {"owner": owner, "path": owned[2]} if owned else {"raw": path, "path": path}
            with self._queue.transaction() as db:
                if owner == caller.run or not owned:
                    self._declare(db, caller, adopt=owner == caller.run)
                add(
                    db,
                    **self._lane(caller),
                    run=owner or caller.run,
                    kind="artifact",
                    body=body,
                    blob=str(request.blob),
                )
            self._wake(caller)
            return reply({})
        if request.method == "GET" and path and (file := self._waiting_file(caller, path)) is not None:
            return Answer(200, content_type="application/octet-stream", file=file)
        if request.method == "GET":
            return self._read(request)
        return self._write_through(request)

    def _waiting_file(self, caller: Caller, path: str) -> Path | None:
        """The newest upload of exactly this artifact that has not been delivered yet."""
        owned = _OWNED.match(path)
        rows = self._queue.rows(
            "SELECT body, blob FROM ops WHERE upstream = ? AND kind = 'artifact' AND rejected = '' ORDER BY seq DESC",
            caller.upstream,
        )
        for row in rows:
            body = json.loads(row["body"])
            same = (body.get("owner"), body.get("path")) == (owned[1], owned[2]) if owned else body.get("raw") == path
            if same and Path(row["blob"]).exists():
                return Path(row["blob"])
        return None

    # ------------------------------------------------------------------ the rest
    def _version(self, request: Request) -> Answer:
        station = self._station(request.caller.upstream)
        if station.healthy:
            try:
                text = station.forward("GET", "/version", {}, b"", timeout=2.0).body
                return Answer(200, text, "text/plain")
            except (Unavailable, Refused):
                pass
        return Answer(200, _VERSION.encode(), "text/plain")

    def _read(self, request: Request) -> Answer:
        """Ask the server, once it knows all that was written before."""
        station = self._station(request.caller.upstream)
        patience = 2.0 if station.server is None and station.trouble else READ_PATIENCE
        end = time.monotonic() + patience
        if not station.ready(patience) or not station.drain(max(0.1, end - time.monotonic())):
            # Not a 5xx: MLflow's client would repeat those for minutes, and a task must not wait.
            reason = station.trouble or (station.server.trouble if station.server else "") or "it does not answer"
            return refuse(f"MLflow cannot be asked now: {reason}", "TEMPORARILY_UNAVAILABLE", 409)
        return self._ask(station, request)

    def _ask(self, station: Station, request: Request) -> Answer:
        try:
            answer = station.forward(request.method, request.target, _passed_on(request.headers), request.body)
        except Refused as error:
            return refuse(error.message, error.reason or "BAD_REQUEST", error.status)
        except Unavailable as error:
            return refuse(error.message, "TEMPORARILY_UNAVAILABLE", 409)
        return Answer(answer.status, answer.body, answer.headers.get("content-type", "application/json"))

    def _write_through(self, request: Request, patience: float = 0.0) -> Answer:
        """A write whose answer matters: to the server if that is there, else queued and answered with nothing."""
        station = self._station(request.caller.upstream)
        there = station.ready(patience) if patience else station.healthy
        if there and station.drain(5.0):
            try:
                answer = station.forward(
                    request.method, request.target, _passed_on(request.headers), self._body(request)
                )
                return Answer(answer.status, answer.body, answer.headers.get("content-type", "application/json"))
            except Refused as error:
                return refuse(error.message, error.reason or "BAD_REQUEST", error.status)
            except Unavailable:
                pass
        with self._queue.transaction() as db:
            self._declare(db, request.caller, adopt=True)
            self._queue_raw(db, request)
        self._wake(request.caller)
        return Answer(200, request.body if "/traces" in request.path and b"{" in request.body[:1] else b"{}")

    def _body(self, request: Request) -> bytes:
        return request.blob.read_bytes() if request.blob is not None else request.body

    def _queue_raw(self, db: Any, request: Request) -> None:
        blob = request.blob
        if blob is None and request.body:
            blob = self._queue.new_blob()
            blob.write_bytes(request.body)
        body = {"method": request.method, "target": request.target, "headers": _passed_on(request.headers)}
        add(
            db,
            **self._lane(request.caller),
            run=request.caller.run,
            kind="raw",
            body=body,
            blob=str(blob) if blob is not None else "",
        )


def _now() -> int:
    return int(time.time() * 1000)


def _run_of(body: Mapping[str, Any]) -> str:
    return str(body.get("run_id") or body["run_uuid"])


def _passed_on(headers: Mapping[str, str]) -> dict[str, str]:
    """Headers that mean something to MLflow; never those that say who called us."""
    lower = {name.lower(): value for name, value in headers.items()}
    return {name: value for name, value in lower.items() if name == "content-type" or name.startswith("x-mlflow-")}
