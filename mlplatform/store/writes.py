"""What one transaction writes. Rows are made before it begins, so that it holds the database no longer than it must."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mlplatform.core.errors import NotFound
from mlplatform.core.model import CacheEntry, RunRecord, TaskRecord
from mlplatform.core.records import Batch
from mlplatform.core.states import TaskState
from mlplatform.store import codec, rows
from mlplatform.store.codec import to_key, to_text
from mlplatform.store.database import Row, Transaction

_Event = tuple[float, str, Mapping[str, Any]]


def document_digest(document: bytes) -> str:
    """The name of a stored document."""
    return "sha256:" + hashlib.sha256(document).hexdigest()


class BatchWriter:
    """The rows of one batch, ready to be written."""

    def __init__(self, batch: Batch) -> None:
        """Raises InvalidInput for a value that cannot be stored."""
        run_id = rows.run_key(batch.run_id)
        self._run_id = run_id
        self._document = batch.document
        self._run = rows.run_update_row(batch.run, annotations=False) if batch.run else None
        self._tasks = [rows.task_row(run_id, task) for task in batch.tasks]
        self._attempts = [rows.attempt_row(run_id, attempt) for attempt in batch.attempts]
        self._cache = [(_trace_of(entry), entry) for entry in batch.cache]
        self._events = event_rows(run_id, batch.events)
        self._ended = [codec.path_to_keys(task.key) for task in batch.tasks if task.state.finished]
        self._links = [link for task in batch.tasks for link in _task_links(run_id, task)]
        self._run_links = list(_run_links(run_id, batch.run)) if batch.run and batch.run.state.finished else []

    def write(self, to: Transaction) -> None:
        """Write everything. Raises NotFound if the run does not exist."""
        before = self._replaced_document(to) if self._document is not None else []
        if self._document is not None:
            put_document(to, document_digest(self._document), self._document)
        if self._run is not None and not to.run(_UPDATE_RUN, self._run):
            raise NotFound("the run does not exist (any more)", hint="It was deleted while this was going on.")
        if self._tasks:
            to.many(rows.PUT_TASK, self._tasks)
        if self._ended:
            place = "run_id = ? AND path = ? AND iteration = ?"
            to.many(f"DELETE FROM mlp_artifacts WHERE {place}", ((self._run_id, *key) for key in self._ended))  # noqa: S608
        if self._links or self._run_links:
            to.many(rows.PUT_LINK, (*self._links, *self._run_links))
        if self._attempts:
            to.many(rows.PUT_ATTEMPT, self._attempts)
        for trace, entry in self._cache:
            put_cache(to, entry, trace)
        if self._events:
            put_events(to, self._run_id, self._events)
        drop_documents(to, before)

    def _replaced_document(self, to: Transaction) -> list[str]:
        return [row[0] for row in to.rows("SELECT spec_digest FROM mlp_runs WHERE run_id = ?", (self._run_id,))]


_UPDATE_RUN = rows.update_run(annotations=False)


def _task_links(run_id: str, task: TaskRecord) -> Iterable[Row]:
    """Lineage of a task that ended. Groups only pass on what their tasks made."""
    if task.is_group or not task.state.finished:
        return
    yield from rows.link_rows(run_id, task.key, "input", task.inputs.artifacts)
    role = "reuse" if task.state is TaskState.CACHED else "output"
    yield from rows.link_rows(run_id, task.key, role, task.outputs.artifacts)


def _run_links(run_id: str, run: RunRecord) -> Iterable[Row]:
    yield from rows.link_rows(run_id, None, "input", run.artifacts)
    yield from rows.link_rows(run_id, None, "reuse", run.outputs.artifacts)


# ------------------------------------------------------------------ runs
def put_run(to: Transaction, run: RunRecord, document: bytes) -> bool:
    """Insert a run; False if its id is there already."""
    put_document(to, document_digest(document), document)
    row = rows.run_row(run)
    if to.rows("SELECT 1 FROM mlp_runs WHERE run_id = ?", (row[0],)):
        return False
    to.run(rows.INSERT_RUN, (*row, rows.searched(run)))
    know_experiment(to, run.experiment, run.created_at)
    put_tags(to, row[0], run.tags)
    links = list(_run_links(row[0], run))
    if links:
        to.many(rows.PUT_LINK, links)
    return True


def know_experiment(to: Transaction, name: str, now: float, description: str = "") -> bool:
    """Note an experiment unless it is known; whether it was not."""
    keys, long = codec.to_keys({"experiment": name})
    return bool(
        to.run(
            "INSERT INTO mlp_experiments (experiment, experiment_id, created_at, archived, description, long) "
            "VALUES (?, ?, ?, 0, ?, ?) ON CONFLICT (experiment) DO NOTHING",
            (*keys, str(uuid.uuid4()), now, to_text(description), long),
        )
    )


def put_tags(to: Transaction, run_id: str, tags: Mapping[str, str]) -> None:
    """Make ``tags`` the run's tags in the index that filters use."""
    to.run("DELETE FROM mlp_run_tags WHERE run_id = ?", (run_id,))
    if tags:
        to.many(
            "INSERT INTO mlp_run_tags (tag, value, run_id) VALUES (?, ?, ?)",
            [(to_key(name), to_key(value), run_id) for name, value in tags.items()],
        )


def delete_run(to: Transaction, run_id: str) -> None:
    """Remove a run with everything that belongs to it, and the documents that nobody else names."""
    documents = to.rows(
        "SELECT spec_digest FROM mlp_runs WHERE run_id = ? UNION SELECT trace FROM mlp_cache WHERE run_id = ?",
        (run_id, run_id),
    )
    to.run("DELETE FROM mlp_runs WHERE run_id = ?", (run_id,))
    drop_documents(to, [row[0] for row in documents])


# ------------------------------------------------------------------ documents
def put_document(to: Transaction, digest: str, document: bytes) -> None:
    """Store bytes under their digest; most are there already, so compress only if they are not."""
    if not to.rows("SELECT 1 FROM mlp_documents WHERE digest = ?", (digest,)):
        to.run(
            "INSERT INTO mlp_documents (digest, size, body) VALUES (?, ?, ?)",
            (digest, len(document), codec.pack(document)),
        )


def drop_documents(to: Transaction, digests: Iterable[str]) -> None:
    """Remove those of these documents that nothing names any more."""
    for digest in digests:
        to.run(
            "DELETE FROM mlp_documents WHERE digest = ? "
            "AND NOT EXISTS (SELECT 1 FROM mlp_runs WHERE spec_digest = ?) "
            "AND NOT EXISTS (SELECT 1 FROM mlp_cache WHERE trace = ?) "
            "AND NOT EXISTS (SELECT 1 FROM mlp_versions WHERE document = ?) "
            "AND NOT EXISTS (SELECT 1 FROM mlp_recurring WHERE document = ?)",
            (digest,) * 5,
        )


# ------------------------------------------------------------------ cache
def _trace_of(entry: CacheEntry) -> bytes:
    """Iterations of one component look at the same files: their traces are one document."""
    return codec.to_json(entry.trace).encode("ascii") if entry.trace else b""


def put_cache(to: Transaction, entry: CacheEntry, trace: bytes) -> None:
    digest = document_digest(trace) if trace else ""
    if trace:
        put_document(to, digest, trace)
    to.run(rows.PUT_CACHE, rows.cache_row(entry, digest))


def clear_cache(to: Transaction, run_id: str, identity: str) -> int:
    """Remove entries of this run and of this identity (empty: of any); returns how many."""
    terms = {"run_id": run_id, "identity": identity}
    where = " AND ".join(f"{name} = ?" for name, value in terms.items() if value) or "1 = 1"
    values = [to_key(value) for value in terms.values() if value]
    traces = to.rows(f"SELECT DISTINCT trace FROM mlp_cache WHERE {where}", values)  # noqa: S608 - our own names
    count = to.run(f"DELETE FROM mlp_cache WHERE {where}", values)  # noqa: S608
    drop_documents(to, [row[0] for row in traces])
    return count


# ------------------------------------------------------------------ events
def event_rows(run_id: str, events: Sequence[_Event]) -> list[Row]:
    return [(run_id, at, to_text(kind), codec.to_json(body)) for at, kind, body in events]


def put_events(to: Transaction, run_id: str, events: Sequence[Row]) -> None:
    """Append events, unless exactly these are the run's last ones: then the batch is a repetition of one whose
    acknowledgement was lost on the way."""
    last = to.rows(
        "SELECT at, kind, body FROM mlp_events WHERE run_id = ? ORDER BY seq DESC LIMIT ?", (run_id, len(events))
    )
    if last[::-1] != [row[1:] for row in events]:
        to.many(rows.INSERT_EVENT, events)
