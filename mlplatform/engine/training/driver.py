"""One training job on this machine: look, decide, keep, act. What the operator is to a job on a cluster.

A decision is kept before it is carried out, and what is kept is all there is: a driver that is killed at any moment is
followed by another one that goes on from the files.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from mlplatform.apis.codec import decode, encode
from mlplatform.apis.conditions import Condition, condition, with_conditions
from mlplatform.apis.objects import training_job
from mlplatform.apis.trainingjob import Preemption
from mlplatform.apis.trainingstatus import TrainingJob, TrainingJobStatus
from mlplatform.core.errors import InvalidInput
from mlplatform.engine.files import read_json, write_json
from mlplatform.engine.submission import read_private
from mlplatform.engine.training.environment import command, sweep
from mlplatform.engine.training.hearing import Hearing
from mlplatform.engine.training.places import JobPlace
from mlplatform.engine.training.ranks import Here, Ranks, Room
from mlplatform.planning.training.facts import (
    Decision,
    GiveUp,
    Ledger,
    RankFact,
    RankKey,
    Remove,
    Stage,
    Start,
    Stop,
    View,
)
from mlplatform.planning.training.gang import decide, jitter_of
from mlplatform.planning.training.kept import kept, ledger_of, report_of, same_but_clocks
from mlplatform.planning.training.read import training_spec
from mlplatform.planning.training.spec import OnHang
from mlplatform.planning.training.status import status_of

#: A job comes to rest within so many looks; one that does not is looked at again a moment later.
_LOOKS: Final = 64
#: The condition that tells of a failure of the platform's own; it is tried again.
TROUBLE: Final = "Trouble"


class Driver:
    """``told`` hears of each status that was kept. ``tracking`` gives MLflow's variables for the ranks of a job."""

    def __init__(
        self,
        place: JobPlace,
        here: Here,
        room: Room,
        *,
        told: Callable[[TrainingJob], None] = lambda job: None,
        tracking: Callable[[TrainingJob], Mapping[str, str]] = lambda job: {},
    ) -> None:
        self._place = place
        self._ranks = Ranks(place, here, room)
        self._told = told
        self._tracking = tracking
        self._job = _read(place)
        self._object = _stamp(place)
        self._hearing = Hearing(place)
        self._refused: dict[RankKey, str] = {}
        self._shown = False
        self.wake_at: float | None = None
        self.removed = False

    @property
    def job(self) -> TrainingJob:
        return self._job

    @property
    def resting(self) -> bool:
        """Whether nothing of it runs, or will before somebody wants it or its time to live is over."""
        ledger = ledger_of(self._job.status)
        stage = ledger.stage if ledger else Stage.QUEUED
        still = not self._job.spec.suspend if stage is Stage.SUSPENDED else not stage.finished
        return self.removed or not (still or self._alive or self._job.deleting)

    @property
    def idle(self) -> bool:
        """Whether nothing will happen until somebody changes the job."""
        return self.resting and self.wake_at is None

    _alive = False

    def turn(self, now: float) -> None:
        """Carry the job as far as it comes at this moment. Raises InvalidInput: its object cannot be read."""
        for _ in range(_LOOKS):
            if self.removed or not self._look(round(now, 3)):
                return
        self.wake_at = now

    def _look(self, now: float) -> bool:
        """One look; whether anything was done."""
        if (stamp := _stamp(self._place)) != self._object:
            self._object = stamp
            self._job = replace(_read(self._place), status=self._job.status)
        facts = self._ranks.look(now)
        self._ranks.free_ended(facts)
        self._alive = any(fact.alive for fact in facts.values())
        if self._job.deleting:
            return self._deleted(facts, now)
        spec = training_spec(self._job.name, self._job.spec)
        if not spec.managed:
            return False
        before = ledger_of(self._job.status)
        status = self._without_trouble(now)
        progress = self._hearing.progress(status.progress, self._job.spec, facts, before, now)
        if progress is not status.progress:
            status = replace(status, progress=progress)
        refused = {key: why for key, why in self._refused.items() if before and before.wanted(key.group, key.rank)}
        view = View(before, facts, report_of(status.progress), refused=refused)
        decision = decide(spec, view, now, jitter_of(self._job.uid))
        assert decision.ledger is not None
        ledger = kept(decision.ledger)
        after = status_of(spec, view, ledger, now, before=status, generation=self._job.generation)
        if after is not self._job.status:
            self._keep(after, durable=not same_but_clocks(before, ledger))
        if ledger.hung and not self._shown and spec.health.on_hang is OnHang.REPORT:
            self._ranks.show_stacks([key for key, fact in facts.items() if fact.alive])
        self._shown = ledger.hung
        self.wake_at = decision.wake_at
        acted = self._act(decision, ledger, facts, now)
        return acted or not same_but_clocks(before, ledger)

    # ------------------------------------------------------------------ what is done
    def _act(self, decision: Decision, ledger: Ledger, facts: Mapping[RankKey, RankFact], now: float) -> bool:
        acted = False
        for step in decision.steps:
            match step:
                case Start():
                    acted |= self._start(step, ledger, now)
                case Stop(key, _, forget=True):
                    self._ranks.forget(key)
                    acted = True
                case Stop(key, reason):
                    self._ranks.stop(key, reason, self._grace(key), now)
                    acted = True
                case GiveUp():  # claims of this machine are folders, and keep no rank anywhere
                    continue
                case Remove():
                    self._remove()
                    return True
        if ledger.stage.finished:
            # What was asked to end is gone then, as a pod that was deleted is; what ended by itself stays to be seen.
            for key, fact in facts.items():
                if not fact.alive and self._ranks.asked_to_end(key):
                    self._ranks.forget(key)
                    acted = True
        if ledger.stage.finished and (asked := self._job.spec.checkpoint) and asked.when_finished == "Delete":
            for folder in self._place.own_claims(self._job.spec):
                shutil.rmtree(folder, ignore_errors=True)
        if ledger.stage.finished and not self._alive:
            self._place.private.unlink(missing_ok=True)
        return acted

    def _start(self, step: Start, ledger: Ledger, now: float) -> bool:
        """Whether its process was made (or waits for a place)."""
        env = read_private(self._place.private)
        try:
            made = command(self._place, self._job, step, ledger, env, self._tracking(self._job))
            self._ranks.start(step.key, made, now)
        except (OSError, InvalidInput) as error:
            known = self._refused.get(step.key)
            self._refused[step.key] = str(error)
            return known != str(error)
        self._refused.pop(step.key, None)
        sweep(self._place, set(ledger.attempts_of.values()) | {ledger.attempt})
        return True

    def _grace(self, key: RankKey) -> float:
        """As a pod's: the job's, else the template's, else the API's default."""
        if self._job.spec.preemption is not None:
            return float(self._job.spec.preemption.grace_period_seconds)
        group = next((one for one in self._job.spec.groups if one.name == key.group), None)
        spec: Mapping[str, Any] = (group.template.get("spec") if group else None) or {}
        return float(spec.get("terminationGracePeriodSeconds", Preemption().grace_period_seconds))

    def _deleted(self, facts: Mapping[RankKey, RankFact], now: float) -> bool:
        """The job goes away when its ranks are gone."""
        for key, fact in facts.items():
            if fact.alive:
                self._ranks.stop(key, "Deleted", self._grace(key), now)
            else:
                self._ranks.forget(key)
        if not any(fact.alive for fact in facts.values()):
            self._remove()
        return False

    def _remove(self) -> None:
        asked = self._job.spec.checkpoint
        if asked is not None and asked.when_deleted == "Delete":
            for folder in self._place.own_claims(self._job.spec):
                shutil.rmtree(folder, ignore_errors=True)
        self._place.private.unlink(missing_ok=True)
        shutil.rmtree(self._place.root, ignore_errors=True)
        self.removed = True

    # ------------------------------------------------------------------ our own trouble
    def trouble(self, why: str, now: float) -> None:
        """Say in the status that the platform itself fails at this job, and tries again. Raises OSError."""
        told = Condition(TROUBLE, "True", "InternalError", why, observed_generation=self._job.generation)
        found = with_conditions(self._job.status.conditions, [told], now)
        self._keep(replace(self._job.status, conditions=found), durable=False)

    def _without_trouble(self, now: float) -> TrainingJobStatus:
        """The status, in which trouble that a look got past is past."""
        status = self._job.status
        known = condition(status.conditions, TROUBLE)
        if known is None or known.status != "True":
            return status
        past = Condition(TROUBLE, "False", "Past", "", observed_generation=self._job.generation)
        return replace(status, conditions=with_conditions(status.conditions, [past], now))

    def _keep(self, status: TrainingJobStatus, *, durable: bool) -> None:
        write_json(self._place.status, encode(status), durable=durable)
        self._job = replace(self._job, status=status)
        self._told(self._job)


def _read(place: JobPlace) -> TrainingJob:
    """The job as it is kept. Raises InvalidInput."""
    body = read_json(place.object)
    job = training_job({**body, "status": {}})
    return replace(job, status=decode(TrainingJobStatus, read_json(place.status), "status"))


def _stamp(place: JobPlace) -> tuple[int, int]:
    try:
        found = place.object.stat()
    except OSError:
        return 0, 0
    return found.st_mtime_ns, found.st_ino
