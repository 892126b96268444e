"""Where the time of a job went. Each second between two looks belongs to the stage that was held at the first."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from mlplatform.planning.training.facts import Goodput, Ledger, Report, Stage

_FIELD: Final = {
    Stage.QUEUED: "queued",
    Stage.RELEASING: "queued",
    Stage.PLACING: "startup",
    Stage.RUNNING: "unsaved",
    Stage.RESTARTING: "restart",
    Stage.SUSPENDING: "restart",
}


def advanced(ledger: Ledger, now: float) -> Ledger:
    """The clocks read at ``now``. A clock that went back adds nothing. Suspended and finished jobs use no time."""
    passed = max(0.0, now - ledger.seen_at)
    name = _FIELD.get(ledger.stage)
    if name is None or not passed:
        return replace(ledger, seen_at=max(now, ledger.seen_at))
    spent = replace(ledger.goodput, **{name: getattr(ledger.goodput, name) + passed})
    return replace(ledger, seen_at=now, goodput=spent)


def saved(ledger: Ledger, report: Report) -> Ledger:
    """A newer checkpoint: what was worked until it was taken is safe."""
    if ledger.void_before is not None and (report.checkpoint_at or 0.0) < ledger.void_before:
        return ledger  # of a claim that was given up
    if report.checkpoint is None or (ledger.checkpoint is not None and report.checkpoint <= ledger.checkpoint):
        return ledger
    spent = ledger.goodput
    worked_until = ledger.seen_at if ledger.stage is Stage.RUNNING else ledger.since
    after = 0.0
    if report.checkpoint_at is not None:
        after = min(spent.unsaved, max(0.0, worked_until - report.checkpoint_at))
    kept = replace(spent, productive=spent.productive + spent.unsaved - after, unsaved=after)
    return replace(
        ledger,
        goodput=kept,
        checkpoint=report.checkpoint,
        checkpoint_at=report.checkpoint_at,
        checkpoint_uri=report.checkpoint_uri,
    )


def lost(spent: Goodput) -> Goodput:
    """What was not saved is lost."""
    return replace(spent, lost=spent.lost + spent.unsaved, unsaved=0.0)


def undone(spent: Goodput) -> Goodput:
    """Nothing of what was saved is left."""
    return replace(spent, lost=spent.lost + spent.productive + spent.unsaved, productive=0.0, unsaved=0.0)


def kept(spent: Goodput) -> Goodput:
    """The job ended well: everything counts."""
    return replace(spent, productive=spent.productive + spent.unsaved, unsaved=0.0)
