"""Properties that hold for every pipeline, every order of completions and every accident."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from mlplatform.core.model import TaskKey
from mlplatform.core.states import RunState, TaskState
from mlplatform.ir.model import Dag, Pipeline, PipelineTask
from mlplatform.planning.model import Limits
from mlplatform.planning.planner import Planner, decide
from tests.unit.planning.build import random_pipeline
from tests.unit.planning.world import World, run_at_random, run_in_order

seeds = st.integers(0, 2**32 - 1)
many = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def is_loop(task: PipelineTask) -> bool:
    return task.parameter_iterator is not None or task.artifact_iterator is not None


def enclosing(pipeline: Pipeline, key: TaskKey) -> Iterator[tuple[TaskKey, PipelineTask, Dag, int]]:
    """The task's ancestors and itself: key, task, the DAG it stands in, and how many indices are left of it."""
    dag = pipeline.root.dag
    depth = 0
    for at, name in enumerate(key.path):
        assert dag is not None
        task = dag.tasks[name]
        yield TaskKey(key.path[: at + 1], key.iteration[:depth]), task, dag, depth
        depth += is_loop(task)
        dag = pipeline.components[task.component].dag


def producers(task: PipelineTask) -> set[str]:
    sources = [source.producer_task or source.final_status_of for source in task.parameters.values()]
    return {name for name in (*task.dependent_tasks, *sources) if name}


def no_task_starts_before_its_inputs(world: World, planner: Planner) -> None:
    states = planner.states()
    for start in world.running:
        for at, task, _, depth in enclosing(world.pipeline, start):
            for name in producers(task):
                before = TaskKey((*at.path[:-1], name), start.iteration[:depth])
                assert states[before].finished, f"{start} runs, {before} is {states[before]}"


def loops_keep_their_limits(world: World, planner: Planner) -> None:
    states = planner.states()
    for start in world.running:
        for at, task, _, depth in enclosing(world.pipeline, start):
            if is_loop(task) and task.parallelism_limit:
                unfinished = [
                    key
                    for key, state in states.items()
                    if key.path == at.path
                    and key.iteration[:-1] == start.iteration[:depth]
                    and len(key.iteration) == depth + 1
                    and not state.finished
                ]
                assert len(unfinished) <= task.parallelism_limit


def incremental_equals_from_scratch(world: World, planner: Planner) -> None:
    again = world.planner()
    decision = again.advance((), world.now)
    if world.cancel_requested:
        assert {str(a.key) for a in decision.actions if type(a).__name__ == "StartTask"} == set()
    assert again.states() == planner.states()
    assert decision.wake_at == world.wake_at
    if world.finish is not None:
        assert decision.actions[-1] == world.finish


def everything(world: World, planner: Planner) -> None:
    no_task_starts_before_its_inputs(world, planner)
    loops_keep_their_limits(world, planner)
    incremental_equals_from_scratch(world, planner)


@many
@given(seeds, seeds)
def test_any_order_ends_the_same(seed: int, order: int) -> None:
    pipeline = random_pipeline(seed)
    expected = run_in_order(pipeline, seed).summary()
    assert run_at_random(pipeline, seed, random.Random(order), inspect=everything).summary() == expected


@many
@given(seeds, seeds)
def test_crashes_change_nothing(seed: int, order: int) -> None:
    pipeline = random_pipeline(seed)
    expected = run_in_order(pipeline, seed).summary()
    found = run_at_random(pipeline, seed, random.Random(order), crashes=0.3, inspect=everything)
    assert found.summary() == expected


@many
@given(seeds, seeds, st.integers(1, 3))
def test_limits_hold_and_change_nothing(seed: int, order: int, most: int) -> None:
    pipeline = random_pipeline(seed)
    expected = run_in_order(pipeline, seed).summary()
    found = run_at_random(pipeline, seed, random.Random(order), limits=Limits(most), crashes=0.1, inspect=everything)
    assert found.most_running <= most
    assert found.summary() == expected


@many
@given(seeds, seeds, st.integers(0, 20))
def test_cancelled_runs_end(seed: int, order: int, after: int) -> None:
    pipeline = random_pipeline(seed)
    chance = random.Random(order)
    world = run_at_random(pipeline, seed, chance, cancel_after=after, crashes=0.1, inspect=everything)
    assert world.finish is not None
    if world.cancel_requested:
        assert world.finish.state is RunState.CANCELLED
    for key, fact in world.facts.items():
        assert fact.state in (TaskState.SUCCEEDED, TaskState.FAILED, TaskState.CANCELLED, TaskState.PENDING), key


@many
@given(seeds)
def test_a_failed_leaf_fails_the_run(seed: int) -> None:
    world = run_in_order(random_pipeline(seed), seed)
    assert world.finish is not None
    failed = [key for key, fact in world.facts.items() if fact.state is TaskState.FAILED]
    failed += [key for key, record in world.records.items() if record.state is TaskState.FAILED]
    if failed:
        assert world.finish.state is RunState.FAILED
        assert world.finish.error is not None
        assert world.finish.error.message
    elif world.finish.state is RunState.FAILED:
        assert world.finish.error is not None
        assert "has no value" in world.finish.error.message


@given(seeds)
@example(1)
def test_a_finished_run_says_so_from_scratch(seed: int) -> None:
    world = run_in_order(random_pipeline(seed), seed)
    decision = decide(world.pipeline, world.view(), world.now, Limits())
    assert decision.actions[-1] == world.finish
    assert decision.wake_at is None


def test_the_random_pipelines_are_worth_it() -> None:
    """They cover what they are meant to cover."""
    seen: set[str] = set()
    for seed in range(300):
        pipeline = random_pipeline(seed)
        world = run_in_order(pipeline, seed)
        assert world.finish is not None
        seen.add(f"run {world.finish.state}")
        seen |= {f"record {record.state}" for record in world.records.values()}
        seen |= {f"depth {len(key.iteration)}" for key in world.facts}
        seen |= {"retried" for fact in world.facts.values() if fact.attempt > 1 and fact.state.succeeded}
        seen |= {"always" for start in world.started if start.key.path[-1].startswith("t") and len(start.key.path) > 2}
        seen |= {
            "collected" for record in world.records.values() if isinstance(record.outputs.parameters.get("o"), list)
        }
    for wanted in (
        *("run SUCCEEDED", "run FAILED", "record SKIPPED", "record FAILED", "record SUCCEEDED", "record RETRYING"),
        *("depth 0", "depth 1", "depth 2", "depth 3", "retried", "always", "collected"),
    ):
        assert wanted in seen, f"{wanted} not in {sorted(seen)}"


@pytest.mark.parametrize("seed", range(5))
def test_pipelines_are_reproducible(seed: int) -> None:
    assert random_pipeline(seed) == random_pipeline(seed)
