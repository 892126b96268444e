"""What to ask a run store for: a page of runs by anything that can be filtered and sorted by. Plain frozen records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from mlplatform.core.model import EMPTY, RunRecord


class Column(StrEnum):
    """What conditions may look at."""

    RUN_ID = "run_id"
    NAME = "name"
    STATE = "state"
    EXPERIMENT = "experiment"
    PIPELINE = "pipeline"
    CREATED_AT = "created_at"
    STARTED_AT = "started_at"
    FINISHED_AT = "finished_at"
    ARCHIVED = "archived"


class Operator(StrEnum):
    EQUALS = "="
    NOT_EQUALS = "<>"
    GREATER = ">"
    GREATER_EQUAL = ">="
    LESS = "<"
    LESS_EQUAL = "<="
    IN = "IN"
    CONTAINS = "LIKE"


class Sort(StrEnum):
    """``CREATED`` is the order of run ids."""

    CREATED = "created_at"
    FINISHED = "finished_at"
    DURATION = "duration"
    NAME = "name"


@dataclass(frozen=True, slots=True)
class Condition:
    """``column operator value``; for ``IN`` the value is a tuple. Numbers for times and ``archived`` (0 or 1)."""

    column: Column
    operator: Operator
    value: Any


@dataclass(frozen=True, slots=True)
class RunQuery:
    """Everything that is given must hold. ``text``: words that must all appear in the run's id, name, pipeline or
    experiment. ``archived``: None for both. ``after``: (sort value, run id) of the last run of the page before."""

    text: str = ""
    states: tuple[str, ...] = ()
    experiment: str = ""
    pipeline: str = ""
    tags: Mapping[str, str] = EMPTY
    archived: bool | None = False
    where: tuple[Condition, ...] = ()
    sort: Sort = Sort.CREATED
    descending: bool = True
    limit: int = 50
    after: tuple[Any, str] | None = None


@dataclass(frozen=True, slots=True)
class ListedRun:
    """A run in a page. For an unfinished one ``tasks`` and ``done`` count its tasks (no groups), else both are None.
    ``place`` is what :attr:`RunQuery.after` takes to go on behind it."""

    run: RunRecord
    place: tuple[Any, str]
    tasks: int | None = None
    done: int | None = None
