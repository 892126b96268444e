"""Why a gang does not run yet, or no more, in words for people."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from mlplatform.apis.names import ANNOTATION_GIVE_UP
from mlplatform.planning.training.facts import RankFact, Stage
from mlplatform.planning.training.look import Look
from mlplatform.planning.training.rules import Failure

#: Ranks that are named when some lack something.
_SHOWN: Final = 5
#: Exit codes of what a signal ended: 128 and its number on Linux.
_SIGNALS: Final = {134: "SIGABRT", 135: "SIGBUS", 136: "SIGFPE", 137: "SIGKILL", 139: "SIGSEGV", 143: "SIGTERM"}


def why_unplaced(look: Look) -> str:
    """The ranks without a place, and why as far as anybody said."""
    missing: list[str] = []
    words: list[str] = []
    for group in look.begun:
        for rank in range(group.replicas):
            fact = look.fact(group, rank)
            if (group.name, rank) in look.ledger.done or (fact is not None and fact.placed):
                continue
            missing.append(f"{group.name}-{rank}")
            word = look.view.refused.get(look.key(group, rank), fact.message if fact else "")
            if word and word not in words:
                words.append(word)
    return f"no place for {_listed(missing)}" + (f": {'; '.join(words[:3])}" if words else "") if missing else ""


def why_not_ready(look: Look) -> str:
    """Ranks that have a place and do not work yet, with what is said of them (an image that cannot be pulled)."""
    if look.ledger.stage not in (Stage.PLACING, Stage.RUNNING):
        return look.ledger.message
    waiting: list[str] = []
    words: list[str] = []
    for fact in _facts(look):
        if fact.placed and not fact.working:
            waiting.append(f"{fact.key.group}-{fact.key.rank}")
            if fact.message and fact.message not in words:
                words.append(fact.message)
    return f"waiting for {_listed(waiting)}" + (f": {'; '.join(words[:3])}" if words else "") if waiting else ""


def why_pinned(look: Look) -> str:
    """Ranks that stay where they should not be since their claims do, what it would cost to move them, and how."""
    held = {rank: pin for rank, pin in look.held_back.items() if pin.claim not in look.ledger.given_up}
    if not held:
        return ""
    told = [
        f"rank {rank} of {group} stays on {pin.node}, {'which is gone' if pin.gone else 'which is to be avoided'}: "
        f"its claim {pin.claim} is there alone"
        for (group, rank), pin in list(held.items())[:_SHOWN]
    ]
    more = f" (and {len(held) - _SHOWN} more ranks)" if len(held) > _SHOWN else ""
    kept = look.ledger.checkpoint
    lost = "what was saved there" if kept is None else f"the checkpoint of step {kept}"
    if all(pin.leave for pin in held.values()):
        return f"{'; '.join(told)}{more}. It is given up, and with it {lost}, when the ranks start again"
    claims = ",".join(sorted({pin.claim for pin in held.values()}))
    return (
        f"{'; '.join(told)}{more}. Elsewhere everything would begin anew, without {lost}. To allow that: "
        f"kubectl annotate trainingjob {look.spec.name} {ANNOTATION_GIVE_UP}={claims}"
    )


def _facts(look: Look) -> Iterator[RankFact]:
    for group in look.begun:
        for rank in range(group.replicas):
            fact = look.fact(group, rank)
            if fact is not None:
                yield fact


def _listed(names: list[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def why_failed(failure: Failure) -> str:
    """The first rank that failed, how it ended, and what it said last."""
    where = f"rank {failure.rank} of {failure.group}"
    words = failure.message or failure.reason
    if failure.exit_code is None:
        return f"{where}: {words}"
    signal = _SIGNALS.get(failure.exit_code)
    how = f"was killed by {signal} (exit code {failure.exit_code})" if signal else ""
    ended = f"{where} {how or f'ended with exit code {failure.exit_code}'}"
    return ended if words == f"ExitCode{failure.exit_code}" else f"{ended}: {words}"
