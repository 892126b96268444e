"""Conditions: what is true of an object, and since when. Phases are derived from them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mlplatform.apis.fields import told
from mlplatform.apis.times import told_time


@dataclass(frozen=True, slots=True)
class Condition:
    """One thing that is true, false or unknown of an object."""

    type: str = told("What the condition is about, in CamelCase.", max_length=316)
    status: str = told("Whether it is so.", enum=("True", "False", "Unknown"))
    reason: str = told("Why, as one word for programs.", min_length=1, max_length=1024)
    message: str = told("Why, in words for people, and what to do.", "", max_length=32768)
    last_transition_time: str = told("Since when the status is what it is.", "", time=True)
    observed_generation: int = told("The generation of the object that this was found for.", 0, minimum=0)


def with_conditions(
    old: Sequence[Condition], new: Iterable[Condition], now: float, generation: int | None = None
) -> tuple[Condition, ...]:
    """``old`` with the ``new`` ones in place. A condition whose status stays keeps its time. ``generation``: what the
    new ones were found for; None: they say it themselves."""
    table = {condition.type: condition for condition in old}
    for condition in new:
        before = table.get(condition.type)
        same = before is not None and before.status == condition.status
        at = before.last_transition_time if before is not None and same else told_time(now)
        found_for = condition.observed_generation if generation is None else generation
        fresh = Condition(condition.type, condition.status, condition.reason, condition.message, at, found_for)
        table[condition.type] = fresh
    return tuple(table[name] for name in sorted(table))


def condition(conditions: Iterable[Condition], type_: str) -> Condition | None:
    """The condition of this type, if it was ever set."""
    return next((item for item in conditions if item.type == type_), None)
