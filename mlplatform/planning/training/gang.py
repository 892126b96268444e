"""What a training job does next.

Level-triggered: :func:`decide` looks at what is there and at what was decided (the ledger), writes down what follows,
and names the steps that lead there. The ledger is kept before a step is taken; deciding again from a kept ledger names
the steps that are still missing. So the process may die between any two of them, and two that decide at once do the
same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from mlplatform.planning.training import goodput
from mlplatform.planning.training.facts import (
    Attempt,
    Decision,
    Ledger,
    RankState,
    Stage,
    View,
    transition,
)
from mlplatform.planning.training.look import Look
from mlplatform.planning.training.rules import (
    LOST_HEAD,
    SAVED,
    Failure,
    backoff,
    noted,
    recent,
    rule_for,
    within_budget,
)
from mlplatform.planning.training.spec import Action, OnHang, Scope, TrainingSpec
from mlplatform.planning.training.steps import steps, wake
from mlplatform.planning.training.words import why_failed, why_unplaced

#: Seconds before a gang that was not whole in time is tried again; doubles with each try.
RELEASE_BACKOFF: Final = 10.0
RELEASE_BACKOFF_MOST: Final = 600.0
#: Why it goes back in line by its author's own wish.
RESIZED: Final = "Resized"
#: Why a job fails that was put back in line too often.
REQUEUE_LIMIT: Final = "RequeueLimitExceeded"
#: How many attempts and nodes to avoid are remembered.
KEPT_ATTEMPTS: Final = 20
KEPT_NODES: Final = 16


def jitter_of(uid: str) -> float:
    """A job's own number from 0 to 1, the same for whoever asks."""
    return int.from_bytes(hashlib.sha256(uid.encode()).digest()[:4], "big") / 2**32


def decide(spec: TrainingSpec, view: View, now: float, jitter: float = 0.0) -> Decision:
    """Look at a job and say what to do.

    Args:
        spec: what is asked for.
        view: what is there, and the ledger of the last decision.
        now: seconds since the epoch.
        jitter: 0 to 1, of the job's own (a hash of its id): jobs that are released together come back one by one.
    """
    if not spec.managed:
        return Decision(view.ledger)
    ledger = view.ledger or _new(spec, view, now)
    ledger = _heard(spec, goodput.advanced(ledger, now), view)
    for _ in range(len(Stage)):
        look = Look(spec, view, ledger, now)
        follows = _settled(look, jitter)
        if follows == ledger:
            break
        ledger = follows
    look = Look(spec, view, ledger, now)
    return Decision(ledger, tuple(steps(look)), wake(look))


def _new(spec: TrainingSpec, view: View, now: float) -> Ledger:
    queued = Ledger(Stage.QUEUED, now, now, waiting_since=now)
    if view.ranks:  # whoever made them died before that was noted
        return _attempted(Look(spec, view, queued, now), max(key.attempt for key in view.ranks))
    return Ledger(Stage.SUSPENDED, now, now) if spec.suspend else queued


def _heard(spec: TrainingSpec, ledger: Ledger, view: View) -> Ledger:
    """With what the ranks reported and which of them ended well."""
    if ledger.stage.finished:
        return ledger
    told = goodput.saved(ledger, view.report)
    if told.checkpoint != ledger.checkpoint and spec.failure.reset_on_checkpoint:
        told = replace(told, restarts_at=())
    if told.stage not in (Stage.PLACING, Stage.RUNNING, Stage.RESTARTING):
        return told  # what stops is begun anew, whatever of it has ended well
    done = {
        (key.group, key.rank)
        for key, fact in view.ranks.items()
        if fact.state is RankState.SUCCEEDED and key.attempt == told.wanted(key.group, key.rank)
    }
    return replace(told, done=told.done | done) if done - told.done else told


# ---------------------------------------------------------------------- what follows
def _settled(look: Look, jitter: float) -> Ledger:
    """One step of the state machine; the same ledger if nothing follows."""
    ledger, spec = look.ledger, look.spec
    if ledger.stage.finished:
        return ledger
    if (ended := _ended(look)) is not None:
        return ended
    if spec.suspend and ledger.stage not in (Stage.SUSPENDED, Stage.SUSPENDING):
        return _moved(_stopped(look, "Suspended"), Stage.SUSPENDING, look.now, "Suspended")
    if not look.view.admitted and ledger.stage in (Stage.PLACING, Stage.RUNNING, Stage.RESTARTING):
        reason, words = look.view.evicted
        again = ledger.requeues + (reason != RESIZED)
        kept = replace(_stopped(look, reason), uncounted=ledger.uncounted + 1, requeues=again)
        return _moved(kept, Stage.RELEASING, look.now, reason, words)
    return _STAGES[ledger.stage](look, jitter)


def _ended(look: Look) -> Ledger | None:
    """Success, and the two deadlines."""
    ledger, limits = look.ledger, look.spec.run
    if look.succeeded and ledger.stage in (Stage.PLACING, Stage.RUNNING, Stage.RESTARTING):
        return _finished(look, Stage.COMPLETE, "Completed")
    if ledger.stage is Stage.SUSPENDED or ledger.stage is Stage.SUSPENDING:
        return None
    if _over(limits.active_deadline, ledger.started_at, look.now):
        message = f"not done {limits.active_deadline:g} s after its start"
        return _finished(look, Stage.FAILED, "DeadlineExceeded", message)
    if _over(limits.pending_deadline, ledger.waiting_since, look.now):
        message = f"waited {limits.pending_deadline:g} s for its place"
        return _finished(look, Stage.FAILED, "PendingDeadlineExceeded", message)
    return None


def _over(limit: float | None, since: float | None, now: float) -> bool:
    return limit is not None and since is not None and now - since >= limit


def _suspended(look: Look, jitter: float) -> Ledger:
    if look.spec.suspend:
        return look.ledger
    fresh = replace(look.ledger, waiting_since=look.now, started_at=None, not_before=0.0, tries=0, requeues=0)
    return _moved(fresh, Stage.QUEUED, look.now, "Resumed")


def _suspending(look: Look, jitter: float) -> Ledger:
    if look.view.ranks:
        return look.ledger
    settled = replace(look.ledger, goodput=goodput.lost(look.ledger.goodput), waiting_since=None)
    return _moved(settled, Stage.SUSPENDED, look.now, "Suspended")


def _queued(look: Look, jitter: float) -> Ledger:
    ledger = look.ledger
    if look.view.ranks or not look.view.admitted or look.now < ledger.not_before:
        return ledger
    return _attempted(look, ledger.attempt + 1)


def _attempted(look: Look, number: int) -> Ledger:
    """The attempt of that number begins, in all groups."""
    fresh = replace(look.ledger, attempt=number, attempts_of=_all(look.spec, number), ranks_of={}, done=frozenset())
    return _begun(fresh, look)


def _placing(look: Look, jitter: float) -> Ledger:
    if (failure := look.failure()) is not None:
        return _failed(look, failure)
    ledger = _more_begun(look)
    if ledger is not look.ledger:
        return ledger
    if look.running:
        started = ledger.started_at if ledger.started_at is not None else look.now
        return _moved(
            replace(ledger, started_at=started, waiting_since=None, tries=0), Stage.RUNNING, look.now, "Running"
        )
    timeout = look.spec.schedule_timeout
    if timeout and look.now - ledger.since >= timeout and not all(look.placed(group) for group in look.begun):
        wait = min(RELEASE_BACKOFF_MOST, RELEASE_BACKOFF * 2.0 ** min(ledger.tries, 10)) * (1.0 + jitter)
        again = {"tries": ledger.tries + 1, "requeues": ledger.requeues + 1}
        kept = replace(_stopped(look, "ScheduleTimeout"), not_before=look.now + wait, **again)
        return _moved(kept, Stage.RELEASING, look.now, "ScheduleTimeout", why_unplaced(look))
    return ledger


def _running(look: Look, jitter: float) -> Ledger:
    if (failure := look.failure()) is not None:
        return _failed(look, failure)
    ledger = _more_begun(look)
    if ledger.begun != look.ledger.begun:
        return _moved(ledger, Stage.PLACING, look.now, "GroupStarting")
    hung = look.hung and look.spec.health.on_hang is OnHang.REPORT
    return ledger if hung == ledger.hung else replace(ledger, hung=hung)


def _restarting(look: Look, jitter: float) -> Ledger:
    if (failure := look.failure()) is not None:
        return _failed(look, failure)
    if look.unwanted or look.giving_up or look.now < look.ledger.not_before:
        return look.ledger
    return _begun(_emptied(look.ledger, look.now), look)


def _emptied(ledger: Ledger, now: float) -> Ledger:
    """Claims were given up, and with them every checkpoint that all ranks had."""
    if not ledger.given_up:
        return ledger
    spent = goodput.undone(ledger.goodput)
    return replace(
        ledger, given_up=(), void_before=now, checkpoint=None, checkpoint_at=None, checkpoint_uri="", goodput=spent
    )


def _releasing(look: Look, jitter: float) -> Ledger:
    if look.view.ranks:
        return look.ledger
    settled = replace(look.ledger, goodput=goodput.lost(look.ledger.goodput))
    limit = look.spec.max_requeues
    if limit is not None and settled.requeues > limit:
        why = f"{settled.reason}: {settled.message}" if settled.message else settled.reason
        words = f"it was put back {settled.requeues} times, queue.maxRequeues is {limit}; the last time: {why}"
        return _finished(look, Stage.FAILED, REQUEUE_LIMIT, words)
    if settled.waiting_since is None:
        settled = replace(settled, waiting_since=look.now)
    return _moved(settled, Stage.QUEUED, look.now, settled.reason, settled.message)


_STAGES: Final[Mapping[Stage, Callable[[Look, float], Ledger]]] = {
    Stage.SUSPENDED: _suspended,
    Stage.SUSPENDING: _suspending,
    Stage.QUEUED: _queued,
    Stage.PLACING: _placing,
    Stage.RUNNING: _running,
    Stage.RESTARTING: _restarting,
    Stage.RELEASING: _releasing,
}


# ---------------------------------------------------------------------- the moves
def _moved(ledger: Ledger, stage: Stage, now: float, reason: str, message: str = "") -> Ledger:
    return replace(ledger, stage=transition(ledger.stage, stage), since=now, reason=reason, message=message)


def _all(spec: TrainingSpec, number: int) -> dict[str, int]:
    return {group.name: number for group in spec.groups}


def _begun(ledger: Ledger, look: Look) -> Ledger:
    """An attempt begins to ask for its ranks; what is running already (other groups) goes on."""
    attempt = Attempt(ledger.attempt, look.now, resumed_from=ledger.checkpoint)
    kept = replace(
        ledger,
        attempts=(*ledger.attempts, attempt)[-KEPT_ATTEMPTS:],
        goodput=ledger.goodput if _driver_goes_on(look.spec, ledger) else goodput.lost(ledger.goodput),
        hung=False,
    )
    return _moved(kept, Stage.PLACING, look.now, "Placing")


def _driver_goes_on(spec: TrainingSpec, ledger: Ledger) -> bool:
    """Whether only nodes of ray begin: what they were computing is done again elsewhere, and no step is lost."""
    return any(spec.is_head(group) and ledger.wanted(group.name, 0) < ledger.attempt for group in spec.groups)


def _more_begun(look: Look) -> Ledger:
    """With the groups that may begin now, and the sizes in which groups were seen whole."""
    ledger = look.ledger
    begun = frozenset(group.name for group in look.begun)
    whole = dict(ledger.whole)
    for group in look.begun:
        present = all(look.works(group, rank) for rank in range(group.replicas))
        if present or whole.get(group.name, 0) > group.replicas:
            whole[group.name] = group.replicas
    if begun == ledger.begun and whole == ledger.whole:
        return ledger
    # The clock of the schedule timeout starts anew for a group that begins later.
    since = look.now if begun - ledger.begun and ledger.stage is Stage.PLACING else ledger.since
    return replace(ledger, begun=begun | ledger.begun, whole=whole, since=since)


def _stopped(look: Look, reason: str) -> Ledger:
    """Everything of this attempt will go, for no fault of its own."""
    ledger = look.ledger
    return replace(
        ledger,
        attempts=noted(ledger.attempts, look.now, None, None, reason),
        done=frozenset(),
        begun=frozenset(),
        whole={},
        hung=False,
    )


def _failed(look: Look, failure: Failure) -> Ledger:
    """The rule that fits decides: the job fails, or something of it starts again."""
    ledger, policy = look.ledger, look.spec.failure
    rule = rule_for(policy, failure, lost_head=_lost_head(look, failure))
    if failure.reason == "Hung" and look.spec.health.on_hang is OnHang.FAIL:
        return _finished(look, Stage.FAILED, "Hung", failure.message, failure)
    if rule.action is Action.FAIL:
        return _finished(look, Stage.FAILED, failure.reason, why_failed(failure), failure)
    counted = rule.action is not Action.RESTART_UNCOUNTED
    if counted and not within_budget(policy, ledger, look.now):
        message = f"{policy.max_restarts} restarts were allowed; the last failure: {why_failed(failure)}"
        return _finished(look, Stage.FAILED, "RestartsExhausted", message, failure)
    times = (*recent(policy, ledger, look.now), look.now) if counted else ledger.restarts_at
    if counted:
        wait = backoff(policy, len(times))
    else:
        wait = 0.0 if failure.exit_code == SAVED or rule is LOST_HEAD else policy.backoff
    nodes = ledger.avoid_nodes
    if rule.action is Action.RESTART_AVOID_NODE and failure.node and failure.node not in nodes:
        nodes = (*nodes, failure.node)[-KEPT_NODES:]
    claims, told = _given_up(look, failure, nodes), why_failed(failure)
    if claims:
        told += f"; given up, with what was saved there: claim {', '.join(claims)}"
    elif (pin := look.view.pins.get((failure.group, failure.rank))) is not None and pin.node in nodes:
        told += f"; its claim {pin.claim} keeps it on {pin.node}: see the condition PinnedToNode"
    kept = replace(
        _renumbered(look, failure),
        attempts=noted(ledger.attempts, look.now, failure, rule.action, failure.reason),
        given_up=claims,
        restarts_at=times,
        counted=ledger.counted + counted,
        uncounted=ledger.uncounted + (not counted),
        avoid_nodes=nodes,
        not_before=look.now + wait,
    )
    return _moved(kept, Stage.RESTARTING, look.now, failure.reason, told)


def _given_up(look: Look, failure: Failure, nodes: tuple[str, ...]) -> tuple[str, ...]:
    """Claims that hold ranks back where they should not be, and may go: none that a rank which goes on has as well."""
    scope = look.spec.failure.restart_scope
    goes_on: set[str] = set()
    found: set[str] = set()
    for (group, rank), pin in look.view.pins.items():
        restarts = scope is Scope.JOB or (group == failure.group and (scope is Scope.GROUP or rank == failure.rank))
        if not restarts:
            goes_on.add(pin.claim)
        elif pin.leave and (pin.gone or pin.node in nodes):
            found.add(pin.claim)
    return tuple(sorted(found - goes_on))


def _renumbered(look: Look, failure: Failure) -> Ledger:
    """What starts again is in the next attempt from now on; the rest stays in its own."""
    ledger, scope = look.ledger, look.spec.failure.restart_scope
    number = ledger.attempt + 1
    group = look.spec.by_name.get(failure.group)
    # Nodes of ray are of the head that they joined: none of them can join the one that follows.
    of_head = scope is Scope.POD and group is not None and look.spec.is_head(group)
    if scope is Scope.JOB or group is None or of_head:
        return replace(
            ledger, attempt=number, attempts_of=_all(look.spec, number), ranks_of={}, done=frozenset(),
            begun=frozenset(), whole={},
        )  # fmt: skip
    if scope is Scope.GROUP:
        return replace(
            ledger,
            attempt=number,
            attempts_of={**ledger.attempts_of, failure.group: number},
            ranks_of={rank: own for rank, own in ledger.ranks_of.items() if rank[0] != failure.group},
            done=frozenset(rank for rank in ledger.done if rank[0] != failure.group),
            whole={name: size for name, size in ledger.whole.items() if name != failure.group},
        )
    rank = (failure.group, failure.rank)
    return replace(ledger, attempt=number, ranks_of={**ledger.ranks_of, rank: number}, done=ledger.done - {rank})


def _lost_head(look: Look, failure: Failure) -> bool:
    """Whether what failed is a node of ray whose head has begun anew since (restart scope Group)."""
    group, ledger = look.spec.by_name.get(failure.group), look.ledger
    if group is None or look.spec.is_head(group):
        return False
    heads = (one for one in look.spec.groups if look.spec.is_head(one))
    own = ledger.wanted(failure.group, failure.rank)
    return any(ledger.wanted(head.name, 0) > own for head in heads)


def _finished(look: Look, stage: Stage, reason: str, message: str = "", failure: Failure | None = None) -> Ledger:
    ledger = look.ledger
    settle = goodput.kept if stage is Stage.COMPLETE else goodput.lost
    ended = replace(
        ledger,
        attempts=noted(ledger.attempts, look.now, failure, Action.FAIL if failure else None, reason),
        goodput=settle(ledger.goodput),
        finished_at=look.now,
        waiting_since=None,
        hung=False,
    )
    return _moved(ended, stage, look.now, reason, message)
