"""What a run is made of. Plain frozen records; the store keeps them, the API shows them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn

from mlplatform.core.states import RunState, TaskState
from mlplatform.core.values import JsonValue, child


class _Empty(Mapping[str, Any]):
    """A mapping without entries that nobody can change: a default value of dataclass fields, hence hashable."""

    __slots__ = ()

    def __getitem__(self, key: str) -> NoReturn:
        raise KeyError(key)

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Mapping) and not other

    def __hash__(self) -> int:
        return 0

    def __repr__(self) -> str:
        return "{}"

    def __reduce__(self) -> str:
        return "EMPTY"


EMPTY: Final[Mapping[str, Any]] = _Empty()


@dataclass(frozen=True, slots=True, order=True)
class TaskKey:
    """Identifies a task of a run everywhere: ``path`` of task keys from the root, one index per enclosing loop.

    A loop's own record has the path of the loop and one index less than the records inside it; record
    ``(for-loop-1, (3,))`` stands for the fourth iteration as a group.
    """

    path: tuple[str, ...]
    iteration: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        return "/".join(self.path)

    def __str__(self) -> str:
        return self.name + "".join(f"[{index}]" for index in self.iteration)


@dataclass(frozen=True, slots=True)
class Artifact:
    """A stored thing. ``uri`` says where, ``digest`` (``sha256:...``, file or tree) says what; ``type`` is a KFP
    schema title such as ``system.Dataset``. ``size`` is in bytes. A foreign URI that nobody opened has no digest."""

    name: str
    uri: str
    type: str = "system.Artifact"
    metadata: Mapping[str, JsonValue] = EMPTY
    digest: str = ""
    size: int | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "type": self.type,
            "uri": self.uri,
            "metadata": dict(self.metadata),
            "digest": self.digest,
            "size": self.size,
        }

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Artifact:
        return Artifact(
            name=data.get("name", ""),
            uri=data["uri"],
            type=data.get("type") or "system.Artifact",
            metadata=data.get("metadata") or {},
            digest=data.get("digest") or "",
            size=data.get("size"),
        )


#: One artifact, or a list of them where the input or output is a list (they differ: a list of one is a list).
ArtifactValue = Artifact | tuple[Artifact, ...]


@dataclass(frozen=True, slots=True)
class Values:
    """Parameters and artifacts under their names: inputs or outputs of a task, a group or a run."""

    parameters: Mapping[str, JsonValue] = EMPTY
    artifacts: Mapping[str, ArtifactValue] = EMPTY

    def to_json(self) -> dict[str, Any]:
        return {
            "parameters": dict(self.parameters),
            "artifacts": {
                name: value.to_json() if isinstance(value, Artifact) else [item.to_json() for item in value]
                for name, value in self.artifacts.items()
            },
        }

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Values:
        artifacts: dict[str, ArtifactValue] = {}
        for name, value in child(data, "artifacts").items():
            if isinstance(value, list):
                artifacts[name] = tuple(Artifact.from_json(item) for item in value)  # pyright: ignore[reportUnknownVariableType,reportUnknownArgumentType]
            else:
                artifacts[name] = Artifact.from_json(value)
        return Values(parameters=child(data, "parameters"), artifacts=artifacts)


NO_VALUES = Values()


@dataclass(frozen=True, slots=True)
class TaskError:
    """Why a task failed: a stable ``code``, one sentence, and the user's traceback where it was the user's code."""

    code: str
    message: str
    traceback: str = ""
    hint: str = ""

    def to_json(self) -> dict[str, str]:
        return {"code": self.code, "message": self.message, "traceback": self.traceback, "hint": self.hint}

    @staticmethod
    def from_json(data: Mapping[str, Any] | None) -> TaskError | None:
        if not data:
            return None
        return TaskError(
            code=data.get("code", "TASK_FAILED"),
            message=data.get("message", ""),
            traceback=data.get("traceback", ""),
            hint=data.get("hint", ""),
        )


@dataclass(frozen=True, slots=True)
class TaskRecord:
    """Everything known of one task of one run. Times are seconds since the epoch, UTC.

    ``attempt`` is the highest attempt started (0: none), ``failures`` how many of them failed by the user's code
    (an attempt lost with its process is not one). ``is_group``: a sub-pipeline, condition, loop or iteration; its
    state and outputs are derived from the tasks inside it. ``cache_key`` and ``cache_note`` say why it ran or
    was reused.
    """

    key: TaskKey
    state: TaskState
    component: str = ""
    is_group: bool = False
    attempt: int = 0
    failures: int = 0
    inputs: Values = NO_VALUES
    outputs: Values = NO_VALUES
    error: TaskError | None = None
    created_at: float | None = None
    started_at: float | None = None
    finished_at: float | None = None
    retry_at: float | None = None
    cache_key: str = ""
    cached_from: str = ""
    cache_note: str = ""
    mlflow_run_id: str = ""
    waiting_for: str = ""


@dataclass(frozen=True, slots=True)
class AttemptRecord:
    """One attempt of a task: the process that ran it and where its log is. ``boot`` and ``pid_start`` tell a process
    from a later one with the same number."""

    key: TaskKey
    attempt: int
    state: TaskState
    directory: str
    pid: int | None = None
    pid_start: str = ""
    boot: str = ""
    started_at: float | None = None
    finished_at: float | None = None
    error: TaskError | None = None
    exit_code: int | None = None


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One run. ``spec_digest`` names the stored pipeline document; ``context`` is what the submission carried along
    (interpreter, environment digest, working folder, sys.path, options), free of secret values."""

    run_id: str
    name: str
    pipeline: str
    state: RunState
    spec_digest: str
    experiment: str = "Default"
    parameters: Mapping[str, JsonValue] = EMPTY
    artifacts: Mapping[str, ArtifactValue] = EMPTY
    outputs: Values = NO_VALUES
    context: Mapping[str, Any] = EMPTY
    error: TaskError | None = None
    priority: int = 0
    created_at: float = 0.0
    started_at: float | None = None
    finished_at: float | None = None
    cancel_requested_at: float | None = None
    mlflow_run_id: str = ""
    mlflow_experiment_id: str = ""
    tags: Mapping[str, str] = field(default_factory=dict[str, str])
    note: str = ""
    archived: bool = False


@dataclass(frozen=True, slots=True)
class CacheEntry:
    """A reusable result. ``key`` covers component, parameters, input contents and environment; ``trace`` is what the
    task looked at outside its scratch folder (see ``planning.cachekey``), checked again before reuse."""

    key: str
    run_id: str
    task: TaskKey
    outputs: Values
    created_at: float
    identity: str
    parts: Mapping[str, JsonValue] = EMPTY
    trace: tuple[Mapping[str, JsonValue], ...] = ()
    written: tuple[Mapping[str, JsonValue], ...] = ()
