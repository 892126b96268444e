"""The last value of every metric that tasks log, kept beside the outbox: what a notebook or a page shows of them.

MLflow has the whole story, but asking it means starting its server. The gateway writes these few numbers as they come
by, and anybody reads them from the file. Metrics that a task sends past the gateway (to Databricks) are not in here,
nor are those of further runs that user code makes below its task's own.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import re
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from mlplatform.core.model import TaskRecord
from mlplatform.tracking.ids import reserved_run_id

_log = logging.getLogger(__name__)

#: Metrics kept of one run; of one that logs more, the first to come.
MOST: Final = 200
#: Seconds to wait for a writer where the outbox has no write-ahead log.
_PATIENCE: Final = 2.0
_CACHED_FROM: Final = re.compile(r"([^:]+):(.+?)((?:\[\d+\])*)", re.DOTALL)

TABLE: Final = """
CREATE TABLE latest (
  run TEXT, key TEXT, step INTEGER NOT NULL, timestamp INTEGER NOT NULL, value REAL,
  PRIMARY KEY (run, key)) WITHOUT ROWID
"""
#: MLflow's rule: the largest step, then the latest time, then the largest value. NULL stands for "not a number", which
#: SQLite has no value for, and which MLflow orders as 0.
_KEEP: Final = f"""
INSERT INTO latest (run, key, step, timestamp, value) SELECT ?1, ?2, ?3, ?4, ?5
WHERE EXISTS (SELECT 1 FROM latest WHERE run = ?1 AND key = ?2) OR (SELECT count(*) FROM latest WHERE run = ?1) < {MOST}
ON CONFLICT (run, key) DO UPDATE SET step = excluded.step, timestamp = excluded.timestamp, value = excluded.value
WHERE (excluded.step, excluded.timestamp, coalesce(excluded.value, 0.0)) > (step, timestamp, coalesce(value, 0.0))
"""  # noqa: S608 - a number of ours


def keep_latest(db: sqlite3.Connection, run: str, metrics: Sequence[Mapping[str, Any]]) -> None:
    """Remember what is newest among ``metrics`` (MLflow's JSON) in an open transaction. Repeatable."""
    newest: dict[str, tuple[int, int, float]] = {}
    for metric in metrics:
        try:
            value = float(metric.get("value") or 0.0)
            found = (int(metric.get("step") or 0), int(metric.get("timestamp") or 0), value)
        except (TypeError, ValueError):  # MLflow will refuse it, and say so
            continue
        key = str(metric["key"])
        newest[key] = max(newest.get(key, found), found, key=_order)
    rows = [(run, key, *found[:2], None if math.isnan(found[2]) else found[2]) for key, found in newest.items()]
    db.executemany(_KEEP, rows)


def _order(found: tuple[int, int, float]) -> tuple[int, int, float]:
    return (*found[:2], 0.0 if math.isnan(found[2]) else found[2])


def latest_metrics(folder: Path, runs: Iterable[str]) -> dict[str, dict[str, float]]:
    """The last values of metrics that user code logged, by reserved MLflow run id and name; ``nan`` and ``inf`` among
    them, if those were logged.

    Reads the outbox in ``folder`` and writes nothing; runs without metrics are left out. What cannot be read (another
    program's lock, a broken file) is missing, for a display is worth showing without it.
    """
    wanted = list(runs)
    if not wanted or not (folder / "queue.db").exists():
        return {}
    found: dict[str, dict[str, float]] = {}
    try:
        with contextlib.closing(_reader(folder)) as db:
            rows = db.execute(
                "SELECT run, key, value FROM latest WHERE run IN (SELECT value FROM json_each(?)) ORDER BY run, key",
                (json.dumps(wanted),),
            )
            for run, key, value in rows:
                found.setdefault(run, {})[key] = math.nan if value is None else value
    except sqlite3.Error as error:
        if "no such table" not in str(error):  # an outbox of an earlier version, not written since
            _log.warning("logged metrics cannot be read: %s", error)
    return found


def _reader(folder: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{(folder / 'queue.db').absolute().as_uri()}?mode=ro", uri=True, timeout=_PATIENCE)


def logged_metrics(folder: Path, run_id: str, tasks: Iterable[TaskRecord]) -> dict[str, dict[str, float]]:
    """The last values of what the tasks of a run logged, by task (``train[3]``). A task whose result was reused has
    what was logged when that was made."""
    ids = {str(task.key): _mlflow_run(run_id, task) for task in tasks if not task.is_group}
    found = latest_metrics(folder, ids.values())
    return {task: found[mlflow_run] for task, mlflow_run in ids.items() if mlflow_run in found}


def _mlflow_run(run_id: str, task: TaskRecord) -> str:
    first = _CACHED_FROM.fullmatch(task.cached_from)
    if first is None:
        return reserved_run_id(run_id, task.key.name, task.key.iteration)
    return reserved_run_id(first[1], first[2], [int(index) for index in re.findall(r"\d+", first[3])])
