"""What follows from the facts of a training job at one moment: which groups may begin, work, are done; what failed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from mlplatform.planning.training.facts import Ledger, Pin, RankFact, RankKey, RankState, Stage, View
from mlplatform.planning.training.rules import Failure
from mlplatform.planning.training.spec import Group, OnHang, Role, TrainingSpec, Wait


@dataclass(frozen=True)
class Look:
    """One look at a job. ``ledger`` is that of now: its ``done`` holds every success that the facts show."""

    spec: TrainingSpec
    view: View
    ledger: Ledger
    now: float

    def key(self, group: Group, rank: int) -> RankKey:
        """The rank as it should be."""
        return RankKey(group.name, rank, self.ledger.wanted(group.name, rank))

    def fact(self, group: Group, rank: int) -> RankFact | None:
        return self.view.ranks.get(self.key(group, rank))

    def wanted(self, key: RankKey) -> bool:
        """Whether a rank that is there belongs to what the job is doing now."""
        group = self.spec.by_name.get(key.group)
        return group is not None and key.rank < group.replicas and key.attempt == self.ledger.wanted(*key_of(key))

    @cached_property
    def unwanted(self) -> list[RankFact]:
        """Ranks of earlier attempts, and those beyond the number of replicas."""
        return [fact for key, fact in sorted(self.view.ranks.items()) if not self.wanted(key)]

    # ------------------------------------------------------------------ groups
    def complete(self, group: Group) -> bool:
        if self.spec.success.rank0_only and group.role is not Role.INITIALIZER and group.replicas:
            return (group.name, 0) in self.ledger.done
        return all((group.name, rank) in self.ledger.done for rank in range(group.replicas))

    def working(self, group: Group) -> bool:
        """All ranks of a fixed group, enough of an elastic one."""
        return self._enough(group, sum(1 for rank in range(group.replicas) if self.works(group, rank)))

    def placed(self, group: Group) -> bool:
        found = (self.fact(group, rank) for rank in range(group.replicas))
        done = sum(1 for name, _ in self.ledger.done if name == group.name)
        return self._enough(group, max(done, sum(1 for fact in found if fact is not None and fact.placed)))

    def works(self, group: Group, rank: int) -> bool:
        fact = self.fact(group, rank)
        return (group.name, rank) in self.ledger.done or (fact is not None and fact.working)

    def _enough(self, group: Group, count: int) -> bool:
        return count >= (group.replicas if group.elastic is None else min(group.elastic[0], group.replicas))

    def may_begin(self, group: Group) -> bool:
        """What it waits for is so. What has begun goes on, whatever becomes of what it waited for."""
        if group.name in self.ledger.begun:
            return True
        for need in group.depends_on:
            other = self.spec.by_name[need.group]
            met = self.complete(other)
            if not met and need.status is Wait.READY:
                met = other.name in self.ledger.begun and self.working(other)
            if not met:
                return False
        return True

    @cached_property
    def begun(self) -> list[Group]:
        return [group for group in self.spec.groups if self.may_begin(group)]

    @cached_property
    def running(self) -> bool:
        """Every group that may begin works, and one of them does more than prepare."""
        return all(self.working(group) for group in self.begun) and any(
            group.role is not Role.INITIALIZER for group in self.begun
        )

    @cached_property
    def succeeded(self) -> bool:
        met = [self.complete(self.spec.by_name[name]) for name in self.spec.success_groups]
        return bool(met) and (any(met) if self.spec.success.operator == "Any" else all(met))

    # ------------------------------------------------------------------ storage of one node
    @cached_property
    def held_back(self) -> dict[tuple[str, int], Pin]:
        """Ranks that stay where they should not be, since their claims do."""
        nodes = self.ledger.avoid_nodes
        return {rank: pin for rank, pin in sorted(self.view.pins.items()) if pin.gone or pin.node in nodes}

    @cached_property
    def giving_up(self) -> list[str]:
        """Claims that are to go and are there still."""
        return sorted({pin.claim for pin in self.view.pins.values()} & set(self.ledger.given_up))

    # ------------------------------------------------------------------ failures
    def failure(self) -> Failure | None:
        """The first thing that is wrong with the ranks that are wanted now; None: nothing is."""
        failed = [fact for fact in self._present() if fact.state is RankState.FAILED]
        if failed:
            return Failure.of(min(failed, key=_first))
        return self._missing() or self._stranded() or self._slow_start() or self._hang()

    def _present(self) -> Iterator[RankFact]:
        for group in self.spec.groups:
            for rank in range(group.replicas):
                fact = self.fact(group, rank)
                if fact is not None and (group.name, rank) not in self.ledger.done:
                    yield fact

    def _missing(self) -> Failure | None:
        for group in self.spec.groups:
            for rank in range(min(group.replicas, self.ledger.whole.get(group.name, 0))):
                if (group.name, rank) in self.ledger.done or self.fact(group, rank) is not None:
                    continue
                if self.key(group, rank).attempt not in (self.ledger.attempts_of.get(group.name), None):
                    continue  # a rank of its own attempt (restart scope Pod) is just being made
                message = f"rank {rank} of {group.name} is gone"
                return Failure(group.name, rank, "Deleted", message, reasons=frozenset({"Deleted"}))
        return None

    def _stranded(self) -> Failure | None:
        """A rank that waits for a node that will not come back, and need not."""
        for (group, rank), pin in self.held_back.items():
            fact = self.view.ranks.get(RankKey(group, rank, self.ledger.wanted(group, rank)))
            if pin.gone and pin.leave and fact is not None and not fact.placed:
                message = f"node {pin.node}, which alone has claim {pin.claim}, is gone"
                return Failure(group, rank, "NodeLost", message, pin.node, reasons=frozenset({"NodeLost"}))
        return None

    def _slow_start(self) -> Failure | None:
        limit = self.spec.health.startup_timeout
        if not limit:
            return None
        for fact in self._present():
            slow = fact.state is RankState.STARTING or (fact.state is RankState.RUNNING and not fact.ready)
            if slow and fact.placed_at is not None and self.now - fact.placed_at >= limit:
                message = fact.message or f"not ready {limit:g} s after it got its place"
                return Failure(
                    fact.key.group,
                    fact.key.rank,
                    "StartupTimeout",
                    message,
                    fact.node,
                    reasons=frozenset({"StartupTimeout"}),
                )
        return None

    @cached_property
    def silent_since(self) -> float:
        """When the ranks were heard last, or began to work."""
        return max(self.ledger.since, self.view.report.at or 0.0)

    @cached_property
    def hung(self) -> bool:
        limit = self.spec.health.progress_timeout
        return bool(limit) and self.ledger.stage is Stage.RUNNING and self.now - self.silent_since >= limit

    def _hang(self) -> Failure | None:
        if not self.hung or self.spec.health.on_hang is OnHang.REPORT:
            return None
        group, rank = self.view.report.stuck or (self.spec.success_groups[0], 0)
        fact = self.fact(self.spec.by_name[group], rank) if group in self.spec.by_name else None
        limit = self.spec.health.progress_timeout
        step = self.view.report.step
        message = f"no progress for {limit:g} s" + ("" if step is None else f" after step {step}")
        return Failure(group, rank, "Hung", message, fact.node if fact else "", reasons=frozenset({"Hung"}))


def key_of(key: RankKey) -> tuple[str, int]:
    """The rank without its attempt."""
    return key.group, key.rank


def _first(fact: RankFact) -> tuple[float, str, int]:
    return (fact.finished_at if fact.finished_at is not None else float("inf"), fact.key.group, fact.key.rank)
