"""What a run would do: the planner and the cache are asked as for a run, nothing is started and nothing is recorded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from mlplatform.core.errors import MlPlatformError
from mlplatform.core.model import RunRecord, TaskKey
from mlplatform.core.states import TaskState
from mlplatform.engine.caching import Hit
from mlplatform.engine.run import RunDriver
from mlplatform.ir.model import Dag, ImporterExecutor, Pipeline
from mlplatform.planning.model import Limits, RecordTask, RunView, StartTask, TaskFact
from mlplatform.planning.planner import Planner

if TYPE_CHECKING:
    from mlplatform.engine.core import Core


async def plan(core: Core, run: RunRecord, pipeline: Pipeline, env: Mapping[str, str]) -> list[dict[str, Any]]:
    """One entry for each task, in the order they would start: ``task``, ``action`` (run, reuse, skip, or unknown where
    it hangs on what an earlier task will give), ``why``, ``cached_from``."""
    driver = RunDriver(core, run, pipeline, (), env)
    view = RunView(
        run_id=run.run_id,
        job_name=f"{pipeline.name}-{run.run_id}",
        parameters=run.parameters,
        artifacts=run.artifacts,
        created_at=run.created_at,
        pipeline_root=str(core.prepare.root(run.run_id)),
        workspace=core.prepare.workspace(driver),
    )
    planner = Planner(pipeline, view, Limits())
    now = core.clock.now()
    found: dict[str, dict[str, Any]] = {}
    decision = planner.advance((), now)
    while True:
        facts: list[TaskFact] = []
        for action in decision.actions:
            if isinstance(action, StartTask):
                entry, fact = await _ask(core, driver, action, now)
                found[str(action.key)] = entry
                facts += [fact] if fact else []
            elif isinstance(action, RecordTask) and not action.is_group and action.state is TaskState.SKIPPED:
                found[str(action.key)] = _entry(action.key, "skip", action.note or "its condition is false")
        if not facts:
            break
        decision = planner.advance(facts, now)
    return [*found.values(), *_later(pipeline, found)]


async def _ask(core: Core, driver: RunDriver, start: StartTask, now: float) -> tuple[dict[str, Any], TaskFact | None]:
    """What would become of a task whose inputs are known, and the fact that lets the planner go on."""
    executor = driver.pipeline.executors[start.executor]
    try:
        prepared, answer = await core.prepare.task(driver, start)
        if isinstance(answer, Hit):
            entry = {**_entry(start.key, "reuse", answer.note), "cached_from": answer.cached_from}
            return entry, TaskFact(start.key, TaskState.CACHED, start.attempt, 0, answer.outputs, finished_at=now)
        if isinstance(executor, ImporterExecutor) and prepared.work is not None:
            outputs = await core.on_files(prepared.work)
            entry = _entry(start.key, "run", answer.note)
            return entry, TaskFact(start.key, TaskState.SUCCEEDED, start.attempt, 0, outputs, finished_at=now)
    except MlPlatformError as error:
        return _entry(start.key, "run", f"it would fail: {error.message}"), None
    return _entry(start.key, "run", answer.note), None


def _entry(key: TaskKey, action: str, why: str) -> dict[str, Any]:
    return {"task": str(key), "action": action, "why": why, "cached_from": ""}


def _later(pipeline: Pipeline, found: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Tasks that were not reached: what they wait for is not known before a run."""
    reached = {name.partition("[")[0] for name in found}
    dag = pipeline.root.dag
    if dag is not None:
        yield from _below(pipeline, dag, (), (), reached)


def _below(
    pipeline: Pipeline, dag: Dag, path: tuple[str, ...], before: tuple[str, ...], reached: set[str]
) -> Iterator[dict[str, Any]]:
    for name, task in dag.tasks.items():
        inner = pipeline.components[task.component].dag
        needs = task.dependent_tasks or before
        if inner is not None:
            yield from _below(pipeline, inner, (*path, name), needs, reached)
        elif "/".join((*path, name)) not in reached:
            yield _entry(TaskKey((*path, name)), "unknown", f"depends on {', '.join(needs) or 'tasks before it'}")
