"""Records as rows and back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from mlplatform.core.errors import InvalidInput
from mlplatform.core.model import Artifact, ArtifactValue, AttemptRecord, CacheEntry, RunRecord, TaskKey, TaskRecord
from mlplatform.core.records import ArtifactLink, Event
from mlplatform.core.states import RunState, TaskState
from mlplatform.store import codec
from mlplatform.store.codec import from_text, to_text
from mlplatform.store.database import Row


def insert(table: str, columns: tuple[str, ...], conflict: str = "", *, keep: tuple[str, ...] = ()) -> str:
    """``INSERT`` with one placeholder a column; with ``conflict`` columns, everything but those and ``keep`` is
    replaced in the row that is there."""
    sql = f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"  # noqa: S608 - our own names
    if not conflict:
        return sql
    fixed = {*conflict.split(", "), *keep}
    changes = ", ".join(f"{name} = excluded.{name}" for name in columns if name not in fixed)
    return f"{sql} ON CONFLICT ({conflict}) DO UPDATE SET {changes}"


def _columns(names: str) -> tuple[str, ...]:
    return tuple(names.split())


# ------------------------------------------------------------------ runs
RUN: Final = _columns(
    "run_id state name pipeline experiment spec_digest priority created_at started_at finished_at "
    "cancel_requested_at mlflow_run_id mlflow_experiment_id note tags error outputs parameters artifacts "
    "context archived long"
)
#: What ``apply`` leaves alone: people change these while the engine drives the run.
RUN_ANNOTATIONS: Final = ("note", "tags", "archived")
INSERT_RUN: Final = insert("mlp_runs", (*RUN, "search"))

#: An index holds what is searched, and PostgreSQL limits its entries.
_SEARCHED: Final = 400


def update_run(*, annotations: bool) -> str:
    """``UPDATE`` of one run; its parameters are :func:`run_update_row`'s."""
    columns = [name for name in RUN[1:] if annotations or name not in RUN_ANNOTATIONS]
    return f"UPDATE mlp_runs SET {', '.join(f'{name} = ?' for name in columns)} WHERE run_id = ?"  # noqa: S608


def run_update_row(run: RunRecord, *, annotations: bool) -> list[Any]:
    values = dict(zip(RUN, run_row(run), strict=True))
    return [values[name] for name in RUN[1:] if annotations or name not in RUN_ANNOTATIONS] + [values["run_id"]]


def run_key(run_id: str) -> str:
    """A run's id in every table. Ids are ours and short.

    Raises:
        InvalidInput: it is not.
    """
    key = to_text(run_id)
    if codec.to_key(run_id) != key:
        raise InvalidInput(f"a run id of {len(run_id)} characters cannot be stored")
    return key


def run_row(run: RunRecord) -> Row:
    keys, long = codec.to_keys({"name": run.name, "pipeline": run.pipeline, "experiment": run.experiment})
    return (
        run_key(run.run_id),
        str(run.state),
        *keys,
        to_text(run.spec_digest),
        run.priority,
        run.created_at,
        run.started_at,
        run.finished_at,
        run.cancel_requested_at,
        to_text(run.mlflow_run_id),
        to_text(run.mlflow_experiment_id),
        to_text(run.note),
        codec.mapping_to_json(run.tags),
        codec.error_to_json(run.error),
        codec.values_to_json(run.outputs),
        codec.mapping_to_json(run.parameters),
        codec.artifacts_to_json(run.artifacts),
        codec.mapping_to_json(run.context),
        int(run.archived),
        long,
    )


def searched(run: RunRecord) -> str:
    """The text that a search over runs looks into."""
    return to_text(" ".join((run.run_id, run.name, run.pipeline, run.experiment)).lower()[:_SEARCHED])


def run_from(row: Row) -> RunRecord:
    row = codec.whole(row, RUN)
    return RunRecord(
        run_id=from_text(row[0]),
        state=RunState(row[1]),
        name=from_text(row[2]),
        pipeline=from_text(row[3]),
        experiment=from_text(row[4]),
        spec_digest=from_text(row[5]),
        priority=row[6],
        created_at=row[7],
        started_at=row[8],
        finished_at=row[9],
        cancel_requested_at=row[10],
        mlflow_run_id=from_text(row[11]),
        mlflow_experiment_id=from_text(row[12]),
        note=from_text(row[13]),
        tags=codec.mapping_from_json(row[14]),
        error=codec.error_from_json(row[15]),
        outputs=codec.values_from_json(row[16]),
        parameters=codec.mapping_from_json(row[17]),
        artifacts=codec.artifacts_from_json(row[18]),
        context=codec.mapping_from_json(row[19]),
        archived=bool(row[20]),
    )


# ------------------------------------------------------------------ tasks
TASK: Final = _columns(
    "run_id path iteration state component is_group attempt failures created_at started_at finished_at "
    "retry_at cache_key cached_from cache_note mlflow_run_id waiting_for error inputs outputs long"
)
PUT_TASK: Final = insert("mlp_tasks", TASK, "run_id, path, iteration")


def task_row(run_id: str, task: TaskRecord) -> Row:
    path, iteration = codec.path_to_text(task.key)
    keys, long = codec.to_keys({"path": path})
    return (
        run_id,
        *keys,
        iteration,
        str(task.state),
        to_text(task.component),
        int(task.is_group),
        task.attempt,
        task.failures,
        task.created_at,
        task.started_at,
        task.finished_at,
        task.retry_at,
        to_text(task.cache_key),
        to_text(task.cached_from),
        to_text(task.cache_note),
        to_text(task.mlflow_run_id),
        to_text(task.waiting_for),
        codec.error_to_json(task.error),
        codec.values_to_json(task.inputs),
        codec.values_to_json(task.outputs),
        long,
    )


def task_from(row: Row) -> TaskRecord:
    row = codec.whole(row, TASK)
    return TaskRecord(
        key=codec.path_from_text(row[1], row[2]),
        state=TaskState(row[3]),
        component=from_text(row[4]),
        is_group=bool(row[5]),
        attempt=row[6],
        failures=row[7],
        created_at=row[8],
        started_at=row[9],
        finished_at=row[10],
        retry_at=row[11],
        cache_key=from_text(row[12]),
        cached_from=from_text(row[13]),
        cache_note=from_text(row[14]),
        mlflow_run_id=from_text(row[15]),
        waiting_for=from_text(row[16]),
        error=codec.error_from_json(row[17]),
        inputs=codec.values_from_json(row[18]),
        outputs=codec.values_from_json(row[19]),
    )


#: What lists show of a task: everything but the wide columns.
BRIEF: Final = _columns(
    "run_id path iteration state component is_group attempt created_at started_at finished_at retry_at "
    "cached_from cache_note waiting_for error long"
)


def brief_from(row: Row) -> TaskRecord:
    """A task without its inputs and outputs."""
    row = codec.whole(row, BRIEF)
    return TaskRecord(
        key=codec.path_from_text(row[1], row[2]),
        state=TaskState(row[3]),
        component=from_text(row[4]),
        is_group=bool(row[5]),
        attempt=row[6],
        created_at=row[7],
        started_at=row[8],
        finished_at=row[9],
        retry_at=row[10],
        cached_from=from_text(row[11]),
        cache_note=from_text(row[12]),
        waiting_for=from_text(row[13]),
        error=codec.error_from_json(row[14]),
    )


# ------------------------------------------------------------------ attempts
ATTEMPT: Final = _columns(
    "run_id path iteration attempt state directory pid pid_start boot started_at finished_at exit_code error long"
)
PUT_ATTEMPT: Final = insert("mlp_attempts", ATTEMPT, "run_id, path, iteration, attempt")


def attempt_row(run_id: str, attempt: AttemptRecord) -> Row:
    path, iteration = codec.path_to_text(attempt.key)
    keys, long = codec.to_keys({"path": path})
    return (
        run_id,
        *keys,
        iteration,
        attempt.attempt,
        str(attempt.state),
        to_text(attempt.directory),
        attempt.pid,
        to_text(attempt.pid_start),
        to_text(attempt.boot),
        attempt.started_at,
        attempt.finished_at,
        attempt.exit_code,
        codec.error_to_json(attempt.error),
        long,
    )


def attempt_from(row: Row) -> AttemptRecord:
    row = codec.whole(row, ATTEMPT)
    return AttemptRecord(
        key=codec.path_from_text(row[1], row[2]),
        attempt=row[3],
        state=TaskState(row[4]),
        directory=from_text(row[5]),
        pid=row[6],
        pid_start=from_text(row[7]),
        boot=from_text(row[8]),
        started_at=row[9],
        finished_at=row[10],
        exit_code=row[11],
        error=codec.error_from_json(row[12]),
    )


# ------------------------------------------------------------------ events
EVENT: Final = ("run_id", "at", "kind", "body")
INSERT_EVENT: Final = insert("mlp_events", EVENT)


def event_from(row: Row) -> Event:
    return Event(row[0], from_text(row[1]), row[2], from_text(row[3]), codec.from_json(row[4]))


# ------------------------------------------------------------------ cache
CACHE: Final = _columns("cache_key identity path run_id iteration created_at trace outputs parts written long")
PUT_CACHE: Final = insert("mlp_cache", CACHE, "run_id, path, iteration, cache_key")


def cache_row(entry: CacheEntry, trace_digest: str) -> Row:
    path, iteration = codec.path_to_text(entry.task)
    keys, long = codec.to_keys({"cache_key": entry.key, "identity": entry.identity, "path": path})
    return (
        *keys,
        run_key(entry.run_id),
        iteration,
        entry.created_at,
        trace_digest,
        codec.values_to_json(entry.outputs),
        codec.mapping_to_json(entry.parts),
        codec.to_json(entry.written) if entry.written else "",
        long,
    )


def cache_from(row: Row, trace: bytes | None) -> CacheEntry:
    row = codec.whole(row, CACHE)
    return CacheEntry(
        key=from_text(row[0]),
        identity=from_text(row[1]),
        run_id=from_text(row[3]),
        task=codec.path_from_text(row[2], row[4]),
        created_at=row[5],
        trace=tuple(codec.from_json(codec.unpack(trace).decode("ascii"))) if trace else (),
        outputs=codec.values_from_json(row[7]),
        parts=codec.mapping_from_json(row[8]),
        written=tuple(codec.from_json(row[9])) if row[9] else (),
    )


# ------------------------------------------------------------------ lineage
LINK: Final = _columns("run_id path name uri digest iteration role position type size long")
PUT_LINK: Final = insert("mlp_artifacts", LINK, "run_id, path, iteration, role, name, position")


def link_rows(run_id: str, key: TaskKey | None, role: str, artifacts: Mapping[str, ArtifactValue]) -> Iterator[Row]:
    """One row an artifact; the run's own have an empty path."""
    path, iteration = ("", "") if key is None else codec.path_to_text(key)
    for name, value in artifacts.items():
        items = (value,) if isinstance(value, Artifact) else value
        for position, item in enumerate(items):
            texts = {"path": path, "name": name, "uri": item.uri, "digest": item.digest}
            keys, long = codec.to_keys(texts)
            yield (run_id, *keys, iteration, role, position, to_text(item.type), item.size, long)


def link_from(row: Row) -> ArtifactLink:
    row = codec.whole(row, LINK)
    return ArtifactLink(
        run_id=from_text(row[0]),
        task=codec.path_from_text(row[1], row[5]) if row[1] else None,
        name=from_text(row[2]),
        uri=from_text(row[3]),
        digest=from_text(row[4]),
        role=row[6],
        position=row[7],
        type=from_text(row[8]),
        size=row[9],
    )
