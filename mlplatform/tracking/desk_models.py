"""Logged models and the model registry, as tasks see them."""

from __future__ import annotations

import hashlib
import json

from mlplatform.tracking import mirror
from mlplatform.tracking.desk import Desk
from mlplatform.tracking.ids import reserved_experiment_id, reserved_model_id
from mlplatform.tracking.queue import add
from mlplatform.tracking.wire import Answer, Request, now, reply

#: How long a registration waits for the server to say its version number before it gets one of ours (seconds).
WRITE_PATIENCE = 15.0


class ModelsDesk(Desk):
    """``logged-models/*`` and the writes of the registry whose answers a task goes on with."""

    def create_model(self, request: Request) -> Answer:
        caller, body = request.caller, request.json()
        body["experiment_id"] = reserved_experiment_id(caller.experiment)
        fingerprint = hashlib.sha256(b"model" + caller.run.encode() + request.body).hexdigest()
        with self.queue.transaction() as db:
            earlier = db.execute("SELECT * FROM answers WHERE fingerprint = ?", (fingerprint,)).fetchone()
            if earlier is not None and earlier["incarnation"] != self.incarnation:
                model = earlier["body"]
            else:
                count = db.execute("SELECT count(*) FROM models WHERE run = ?", (caller.run,)).fetchone()[0]
                model = reserved_model_id(caller.run, str(body.get("name") or ""), f"{fingerprint}:{count}")
                self.declare(db, caller, adopt=True)
                db.execute(
                    "INSERT INTO models (id, upstream, run, body, status, created) VALUES (?, ?, ?, ?, ?, ?)",
                    (model, caller.upstream, caller.run, json.dumps(body), "LOGGED_MODEL_PENDING", now()),
                )
                add(db, self.place(caller), "model", {"model_id": model})
            db.execute("INSERT OR REPLACE INTO answers VALUES (?, ?, ?)", (fingerprint, self.incarnation, model))
        self.wake(caller)
        row = self.queue.row("SELECT * FROM models WHERE id = ?", model)
        return reply({"model": mirror.model_json(row) if row else {}})

    def known_model(self, request: Request, model: str, part: str) -> Answer:
        row = self.queue.row("SELECT * FROM models WHERE id = ?", model)
        if row is None:
            return self.read(request) if request.method == "GET" else self.write_through(request)
        if request.method == "GET":
            return reply({"model": mirror.model_json(row)})
        with self.queue.transaction() as db:
            self.declare(db, request.caller, adopt=True)
            body = json.loads(row["body"])
            sent = request.json()
            if part:
                body[part] = [*(body.get(part) or []), *(sent.get(part) or [])]
                db.execute("UPDATE models SET body = ? WHERE id = ?", (json.dumps(body), model))
            elif sent.get("status"):
                db.execute("UPDATE models SET status = ? WHERE id = ?", (str(sent["status"]), model))
            self.queue_raw(db, request)
        self.wake(request.caller)
        row = self.queue.row("SELECT * FROM models WHERE id = ?", model)
        return reply({"model": mirror.model_json(row) if row else {}})

    def create_registered_model(self, request: Request) -> Answer:
        answer = self.write_through(request, patience=WRITE_PATIENCE)
        if answer.body == b"{}":
            return reply({"registered_model": {"name": request.json()["name"], "creation_timestamp": now()}})
        return answer

    def create_version(self, request: Request) -> Answer:
        """Register a model version; while the server is away under a number of our own, replaced later."""
        caller, body = request.caller, request.json()
        key = hashlib.sha256(b"version" + caller.run.encode() + request.body).hexdigest()[:32]
        version = str(900000000 + int(key[:7], 16) % 99999999)
        with self.queue.transaction() as db:
            self.declare(db, caller, adopt=True)
            details = {"name": body["name"], "key": key, "request": body, "reserved_version": version}
            seq = add(db, self.place(caller), "register", details)
        station = self.station(caller.upstream)
        if station.ready(WRITE_PATIENCE) and station.drain(WRITE_PATIENCE, seq):
            found = self.queue.row(
                "SELECT real FROM ids WHERE upstream = ? AND reserved = ?",
                caller.upstream,
                f"version:{body['name']}:{version}",
            )
            version = found[0] if found else version
        made = {**body, "version": version, "status": "READY", "current_stage": "None", "creation_timestamp": now()}
        return reply({"model_version": made})
