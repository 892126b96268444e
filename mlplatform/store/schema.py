"""The tables, as numbered migrations. A migration that was released never changes; a new one is appended.

Written once for both databases; ``{...}`` is filled in by the dialect. Names begin with ``mlp_``: a PostgreSQL database
may be shared with MLflow, which has a ``runs`` table of its own. Wide columns stand last in their tables, so that
filters do not read over them. ``long``: see ``store.codec`` on key columns.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Migration:
    """One step of the schema: statements that are applied together."""

    number: int
    name: str
    statements: tuple[str, ...]


_RUNS = """
CREATE TABLE mlp_runs (
    run_id {text} PRIMARY KEY,
    state {text} NOT NULL,
    name {text} NOT NULL,
    pipeline {text} NOT NULL,
    experiment {text} NOT NULL,
    spec_digest {text} NOT NULL,
    priority {int} NOT NULL,
    created_at {real} NOT NULL,
    started_at {real},
    finished_at {real},
    cancel_requested_at {real},
    mlflow_run_id {text} NOT NULL,
    mlflow_experiment_id {text} NOT NULL,
    note {text} NOT NULL,
    tags {text} NOT NULL,
    error {text},
    outputs {text} NOT NULL,
    parameters {text} NOT NULL,
    artifacts {text} NOT NULL,
    context {text} NOT NULL,
    long {text}
)"""

_TAGS = """
CREATE TABLE mlp_run_tags (
    tag {text} NOT NULL,
    value {text} NOT NULL,
    run_id {text} NOT NULL REFERENCES mlp_runs (run_id) ON DELETE CASCADE,
    PRIMARY KEY (tag, value, run_id)
){clustered}"""

# Content addressed, compressed: pipeline documents and the traces of cache entries. Many rows name the same one.
_DOCUMENTS = """
CREATE TABLE mlp_documents (
    digest {text} PRIMARY KEY,
    size {int} NOT NULL,
    body {bytes} NOT NULL
)"""

_TASKS = """
CREATE TABLE mlp_tasks (
    id {serial},
    run_id {text} NOT NULL REFERENCES mlp_runs (run_id) ON DELETE CASCADE,
    path {text} NOT NULL,
    iteration {text} NOT NULL,
    state {text} NOT NULL,
    component {text} NOT NULL,
    is_group {int} NOT NULL,
    attempt {int} NOT NULL,
    failures {int} NOT NULL,
    created_at {real},
    started_at {real},
    finished_at {real},
    retry_at {real},
    cache_key {text} NOT NULL,
    cached_from {text} NOT NULL,
    cache_note {text} NOT NULL,
    mlflow_run_id {text} NOT NULL,
    waiting_for {text} NOT NULL,
    error {text},
    inputs {text} NOT NULL,
    outputs {text} NOT NULL,
    long {text},
    UNIQUE (run_id, path, iteration)
)"""

_ATTEMPTS = """
CREATE TABLE mlp_attempts (
    id {serial},
    run_id {text} NOT NULL REFERENCES mlp_runs (run_id) ON DELETE CASCADE,
    path {text} NOT NULL,
    iteration {text} NOT NULL,
    attempt {int} NOT NULL,
    state {text} NOT NULL,
    directory {text} NOT NULL,
    pid {int},
    pid_start {text} NOT NULL,
    boot {text} NOT NULL,
    started_at {real},
    finished_at {real},
    exit_code {int},
    error {text},
    long {text},
    UNIQUE (run_id, path, iteration, attempt)
)"""

_EVENTS = """
CREATE TABLE mlp_events (
    seq {serial},
    run_id {text} NOT NULL REFERENCES mlp_runs (run_id) ON DELETE CASCADE,
    at {real} NOT NULL,
    kind {text} NOT NULL,
    body {text} NOT NULL
)"""

_CACHE = """
CREATE TABLE mlp_cache (
    id {serial},
    cache_key {text} NOT NULL,
    identity {text} NOT NULL,
    run_id {text} NOT NULL REFERENCES mlp_runs (run_id) ON DELETE CASCADE,
    path {text} NOT NULL,
    iteration {text} NOT NULL,
    created_at {real} NOT NULL,
    trace {text} NOT NULL,
    outputs {text} NOT NULL,
    parts {text} NOT NULL,
    written {text} NOT NULL,
    long {text},
    UNIQUE (run_id, path, iteration, cache_key)
)"""

# Lineage: who made which artifact and who used it. The run itself has an empty path.
_LINKS = """
CREATE TABLE mlp_artifacts (
    run_id {text} NOT NULL REFERENCES mlp_runs (run_id) ON DELETE CASCADE,
    path {text} NOT NULL,
    iteration {text} NOT NULL,
    role {text} NOT NULL,
    name {text} NOT NULL,
    position {int} NOT NULL,
    uri {text} NOT NULL,
    digest {text} NOT NULL,
    type {text} NOT NULL,
    size {int},
    long {text},
    PRIMARY KEY (run_id, path, iteration, role, name, position)
){clustered}"""

_EXPERIMENTS = """
CREATE TABLE mlp_experiments (
    experiment {text} PRIMARY KEY,
    experiment_id {text} NOT NULL UNIQUE,
    created_at {real} NOT NULL,
    archived {int} NOT NULL,
    description {text} NOT NULL,
    long {text}
)"""

_PIPELINES = """
CREATE TABLE mlp_pipelines (
    pipeline_id {text} PRIMARY KEY,
    name {text} NOT NULL UNIQUE,
    created_at {real} NOT NULL,
    display_name {text} NOT NULL,
    description {text} NOT NULL
)"""

_VERSIONS = """
CREATE TABLE mlp_versions (
    version_id {text} PRIMARY KEY,
    pipeline_id {text} NOT NULL REFERENCES mlp_pipelines (pipeline_id) ON DELETE CASCADE,
    name {text} NOT NULL,
    created_at {real} NOT NULL,
    document {text} NOT NULL,
    display_name {text} NOT NULL,
    description {text} NOT NULL,
    code_source_url {text} NOT NULL,
    UNIQUE (pipeline_id, name)
)"""

_RECURRING = """
CREATE TABLE mlp_recurring (
    recurring_id {text} PRIMARY KEY,
    name {text} NOT NULL,
    enabled {int} NOT NULL,
    created_at {real} NOT NULL,
    updated_at {real} NOT NULL,
    ticked_at {real} NOT NULL,
    experiment {text} NOT NULL,
    catchup {int} NOT NULL,
    max_concurrency {int} NOT NULL,
    pipeline_id {text} NOT NULL,
    version_id {text} NOT NULL,
    document {text} NOT NULL,
    trouble {text} NOT NULL,
    description {text} NOT NULL,
    due {text} NOT NULL,
    parameters {text} NOT NULL,
    options {text} NOT NULL
)"""

# Pages of runs filter and count by these; ``archived`` stands last so that an index alone answers.
_RUN_LISTS = tuple(
    statement
    for name, columns in (
        ("state", "state, run_id, archived"),
        ("experiment", "experiment, run_id, archived"),
        ("experiment_state", "experiment, state, run_id, archived"),
        ("pipeline", "pipeline, run_id, archived"),
        ("pipeline_state", "pipeline, state, run_id, archived"),
        ("name", "name, run_id, archived"),
    )
    for statement in (
        f"DROP INDEX mlp_runs_{name}",
        f"CREATE INDEX mlp_runs_{name} ON mlp_runs ({columns})",
    )
)

MIGRATIONS: Final[tuple[Migration, ...]] = (
    Migration(
        1,
        "runs, documents, tasks, attempts, events, cache, lineage",
        (
            _RUNS,
            "CREATE INDEX mlp_runs_state ON mlp_runs (state, run_id)",
            "CREATE INDEX mlp_runs_experiment ON mlp_runs (experiment, run_id)",
            "CREATE INDEX mlp_runs_experiment_state ON mlp_runs (experiment, state, run_id)",
            "CREATE INDEX mlp_runs_pipeline ON mlp_runs (pipeline, run_id)",
            "CREATE INDEX mlp_runs_pipeline_state ON mlp_runs (pipeline, state, run_id)",
            "CREATE INDEX mlp_runs_name ON mlp_runs (name, run_id)",
            "CREATE INDEX mlp_runs_finished ON mlp_runs (finished_at)",
            "CREATE INDEX mlp_runs_document ON mlp_runs (spec_digest)",
            _TAGS,
            "CREATE INDEX mlp_run_tags_run ON mlp_run_tags (run_id)",
            _DOCUMENTS,
            _TASKS,
            _ATTEMPTS,
            _EVENTS,
            "CREATE INDEX mlp_events_run ON mlp_events (run_id, seq)",
            _CACHE,
            "CREATE INDEX mlp_cache_key ON mlp_cache (cache_key, created_at, id)",
            "CREATE INDEX mlp_cache_identity ON mlp_cache (identity, created_at, id)",
            "CREATE INDEX mlp_cache_trace ON mlp_cache (trace)",
            _LINKS,
            "CREATE INDEX mlp_artifacts_uri ON mlp_artifacts (uri)",
            "CREATE INDEX mlp_artifacts_digest ON mlp_artifacts (digest)",
        ),
    ),
    Migration(
        2,
        "archive and search of runs; experiments, pipelines, versions, recurring runs",
        (
            "ALTER TABLE mlp_runs ADD COLUMN archived {int} NOT NULL DEFAULT 0",
            "ALTER TABLE mlp_runs ADD COLUMN search {text} NOT NULL DEFAULT ''",
            "UPDATE mlp_runs SET search = lower(substr("
            "run_id || ' ' || name || ' ' || pipeline || ' ' || experiment, 1, 400))",
            *_RUN_LISTS,
            "CREATE INDEX mlp_runs_search ON mlp_runs (archived, run_id, state, search)",
            "CREATE INDEX mlp_runs_by_end ON mlp_runs ((COALESCE(finished_at, 0)), run_id)",
            "CREATE INDEX mlp_runs_by_duration ON mlp_runs ((COALESCE(finished_at - started_at, 0)), run_id)",
            "CREATE INDEX mlp_artifacts_role ON mlp_artifacts (role, run_id)",
            _EXPERIMENTS,
            "INSERT INTO mlp_experiments (experiment, experiment_id, created_at, archived, description, long) "
            "SELECT experiment, MIN({random_id}), MIN(created_at), 0, '', MAX(long) FROM mlp_runs GROUP BY experiment",
            _PIPELINES,
            _VERSIONS,
            "CREATE INDEX mlp_versions_document ON mlp_versions (document)",
            _RECURRING,
            "CREATE INDEX mlp_recurring_document ON mlp_recurring (document)",
        ),
    ),
    Migration(
        3,
        "tags of pipelines and versions",
        (
            "ALTER TABLE mlp_pipelines ADD COLUMN tags {text} NOT NULL DEFAULT ''",
            "ALTER TABLE mlp_versions ADD COLUMN tags {text} NOT NULL DEFAULT ''",
        ),
    ),
)

NEWEST: Final = MIGRATIONS[-1].number
