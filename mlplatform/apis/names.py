"""Names that users, operators and pods share: group, labels, annotations, finalizers."""

from __future__ import annotations

from typing import Final

GROUP: Final = "pipelines.mlplatform.dev"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"

PIPELINE_RUN: Final = "PipelineRun"
RECURRING_RUN: Final = "RecurringRun"
TASK_RECORDS: Final = "TaskRecords"

#: On everything that belongs to a run: the run's name (shortened, where it is too long for a label).
LABEL_RUN: Final = f"{GROUP}/run"
#: On pods: which task, as a hash of its path and iteration.
LABEL_TASK: Final = f"{GROUP}/task"
#: On pods: the attempt, from 1.
LABEL_ATTEMPT: Final = f"{GROUP}/attempt"
#: On runs that a RecurringRun started.
LABEL_RECURRING: Final = f"{GROUP}/recurring-run"
#: On claims that a CreatePVC task made: only these may a DeletePVC task remove.
LABEL_MADE_BY: Final = f"{GROUP}/made-by"
LABEL_MANAGED: Final = "app.kubernetes.io/managed-by"
MANAGER: Final = "mlplatform"

#: On pods, for people: the task's path and iteration as everywhere else.
ANNOTATION_TASK: Final = f"{GROUP}/task-name"
#: On pods, for the controller: ``[[path...], [iteration...]]`` as JSON.
ANNOTATION_KEY: Final = f"{GROUP}/task-key"

#: Keeps a pod until its result is in the run's status.
FINALIZER_RESULT: Final = f"{GROUP}/result"
