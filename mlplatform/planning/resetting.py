"""Which tasks of a finished run are run again when it is resumed. Pure.

What succeeded stays, unless it changed or something it depends on runs again, in its own iteration of every loop.
Exit tasks ran because something failed; they run again at the new end.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from mlplatform.core.model import NO_VALUES, Artifact, ArtifactValue, TaskKey, TaskRecord
from mlplatform.core.states import TaskState
from mlplatform.ir.graph import dependencies, topological_order
from mlplatform.planning.changes import NO_CHANGES, Changes

if TYPE_CHECKING:
    from mlplatform.ir.model import Dag, Pipeline

Path = tuple[str, ...]
Iteration = tuple[int, ...]

GONE = "the pipeline it was resumed with no longer has it"


@dataclass(frozen=True, slots=True)
class Reset:
    """Records of a run ready to go on. ``again``: tasks with a record that run again, those that had not succeeded
    among them; ``gone``: records of tasks the pipeline no longer has, as they are kept."""

    records: tuple[TaskRecord, ...]
    again: tuple[TaskKey, ...]
    kept: tuple[TaskKey, ...]
    gone: tuple[TaskRecord, ...]


def reset_for_resume(pipeline: Pipeline, records: Iterable[TaskRecord], changes: Changes = NO_CHANGES) -> Reset:
    """Records of a finished run of ``pipeline``, ready to go on."""
    everything = list(records)
    known = [record for record in everything if _exists(pipeline, record.key)]
    stale = _Stale(pipeline, known, changes)
    out: list[TaskRecord] = []
    again: list[TaskKey] = []
    kept: list[TaskKey] = []
    for record in known:
        repeat = record.is_group or not record.state.succeeded or stale.covers(record.key)
        out.append(_cleared(record) if repeat else record)
        if not record.is_group:
            (again if repeat else kept).append(record.key)
    gone = [_gone(record) for record in everything if not _exists(pipeline, record.key)]
    return Reset(tuple(out), tuple(again), tuple(kept), tuple(gone))


def other_contents(old: Mapping[str, ArtifactValue], new: Mapping[str, ArtifactValue]) -> frozenset[str]:
    """Names of a run's artifacts whose content is another one now."""
    return frozenset(name for name, value in new.items() if name not in old or _content(old[name]) != _content(value))


def _content(value: ArtifactValue) -> list[tuple[str, str]]:
    items = (value,) if isinstance(value, Artifact) else value
    return [(item.digest or item.uri, item.type) for item in items]


def known_only(pipeline: Pipeline, records: Iterable[TaskRecord]) -> list[TaskRecord]:
    """Records of tasks that the pipeline has: a run that was resumed with another document may hold more."""
    return [record for record in records if _exists(pipeline, record.key)]


class _Stale:
    """What has to run again because of what it depends on, or because it changed."""

    def __init__(self, pipeline: Pipeline, records: Sequence[TaskRecord], changes: Changes) -> None:
        self._pipeline = pipeline
        self._changes = changes
        self._iterations: dict[Path, set[Iteration]] = {}
        self._bad: set[tuple[Path, Iteration]] = set()
        self._covered: set[tuple[Path, Iteration]] = set()
        for record in records:
            path, iteration = record.key.path, record.key.iteration
            for depth in range(1, len(path) + 1):
                self._iterations.setdefault(path[:depth], set()).add(iteration)
            if not record.is_group and not record.state.succeeded:
                self._bad.add((path, iteration))
        if pipeline.root.dag is not None:
            self._visit((), (), pipeline.root.dag)

    def covers(self, key: TaskKey) -> bool:
        """Whether a record lies in something that runs again."""
        parts = [(key.path[:depth], key.iteration[:n]) for depth in range(1, len(key.path) + 1) for n in _lengths(key)]
        return any(part in self._covered for part in parts)

    def _visit(self, prefix: Path, context: Iteration, dag: Dag) -> bool:
        """Whether anything of this DAG, in this iteration of the loops around it, runs again."""
        needs = dependencies(dag, self._pipeline)
        dirty: set[str] = set()
        whole = False
        for name in topological_order(needs):
            path = (*prefix, name)
            if path in self._changes.tasks or any(need in dirty for need in needs[name]):
                self._covered.add((path, context))
                dirty.add(name)
                whole = True
                continue
            inner = self._pipeline.components[dag.tasks[name].component].dag
            if self._inside(path, context, dag, name, inner):
                whole = True
                dirty.add(name)
            elif path in self._changes.outputs:
                dirty.add(name)
        return whole

    def _inside(self, path: Path, context: Iteration, dag: Dag, name: str, inner: Dag | None) -> bool:
        found = False
        for deeper in self._contexts(path, context, dag, name):
            if inner is not None:
                found = self._visit(path, deeper, inner) or found
            else:
                found = (path, deeper) in self._bad or found
        return found

    def _contexts(self, path: Path, context: Iteration, dag: Dag, name: str) -> Iterator[Iteration]:
        task = dag.tasks[name]
        if task.parameter_iterator is None and task.artifact_iterator is None:
            yield context
            return
        length = len(context)
        known = {found[: length + 1] for found in self._iterations.get(path, ()) if found[:length] == context}
        yield from sorted(found for found in known if len(found) == length + 1)


def _lengths(key: TaskKey) -> range:
    return range(len(key.iteration) + 1)


def _cleared(record: TaskRecord) -> TaskRecord:
    return replace(
        record,
        state=TaskState.PENDING,
        failures=0,
        outputs=NO_VALUES,
        error=None,
        started_at=None,
        finished_at=None,
        retry_at=None,
        cached_from="",
        cache_note="",
        waiting_for="",
    )


def _gone(record: TaskRecord) -> TaskRecord:
    return replace(record, state=TaskState.SKIPPED, error=None, retry_at=None, waiting_for="", cache_note=GONE)


def _exists(pipeline: Pipeline, key: TaskKey) -> bool:
    dag = pipeline.root.dag
    for name in key.path:
        if dag is None or name not in dag.tasks:
            return False
        component = pipeline.components.get(dag.tasks[name].component)
        dag = component.dag if component else None
    return True
