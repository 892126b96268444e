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

#: On pods: under what the result is found again, and why the task runs.
ANNOTATION_CACHE_KEY: Final = f"{GROUP}/cache-key"
ANNOTATION_WHY: Final = f"{GROUP}/why"

#: On runs of a RecurringRun: the moment they were made for.
ANNOTATION_TICK: Final = f"{GROUP}/tick"

#: Keeps a pod until its result is in the run's status.
FINALIZER_RESULT: Final = f"{GROUP}/result"

TRAINING_GROUP: Final = "training.mlplatform.dev"
TRAINING_API_VERSION: Final = f"{TRAINING_GROUP}/{VERSION}"
TRAINING_JOB: Final = "TrainingJob"
#: Who looks after a TrainingJob unless it says otherwise.
TRAINING_CONTROLLER: Final = f"{TRAINING_GROUP}/controller"

#: What the tokens are made for with which ranks report progress. They open nothing else.
PROGRESS_AUDIENCE: Final = f"progress.{TRAINING_GROUP}"

#: On everything of a training job: its name. On its pods: group, rank and attempt (a number, from 1).
LABEL_JOB: Final = f"{TRAINING_GROUP}/job"
#: On its pods, as jobs of several namespaces may be called the same.
LABEL_JOB_UID: Final = f"{TRAINING_GROUP}/job-uid"
LABEL_GROUP: Final = f"{TRAINING_GROUP}/group"
LABEL_RANK: Final = f"{TRAINING_GROUP}/rank"
LABEL_JOB_ATTEMPT: Final = f"{TRAINING_GROUP}/attempt"

#: On a training job that goes on where another one of its name was: the step of the checkpoint that there is.
ANNOTATION_RESUME: Final = f"{TRAINING_GROUP}/resume-from"
#: On a training job: its claims that may be given up where they keep a rank on a node that it should leave, or that is
#: gone: names with commas, or ``all``. What they hold is lost to the job.
ANNOTATION_GIVE_UP: Final = f"{TRAINING_GROUP}/give-up"

#: Keeps a rank's pod until what became of it is in the job's status.
FINALIZER_RANK: Final = f"{TRAINING_GROUP}/rank-result"
