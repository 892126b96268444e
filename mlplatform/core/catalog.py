"""What people keep besides runs: experiments, pipelines with their versions, recurring runs. Plain frozen records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mlplatform.core.model import EMPTY
from mlplatform.core.values import JsonValue

#: Tags that say where a run came from. People's own tags never begin with this prefix.
SYSTEM_TAG = "mlplatform/"
PIPELINE_TAG = SYSTEM_TAG + "pipeline-id"
VERSION_TAG = SYSTEM_TAG + "version-id"
RECURRING_TAG = SYSTEM_TAG + "recurring-run-id"
TICK_TAG = SYSTEM_TAG + "scheduled-for"
RERUN_TAG = SYSTEM_TAG + "rerun-of"

#: A pipeline's, version's, experiment's or recurring run's name may be this long (characters).
NAME_LIMIT = 200


@dataclass(frozen=True, slots=True)
class Experiment:
    """A place for runs. Runs name it; its id is for the API. ``last_run_at``: creation of its newest run, or None."""

    experiment_id: str
    name: str
    created_at: float
    description: str = ""
    archived: bool = False
    last_run_at: float | None = None


@dataclass(frozen=True, slots=True)
class RegisteredPipeline:
    """A pipeline somebody uploaded. ``name`` is unique in a store. ``versions``: how many it has."""

    pipeline_id: str
    name: str
    created_at: float
    display_name: str = ""
    description: str = ""
    versions: int = 0
    tags: Mapping[str, str] = EMPTY


@dataclass(frozen=True, slots=True)
class PipelineVersion:
    """One uploaded document of a pipeline. ``document`` is the digest it is stored under; ``name`` is unique within
    the pipeline."""

    version_id: str
    pipeline_id: str
    name: str
    created_at: float
    document: str
    display_name: str = ""
    description: str = ""
    code_source_url: str = ""
    tags: Mapping[str, str] = EMPTY


@dataclass(frozen=True, slots=True)
class Trigger:
    """When a recurring run is due: by ``cron`` (five fields, or six beginning with seconds) in ``timezone``, or every
    ``interval`` seconds counted from ``start`` (or from its creation). Nothing is due before ``start`` or from
    ``end`` on. Times are seconds since the epoch, UTC."""

    cron: str = ""
    interval: float = 0.0
    timezone: str = "UTC"
    start: float | None = None
    end: float | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "cron": self.cron,
            "interval": self.interval,
            "timezone": self.timezone,
            "start": self.start,
            "end": self.end,
        }

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Trigger:
        return Trigger(
            cron=data.get("cron") or "",
            interval=float(data.get("interval") or 0.0),
            timezone=data.get("timezone") or "UTC",
            start=data.get("start"),
            end=data.get("end"),
        )


@dataclass(frozen=True, slots=True)
class RecurringRun:
    """Runs that are made by the clock.

    It runs version ``version_id`` of ``pipeline_id``; without a version the newest one at each tick; without a pipeline
    the stored ``document``. ``ticked_at``: every tick up to this time has been dealt with. ``catchup``: ticks that were
    missed are made up for; without it only the latest of them is. ``trouble``: why the last tick made no run.
    """

    recurring_id: str
    name: str
    trigger: Trigger
    created_at: float
    updated_at: float
    ticked_at: float
    description: str = ""
    experiment: str = "Default"
    enabled: bool = True
    catchup: bool = True
    max_concurrency: int = 1
    pipeline_id: str = ""
    version_id: str = ""
    document: str = ""
    parameters: Mapping[str, JsonValue] = EMPTY
    options: Mapping[str, JsonValue] = EMPTY
    trouble: str = ""
