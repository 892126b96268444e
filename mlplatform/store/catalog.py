"""Experiments, pipelines with their versions, and recurring runs, over either database."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, TypeVar

from mlplatform.core.catalog import (
    RECURRING_TAG,
    Experiment,
    PipelineVersion,
    RecurringRun,
    RegisteredPipeline,
    Trigger,
)
from mlplatform.core.errors import InvalidInput, NotFound
from mlplatform.core.states import RunState
from mlplatform.store import codec, writes
from mlplatform.store.codec import from_text, to_key, to_text
from mlplatform.store.database import Database, Row, Transaction
from mlplatform.store.rows import insert

T = TypeVar("T")

_EXPERIMENT: Final = ("experiment", "experiment_id", "created_at", "archived", "description", "long")
_PIPELINE: Final = ("pipeline_id", "name", "created_at", "display_name", "description", "tags")
_VERSION: Final = (
    "version_id", "pipeline_id", "name", "created_at", "document", "display_name", "description", "code_source_url",
    "tags",
)  # fmt: skip
_RECURRING: Final = (
    "recurring_id", "name", "enabled", "created_at", "updated_at", "ticked_at", "experiment", "catchup",
    "max_concurrency", "pipeline_id", "version_id", "document", "trouble", "description", "due", "parameters",
    "options",
)  # fmt: skip
_LAST_RUN: Final = (
    "(SELECT r.created_at FROM mlp_runs r WHERE r.experiment = e.experiment ORDER BY r.run_id DESC LIMIT 1)"
)


class Catalog:
    """Usable from several threads. Every method raises StoreError if the database cannot be used."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # ------------------------------------------------------------------ experiments
    def create_experiment(self, name: str, now: float, description: str = "") -> Experiment:
        """Make an experiment. Raises InvalidInput if there is one of this name."""
        with self._database.transaction() as to:
            if not writes.know_experiment(to, name, now, description):
                raise InvalidInput(f"there is an experiment {name!r} already", hint="Use it, or choose another name.")
        return self.experiment_named(name)

    def experiments(self) -> list[Experiment]:
        """All of them, newest first."""
        return self._experiments("ORDER BY e.created_at DESC, e.experiment", ())

    def experiment(self, experiment_id: str) -> Experiment:
        """Raises NotFound."""
        found = self._experiments("WHERE e.experiment_id = ?", (to_text(experiment_id),))
        return _only(found, f"there is no experiment {experiment_id!r}")

    def experiment_named(self, name: str) -> Experiment:
        """Raises NotFound."""
        return _only(self._experiments("WHERE e.experiment = ?", (to_key(name),)), f"there is no experiment {name!r}")

    def change_experiment(
        self, experiment_id: str, *, archived: bool | None = None, description: str | None = None
    ) -> None:
        """Raises NotFound. Archiving an experiment archives its runs, as in KFP; bringing it back does not."""
        known = self.experiment(experiment_id)
        with self._database.transaction() as to:
            to.run(
                "UPDATE mlp_experiments SET archived = ?, description = ? WHERE experiment_id = ?",
                (
                    int(known.archived if archived is None else archived),
                    to_text(known.description if description is None else description),
                    to_text(experiment_id),
                ),
            )
            if archived:
                to.run("UPDATE mlp_runs SET archived = 1 WHERE experiment = ?", (to_key(known.name),))

    def delete_experiment(self, experiment_id: str) -> None:
        """Forget an experiment. Its runs stay, and with the next one it is known again. Raises NotFound."""
        with self._database.transaction() as to:
            if not to.run("DELETE FROM mlp_experiments WHERE experiment_id = ?", (to_text(experiment_id),)):
                raise NotFound(f"there is no experiment {experiment_id!r}")

    def _experiments(self, rest: str, parameters: Sequence[Any]) -> list[Experiment]:
        columns = ", ".join(f"e.{name}" for name in _EXPERIMENT)
        found = self._database.rows(f"SELECT {_LAST_RUN}, {columns} FROM mlp_experiments e {rest}", parameters)  # noqa: S608
        return [_experiment_from(row[0], codec.whole(row[1:], _EXPERIMENT)) for row in found]

    # ------------------------------------------------------------------ pipelines
    def create_pipeline(self, pipeline: RegisteredPipeline) -> None:
        """Raises InvalidInput if there is one of this name."""
        with self._database.transaction() as to:
            self._put_pipeline(to, pipeline)

    def upload(self, pipeline: RegisteredPipeline, version: PipelineVersion, document: bytes) -> None:
        """A new pipeline with its first version, or neither. Raises InvalidInput."""
        with self._database.transaction() as to:
            self._put_pipeline(to, pipeline)
            self._put_version(to, version, document)

    def create_version(self, version: PipelineVersion, document: bytes) -> None:
        """Raises NotFound (no such pipeline), InvalidInput (its name is taken)."""
        self.pipeline(version.pipeline_id)
        with self._database.transaction() as to:
            self._put_version(to, version, document)

    def pipelines(self) -> list[RegisteredPipeline]:
        """All of them, newest first."""
        return self._pipelines("ORDER BY p.created_at DESC, p.name", ())

    def pipeline(self, pipeline_id: str) -> RegisteredPipeline:
        """Raises NotFound."""
        found = self._pipelines("WHERE p.pipeline_id = ?", (to_text(pipeline_id),))
        return _only(found, f"there is no pipeline {pipeline_id!r}")

    def pipeline_named(self, name: str) -> RegisteredPipeline:
        """Raises NotFound."""
        return _only(self._pipelines("WHERE p.name = ?", (to_text(name),)), f"there is no pipeline named {name!r}")

    def versions(self, pipeline_id: str) -> list[PipelineVersion]:
        """Newest first."""
        return self._versions(
            "WHERE pipeline_id = ? ORDER BY created_at DESC, version_id DESC", (to_text(pipeline_id),)
        )

    def version(self, version_id: str) -> PipelineVersion:
        """Raises NotFound."""
        found = self._versions("WHERE version_id = ?", (to_text(version_id),))
        return _only(found, f"there is no pipeline version {version_id!r}")

    def newest_version(self, pipeline_id: str) -> PipelineVersion:
        """Raises NotFound: no such pipeline, or it has no version."""
        known = self.pipeline(pipeline_id)
        return _only(self.versions(pipeline_id)[:1], f"pipeline {known.name!r} has no version yet")

    def change_pipeline(
        self, pipeline_id: str, *, display_name: str | None = None, tags: Mapping[str, str] | None = None
    ) -> RegisteredPipeline:
        """What may change of one; None leaves as it is. Raises NotFound."""
        self._change("mlp_pipelines", "pipeline_id", pipeline_id, display_name, tags)
        return self.pipeline(pipeline_id)

    def change_version(
        self, version_id: str, *, display_name: str | None = None, tags: Mapping[str, str] | None = None
    ) -> PipelineVersion:
        """What may change of one: its document never does. Raises NotFound."""
        self._change("mlp_versions", "version_id", version_id, display_name, tags)
        return self.version(version_id)

    def _change(
        self, table: str, key: str, value: str, display_name: str | None, tags: Mapping[str, str] | None
    ) -> None:
        wanted = {
            "display_name": None if display_name is None else to_text(display_name),
            "tags": None if tags is None else codec.mapping_to_json(tags),
        }
        given = {name: text for name, text in wanted.items() if text is not None}
        if given:
            names = ", ".join(f"{name} = ?" for name in given)
            with self._database.transaction() as to:
                to.run(f"UPDATE {table} SET {names} WHERE {key} = ?", (*given.values(), to_text(value)))  # noqa: S608

    def delete_version(self, version_id: str) -> None:
        """Raises NotFound."""
        known = self.version(version_id)
        with self._database.transaction() as to:
            to.run("DELETE FROM mlp_versions WHERE version_id = ?", (to_text(version_id),))
            writes.drop_documents(to, [known.document])

    def delete_pipeline(self, pipeline_id: str) -> None:
        """With its versions. Runs stay. Raises NotFound, or InvalidInput while recurring runs use it."""
        known = self.pipeline(pipeline_id)
        using = [entry.name for entry in self.recurring(enabled=True) if entry.pipeline_id == pipeline_id]
        if using:
            raise InvalidInput(
                f"pipeline {known.name!r} is used by the recurring runs {', '.join(using)}",
                hint="Disable or delete those first.",
            )
        documents = [version.document for version in self.versions(pipeline_id)]
        with self._database.transaction() as to:
            to.run("DELETE FROM mlp_pipelines WHERE pipeline_id = ?", (to_text(pipeline_id),))
            writes.drop_documents(to, documents)

    def _pipelines(self, rest: str, parameters: Sequence[Any]) -> list[RegisteredPipeline]:
        columns = ", ".join(f"p.{name}" for name in _PIPELINE)
        count = "(SELECT COUNT(*) FROM mlp_versions v WHERE v.pipeline_id = p.pipeline_id)"
        found = self._database.rows(f"SELECT {columns}, {count} FROM mlp_pipelines p {rest}", parameters)  # noqa: S608
        return [
            RegisteredPipeline(
                row[0],
                from_text(row[1]),
                row[2],
                from_text(row[3]),
                from_text(row[4]),
                row[6],
                codec.mapping_from_json(row[5]),
            )
            for row in found
        ]

    def _versions(self, rest: str, parameters: Sequence[Any]) -> list[PipelineVersion]:
        found = self._database.rows(f"SELECT {', '.join(_VERSION)} FROM mlp_versions {rest}", parameters)  # noqa: S608
        return [
            PipelineVersion(
                row[0],
                row[1],
                from_text(row[2]),
                row[3],
                row[4],
                *(from_text(text) for text in row[5:8]),
                tags=codec.mapping_from_json(row[8]),
            )
            for row in found
        ]

    def _put_pipeline(self, to: Transaction, pipeline: RegisteredPipeline) -> None:
        row = (
            pipeline.pipeline_id,
            to_text(pipeline.name),
            pipeline.created_at,
            to_text(pipeline.display_name),
            to_text(pipeline.description),
            codec.mapping_to_json(pipeline.tags),
        )
        if not to.run(insert("mlp_pipelines", _PIPELINE) + " ON CONFLICT DO NOTHING", row):
            raise InvalidInput(
                f"there is a pipeline {pipeline.name!r} already",
                hint="Upload a version of it, or choose another name.",
            )

    def _put_version(self, to: Transaction, version: PipelineVersion, document: bytes) -> None:
        writes.put_document(to, version.document, document)
        row = (
            version.version_id,
            version.pipeline_id,
            to_text(version.name),
            version.created_at,
            version.document,
            to_text(version.display_name),
            to_text(version.description),
            to_text(version.code_source_url),
            codec.mapping_to_json(version.tags),
        )
        if not to.run(insert("mlp_versions", _VERSION) + " ON CONFLICT DO NOTHING", row):
            raise InvalidInput(
                f"this pipeline has a version {version.name!r} already", hint="Choose another name for the version."
            )

    # ------------------------------------------------------------------ recurring runs
    def put_recurring(self, entry: RecurringRun, document: bytes | None = None) -> None:
        """Store a recurring run, new or changed; ``document``: the bytes that ``entry.document`` names."""
        sql = insert("mlp_recurring", _RECURRING, "recurring_id")
        with self._database.transaction() as to:
            old = to.rows("SELECT document FROM mlp_recurring WHERE recurring_id = ?", (entry.recurring_id,))
            if document is not None:
                writes.put_document(to, entry.document, document)
            to.run(sql, _recurring_row(entry))
            writes.drop_documents(to, [row[0] for row in old])

    def change_recurring(self, recurring_id: str, change: Callable[[RecurringRun], RecurringRun]) -> RecurringRun:
        """Read, change and write one in one transaction, so that the clock and a person do not undo each other.
        Raises NotFound."""
        with self._database.transaction() as to:
            found = to.rows(
                f"SELECT {', '.join(_RECURRING)} FROM mlp_recurring WHERE recurring_id = ?",  # noqa: S608
                (to_text(recurring_id),),
            )
            known = _only([_recurring_from(row) for row in found], f"there is no recurring run {recurring_id!r}")
            new = replace(change(known), recurring_id=known.recurring_id)
            to.run(insert("mlp_recurring", _RECURRING, "recurring_id"), _recurring_row(new))
        return new

    def recurring(self, *, enabled: bool | None = None) -> list[RecurringRun]:
        """All of them (or those that are on, or off), newest first."""
        where, parameters = ("", ()) if enabled is None else ("WHERE enabled = ?", (int(enabled),))
        found = self._database.rows(
            f"SELECT {', '.join(_RECURRING)} FROM mlp_recurring {where} ORDER BY created_at DESC, recurring_id",  # noqa: S608
            parameters,
        )
        return [_recurring_from(row) for row in found]

    def recurring_run(self, recurring_id: str) -> RecurringRun:
        """Raises NotFound."""
        found = self._database.rows(
            f"SELECT {', '.join(_RECURRING)} FROM mlp_recurring WHERE recurring_id = ?",  # noqa: S608
            (to_text(recurring_id),),
        )
        return _only([_recurring_from(row) for row in found], f"there is no recurring run {recurring_id!r}")

    def unfinished_of(self, recurring_id: str) -> int:
        """How many unfinished runs a recurring run has made."""
        states = [str(state) for state in RunState if not state.finished]
        found = self._database.rows(
            "SELECT COUNT(*) FROM mlp_runs r WHERE r.state IN (?, ?, ?) AND EXISTS "
            "(SELECT 1 FROM mlp_run_tags t WHERE t.tag = ? AND t.value = ? AND t.run_id = r.run_id)",
            (*states, to_key(RECURRING_TAG), to_key(recurring_id)),
        )
        return int(found[0][0])

    def delete_recurring(self, recurring_id: str) -> None:
        """Its runs stay. Raises NotFound."""
        known = self.recurring_run(recurring_id)
        with self._database.transaction() as to:
            to.run("DELETE FROM mlp_recurring WHERE recurring_id = ?", (to_text(recurring_id),))
            writes.drop_documents(to, [known.document])


def _only(found: Sequence[T], otherwise: str) -> T:
    if not found:
        raise NotFound(otherwise)
    return found[0]


def _experiment_from(last_run_at: float | None, row: Row) -> Experiment:
    return Experiment(
        experiment_id=row[1],
        name=from_text(row[0]),
        created_at=row[2],
        description=from_text(row[4]),
        archived=bool(row[3]),
        last_run_at=last_run_at,
    )


def _recurring_row(entry: RecurringRun) -> Row:
    return (
        entry.recurring_id,
        to_text(entry.name),
        int(entry.enabled),
        entry.created_at,
        entry.updated_at,
        entry.ticked_at,
        to_text(entry.experiment),
        int(entry.catchup),
        entry.max_concurrency,
        entry.pipeline_id,
        entry.version_id,
        entry.document,
        to_text(entry.trouble),
        to_text(entry.description),
        codec.to_json(entry.trigger.to_json()),
        codec.mapping_to_json(entry.parameters),
        codec.mapping_to_json(entry.options),
    )


def _recurring_from(row: Row) -> RecurringRun:
    return RecurringRun(
        recurring_id=row[0],
        name=from_text(row[1]),
        enabled=bool(row[2]),
        created_at=row[3],
        updated_at=row[4],
        ticked_at=row[5],
        experiment=from_text(row[6]),
        catchup=bool(row[7]),
        max_concurrency=row[8],
        pipeline_id=row[9],
        version_id=row[10],
        document=row[11],
        trouble=from_text(row[12]),
        description=from_text(row[13]),
        trigger=Trigger.from_json(codec.from_json(row[14])),
        parameters=codec.mapping_from_json(row[15]),
        options=codec.mapping_from_json(row[16]),
    )
