"""What is known here of the runs we queue for: enough to answer a task that reads back what it has just logged.

Everything takes the connection of an open transaction or a :class:`Queue` to read from. Runs are known by reserved ids.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

from mlplatform.tracking.ids import reserved_experiment_id
from mlplatform.tracking.queue import Place, Queue, add

Json = dict[str, Any]


def declare_run(
    db: sqlite3.Connection,
    run: str,
    *,
    upstream: str,
    experiment: str,
    name: str,
    parent: str = "",
    owner: str = "",
    start_time: int = 0,
    tags: Mapping[str, str] | None = None,
    fingerprint: str = "",
    incarnation: str = "",
) -> bool:
    """Make a run known; it is created on the server when something about it is delivered. False if it was known."""
    cursor = db.execute(
        "INSERT OR IGNORE INTO runs (id, upstream, experiment, name, parent, owner, start_time, tags, fingerprint,"
        " incarnation) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            run,
            upstream,
            experiment,
            name,
            parent,
            owner,
            start_time,
            json.dumps(dict(tags or {}), ensure_ascii=False),
            fingerprint,
            incarnation,
        ),
    )
    return cursor.rowcount > 0


def queue_log(
    db: sqlite3.Connection,
    place: Place,
    *,
    metrics: Sequence[Json] = (),
    params: Sequence[Json] = (),
    tags: Sequence[Json] = (),
) -> None:
    """Queue metrics, parameters and tags of a run (MLflow's own JSON shapes) and remember them."""
    if not (metrics or params or tags):
        return
    body = {"metrics": list(metrics), "params": list(params), "tags": list(tags)}
    add(db, place, "log", body)
    run = place.run
    db.executemany(
        "INSERT OR IGNORE INTO params VALUES (?, ?, ?)", [(run, p["key"], str(p.get("value", ""))) for p in params]
    )
    db.executemany(
        "INSERT OR REPLACE INTO tags VALUES (?, ?, ?)", [(run, t["key"], str(t.get("value", ""))) for t in tags]
    )
    db.executemany(
        "INSERT OR IGNORE INTO metrics VALUES (?, ?, ?, ?, ?)",
        [
            (run, m["key"], int(m.get("step") or 0), int(m.get("timestamp") or 0), json.dumps(m.get("value")))
            for m in metrics
        ],
    )


def queue_status(db: sqlite3.Connection, place: Place, status: str, end_time: int = 0, name: str = "") -> None:
    """Queue a run's state (MLflow's word) and end (milliseconds; 0: none), and perhaps a new name."""
    body: Json = {"status": status}
    if end_time:
        body["end_time"] = end_time
    if name:
        body["run_name"] = name
    add(db, place, "status", body)
    db.execute("UPDATE runs SET status = ?, end_time = ? WHERE id = ?", (status, end_time, place.run))
    if name:
        rename(db, place.run, name)


def rename(db: sqlite3.Connection, run: str, name: str) -> None:
    db.execute("UPDATE runs SET name = ? WHERE id = ?", (name, run))
    db.execute("INSERT OR REPLACE INTO tags VALUES (?, 'mlflow.runName', ?)", (run, name))


def experiment_of(queue: Queue, experiment_id: str) -> str:
    """The name of an experiment some run of ours belongs to, by its reserved id; empty if none does."""
    for row in queue.rows("SELECT DISTINCT experiment FROM runs"):
        if reserved_experiment_id(row[0]) == experiment_id:
            return row[0]
    return ""


def run_row(queue: Queue, run: str) -> sqlite3.Row | None:
    return queue.row("SELECT * FROM runs WHERE id = ?", run)


def run_json(queue: Queue, row: sqlite3.Row) -> Json:
    """A run in the shape of ``runs/get``."""
    run = row["id"]
    experiment = reserved_experiment_id(row["experiment"])
    info: Json = {
        "run_id": run,
        "run_uuid": run,
        "run_name": row["name"],
        "experiment_id": experiment,
        "user_id": "",
        "status": row["status"],
        "start_time": row["start_time"],
        "artifact_uri": f"mlflow-artifacts:/{experiment}/{run}/artifacts",
        "lifecycle_stage": "active",
    }
    if row["end_time"]:
        info["end_time"] = row["end_time"]
    tags = {**json.loads(row["tags"]), "mlflow.runName": row["name"]}
    if row["parent"]:
        tags["mlflow.parentRunId"] = row["parent"]
    tags.update({r["key"]: r["value"] for r in queue.rows("SELECT key, value FROM tags WHERE run = ?", run)})
    return {
        "info": info,
        "data": {
            "params": [
                {"key": r["key"], "value": r["value"]}
                for r in queue.rows("SELECT key, value FROM params WHERE run = ? ORDER BY key", run)
            ],
            "metrics": _latest(queue, run),
            "tags": [{"key": key, "value": value} for key, value in sorted(tags.items())],
        },
        "inputs": {},
    }


def _latest(queue: Queue, run: str) -> list[Json]:
    """MLflow's rule: the largest step, then the latest time, then the largest value."""
    latest: dict[str, Json] = {}
    rows = queue.rows(
        "SELECT key, step, timestamp, value FROM metrics AS m WHERE run = ? AND step ="
        " (SELECT max(step) FROM metrics WHERE run = m.run AND key = m.key) ORDER BY key, timestamp, value",
        run,
    )
    for row in rows:
        latest[row["key"]] = metric_json(row)
    return list(latest.values())


def metric_json(row: sqlite3.Row) -> Json:
    return {
        "key": row["key"],
        "value": json.loads(row["value"]),
        "timestamp": row["timestamp"],
        "step": row["step"],
    }


def history(queue: Queue, run: str, key: str) -> list[Json]:
    rows = queue.rows(
        "SELECT key, step, timestamp, value FROM metrics WHERE run = ? AND key = ? ORDER BY timestamp, step, value",
        run,
        key,
    )
    return [metric_json(row) for row in rows]


def model_json(row: sqlite3.Row) -> Json:
    """A logged model in the shape of ``logged-models/get``."""
    body = json.loads(row["body"])
    experiment = body.get("experiment_id", "0")
    return {
        "info": {
            "model_id": row["id"],
            "experiment_id": experiment,
            "name": body.get("name", ""),
            "creation_timestamp_ms": row["created"],
            "last_updated_timestamp_ms": row["created"],
            "artifact_uri": f"mlflow-artifacts:/{experiment}/models/{row['id']}/artifacts",
            "status": row["status"],
            "model_type": body.get("model_type", ""),
            "source_run_id": body.get("source_run_id", ""),
            "tags": body.get("tags") or [],
        },
        "data": {"params": body.get("params") or [], "metrics": []},
    }


def forget_details(db: sqlite3.Connection, run: str) -> None:
    """A finished run's values are on the server now: read them there."""
    for table in ("params", "metrics", "tags"):
        db.execute(f"DELETE FROM {table} WHERE run = ?", (run,))  # noqa: S608 - fixed names
    db.execute("UPDATE runs SET mirrored = 0 WHERE id = ?", (run,))
