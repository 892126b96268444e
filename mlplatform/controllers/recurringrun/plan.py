"""What is due of a recurring run. Pure: the ticks are ``planning.recurring``'s, as on one machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from mlplatform.apis.codec import encode
from mlplatform.apis.conditions import Condition, condition, with_conditions
from mlplatform.apis.names import ANNOTATION_TICK, API_VERSION, LABEL_MANAGED, LABEL_RECURRING, MANAGER, PIPELINE_RUN
from mlplatform.apis.pipelinerun import PipelineRun
from mlplatform.apis.recurringrun import RecurringRun, RecurringRunStatus
from mlplatform.apis.times import read_time, told_time
from mlplatform.controllers.framework.model import Delete, EventNote, Plan, Ref
from mlplatform.core.catalog import RecurringRun as Entry
from mlplatform.core.catalog import Trigger
from mlplatform.core.errors import Finding
from mlplatform.core.states import RunState
from mlplatform.kube.objects import Key, Object
from mlplatform.kube.ours import PIPELINE_RUNS
from mlplatform.planning.recurring import check, decide
from mlplatform.render.names import run_label, shortened

ACCEPTED = "Accepted"
SCHEDULED = "Scheduled"


@dataclass(frozen=True, slots=True)
class Observed:
    """``runs``: those it has made and that are still there. ``findings``: what is wrong with the object itself."""

    recurring: RecurringRun | None
    runs: tuple[PipelineRun, ...] = ()
    findings: tuple[Finding, ...] = ()


def trigger_of(recurring: RecurringRun) -> Trigger:
    spec = recurring.spec
    return Trigger(
        cron=spec.schedule,
        interval=float(spec.interval_seconds or 0),
        timezone=spec.timezone or "UTC",
        start=read_time(spec.start),
        end=read_time(spec.end),
    )


def run_name(recurring: str, tick: float) -> str:
    """The name of a tick's run: made twice, it is one."""
    moment = datetime.fromtimestamp(tick, UTC)
    return f"{shortened(recurring, 180)}-{moment:%Y%m%d-%H%M%S}"


def plan_recurring(observed: Observed, now: float, refused: Mapping[str, str] | None = None) -> Plan:
    """What is to be written. ``refused``: runs that the API server did not take, by name, and why."""
    recurring = observed.recurring
    if recurring is None or recurring.deleting:
        return Plan()
    findings = (*observed.findings, *check(trigger_of(recurring)))
    if findings:
        return Plan(status=_rejected(recurring, findings, now))
    entry = Entry(
        recurring_id=recurring.uid,
        name=recurring.name,
        trigger=trigger_of(recurring),
        created_at=recurring.created_at,
        updated_at=recurring.created_at,
        ticked_at=_ticked_at(recurring, observed.runs),
        enabled=not recurring.spec.suspend,
        catchup=recurring.spec.catchup,
        max_concurrency=recurring.spec.max_concurrency,
    )
    living = [run for run in observed.runs if not run.status.state.finished and not run.deleting]
    due = decide(entry, now, len(living))
    names = [run_name(recurring.name, tick) for tick in due.ticks]
    there = {run.name for run in observed.runs}
    made = [_run(recurring, tick) for tick, name in zip(due.ticks, names, strict=True) if name not in there]
    trouble = [f"{name}: {text}" for name, text in (refused or {}).items()]
    status = replace(
        recurring.status,
        observed_generation=recurring.generation,
        conditions=with_conditions(
            recurring.status.conditions, _conditions(recurring, due.held, trouble, anew=bool(names)), now
        ),
        ticked_at=told_time(due.ticked_at),
        next_at=told_time(due.next_at),
        active=tuple(sorted({*(run.name for run in living), *(name for name in names if name not in (refused or {}))})),
        last_run=names[-1] if names else recurring.status.last_run,
    )
    return Plan(
        create=made,
        status=encode(status),
        delete=_surplus(recurring, observed.runs),
        requeue_after=None if due.next_at is None else max(0.5, due.next_at - now),
        events=[EventNote("Started", f"run {name}") for name in names if name not in there],
    )


def _ticked_at(recurring: RecurringRun, runs: tuple[PipelineRun, ...]) -> float:
    """Up to when ticks have been dealt with: what was noted, or a run that was made and not noted any more."""
    ticks = [read_time(run.annotations.get(ANNOTATION_TICK)) for run in runs]
    known = [
        read_time(recurring.status.ticked_at) or recurring.created_at,
        *(tick for tick in ticks if tick is not None),
    ]
    return max(known)


def _run(recurring: RecurringRun, tick: float) -> Object:
    template = recurring.spec.template
    metadata: dict[str, Any] = {
        "name": run_name(recurring.name, tick),
        "namespace": recurring.namespace,
        "labels": {**template.labels, LABEL_MANAGED: MANAGER, LABEL_RECURRING: run_label(recurring.name)},
        "annotations": {**template.annotations, ANNOTATION_TICK: told_time(tick)},
    }
    return {"apiVersion": API_VERSION, "kind": PIPELINE_RUN, "metadata": metadata, "spec": encode(template.spec)}


def _surplus(recurring: RecurringRun, runs: tuple[PipelineRun, ...]) -> list[Delete]:
    """Finished runs beyond those that are kept, the oldest first."""
    done = sorted((run for run in runs if run.status.state.finished and not run.deleting), key=_age)
    good = [run for run in done if run.status.state is RunState.SUCCEEDED]
    bad = [run for run in done if run.status.state is not RunState.SUCCEEDED]
    spec = recurring.spec
    gone = good[: max(0, len(good) - spec.successful_runs_history_limit)]
    gone += bad[: max(0, len(bad) - spec.failed_runs_history_limit)]
    return [Delete(Ref(PIPELINE_RUNS, Key(run.namespace, run.name), run.uid)) for run in gone]


def _age(run: PipelineRun) -> tuple[float, str]:
    return read_time(run.status.finished_at) or 0.0, run.name


def _conditions(recurring: RecurringRun, held: bool, trouble: list[str], *, anew: bool) -> list[Condition]:
    generation = recurring.generation
    before = condition(recurring.status.conditions, SCHEDULED)
    accepted = Condition(ACCEPTED, "True", "Valid", observed_generation=generation)
    if trouble:
        text = "; ".join(trouble)[:2000]
        return [accepted, Condition(SCHEDULED, "False", "Refused", text, observed_generation=generation)]
    if recurring.spec.suspend:
        return [accepted, Condition(SCHEDULED, "False", "Suspended", "it rests", observed_generation=generation)]
    if before is not None and before.reason == "Refused" and not anew:
        return [accepted, replace(before, observed_generation=generation)]  # until the next tick
    if held:
        text = "more is due, and waits until enough of its runs have ended (maxConcurrency)"
        return [accepted, Condition(SCHEDULED, "True", "Waiting", text, observed_generation=generation)]
    return [accepted, Condition(SCHEDULED, "True", "Scheduled", observed_generation=generation)]


def _rejected(recurring: RecurringRun, findings: tuple[Finding, ...], now: float) -> dict[str, Any]:
    text = "\n".join(map(str, findings))[:30_000]
    generation = recurring.generation
    conditions = [
        Condition(ACCEPTED, "False", "Invalid", text, observed_generation=generation),
        Condition(SCHEDULED, "False", "Invalid", "nothing is started", observed_generation=generation),
    ]
    status = RecurringRunStatus(
        observed_generation=generation,
        conditions=with_conditions(recurring.status.conditions, conditions, now),
        ticked_at=recurring.status.ticked_at,
        last_run=recurring.status.last_run,
    )
    return encode(status)
