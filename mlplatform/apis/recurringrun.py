"""RecurringRun: a pipeline that is run again and again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from mlplatform.apis.conditions import Condition
from mlplatform.apis.fields import Rule, told
from mlplatform.apis.pipelinerun import PipelineRunSpec


@dataclass(frozen=True, slots=True)
class RunTemplate:
    """The runs that are made."""

    spec: PipelineRunSpec = told("The spec of each run.")
    labels: Mapping[str, str] = told("Labels of each run.", factory=dict)
    annotations: Mapping[str, str] = told("Annotations of each run.", factory=dict)


@dataclass(frozen=True, slots=True)
class RecurringRunSpec:
    """When, and what."""

    RULES: ClassVar = (
        Rule("has(self.schedule) != has(self.intervalSeconds)", "give one of schedule and intervalSeconds"),
        Rule(
            "!has(self.start) || !has(self.end) || timestamp(self.start) < timestamp(self.end)",
            "end is not after start",
        ),
    )

    template: RunTemplate = told("The runs that are made.")
    schedule: str = told("A cron expression: five fields, or six beginning with seconds.", "", max_length=200)
    timezone: str = told("The zone of the schedule, such as Europe/Berlin; UTC by default.", "", max_length=64)
    interval_seconds: int | None = told("Seconds from one run to the next.", None, minimum=1, maximum=31622400)
    start: str = told("Nothing is run before.", "", time=True)
    end: str = told("Nothing is run after.", "", time=True)
    suspend: bool = told("Whether it rests.", False)
    catchup: bool = told("Whether runs that were missed are made up for.", False)
    max_concurrency: int = told("How many of its runs may be unfinished at once.", 1, minimum=1, maximum=10, given=True)
    successful_runs_history_limit: int = told("How many succeeded runs are kept.", 10, minimum=0, given=True)
    failed_runs_history_limit: int = told("How many failed runs are kept.", 10, minimum=0, given=True)


@dataclass(frozen=True, slots=True)
class RecurringRunStatus:
    """What became of it."""

    observed_generation: int = told("The generation of the spec that this speaks of.", 0)
    conditions: tuple[Condition, ...] = told("What is true of it.", (), keys=("type",))
    ticked_at: str = told("The last moment that was dealt with.", "", time=True)
    next_at: str = told("The next moment.", "", time=True)
    active: tuple[str, ...] = told("Its unfinished runs.", ())
    last_run: str = told("The last run it made.", "")


@dataclass(frozen=True, slots=True)
class RecurringRun:
    """A pipeline that is run again and again."""

    name: str
    namespace: str
    uid: str
    spec: RecurringRunSpec
    generation: int = 1
    created_at: float = 0.0
    deleting: bool = False
    status: RecurringRunStatus = field(default_factory=RecurringRunStatus)
