"""From what was decided to what is to be done about the ranks that are there, and when to look again."""

from __future__ import annotations

from collections.abc import Iterator

from mlplatform.planning.training.facts import GiveUp, RankState, Remove, Stage, Start, Step, Stop
from mlplatform.planning.training.look import Look
from mlplatform.planning.training.spec import CleanPods


def steps(look: Look) -> Iterator[Step]:
    """What is still missing between the facts and the ledger."""
    ledger = look.ledger
    if ledger.stage.finished:
        yield from _cleaned(look)
    elif ledger.stage in (Stage.PLACING, Stage.RUNNING, Stage.RESTARTING):
        for fact in look.unwanted:
            if fact.state is not RankState.STOPPING:
                yield Stop(fact.key, ledger.reason, forget=not fact.alive)
        if ledger.stage is Stage.RESTARTING and not look.unwanted:
            yield from (GiveUp(claim) for claim in look.giving_up)
        if ledger.stage is not Stage.RESTARTING:
            yield from _starts(look)
    else:
        for key, fact in sorted(look.view.ranks.items()):
            if fact.state is not RankState.STOPPING:
                yield Stop(key, ledger.reason, forget=not fact.alive)


def _starts(look: Look) -> Iterator[Step]:
    ledger = look.ledger
    old = {(fact.key.group, fact.key.rank) for fact in look.unwanted}
    for group in look.begun:
        for rank in range(group.replicas):
            name = (group.name, rank)
            if name not in ledger.done and name not in old and look.fact(group, rank) is None:
                pin = look.view.pins.get(name)
                # Where its claim is, it has to be.
                avoid = tuple(node for node in ledger.avoid_nodes if pin is None or node != pin.node)
                yield Start(look.key(group, rank), ledger.checkpoint, avoid)


def _cleaned(look: Look) -> Iterator[Step]:
    ledger, policy = look.ledger, look.spec.run
    if policy.ttl is not None and ledger.finished_at is not None and look.now >= ledger.finished_at + policy.ttl:
        yield Remove()
        return
    for key, fact in sorted(look.view.ranks.items()):
        if fact.alive and fact.state is not RankState.STOPPING and policy.clean_pods is not CleanPods.NONE:
            yield Stop(key, ledger.reason)
        elif not fact.alive and policy.clean_pods is CleanPods.ALL:
            yield Stop(key, ledger.reason, forget=True)


def wake(look: Look) -> float | None:
    """The next time at which something may follow although nothing happened."""
    times = [at for at in _times(look) if at > look.now]
    return min(times, default=None)


def _times(look: Look) -> Iterator[float]:
    """When something may follow although nothing happened."""
    ledger, spec = look.ledger, look.spec
    if ledger.stage.finished:
        if spec.run.ttl is not None and ledger.finished_at is not None:
            yield ledger.finished_at + spec.run.ttl
        return
    yield ledger.not_before
    if spec.run.active_deadline is not None and ledger.started_at is not None:
        yield ledger.started_at + spec.run.active_deadline
    if spec.run.pending_deadline is not None and ledger.waiting_since is not None:
        yield ledger.waiting_since + spec.run.pending_deadline
    if ledger.stage is Stage.PLACING and spec.schedule_timeout:
        yield ledger.since + spec.schedule_timeout
    if ledger.stage is Stage.RUNNING and spec.health.progress_timeout:
        yield look.silent_since + spec.health.progress_timeout
    if spec.health.startup_timeout and ledger.stage in (Stage.PLACING, Stage.RUNNING, Stage.RESTARTING):
        for fact in look.view.ranks.values():
            if fact.placed_at is not None and not fact.ready and fact.alive:
                yield fact.placed_at + spec.health.startup_timeout
