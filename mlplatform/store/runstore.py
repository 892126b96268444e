"""The run store over either database. It has the shape of ``engine.ports.RunStore`` and knows nothing of the engine."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mlplatform.core.errors import InvalidInput, NotFound, StoreError
from mlplatform.core.model import AttemptRecord, CacheEntry, RunRecord, TaskKey, TaskRecord
from mlplatform.core.queries import ListedRun, RunQuery
from mlplatform.core.records import ArtifactLink, Batch, Event
from mlplatform.core.states import RunState
from mlplatform.store import codec, lineage, rows, runlist, writes
from mlplatform.store.catalog import Catalog
from mlplatform.store.codec import to_key, to_text
from mlplatform.store.database import Database, Row
from mlplatform.store.listing import page_of_runs

_RUN = ", ".join(rows.RUN)
_TASK = ", ".join(rows.TASK)
_BRIEF = ", ".join(rows.BRIEF)
_ATTEMPT = ", ".join(rows.ATTEMPT)
_CACHE = ", ".join(f"c.{name}" for name in rows.CACHE)
_LINK = ", ".join(rows.LINK)
_FINISHED = tuple(str(state) for state in RunState if state.finished)
_IS_FINISHED = f"state IN ({', '.join('?' * len(_FINISHED))})"
_UPDATE_WHOLE_RUN = rows.update_run(annotations=True)

_RUNS_HINT = "`mlplatform runs list` shows the runs there are."

#: Sorts after every run id that begins with the same text.
_LAST = "\U0010ffff"


class SqlRunStore:
    """Runs and everything that belongs to them. Usable from several threads.

    Every method raises StoreError if the database cannot be used; nothing is half-written then. A write that returned
    is on the disk.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self.catalog = Catalog(database)

    # ------------------------------------------------------------------ runs
    def create_run(self, run: RunRecord, document: bytes) -> None:
        """Store a new run, its pipeline document and its first event. Doing so again with the same run does nothing.

        Raises:
            InvalidInput: ``spec_digest`` is not the document's, or another run has this id.
        """
        if run.spec_digest != writes.document_digest(document):
            raise InvalidInput(f"run {run.run_id}: spec_digest is not the digest of its document")
        error = run.error.to_json() if run.error else None
        events = [(run.created_at, "run", {"state": str(run.state), "error": error})]
        run_id = to_text(run.run_id)
        created = writes.event_rows(run_id, events)
        with self._database.transaction() as to:
            if writes.put_run(to, run, document):
                writes.put_events(to, run_id, created)
                return
        if self.get_run(run.run_id) != run:
            raise InvalidInput(f"there is another run {run.run_id!r} already")

    def get_run(self, run_id: str) -> RunRecord:
        """Raises NotFound."""
        found = self._runs("WHERE run_id = ?", (to_text(run_id),))
        if not found:
            raise NotFound(f"there is no run {run_id!r}", hint=_RUNS_HINT)
        return found[0]

    def find_run(self, reference: str) -> RunRecord:
        """By id, the word ``latest``, name (newest wins) or unique id prefix.

        Raises:
            NotFound: no run fits, or a prefix fits several.
        """
        if reference == "latest":
            newest = self._runs("ORDER BY run_id DESC LIMIT 1", ())
            if not newest:
                raise NotFound("there is no run yet", hint="`mlplatform run FILE` starts one.")
            return newest[0]
        text = to_text(reference)
        for column in ("run_id", "name"):
            found = self._runs(f"WHERE {column} = ? ORDER BY run_id DESC LIMIT 1", (to_key(reference),))
            if found:
                return found[0]
        begin = "WHERE run_id >= ? AND run_id < ? ORDER BY run_id DESC LIMIT 4"
        found = self._runs(begin, (text, text + _LAST)) if reference else []
        if len(found) > 1:
            names = ", ".join(run.run_id for run in found[:3]) + (", ..." if len(found) > 3 else "")
            raise NotFound(f"several runs begin with {reference!r}: {names}", hint="Give more characters of the id.")
        if not found:
            raise NotFound(f"there is no run {reference!r}", hint=_RUNS_HINT)
        return found[0]

    def list_runs(
        self,
        *,
        states: Iterable[RunState] = (),
        experiment: str = "",
        pipeline: str = "",
        tags: Mapping[str, str] | None = None,
        limit: int = 50,
        before: str = "",
    ) -> list[RunRecord]:
        """Newest first. ``tags``: runs that have all of them; ``before``: only runs older than this run id (paging).
        One statement."""
        if limit <= 0:
            return []
        sql, parameters = page_of_runs(
            states=sorted({str(state) for state in states}),
            experiment=experiment,
            pipeline=pipeline,
            tags=tags or {},
            before=before,
            limit=limit,
        )
        return [rows.run_from(row) for row in self._database.rows(sql, parameters)]

    def run_page(self, query: RunQuery) -> list[ListedRun]:
        """A page of runs by anything one can ask for. One statement."""
        return runlist.run_page(self._database, query)

    def run_counts(self, query: RunQuery) -> dict[str, int]:
        """Runs by state, whatever states, page and order the query asks for. One statement."""
        return runlist.run_counts(self._database, query)

    def save_run(self, run: RunRecord) -> None:
        """Replace everything of a run, tags and note as well. Raises NotFound."""
        row = rows.run_update_row(run, annotations=True)
        with self._database.transaction() as to:
            if not to.run(_UPDATE_WHOLE_RUN, row):
                raise NotFound(f"there is no run {run.run_id!r}")
            writes.put_tags(to, row[-1], run.tags)

    def annotate(
        self,
        run_id: str,
        *,
        tags: Mapping[str, str] | None = None,
        note: str | None = None,
        archived: bool | None = None,
    ) -> None:
        """Change tags (an empty value removes one) and the note of a run, or (un)archive it. Raises NotFound."""
        key = to_text(run_id)
        with self._database.transaction() as to:
            found = to.rows("SELECT tags, note, archived FROM mlp_runs WHERE run_id = ?", (key,))
            if not found:
                raise NotFound(f"there is no run {run_id!r}", hint=_RUNS_HINT)
            merged = {**codec.mapping_from_json(found[0][0]), **(tags or {})}
            merged = {name: value for name, value in merged.items() if value}
            to.run(
                "UPDATE mlp_runs SET tags = ?, note = ?, archived = ? WHERE run_id = ?",
                (
                    codec.mapping_to_json(merged),
                    found[0][1] if note is None else to_text(note),
                    found[0][2] if archived is None else int(archived),
                    key,
                ),
            )
            writes.put_tags(to, key, merged)

    def delete_run(self, run_id: str) -> None:
        """Remove a run with its tasks, attempts, events, cache entries and lineage. A run not there is no error."""
        with self._database.transaction() as to:
            writes.delete_run(to, to_text(run_id))

    def expired(self, older_than: float, keep: int = 0) -> list[str]:
        """Finished runs that ended before this time, oldest first; the newest ``keep`` finished runs never expire."""
        found = self._database.rows(
            f"SELECT run_id FROM mlp_runs WHERE finished_at < ? AND {_IS_FINISHED} AND run_id NOT IN "  # noqa: S608
            f"(SELECT run_id FROM mlp_runs WHERE {_IS_FINISHED} ORDER BY run_id DESC LIMIT ?) "
            "ORDER BY finished_at, run_id",
            (older_than, *_FINISHED, *_FINISHED, max(0, keep)),
        )
        return [codec.from_text(row[0]) for row in found]

    def _runs(self, rest: str, parameters: Sequence[Any]) -> list[RunRecord]:
        found = self._database.rows(f"SELECT {_RUN} FROM mlp_runs {rest}", parameters)  # noqa: S608 - our own text
        return [rows.run_from(row) for row in found]

    # ------------------------------------------------------------------ what belongs to a run
    def document(self, digest: str) -> bytes:
        """Raises NotFound, or StoreError if the stored bytes are damaged."""
        found = self._database.rows("SELECT body FROM mlp_documents WHERE digest = ?", (digest,))
        if not found:
            raise NotFound(f"there is no document {digest!r}", hint="The runs that used it were deleted.")
        body = codec.unpack(found[0][0])
        if writes.document_digest(body) != digest:
            raise StoreError(f"the stored document {digest} is damaged", hint="Restore the store from a backup.")
        return body

    def apply(self, batch: Batch) -> None:
        """Write a batch: all of it or nothing. Applying the same batch again changes nothing. Tags and the note of the
        run stay as they are (see :meth:`annotate`); ``batch.tracking`` is the tracker's own and not stored.

        Raises:
            NotFound: the run does not exist (any more).
            InvalidInput: a value cannot be stored.
        """
        writer = writes.BatchWriter(batch)
        with self._database.transaction() as to:
            writer.write(to)

    def tasks(self, run_id: str) -> list[TaskRecord]:
        """In the order in which they were first recorded."""
        found = self._database.rows(
            f"SELECT {_TASK} FROM mlp_tasks WHERE run_id = ? ORDER BY id",  # noqa: S608
            (to_text(run_id),),
        )
        return [rows.task_from(row) for row in found]

    def attempts(self, run_id: str, key: TaskKey | None = None) -> list[AttemptRecord]:
        """Of a run or of one task of it, in the order in which they were first recorded."""
        where, parameters = "run_id = ?", (to_text(run_id),)
        if key is not None:
            where, parameters = where + " AND path = ? AND iteration = ?", (*parameters, *codec.path_to_keys(key))
        found = self._database.rows(f"SELECT {_ATTEMPT} FROM mlp_attempts WHERE {where} ORDER BY id", parameters)  # noqa: S608
        return [rows.attempt_from(row) for row in found]

    def events(self, *, after: int = 0, run_id: str = "", limit: int = 1000) -> list[Event]:
        """Events with a greater ``seq`` than ``after``, of one run or of all, in order."""
        where, parameters = "seq > ?", [after]
        filters: list[Any] = [*parameters, to_text(run_id)] if run_id else [*parameters]
        found = self._database.rows(
            f"SELECT seq, run_id, at, kind, body FROM mlp_events WHERE {where}"  # noqa: S608
            f"{' AND run_id = ?' if run_id else ''} ORDER BY seq LIMIT ?",
            (*filters, max(0, limit)),
        )
        return [rows.event_from(row) for row in found]

    def task_briefs(self, run_id: str) -> list[TaskRecord]:
        """All tasks without inputs and outputs: for lists of thousands."""
        found = self._database.rows(
            f"SELECT {_BRIEF} FROM mlp_tasks WHERE run_id = ? ORDER BY id",  # noqa: S608
            (to_text(run_id),),
        )
        return [rows.brief_from(row) for row in found]

    def task_counts(self, run_id: str) -> dict[str, int]:
        """Tasks of a run (no groups) by state."""
        found = self._database.rows(
            "SELECT state, COUNT(*) FROM mlp_tasks WHERE run_id = ? AND is_group = 0 GROUP BY state",
            (to_text(run_id),),
        )
        return {str(state): int(count) for state, count in found}

    def last_event(self) -> int:
        """The number of the newest event there is; 0 if there is none."""
        return int(self._database.rows("SELECT COALESCE(MAX(seq), 0) FROM mlp_events")[0][0])

    def task(self, run_id: str, key: TaskKey) -> TaskRecord:
        """Raises NotFound."""
        found = self._database.rows(
            f"SELECT {_TASK} FROM mlp_tasks WHERE run_id = ? AND path = ? AND iteration = ?",  # noqa: S608
            (to_text(run_id), *codec.path_to_keys(key)),
        )
        if not found:
            raise NotFound(f"run {run_id} has no task {str(key)!r}", hint="`mlplatform runs show` lists its tasks.")
        return rows.task_from(found[0])

    # ------------------------------------------------------------------ cache
    def cache_candidates(self, key: str, limit: int = 20) -> list[CacheEntry]:
        """Entries with exactly this key, newest first."""
        return self._entries("c.cache_key", key, limit)

    def cache_similar(self, identity: str, limit: int = 1) -> list[CacheEntry]:
        """Newest entries of the same task identity whatever their key."""
        return self._entries("c.identity", identity, limit)

    def clear_cache(self, *, run_id: str = "", identity: str = "") -> int:
        """Forget results: those of a run, of a task identity, of both together, or all. Returns how many."""
        with self._database.transaction() as to:
            return writes.clear_cache(to, run_id, identity)

    def _entries(self, column: str, value: str, limit: int) -> list[CacheEntry]:
        found: list[Row] = self._database.rows(
            f"SELECT {_CACHE}, d.body FROM mlp_cache c LEFT JOIN mlp_documents d ON d.digest = c.trace "  # noqa: S608
            f"WHERE {column} = ? ORDER BY c.created_at DESC, c.id DESC LIMIT ?",
            (to_key(value), max(0, limit)),
        )
        return [rows.cache_from(row[:-1], row[-1]) for row in found]

    # ------------------------------------------------------------------ lineage
    def artifact_links(self, *, uri: str = "", digest: str = "", run_id: str = "") -> list[ArtifactLink]:
        """Who made and who used artifacts with all of these properties (at least one), oldest run first. A task's
        appear when it ends, a run's when it is created (inputs) and when it ends (outputs).

        Raises:
            InvalidInput: nothing was asked for.
        """
        terms = {name: value for name, value in (("uri", uri), ("digest", digest), ("run_id", run_id)) if value}
        if not terms:
            raise InvalidInput("artifact_links needs a uri, a digest or a run_id")
        where = " AND ".join(f"{name} = ?" for name in terms)
        found = self._database.rows(
            f"SELECT {_LINK} FROM mlp_artifacts WHERE {where} "  # noqa: S608 - our own names
            "ORDER BY run_id, path, iteration, role, name, position",
            [to_key(value) for value in terms.values()],
        )
        return [rows.link_from(row) for row in found]

    def artifact_page(
        self,
        *,
        words: Sequence[str] = (),
        type: str = "",
        run_id: str = "",
        after: tuple[str, str, str, str, int] | None = None,
        limit: int = 50,
    ) -> list[tuple[ArtifactLink, tuple[str, str, str, str, int]]]:
        """Artifacts that tasks made, newest runs first, each with its place for ``after``. ``words`` must all appear in
        an artifact's name or address."""
        return lineage.artifact_page(self._database, words, type, run_id, after, limit)

    def unreferenced_uris(self, run_ids: Iterable[str]) -> list[str]:
        """URIs that tasks of these runs made and no other run refers to: what may be removed with them. Ask before
        deleting the runs."""
        keys = {to_text(run_id) for run_id in run_ids}
        found: set[str] = set()
        for run_id in sorted(keys):
            made = self._database.rows(
                f"SELECT {', '.join(f'a.{name}' for name in rows.LINK)}, o.run_id FROM mlp_artifacts a "  # noqa: S608
                "LEFT JOIN mlp_artifacts o ON o.uri = a.uri AND o.run_id <> a.run_id "
                "WHERE a.run_id = ? AND a.role = 'output'",
                (run_id,),
            )
            uris = {row[3]: rows.link_from(row[:-1]).uri for row in made}
            kept = {row[3] for row in made if row[-1] is not None and row[-1] not in keys}
            found |= {uri for key, uri in uris.items() if key not in kept}
        return sorted(found)

    # ------------------------------------------------------------------ upkeep
    def compact(self) -> None:
        """Give space of deleted rows back to the file system (SQLite)."""
        self._database.compact()

    def close(self) -> None:
        self._database.close()
