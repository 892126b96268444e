"""A world that carries out what the gang brain says: ranks take a moment to be placed, to start, to stop."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from mlplatform.planning.training.facts import (
    Decision,
    GiveUp,
    Ledger,
    Pin,
    RankFact,
    RankKey,
    RankState,
    Remove,
    Report,
    Stage,
    Start,
    Step,
    View,
)
from mlplatform.planning.training.gang import decide
from mlplatform.planning.training.spec import TrainingSpec


@dataclass
class World:
    """``room``: how many ranks find a place. ``kept`` is the ledger as it was kept last."""

    spec: TrainingSpec
    now: float = 1000.0
    room: int = 10_000
    admitted: bool = True
    kept: Ledger | None = None
    report: Report = field(default_factory=Report)
    ranks: dict[RankKey, RankFact] = field(default_factory=dict[RankKey, RankFact])
    refused: dict[RankKey, str] = field(default_factory=dict[RankKey, str])
    started: list[RankKey] = field(default_factory=list[RankKey])
    stopped: list[RankKey] = field(default_factory=list[RankKey])
    removed: bool = False
    pins: dict[tuple[str, int], Pin] = field(default_factory=dict[tuple[str, int], Pin])
    given_up: list[str] = field(default_factory=list[str])
    #: Looks at the world after each step.
    watch: Callable[[World], None] = lambda world: None

    @property
    def ledger(self) -> Ledger:
        assert self.kept is not None
        return self.kept

    @property
    def stage(self) -> Stage:
        return self.ledger.stage

    def view(self) -> View:
        return View(self.kept, dict(self.ranks), self.report, self.admitted, dict(self.refused), pins=self.pins)

    def decide(self) -> Decision:
        """One look; the ledger is kept and every step taken."""
        decision = decide(self.spec, self.view(), self.now)
        self.kept = decision.ledger
        for step in decision.steps:
            self.take(step)
        return decision

    def take(self, step: Step) -> None:
        match step:
            case Start(key):
                if key not in self.ranks and key not in self.refused:
                    self.ranks[key] = RankFact(key, RankState.PENDING)
                    self.started.append(key)
            case Remove():
                self.removed = True
            case GiveUp(claim):
                self.given_up.append(claim)
                self.pins = {rank: pin for rank, pin in self.pins.items() if pin.claim != claim}
            case _:
                self.stopped.append(step.key)
                fact = self.ranks.get(step.key)
                if step.forget or (fact is not None and not fact.alive):
                    self.ranks.pop(step.key, None)
                elif fact is not None:
                    self.ranks[step.key] = replace(fact, state=RankState.STOPPING)
        self.watch(self)

    # ------------------------------------------------------------------ what happens by itself
    def settle(self, seconds: float = 0.0) -> None:
        """Until nothing changes: ranks get their places and become ready, stopping ones are gone."""
        self.now += seconds
        for _ in range(60):
            before = (self.kept, dict(self.ranks), self.removed)
            self.decide()
            self.progress()
            self.decide()
            if (self.kept, dict(self.ranks), self.removed) == before:
                return
        raise AssertionError("it never comes to rest")

    def progress(self) -> None:
        for key, fact in sorted(self.ranks.items()):
            placed = sum(1 for other in self.ranks.values() if other.state in _PLACED)
            if fact.state is RankState.PENDING and placed < self.room:
                self.ranks[key] = replace(
                    fact, state=RankState.RUNNING, ready=True, node=f"node-{key.rank}", placed_at=self.now
                )
            elif fact.state is RankState.STOPPING:
                del self.ranks[key]
        self.watch(self)

    def end(self, group: str, rank: int, exit_code: int = 0, *reasons: str, conditions: tuple[str, ...] = ()) -> None:
        """The rank's process ends by itself."""
        key = RankKey(group, rank, self.ledger.wanted(group, rank))
        state = RankState.SUCCEEDED if exit_code == 0 and not reasons and not conditions else RankState.FAILED
        self.ranks[key] = replace(
            self.ranks[key],
            state=state,
            ready=False,
            exit_code=exit_code,
            reasons=frozenset(reasons),
            conditions=frozenset(conditions),
            finished_at=self.now,
        )

    def end_all(self, group: str) -> None:
        for rank in range(self.spec.by_name[group].replicas):
            if (group, rank) not in self.ledger.done:
                self.end(group, rank)

    def save(self, step: int) -> None:
        """A checkpoint of this step is whole now."""
        self.report = replace(self.report, step=step, at=self.now, checkpoint=step, checkpoint_at=self.now)

    def change(self, **fields: object) -> None:
        self.spec = replace(self.spec, **fields)

    def attempts_alive(self) -> set[int]:
        return {key.attempt for key, fact in self.ranks.items() if fact.alive}


_PLACED = (RankState.STARTING, RankState.RUNNING, RankState.STOPPING)


def at_random(world: World, chance: random.Random, steps: int) -> None:
    """Accidents for a while: ranks fail, vanish, save, the queue takes and gives, somebody suspends and resumes; the
    process that decides dies between keeping the ledger and any step."""
    for _ in range(steps):
        world.now += chance.choice((0.0, 1.0, 30.0))
        decision = decide(world.spec, world.view(), world.now)
        if chance.random() < 0.1:
            continue  # dead before anything was kept
        world.kept = decision.ledger
        todo = list(decision.steps)
        chance.shuffle(todo)
        if chance.random() < 0.3:
            todo = todo[: chance.randint(0, len(todo))]
        for step in todo:
            world.take(step)
        if chance.random() < 0.7:
            world.progress()
        running = [key for key, fact in world.ranks.items() if fact.state is RankState.RUNNING]
        if running and chance.random() < 0.15:
            key = chance.choice(running)
            fact = world.ranks[key]
            code = chance.choice((0, 0, 1, 75, 137))
            state = RankState.SUCCEEDED if code == 0 else RankState.FAILED
            world.ranks[key] = replace(fact, state=state, ready=False, exit_code=code, finished_at=world.now)
        elif running and chance.random() < 0.05:
            del world.ranks[chance.choice(running)]
        if world.stage is Stage.RUNNING and chance.random() < 0.1:
            world.save((world.report.step or 0) + 10)
        if chance.random() < 0.03:
            world.change(suspend=not world.spec.suspend)
        if chance.random() < 0.03:
            world.admitted = not world.admitted
