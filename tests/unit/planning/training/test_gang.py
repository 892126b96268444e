"""The behaviours that a training job must hold, one by one, on a world without processes or pods."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlplatform.core.errors import InvalidTransition
from mlplatform.planning.training.facts import (
    TRANSITIONS,
    Pin,
    RankKey,
    RankState,
    Stage,
    Start,
    Stop,
    View,
    transition,
)
from mlplatform.planning.training.gang import decide
from mlplatform.planning.training.rules import Failure
from mlplatform.planning.training.spec import (
    Action,
    CleanPods,
    DependsOn,
    FailurePolicy,
    Framework,
    Group,
    Health,
    OnHang,
    Operator,
    Role,
    Rule,
    RunPolicy,
    Scope,
    SuccessPolicy,
    TrainingSpec,
    Wait,
)
from mlplatform.planning.training.words import why_failed
from tests.unit.planning.training.world import World, at_random


def job(replicas: int = 2, *, framework: Framework = Framework.TORCH, **fields: object) -> TrainingSpec:
    groups = fields.pop("groups", (Group("worker", replicas=replicas),))
    return TrainingSpec("job", framework, groups, **fields)  # pyright: ignore[reportArgumentType]


def running(spec: TrainingSpec) -> World:
    world = World(spec)
    world.settle()
    assert world.stage is Stage.RUNNING
    return world


# ---------------------------------------------------------------------- coming and going
def test_created_suspended_it_has_no_ranks_and_begins_when_it_may() -> None:
    world = World(job(suspend=True))
    world.settle()
    assert (world.stage, world.started) == (Stage.SUSPENDED, [])
    world.change(suspend=False)
    world.settle()
    assert world.stage is Stage.RUNNING
    assert world.started == [RankKey("worker", 0, 1), RankKey("worker", 1, 1)]


def test_all_ranks_succeed() -> None:
    world = running(job(3))
    world.end("worker", 1)
    world.settle(10)
    assert world.stage is Stage.RUNNING
    world.end_all("worker")
    world.settle(5)
    assert (world.stage, world.ledger.reason) == (Stage.COMPLETE, "Completed")
    assert world.ledger.attempts[-1].reason == "Completed"
    assert world.ledger.goodput.productive == 15.0


def test_what_somebody_else_manages_is_left_alone() -> None:
    world = World(job(managed=False))
    world.settle()
    assert world.kept is None
    assert world.started == []
    world.change(suspend=False)
    world.settle()
    assert world.started == []


def test_a_rank_that_vanished_before_the_gang_was_whole_is_made_again() -> None:
    world = World(job(2), room=1)
    world.settle()
    gone = RankKey("worker", 0, 1)
    del world.ranks[gone]
    world.settle()
    assert world.started.count(gone) == 2
    assert world.ledger.uncounted == 0


def test_a_running_ranks_pod_deleted_restarts_the_whole_gang_once() -> None:
    world = running(job(3))
    del world.ranks[RankKey("worker", 1, 1)]
    world.settle()
    assert world.stage is Stage.RESTARTING
    assert not world.ranks
    world.settle(10)
    assert world.stage is Stage.RUNNING
    assert sorted(world.ranks) == [RankKey("worker", rank, 2) for rank in range(3)]
    assert (world.ledger.counted, world.ledger.uncounted) == (0, 1)
    assert world.ledger.attempts[0].reason == "Deleted"


def test_no_rank_of_a_new_attempt_before_the_old_ones_are_gone() -> None:
    world = running(job(2))
    world.end("worker", 0, 1)
    world.decide()
    world.now += 1000
    decision = world.decide()
    assert not [step for step in decision.steps if isinstance(step, Start)]
    assert world.ranks[RankKey("worker", 1, 1)].state is RankState.STOPPING
    world.settle()
    assert world.attempts_alive() == {2}


def test_half_of_the_ranks_done_evicted_resumed_all_ranks_run() -> None:
    world = running(job(4))
    world.end("worker", 0)
    world.end("worker", 1)
    world.settle()
    world.admitted = False
    world.settle(20)
    assert (world.stage, world.ranks) == (Stage.QUEUED, {})
    assert world.ledger.attempts[-1].reason == "Preempted"
    world.admitted = True
    world.settle()
    assert world.stage is Stage.RUNNING
    assert sorted(world.ranks) == [RankKey("worker", rank, 2) for rank in range(4)]


def test_put_back_once_more_than_it_may_it_fails_when_its_ranks_have_saved() -> None:
    world = running(job(max_requeues=1))
    for attempt in (1, 2):
        assert (world.stage, world.ledger.attempt) == (Stage.RUNNING, attempt)
        world.admitted = False
        world.decide()
        assert world.stage is Stage.RELEASING
        world.settle()
        world.admitted = True
        world.settle(20)
    assert (world.stage, world.ledger.reason, world.ranks) == (Stage.FAILED, "RequeueLimitExceeded", {})
    assert world.ledger.message == (
        "it was put back 2 times, queue.maxRequeues is 1; the last time: Preempted: the queue took the quota back"
    )
    assert [attempt.reason for attempt in world.ledger.attempts] == ["Preempted", "Preempted"]


def test_what_was_put_back_counts_since_it_was_resumed_and_places_that_never_came_count() -> None:
    world = running(job(max_requeues=1, schedule_timeout=60.0))
    world.admitted = False
    world.settle()
    world.admitted = True
    world.change(suspend=True)
    world.settle()
    world.room = 1
    world.change(suspend=False)
    world.settle()
    assert (world.stage, world.ledger.requeues) == (Stage.PLACING, 0)
    world.settle(60)
    assert (world.stage, world.ledger.requeues) == (Stage.QUEUED, 1)
    world.settle(60)
    assert world.stage is Stage.PLACING
    world.settle(60)
    assert (world.stage, world.ledger.reason) == (Stage.FAILED, "RequeueLimitExceeded")
    assert "ScheduleTimeout: no place for worker-1" in world.ledger.message


def test_a_size_that_its_author_changes_is_not_held_against_it() -> None:
    world = running(job(max_requeues=0))
    view = replace(world.view(), admitted=False, evicted=("Resized", "other ranks"))
    decision = decide(world.spec, view, world.now)
    assert decision.ledger is not None
    assert (decision.ledger.stage, decision.ledger.requeues) == (Stage.RELEASING, 0)


# ---------------------------------------------------------------------- success and failure rules
def test_success_of_any_group_ends_the_others() -> None:
    groups = (Group("one"), Group("two", replicas=2))
    world = running(job(groups=groups, success=SuccessPolicy(operator=Operator.ANY)))
    world.end("one", 0)
    world.settle()
    assert world.stage is Stage.COMPLETE
    assert RankKey("two", 0, 1) in world.stopped
    assert [key.group for key in world.ranks] == ["one"]


def test_success_of_rank_zero_is_enough_where_it_says_so() -> None:
    world = running(job(3, success=SuccessPolicy(rank0_only=True)))
    world.end("worker", 2)
    world.settle()
    assert world.stage is Stage.RUNNING
    world.end("worker", 0)
    world.settle()
    assert world.stage is Stage.COMPLETE


def test_mpi_is_done_when_its_launcher_is() -> None:
    groups = (Group("launcher", role=Role.LAUNCHER), Group("worker", replicas=2))
    world = running(job(framework=Framework.MPI, groups=groups))
    world.end("launcher", 0)
    world.settle()
    assert world.stage is Stage.COMPLETE


def test_no_restart_allowed_the_first_failure_fails() -> None:
    world = running(job(failure=FailurePolicy(max_restarts=0)))
    world.end("worker", 1, 1)
    world.settle()
    assert (world.stage, world.ledger.reason) == (Stage.FAILED, "RestartsExhausted")
    assert "rank 1 of worker ended with exit code 1" in world.ledger.message


@pytest.mark.parametrize(
    ("code", "message", "said"),
    [
        (137, "", "rank 1 of worker was killed by SIGKILL (exit code 137)"),
        (137, "OOMKilled", "rank 1 of worker was killed by SIGKILL (exit code 137): OOMKilled"),
        (3, "", "rank 1 of worker ended with exit code 3"),
        (1, "ValueError: no", "rank 1 of worker ended with exit code 1: ValueError: no"),
        (None, "", "rank 1 of worker: NodeLost"),
    ],
)
def test_how_a_rank_failed_is_told(code: int | None, message: str, said: str) -> None:
    reason = "NodeLost" if code is None else f"ExitCode{code}"
    assert why_failed(Failure("worker", 1, reason=reason, exit_code=code, message=message)) == said


def test_restarts_reach_the_limit() -> None:
    world = running(job(failure=FailurePolicy(max_restarts=2)))
    for _ in range(3):
        assert world.stage is Stage.RUNNING
        world.end("worker", 0, 1)
        world.settle()
        world.settle(100)
    assert (world.stage, world.ledger.counted, world.ledger.attempt) == (Stage.FAILED, 2, 3)
    last = world.ledger.attempts[-1]
    assert (last.reason, last.group, last.rank, last.exit_code, last.node) == (
        "RestartsExhausted",
        "worker",
        0,
        1,
        "node-0",
    )


def test_restarts_leave_the_window() -> None:
    world = running(job(failure=FailurePolicy(max_restarts=1, window=3600)))
    for _ in range(3):
        world.end("worker", 0, 1)
        world.settle()
        world.settle(4000)
        assert world.stage is Stage.RUNNING
    assert world.ledger.counted == 3


def test_the_budget_starts_again_at_a_newer_checkpoint() -> None:
    world = running(job(failure=FailurePolicy(max_restarts=1)))
    for step in (10, 20, 30):
        world.save(step)
        world.settle(5)
        world.end("worker", 0, 1)
        world.settle()
        world.settle(50)
        assert world.stage is Stage.RUNNING, world.ledger.message
    world.end("worker", 0, 1)
    world.settle()
    assert world.stage is Stage.FAILED


@pytest.mark.parametrize(
    ("exit_code", "reasons", "conditions", "uncounted", "stage"),
    [
        (75, (), (), 1, Stage.RUNNING),
        (143, (), ("DisruptionTarget",), 1, Stage.RESTARTING),
        (137, ("NodeLost",), (), 1, Stage.RESTARTING),
        (137, ("OOMKilled",), (), 0, Stage.RESTARTING),
        (1, (), (), 0, Stage.RESTARTING),
        (2, (), (), 0, Stage.FAILED),
        (127, (), (), 0, Stage.FAILED),
    ],
)
def test_the_platforms_own_rules(
    exit_code: int, reasons: tuple[str, ...], conditions: tuple[str, ...], uncounted: int, stage: Stage
) -> None:
    world = running(job())
    world.end("worker", 1, exit_code, *reasons, conditions=conditions)
    world.settle()
    assert (world.stage, world.ledger.uncounted) == (stage, uncounted)


def test_the_first_rule_that_fits_wins_and_one_of_another_group_is_passed_over() -> None:
    rules = (
        Rule(Action.FAIL, "not this group", groups=("other",), exit_codes=frozenset({3})),
        Rule(Action.RESTART_UNCOUNTED, "three", exit_codes=frozenset({3})),
        Rule(Action.FAIL, "three again", exit_codes=frozenset({3})),
        Rule(Action.FAIL, "anything but one", exit_codes=frozenset({1}), negated=True),
    )
    groups = (Group("worker"), Group("other"))
    world = running(job(groups=groups, failure=FailurePolicy(rules=rules)))
    world.end("worker", 0, 3)
    world.settle()
    world.settle(100)
    assert (world.stage, world.ledger.uncounted) == (Stage.RUNNING, 1)
    world.end("worker", 0, 1)
    world.settle()
    world.settle(100)
    assert (world.stage, world.ledger.counted) == (Stage.RUNNING, 1)
    world.end("other", 0, 3)
    world.settle()
    assert world.stage is Stage.FAILED


def test_the_first_of_several_failures_is_named() -> None:
    world = running(job(3))
    world.end("worker", 2, 9)
    world.now += 1
    world.end("worker", 0, 1)
    world.settle()
    assert (world.ledger.attempts[0].rank, world.ledger.attempts[0].exit_code) == (2, 9)


def test_back_off_doubles_up_to_its_cap() -> None:
    policy = FailurePolicy(max_restarts=10, backoff=10, max_backoff=35)
    world = running(job(failure=policy))
    waits: list[float] = []
    for _ in range(4):
        world.end("worker", 0, 1)
        world.settle()
        waits.append(world.ledger.not_before - world.now)
        world.settle(waits[-1])
        assert world.stage is Stage.RUNNING
    assert waits == [10, 20, 35, 35]


# ---------------------------------------------------------------------- scopes
def test_restarting_one_group_leaves_the_others_as_they_are() -> None:
    groups = (Group("one", replicas=2), Group("two", replicas=2))
    world = running(job(groups=groups, failure=FailurePolicy(restart_scope=Scope.GROUP)))
    world.end("two", 1, 1)
    world.settle()
    world.settle(60)
    assert world.stage is Stage.RUNNING
    assert sorted(world.ranks) == [
        RankKey("one", 0, 1),
        RankKey("one", 1, 1),
        RankKey("two", 0, 2),
        RankKey("two", 1, 2),
    ]
    assert not [key for key in world.stopped if key.group == "one"]


def test_restarting_one_rank_leaves_the_others_as_they_are() -> None:
    groups = (Group("worker", replicas=3, elastic=(1, 4)),)
    world = running(job(groups=groups, failure=FailurePolicy(restart_scope=Scope.POD)))
    world.end("worker", 1, 1)
    world.settle()
    world.settle(60)
    assert sorted(world.ranks) == [RankKey("worker", 0, 1), RankKey("worker", 1, 2), RankKey("worker", 2, 1)]
    assert world.stopped == [RankKey("worker", 1, 1)]


RAY = (Group("head", role=Role.HEAD), Group("worker", replicas=2))


def test_nodes_of_ray_begin_anew_with_their_head_and_not_with_each_other() -> None:
    policy = FailurePolicy(restart_scope=Scope.POD, max_restarts=2)
    world = running(job(framework=Framework.RAY, groups=RAY, failure=policy))
    world.settle(7)
    world.end("worker", 1, 1)
    world.settle()
    world.settle(60)
    assert sorted(world.ranks) == [RankKey("head", 0, 1), RankKey("worker", 0, 1), RankKey("worker", 1, 2)]
    assert world.ledger.goodput.lost == 0, "the driver went on"
    world.end("head", 0, 137)
    world.settle()
    assert world.ledger.goodput.lost == 0
    world.settle(60)
    assert world.ledger.goodput.lost == 7, "what was not saved is done again"
    assert sorted(world.ranks) == [RankKey("head", 0, 3), RankKey("worker", 0, 3), RankKey("worker", 1, 3)]
    assert (world.stage, world.ledger.counted) == (Stage.RUNNING, 2)


def test_a_node_of_ray_that_ends_after_its_head_has_cost_nothing() -> None:
    policy = FailurePolicy(restart_scope=Scope.GROUP, max_restarts=1)
    world = running(job(framework=Framework.RAY, groups=RAY, failure=policy))
    world.end("head", 0, 1)
    world.settle()
    world.settle(60)
    assert sorted(world.ranks) == [RankKey("head", 0, 2), RankKey("worker", 0, 1), RankKey("worker", 1, 1)]
    world.end("worker", 0, 1)
    world.settle()
    assert sorted(world.ranks) == [RankKey("head", 0, 2), RankKey("worker", 0, 3), RankKey("worker", 1, 3)]
    assert (world.ledger.counted, world.ledger.uncounted) == (1, 1)


def test_an_elastic_group_grows_and_shrinks_while_it_runs() -> None:
    def size(replicas: int) -> tuple[Group, ...]:
        return (Group("worker", replicas=replicas, elastic=(1, 4)),)

    world = running(job(groups=size(2)))
    world.change(groups=size(4))
    world.settle()
    assert (world.stage, len(world.ranks), world.ledger.attempt) == (Stage.RUNNING, 4, 1)
    world.change(groups=size(2))
    world.settle()
    assert sorted(world.ranks) == [RankKey("worker", 0, 1), RankKey("worker", 1, 1)]
    assert world.ledger.attempt == 1
    world.end_all("worker")
    world.settle()
    assert world.stage is Stage.COMPLETE


# ---------------------------------------------------------------------- dependsOn
def test_a_group_waits_for_both_that_it_depends_on_also_after_suspension() -> None:
    groups = (
        Group("data", role=Role.INITIALIZER),
        Group("server"),
        Group("worker", depends_on=(DependsOn("data"), DependsOn("server", Wait.READY))),
    )
    world = World(job(groups=groups))
    for attempt in (1, 2):
        world.settle()
        assert {key.group for key in world.ranks} == {"data", "server"}
        world.end("data", 0)
        world.settle()
        assert world.stage is Stage.RUNNING
        assert RankKey("worker", 0, attempt) in world.ranks
        world.change(suspend=True)
        world.settle()
        assert (world.stage, world.ranks) == (Stage.SUSPENDED, {})
        world.change(suspend=False)


def test_preparing_is_not_running() -> None:
    groups = (Group("data", role=Role.INITIALIZER), Group("worker", depends_on=(DependsOn("data"),)))
    world = World(job(groups=groups))
    world.settle()
    assert world.stage is Stage.PLACING
    assert world.ranks[RankKey("data", 0, 1)].state is RankState.RUNNING


# ---------------------------------------------------------------------- clocks
def test_the_deadline_counts_from_the_start_not_from_creation() -> None:
    world = World(job(run=RunPolicy(active_deadline=100)), admitted=False)
    world.settle()
    world.settle(500)
    assert world.stage is Stage.QUEUED
    world.admitted = True
    world.settle()
    world.settle(99)
    assert world.stage is Stage.RUNNING
    world.settle(1)
    assert (world.stage, world.ledger.reason, world.ranks) == (Stage.FAILED, "DeadlineExceeded", {})


def test_suspended_past_the_deadline_it_goes_on_with_a_new_clock() -> None:
    world = running(job(run=RunPolicy(active_deadline=100)))
    world.settle(60)
    world.change(suspend=True)
    world.settle()
    world.settle(500)
    assert world.stage is Stage.SUSPENDED
    world.change(suspend=False)
    world.settle()
    world.settle(60)
    assert world.stage is Stage.RUNNING
    world.settle(40)
    assert world.stage is Stage.FAILED


def test_the_pending_deadline() -> None:
    world = World(job(run=RunPolicy(pending_deadline=50)), admitted=False)
    world.settle()
    assert world.decide().wake_at == world.now + 50
    world.settle(50)
    assert (world.stage, world.ledger.reason) == (Stage.FAILED, "PendingDeadlineExceeded")


def test_a_gang_that_is_not_whole_in_time_is_released_and_tried_again_later() -> None:
    world = World(job(3, schedule_timeout=60), room=2)
    world.settle()
    assert world.stage is Stage.PLACING
    assert world.decide().wake_at == world.now + 60
    waits: list[float] = []
    for _ in range(3):
        world.settle(60)
        assert (world.stage, world.ranks) == (Stage.QUEUED, {})
        assert world.ledger.reason == "ScheduleTimeout"
        assert "no place for worker-2" in world.ledger.message
        waits.append(world.ledger.not_before - world.now)
        world.settle(waits[-1])
    assert waits == [10, 20, 40]
    world.room = 3
    world.settle()
    assert world.stage is Stage.RUNNING
    assert Stage.RUNNING not in {attempt.reason for attempt in world.ledger.attempts}


def test_two_that_are_released_together_come_back_apart() -> None:
    world = World(job(2, schedule_timeout=60), room=1)
    world.settle()
    world.now += 60
    early, late = (decide(world.spec, world.view(), world.now, jitter).ledger for jitter in (0.0, 0.9))
    assert early is not None
    assert late is not None
    assert late.not_before - early.not_before == pytest.approx(9.0)


def test_one_unschedulable_rank_is_never_running_and_says_why() -> None:
    world = World(job(2, schedule_timeout=60))
    world.refused[RankKey("worker", 1, 1)] = "exceeded quota: gpus"
    world.settle()
    assert world.stage is Stage.PLACING
    world.settle(60)
    assert world.ledger.message == "no place for worker-1: exceeded quota: gpus"


def test_a_finished_job_is_removed_after_its_time_and_makes_nothing_again() -> None:
    world = running(job(run=RunPolicy(ttl=30)))
    world.end_all("worker")
    world.settle()
    started = len(world.started)
    world.ranks.clear()
    world.settle(29)
    assert not world.removed
    world.settle(1)
    assert world.removed
    assert len(world.started) == started


@pytest.mark.parametrize(
    ("clean", "left"), [(CleanPods.RUNNING, {"one"}), (CleanPods.ALL, set[str]()), (CleanPods.NONE, {"one", "two"})]
)
def test_what_a_finished_job_leaves(clean: CleanPods, left: set[str]) -> None:
    groups = (Group("one"), Group("two"))
    world = running(job(groups=groups, success=SuccessPolicy(operator=Operator.ANY), run=RunPolicy(clean_pods=clean)))
    world.end("one", 0)
    world.settle()
    assert {key.group for key in world.ranks} == left


# ---------------------------------------------------------------------- health
def test_no_progress_is_a_hang_and_the_next_attempt_avoids_the_node() -> None:
    world = running(job(health=Health(progress_timeout=60)))
    world.save(5)
    world.settle(59)
    assert world.stage is Stage.RUNNING
    world.settle(1)
    assert (world.stage, world.ledger.reason) == (Stage.RESTARTING, "Hung")
    assert world.ledger.avoid_nodes == ("node-0",)
    world.now += 10
    decision = decide(world.spec, world.view(), world.now)
    assert [step for step in decision.steps if isinstance(step, Start)] == [
        Start(RankKey("worker", 0, 2), 5, ("node-0",)),
        Start(RankKey("worker", 1, 2), 5, ("node-0",)),
    ]


# ---------------------------------------------------------------------- claims of one node
AVOID = FailurePolicy(rules=(Rule(Action.RESTART_AVOID_NODE, exit_codes=frozenset({9})),), backoff=0.0)


def pinned(leave: bool = False, gone: bool = False, **more: object) -> World:
    """Two ranks with claims of their nodes, which have saved step 5; rank 1 fails on its node."""
    world = running(job(failure=AVOID, **more))
    world.pins = {("worker", rank): Pin(f"job-worker-{rank}", f"node-{rank}", leave=leave) for rank in range(2)}
    world.save(5)
    world.settle(10)
    world.end("worker", 1, 9)
    return world


def test_a_rank_whose_claim_is_on_its_node_stays_there_and_the_others_avoid_it() -> None:
    world = pinned()
    world.decide()
    assert (world.stage, world.ledger.avoid_nodes, world.ledger.given_up) == (Stage.RESTARTING, ("node-1",), ())
    assert "its claim job-worker-1 keeps it on node-1: see the condition PinnedToNode" in world.ledger.message
    world.ranks.clear()
    decision = decide(world.spec, world.view(), world.now)
    assert [step for step in decision.steps if isinstance(step, Start)] == [
        Start(RankKey("worker", 0, 2), 5, ("node-1",)),
        Start(RankKey("worker", 1, 2), 5, ()),
    ]
    world.settle()
    assert (world.stage, world.given_up, world.ledger.checkpoint) == (Stage.RUNNING, [], 5)


def test_with_leave_the_claim_goes_when_its_ranks_are_gone_and_all_begin_anew() -> None:
    world = pinned(leave=True)
    seen: list[tuple[int, list[str]]] = []
    world.watch = lambda world: seen.append((len(world.ranks), list(world.given_up)))
    world.settle()
    assert (world.stage, world.given_up) == (Stage.RUNNING, ["job-worker-1"])
    assert next(count for count, given_up in seen if given_up) == 0
    ledger = world.ledger
    assert (ledger.checkpoint, ledger.given_up, ledger.goodput.productive) == (None, (), 0.0)
    assert ledger.goodput.lost == 10.0
    assert ledger.attempts[-1].resumed_from is None
    # what the ranks of the attempt before reported is of no use any more, what those of this one save is
    world.settle(5)
    assert world.ledger.checkpoint is None
    world.save(3)
    world.settle()
    assert world.ledger.checkpoint == 3


def test_a_claim_that_another_group_goes_on_with_is_not_given_up() -> None:
    groups = (Group("a"), Group("b"))
    world = running(job(groups=groups, failure=replace(AVOID, restart_scope=Scope.GROUP)))
    world.pins = {(name, 0): Pin("job-checkpoint", "node-0", leave=True) for name in ("a", "b")}
    world.end("a", 0, 9)
    world.settle()
    assert (world.stage, world.given_up) == (Stage.RUNNING, [])


@pytest.mark.parametrize("leave", [False, True])
def test_a_rank_whose_node_is_gone_with_its_claim_begins_anew_only_where_that_is_allowed(leave: bool) -> None:
    world = running(job())
    world.save(5)
    world.pins = {("worker", 1): Pin("job-worker-1", "node-1", gone=True, leave=leave)}
    world.end("worker", 1, 0, "NodeLost")
    world.room = 1
    world.settle()
    world.settle(20)
    assert world.given_up == (["job-worker-1"] if leave else [])
    world.room = 2 if leave else 1
    world.settle(20)
    assert world.stage is (Stage.RUNNING if leave else Stage.PLACING)
    assert world.ledger.counted == 0


@pytest.mark.parametrize(("on_hang", "stage"), [(OnHang.FAIL, Stage.FAILED), (OnHang.REPORT, Stage.RUNNING)])
def test_what_a_hang_leads_to_can_be_said(on_hang: OnHang, stage: Stage) -> None:
    world = running(job(health=Health(progress_timeout=60, on_hang=on_hang)))
    world.settle(60)
    assert world.stage is stage
    assert world.ledger.hung is (on_hang is OnHang.REPORT)
    if on_hang is OnHang.REPORT:
        world.save(7)
        world.settle()
        assert not world.ledger.hung


def test_a_rank_that_never_becomes_ready() -> None:
    world = World(job(2, health=Health(startup_timeout=300)))
    world.decide()
    key = RankKey("worker", 1, 1)
    world.ranks[key] = world.ranks[key].__class__(key, RankState.STARTING, node="n", placed_at=world.now)
    world.settle(299)
    assert world.stage is Stage.PLACING
    world.settle(1)
    assert (world.stage, world.ledger.reason, world.ledger.counted) == (Stage.RESTARTING, "StartupTimeout", 1)


# ---------------------------------------------------------------------- where the time went
def test_goodput_of_a_scripted_job() -> None:
    """10 s queued, 100 s of work with a checkpoint at 60, a failure, 10 s back-off, 50 s of work to the end."""
    world = World(job(), admitted=False)
    world.settle()
    world.settle(10)
    world.admitted = True
    world.settle()
    world.settle(60)
    world.save(600)
    world.settle(40)
    world.end("worker", 0, 1)
    world.settle()
    world.settle(10)
    world.settle(50)
    world.end_all("worker")
    world.settle()
    spent = world.ledger.goodput
    assert (spent.queued, spent.productive, spent.lost, spent.restart, spent.startup) == (10, 110, 40, 10, 0)
    assert spent.wall == 170
    assert spent.percent == 64
    assert world.ledger.attempts[-1].resumed_from == 600


def test_what_is_saved_while_it_is_suspended_is_not_lost() -> None:
    world = running(job())
    world.settle(30)
    world.change(suspend=True)
    world.decide()
    assert world.stage is Stage.SUSPENDING
    world.now += 5
    world.save(300)
    world.settle()
    assert world.stage is Stage.SUSPENDED
    assert (world.ledger.goodput.productive, world.ledger.goodput.lost) == (30, 0)


# ---------------------------------------------------------------------- whatever happens
def test_the_table_has_no_other_edges() -> None:
    for old in Stage:
        for new in Stage:
            if new is old or new in TRANSITIONS[old]:
                assert transition(old, new) is new
            else:
                with pytest.raises(InvalidTransition):
                    transition(old, new)


GROUPS = (
    (Group("worker", replicas=3),),
    (Group("data", role=Role.INITIALIZER), Group("worker", replicas=2, depends_on=(DependsOn("data"),))),
    (
        Group("worker", replicas=2, elastic=(1, 3)),
        Group("eval", role=Role.EVALUATOR, depends_on=(DependsOn("worker", Wait.READY),)),
    ),
)


@given(st.integers(0, 2**32), st.sampled_from(GROUPS), st.sampled_from(Scope))
def test_whatever_happens_it_ends_and_no_two_attempts_of_a_rank_live_at_once(
    seed: int, groups: tuple[Group, ...], scope: Scope
) -> None:
    def alone(world: World) -> None:
        alive = [(key.group, key.rank) for key, fact in world.ranks.items() if fact.alive]
        assert len(alive) == len(set(alive)), sorted(world.ranks)

    policy = FailurePolicy(max_restarts=3, restart_scope=scope, backoff=1, reset_on_checkpoint=False)
    world = World(job(groups=groups, failure=policy, schedule_timeout=120), watch=alone)
    at_random(world, random.Random(seed), 60)
    if world.kept is not None:
        assert world.ledger.counted <= 3
    world.admitted = True
    world.change(suspend=False)
    for _ in range(40):
        world.settle(100)
        if world.stage.finished:
            break
        for group in world.spec.groups:
            for rank in range(group.replicas):
                key = RankKey(group.name, rank, world.ledger.wanted(group.name, rank))
                if key in world.ranks and world.ranks[key].state is RankState.RUNNING:
                    world.end(group.name, rank)
    assert world.stage.finished, world.ledger
    assert world.ledger.counted <= 3
    again = decide(world.spec, world.view(), world.now)
    assert again.ledger == world.ledger
    assert not [step for step in again.steps if isinstance(step, Start)]


@given(st.integers(0, 2**32))
def test_deciding_again_says_what_is_still_missing_and_nothing_else(seed: int) -> None:
    world = World(job(groups=GROUPS[1]))
    at_random(world, random.Random(seed), 25)
    first = decide(world.spec, world.view(), world.now)
    world.kept = first.ledger
    second = decide(world.spec, world.view(), world.now)
    assert second == first
    for step in first.steps:
        world.take(step)
    third = decide(world.spec, world.view(), world.now)
    left = {step.key for step in third.steps if isinstance(step, Stop)} & set(world.ranks)
    assert not {key for key in left if world.ranks[key].alive}


@given(st.integers(0, 2**32))
def test_the_seconds_add_up(seed: int) -> None:
    chance = random.Random(seed)
    world = World(job(2, failure=FailurePolicy(max_restarts=100, backoff=1)))
    world.decide()
    suspended = 0.0
    begin = world.now
    for _ in range(40):
        before, at = world.stage, world.now
        at_random(world, chance, 1)
        if before is Stage.SUSPENDED or before.finished:
            suspended += world.now - at
    world.decide()
    ledger = world.ledger
    if not ledger.stage.finished:
        assert ledger.goodput.wall == pytest.approx(ledger.seen_at - begin - suspended)


def test_a_view_without_a_ledger_begins_one() -> None:
    decision = decide(job(), View(None), 5.0)
    assert decision.ledger is not None
    assert decision.ledger.stage is Stage.PLACING
    assert [step.key.rank for step in decision.steps if isinstance(step, Start)] == [0, 1]
