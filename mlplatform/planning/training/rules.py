"""What a failure leads to: the first rule that fits decides, the user's before the platform's."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from mlplatform.planning.training.facts import Attempt, Ledger, RankFact
from mlplatform.planning.training.spec import Action, FailurePolicy, Rule

#: "Saved, run me again": what a rank that heard SIGTERM and saved its work exits with (sysexits' EX_TEMPFAIL).
SAVED: Final = 75

DEFAULTS: Final = (
    Rule(Action.RESTART_UNCOUNTED, "disrupted", conditions=frozenset({"DisruptionTarget"})),
    Rule(Action.RESTART_UNCOUNTED, "taken", reasons=frozenset({"NodeLost", "Preempted", "Evicted", "Deleted"})),
    Rule(Action.RESTART_UNCOUNTED, "saved", exit_codes=frozenset({SAVED})),
    Rule(Action.RESTART_AVOID_NODE, "hung", reasons=frozenset({"Hung"})),
    Rule(Action.FAIL, "cannot run", exit_codes=frozenset({2, 126, 127})),
    Rule(Action.RESTART, "failed"),
)
#: No fault of its own: what it had joined is no more.
LOST_HEAD: Final = Rule(Action.RESTART_UNCOUNTED, "lost its head")


@dataclass(frozen=True, slots=True)
class Failure:
    """The first thing that went wrong in an attempt, in the words of the status."""

    group: str
    rank: int
    reason: str
    message: str = ""
    node: str = ""
    exit_code: int | None = None
    conditions: frozenset[str] = frozenset()
    reasons: frozenset[str] = frozenset()

    @staticmethod
    def of(fact: RankFact) -> Failure:
        """A rank that ended badly."""
        reason = min(fact.reasons | fact.conditions, default="")
        if not reason:
            reason = "Error" if fact.exit_code is None else f"ExitCode{fact.exit_code}"
        return Failure(
            fact.key.group,
            fact.key.rank,
            reason,
            fact.message,
            fact.node,
            fact.exit_code,
            fact.conditions,
            fact.reasons,
        )


def fits(rule: Rule, failure: Failure) -> bool:
    """Whether everything the rule gives holds for the failure."""
    if rule.groups and failure.group not in rule.groups:
        return False
    if rule.exit_codes and (failure.exit_code is None or (failure.exit_code in rule.exit_codes) is rule.negated):
        return False
    if rule.conditions and not rule.conditions & failure.conditions:
        return False
    return not rule.reasons or bool(rule.reasons & failure.reasons)


def rule_for(policy: FailurePolicy, failure: Failure, *, lost_head: bool = False) -> Rule:
    """The user's rules, then the platform's; the last of those fits everything."""
    consequences = (LOST_HEAD,) if lost_head else ()
    return next(rule for rule in (*policy.rules, *consequences, *DEFAULTS) if fits(rule, failure))


def within_budget(policy: FailurePolicy, ledger: Ledger, now: float) -> bool:
    """Whether one more counted restart is allowed."""
    return len(recent(policy, ledger, now)) < policy.max_restarts


def recent(policy: FailurePolicy, ledger: Ledger, now: float) -> tuple[float, ...]:
    """The counted restarts that the budget still remembers."""
    if not policy.window:
        return ledger.restarts_at
    return tuple(at for at in ledger.restarts_at if now - at < policy.window)


def backoff(policy: FailurePolicy, restarts: int) -> float:
    """Seconds before the attempt after the ``restarts``-th restart in a row: doubling, capped."""
    if restarts <= 0:
        return 0.0
    return min(policy.max_backoff, policy.backoff * 2.0 ** min(restarts - 1, 60))


def noted(
    attempts: tuple[Attempt, ...], now: float, failure: Failure | None, action: Action | None, reason: str
) -> tuple[Attempt, ...]:
    """The attempts with the last one ended, for this failure or for a reason that is none (suspended)."""
    if not attempts or attempts[-1].ended_at is not None:
        return attempts
    ended = replace(attempts[-1], ended_at=now, reason=reason, action=action)
    if failure is not None:
        ended = replace(
            ended,
            message=failure.message,
            group=failure.group,
            rank=failure.rank,
            node=failure.node,
            exit_code=failure.exit_code,
        )
    return (*attempts[:-1], ended)
