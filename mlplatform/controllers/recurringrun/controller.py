"""The RecurringRun controller: what it watches and what it sees."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from mlplatform.apis.names import LABEL_RECURRING
from mlplatform.apis.objects import pipeline_run, recurring_run
from mlplatform.apis.pipelinerun import PipelineRun
from mlplatform.controllers.framework.model import Caches, Owned, Plan, Refusal
from mlplatform.controllers.recurringrun.plan import Observed, plan_recurring
from mlplatform.core.errors import InvalidInput
from mlplatform.kube.objects import Key, Object, Resource, metadata
from mlplatform.kube.ours import PIPELINE_RUNS, RECURRING_RUNS


class RecurringRuns:
    """Makes PipelineRuns by the clock."""

    name = "recurringrun"
    resource: Resource = RECURRING_RUNS
    finalizer = ""
    owned: Iterable[Owned] = (Owned(PIPELINE_RUNS, selector=LABEL_RECURRING),)

    def observe(self, caches: Caches, key: Key) -> Observed | None:
        body = caches.get(RECURRING_RUNS, key)
        if body is None:
            return None
        try:
            recurring = recurring_run(body)
        except InvalidInput:
            return Observed(None)  # the schema keeps such objects out; nothing can be told of one
        runs = [run for run in map(_read, caches.owned_by(PIPELINE_RUNS, body)) if run is not None]
        return Observed(recurring, tuple(runs))

    def plan(self, observed: Observed, now: float) -> Plan:
        return plan_recurring(observed, now)

    def refused(self, observed: Observed, now: float, refusals: Sequence[Refusal]) -> Plan:
        told = {str(metadata(item.body).get("name")): item.error.message for item in refusals}
        plan = plan_recurring(observed, now, told)
        return replace(plan, events=())


def _read(body: Object) -> PipelineRun | None:
    try:
        return pipeline_run(body)
    except InvalidInput:
        return None
