"""PipelineRun: one run of a pipeline, and what became of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

from mlplatform.apis.conditions import Condition
from mlplatform.apis.fields import Rule, anything, told
from mlplatform.core.states import RunState, TaskState

#: Condition types of a PipelineRun.
ACCEPTED: Final = "Accepted"
PROGRESSING: Final = "Progressing"
SUCCEEDED: Final = "Succeeded"

#: Bytes of a document that fit into an object of the API server with room for the rest of it.
MAX_DOCUMENT: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class ArtifactRef:
    """An artifact that exists already."""

    uri: str = told("Where it is: s3://, gs://, http(s)://, or a path of the shared claim.", min_length=1)
    type: str = told("Its type, such as system.Dataset; the pipeline's own declaration by default.", "")
    metadata: Mapping[str, Any] = anything("Its metadata.")
    digest: str = told("Its content, as sha256:..., where it is known.", "")


@dataclass(frozen=True, slots=True)
class EnvVar:
    """A variable for every task of the run."""

    name: str = told("The variable.", pattern="^[A-Za-z_][A-Za-z0-9_.-]*$")
    value: str = told("Its value. It is no place for secrets: use kfp-kubernetes' secrets for those.", "")


@dataclass(frozen=True, slots=True)
class Store:
    """Where the run's artifacts go: an object store, or a claim that every task mounts."""

    RULES: ClassVar = (
        Rule("has(self.uri) != has(self.claimName)", "give one of uri and claimName"),
        Rule("!has(self.subPath) || has(self.claimName)", "subPath belongs to claimName"),
        Rule("!has(self.secretName) || has(self.uri)", "secretName belongs to uri"),
    )

    uri: str = told(
        "The root below which artifacts are kept: s3://bucket/prefix, gs://bucket/prefix.",
        "",
        pattern="^(s3|gs|minio)://.",
    )
    endpoint: str = told("The address of the S3 service, where it is not Amazon's.", "", pattern="^https?://.")
    region: str = told("The region of the bucket.", "")
    secret_name: str = told(
        "A Secret of the namespace whose keys become variables of the launcher (AWS_ACCESS_KEY_ID, "
        "AWS_SECRET_ACCESS_KEY ...). Without it the service account's own rights count.",
        "",
    )
    claim_name: str = told("A PersistentVolumeClaim of the namespace, mounted by every task.", "")
    sub_path: str = told("The folder of the claim below which artifacts are kept.", "")


@dataclass(frozen=True, slots=True)
class Ttl:
    """After how many seconds a finished run is deleted, with everything it owns. Unset: never."""

    after_finished: int | None = told("However it ended.", None, minimum=0)
    after_success: int | None = told("Where it succeeded; counts before afterFinished.", None, minimum=0)
    after_failure: int | None = told("Where it failed or was cancelled; counts before afterFinished.", None, minimum=0)


_SAME: Final = "has(self.{0}) == has(oldSelf.{0}) && (!has(self.{0}) || self.{0} == oldSelf.{0})"


@dataclass(frozen=True, slots=True)
class PipelineRunSpec:
    """What is to be run, with which parameters, and how."""

    RULES: ClassVar = (
        Rule("has(self.document) != has(self.pipelineSpec)", "give one of document and pipelineSpec"),
        Rule("!has(self.platformSpec) || has(self.pipelineSpec)", "platformSpec belongs to pipelineSpec"),
        Rule(_SAME.format("document"), "a run's document cannot be changed: create another run", ".document"),
        Rule(_SAME.format("store"), "a run's store cannot be changed: create another run", ".store"),
        Rule(
            "!has(oldSelf.cancel) || !oldSelf.cancel || (has(self.cancel) && self.cancel) || "
            "(has(self.resume) && (!has(oldSelf.resume) || self.resume > oldSelf.resume))",
            "a run that is being cancelled stays so; to go on, raise resume",
            ".cancel",
        ),
        Rule("!has(oldSelf.resume) || (has(self.resume) && self.resume >= oldSelf.resume)", "resume only grows"),
    )

    document: str = told(
        "The compiled pipeline, as the kfp compiler or `mlplatform compile` wrote it (YAML, with its platforms).",
        "",
        max_length=MAX_DOCUMENT,
    )
    pipeline_spec: Mapping[str, Any] = anything("The pipeline's first document, in place of `document`.")
    platform_spec: Mapping[str, Any] = anything("The pipeline's platforms document, beside `pipelineSpec`.")
    parameters: Mapping[str, Any] = anything("Values of the pipeline's parameters, by name.")
    artifacts: Mapping[str, ArtifactRef] = told("Artifacts that the pipeline takes, by name.", factory=dict)
    display_name: str = told("What people call this run.", "", max_length=256)
    experiment: str = told("The experiment the run belongs to.", "", max_length=256)
    store: Store | None = told("Where artifacts go. Needed where tasks make artifacts.", None)
    env: tuple[EnvVar, ...] = told("Variables for every task.", (), keys=("name",), max_items=500)
    image_pull_secrets: tuple[str, ...] = told("Secrets with the registries' logins.", (), max_items=50)
    service_account_name: str = told("The service account of the tasks' pods.", "", max_length=253)
    run_as_user: int | None = told(
        "The user that tasks run as, unless they say so themselves (1000 by default).",
        None,
        minimum=1,
        maximum=2147483647,
    )
    priority_class_name: str = told("The PriorityClass of the tasks' pods.", "", max_length=253)
    parallelism: int | None = told("How many tasks may run at once. Unset: as many as can.", None, minimum=1)
    cache: bool = told("Whether results of earlier runs may be reused.", True, given=True)
    cancel: bool = told("Set to stop the run. Exit handlers still run.", False)
    resume: int = told("Raise it to go on with a run that failed or was cancelled.", 0, minimum=0)
    active_deadline_seconds: int | None = told("After this time the run fails.", None, minimum=1)
    ttl: Ttl | None = told("When a finished run is deleted.", None)


@dataclass(frozen=True, slots=True)
class FindingStatus:
    """One thing wrong with the run as it was given."""

    path: str = told("The field, as the user wrote it.", "")
    code: str = told("Which kind of thing, for programs.", "")
    message: str = told("What is wrong.", "")
    hint: str = told("What to do.", "")


@dataclass(frozen=True, slots=True)
class ErrorStatus:
    """Why a task or the run failed."""

    code: str = told("Which kind of failure, for programs.", "")
    message: str = told("What happened.", "")
    traceback: str = told("The traceback of the user's own code.", "")
    hint: str = told("What to do.", "")


@dataclass(frozen=True, slots=True)
class TaskStatus:
    """One task that runs in a pod (or would): its state, and what it gave."""

    path: tuple[str, ...] = told("Keys of tasks from the pipeline's root.")
    iteration: tuple[int, ...] = told("One index for each loop around it.", ())
    state: TaskState = told("Its state.", TaskState.PENDING)
    attempt: int = told("Which attempt, from 1.", 0)
    failures: int = told("Attempts that failed by the task's own fault.", 0)
    lost: int = told("Attempts that were lost with their pod or node, in a row.", 0)
    pod: str = told("The pod of the last attempt.", "")
    started_at: str = told("When the last attempt began.", "", time=True)
    finished_at: str = told("When the last attempt ended.", "", time=True)
    waiting_for: str = told("What it waits for, and what to do about it.", "")
    error: ErrorStatus | None = told("Why it failed.", None)
    outputs: Mapping[str, Any] = anything("Parameters and artifacts that it gave.")
    final: bool = told("A failed task that is not tried again.", False)
    image: str = told("The image that it ran in, and its digest.", "")
    cache_key: str = told("Under what later runs find its result. Empty: it is not reused.", "")
    cached_from: str = told("The run and task whose result was reused.", "")
    note: str = told("Why it ran or was reused, or why its result is not kept for reuse.", "")
    training: str = told("The TrainingJob that it is, where several ranks run it.", "")
    checkpoint_step: int | None = told(
        "The newest checkpoint that its training saved; its next attempt goes on from it.", None
    )


@dataclass(frozen=True, slots=True)
class Counts:
    """Tasks of the run by state, as far as they are known by now. Groups are not counted."""

    total: int = told("All that exist by now.", 0)
    waiting: int = told("Wait for others, for a retry or for a pod.", 0)
    running: int = told("Run.", 0)
    succeeded: int = told("Ran and succeeded.", 0)
    cached: int = told("Were answered from the cache.", 0)
    failed: int = told("Failed.", 0)
    skipped: int = told("Were skipped.", 0)
    cancelled: int = told("Were cancelled.", 0)


@dataclass(frozen=True, slots=True)
class PipelineRunStatus:
    """What became of the run. Finished tasks move on to TaskRecords, so this stays small."""

    state: RunState = told("The run's state, derived from its conditions.", RunState.PENDING)
    observed_generation: int = told("The generation of the spec that this speaks of.", 0)
    conditions: tuple[Condition, ...] = told("What is true of the run.", (), keys=("type",))
    progress: str = told("Finished and known tasks, for people.", "")
    started_at: str = told("When the run began.", "", time=True)
    finished_at: str = told("When the run ended.", "", time=True)
    updated_at: str = told("When the status was last written.", "", time=True)
    counts: Counts = told("Tasks by state.", factory=Counts)
    outputs: Mapping[str, Any] = anything("Outputs of the pipeline.")
    error: ErrorStatus | None = told("Why the run failed.", None)
    findings: tuple[FindingStatus, ...] = told("Everything wrong with the run as it was given.", (), max_items=1000)
    tasks: tuple[TaskStatus, ...] = told("Tasks that live, failed or ended a moment ago.", ())
    omitted: int = told("Live tasks beyond those in the list.", 0)
    records: int = told("How many TaskRecords the run has.", 0)
    recorded: int = told("How many tasks these hold.", 0)
    resumed: int = told("The `resume` that has been dealt with.", 0)
    spec_digest: str = told("What of the spec the run was begun with.", "")


@dataclass(frozen=True, slots=True)
class PipelineRun:
    """One run of a pipeline: one pod a task, decided by the same planner as on one machine."""

    name: str
    namespace: str
    uid: str
    generation: int = 1
    created_at: float = 0.0
    deleting: bool = False
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    annotations: Mapping[str, str] = field(default_factory=dict[str, str])
    spec: PipelineRunSpec = field(default_factory=PipelineRunSpec)
    status: PipelineRunStatus = field(default_factory=PipelineRunStatus)
