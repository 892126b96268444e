"""Runs, their values, and experiments, as tasks see them.

A task's own run is adopted by the first run it makes; further ones become its children. Whatever a task says about the
state of its own run, only the engine ends it. Experiments a task names are not made: its runs stay in its pipeline's.
"""

from __future__ import annotations

import hashlib
import sqlite3
import time
from collections.abc import Mapping, Sequence

from mlplatform.tracking import latest, limits, mirror
from mlplatform.tracking.desk import Desk
from mlplatform.tracking.ids import DEFAULT_EXPERIMENT, Caller, reserved_child_id, reserved_experiment_id
from mlplatform.tracking.queue import add
from mlplatform.tracking.upstream import Json
from mlplatform.tracking.wire import Answer, Request, now, refuse, reply, run_of


class RunsDesk(Desk):
    """``runs/*``, ``metrics/*`` and ``experiments/*``."""

    def create_run(self, request: Request) -> Answer:
        caller, body = request.caller, request.json()
        tags = {str(t["key"]): str(t.get("value", "")) for t in body.get("tags") or ()}
        name = str(body.get("run_name") or tags.get("mlflow.runName") or "")
        fingerprint = hashlib.sha256(request.body).hexdigest()
        with self.queue.transaction() as db:
            self.declare(db, caller, adopt=False)
            own = db.execute(
                "SELECT adopted, fingerprint, incarnation FROM runs WHERE id = ?", (caller.run,)
            ).fetchone()
            again = own["fingerprint"] == fingerprint and own["incarnation"] != self.incarnation
            if (not own["adopted"] or again) and tags.get("mlflow.parentRunId", caller.run) == caller.run:
                run = caller.run
                db.execute(
                    "UPDATE runs SET adopted = 1, fingerprint = ?, incarnation = ? WHERE id = ?",
                    (fingerprint, self.incarnation, run),
                )
                add(db, self.place(caller).about(run), "touch", {})
                self._apply_wishes(db, caller, name, tags)
            else:
                run = self._create_child(db, request, body, name, tags, fingerprint)
        self.wake(caller)
        return self._run(run)

    def _apply_wishes(self, db: sqlite3.Connection, caller: Caller, name: str, tags: Mapping[str, str]) -> None:
        """The name and tags that user code gave to the run which turned out to be its task's own."""
        mine = {key: value for key, value in tags.items() if key not in ("mlflow.parentRunId", "mlflow.runName")}
        if name:
            mine["mlflow.runName"] = name
            mirror.rename(db, caller.run, name)
        mirror.queue_log(db, self.place(caller), tags=[{"key": k, "value": v} for k, v in mine.items()])

    def _create_child(
        self, db: sqlite3.Connection, request: Request, body: Json, name: str, tags: Mapping[str, str], fingerprint: str
    ) -> str:
        """A run below the task's own. A request repeated because an earlier gateway died in it makes no second one."""
        caller = request.caller
        same = db.execute(
            "SELECT id, incarnation FROM runs WHERE owner = ? AND fingerprint = ?", (caller.run, fingerprint)
        ).fetchall()
        for row in same:
            if row["incarnation"] != self.incarnation:
                db.execute("UPDATE runs SET incarnation = ? WHERE id = ?", (self.incarnation, row["id"]))
                return row["id"]
        run = reserved_child_id(caller.run, fingerprint, len(same))
        start = int(body.get("start_time") or now())
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
            incarnation=self.incarnation,
        )
        add(db, self.place(caller).about(run), "touch", {})
        return run

    def update_run(self, request: Request) -> Answer:
        caller, body = request.caller, request.json()
        run = run_of(body)
        name = str(body.get("run_name") or "")
        with self.queue.transaction() as db:
            if run == caller.run:  # its state is the engine's to say
                self.declare(db, caller, adopt=True)
                add(db, self.place(caller).about(run), "touch", {})
                if name:
                    self._apply_wishes(db, caller, name, {})
            elif body.get("status") or name:
                status = str(body.get("status") or "RUNNING")
                mirror.queue_status(
                    db, self.place(caller).about(run), status=status, end_time=int(body.get("end_time") or 0), name=name
                )
        self.wake(caller)
        row = mirror.run_row(self.queue, run)
        return reply({"run_info": mirror.run_json(self.queue, row)["info"] if row else {"run_id": run}})

    def get_run(self, request: Request) -> Answer:
        run = request.query.get("run_id") or request.query.get("run_uuid") or ""
        if run == request.caller.run:
            with self.queue.transaction() as db:
                self.declare(db, request.caller, adopt=False)
        row = mirror.run_row(self.queue, run)
        if row is None or not row["mirrored"]:
            answer = self.read(request)
            if answer.status == 200 or row is None:
                return answer
        return self._run(run)

    def _run(self, run: str) -> Answer:
        row = mirror.run_row(self.queue, run)
        return (
            refuse(f"Run with id={run} not found") if row is None else reply({"run": mirror.run_json(self.queue, row)})
        )

    def _log(
        self,
        request: Request,
        run: str,
        metrics: Sequence[Json] = (),
        params: Sequence[Json] = (),
        tags: Sequence[Json] = (),
    ) -> Answer:
        caller = request.caller
        for param in params:
            param["value"] = limits.cut(str(param.get("value", "")), limits.PARAM_VALUE)
        for tag in tags:
            tag["value"] = limits.cut(str(tag.get("value", "")), limits.TAG_VALUE)
        with self.queue.transaction() as db:
            if run == caller.run:
                self.declare(db, caller, adopt=True)
            mirror.queue_log(db, self.place(caller).about(run), metrics=metrics, params=params, tags=tags)
            latest.keep_latest(db, run, metrics)
        self.wake(caller)
        return reply({})

    def log_metric(self, request: Request) -> Answer:
        body = request.json()
        metric = {key: value for key, value in body.items() if key not in ("run_id", "run_uuid")}
        metric.setdefault("timestamp", now())
        return self._log(request, run_of(body), metrics=[metric])

    def log_parameter(self, request: Request) -> Answer:
        body = request.json()
        return self._log(request, run_of(body), params=[{"key": body["key"], "value": body.get("value", "")}])

    def set_tag(self, request: Request) -> Answer:
        body = request.json()
        return self._log(request, run_of(body), tags=[{"key": body["key"], "value": body.get("value", "")}])

    def log_batch(self, request: Request) -> Answer:
        body = request.json()
        return self._log(
            request, run_of(body), body.get("metrics") or (), body.get("params") or (), body.get("tags") or ()
        )

    def _queue_about_run(self, request: Request, kind: str) -> Answer:
        caller, body = request.caller, request.json()
        run = run_of(body)
        with self.queue.transaction() as db:
            if run == caller.run:
                self.declare(db, caller, adopt=True)
            add(db, self.place(caller).about(run), kind, body)
        self.wake(caller)
        return reply({})

    def log_inputs(self, request: Request) -> Answer:
        return self._queue_about_run(request, "inputs")

    def log_outputs(self, request: Request) -> Answer:
        return self._queue_about_run(request, "outputs")

    def get_history(self, request: Request) -> Answer:
        run = request.query.get("run_id") or request.query.get("run_uuid") or ""
        row = mirror.run_row(self.queue, run)
        if row is None or not row["mirrored"]:
            return self.read(request)
        return reply({"metrics": mirror.history(self.queue, run, request.query.get("metric_key", ""))})

    def _experiment(self, name: str) -> Answer:
        reserved = reserved_experiment_id(name)
        experiment = {
            "experiment_id": reserved,
            "name": name,
            "artifact_location": f"mlflow-artifacts:/{reserved}",
            "lifecycle_stage": "active",
        }
        return reply({"experiment": experiment})

    def _names(self, caller: Caller) -> dict[str, str]:
        """Experiments a task may name without anybody asking the server: id -> name."""
        rows = self.queue.rows(
            "SELECT DISTINCT experiment FROM runs"
            " UNION SELECT real FROM ids WHERE upstream = ? AND reserved GLOB 'name:*'",
            caller.upstream,
        )
        names = {caller.experiment, DEFAULT_EXPERIMENT, *(row[0] for row in rows)}
        return {reserved_experiment_id(name): name for name in names}

    def get_experiment(self, request: Request) -> Answer:
        name = self._names(request.caller).get(request.query.get("experiment_id", ""))
        return self._experiment(name) if name else self.read(request)

    def get_experiment_by_name(self, request: Request) -> Answer:
        name = request.query.get("experiment_name", "")
        if name in self._names(request.caller).values():
            return self._experiment(name)
        if self.station(request.caller.upstream).healthy:
            return self.read(request)
        return refuse(f"Could not find experiment with name '{name}'")

    def create_experiment(self, request: Request) -> Answer:
        """Nothing is made: a task's runs stay in the experiment of its pipeline, whatever it calls it."""
        name, caller = str(request.json()["name"]), request.caller
        if name in self._names(caller).values():
            return refuse(f"Experiment(name={name}) already exists.", "RESOURCE_ALREADY_EXISTS", 400)
        reserved = reserved_experiment_id(name)
        with self.queue.transaction() as db:
            db.execute("INSERT OR REPLACE INTO ids VALUES (?, ?, ?)", (caller.upstream, f"name:{reserved}", name))
        return reply({"experiment_id": reserved})
