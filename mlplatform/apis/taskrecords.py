"""TaskRecords: finished tasks of a run, written once. A run's status stays small because these hold the rest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

from mlplatform.apis.fields import Rule, told
from mlplatform.apis.pipelinerun import TaskStatus

#: Tasks in one object.
MAX_TASKS: Final = 200


@dataclass(frozen=True, slots=True)
class TaskRecordsSpec:
    """Some finished tasks of one run. A task that a later object names again was resumed in between."""

    RULES: ClassVar = (Rule("self == oldSelf", "finished tasks are written once"),)

    run: str = told("The PipelineRun.", max_length=253)
    index: int = told("The place of this object among those of the run, from 0.", minimum=0)
    tasks: tuple[TaskStatus, ...] = told("The tasks.", (), max_items=MAX_TASKS)
