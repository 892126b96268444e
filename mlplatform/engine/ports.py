"""What the engine needs from outside, as protocols. ``sdk.local`` composes the real ones; tests pass fakes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from mlplatform.core.model import (
    Artifact,
    AttemptRecord,
    CacheEntry,
    RunRecord,
    TaskKey,
    TaskRecord,
    Values,
)
from mlplatform.core.records import Batch, Event
from mlplatform.core.states import RunState
from mlplatform.core.values import JsonValue


# ------------------------------------------------------------------ store
class RunStore(Protocol):
    """The run store. Every method may raise ``StoreError``; none loses an acknowledged write."""

    def create_run(self, run: RunRecord, document: bytes) -> None: ...
    def get_run(self, run_id: str) -> RunRecord:
        """Raises NotFound."""
        ...

    def find_run(self, reference: str) -> RunRecord:
        """By id, unique id prefix, name (newest wins) or the word ``latest``. Raises NotFound."""
        ...

    def list_runs(
        self,
        *,
        states: Iterable[RunState] = (),
        experiment: str = "",
        pipeline: str = "",
        limit: int = 50,
        before: str = "",
    ) -> list[RunRecord]:
        """Newest first; ``before``: only runs older than this run id (paging)."""
        ...

    def document(self, digest: str) -> bytes: ...
    def apply(self, batch: Batch) -> None:
        """All or nothing; again is the same. The run's tags and note stay as they are (see ``annotate``). Raises
        NotFound if the run does not exist (any more)."""
        ...

    def tasks(self, run_id: str) -> list[TaskRecord]: ...
    def attempts(self, run_id: str, key: TaskKey | None = None) -> list[AttemptRecord]: ...
    def events(self, *, after: int = 0, run_id: str = "", limit: int = 1000) -> list[Event]: ...
    def cache_candidates(self, key: str, limit: int = 20) -> list[CacheEntry]:
        """Entries with exactly this key, newest first."""
        ...

    def cache_similar(self, identity: str, limit: int = 1) -> list[CacheEntry]:
        """Newest entries of the same task identity whatever their key: what ``why`` compares with."""
        ...

    def clear_cache(self, *, run_id: str = "", identity: str = "") -> int: ...
    def delete_run(self, run_id: str) -> None: ...
    def annotate(self, run_id: str, *, tags: Mapping[str, str] | None = None, note: str | None = None) -> None:
        """Change tags (an empty value removes one) and the note of a run. Raises NotFound."""
        ...

    def artifact_links(self, *, uri: str = "", digest: str = "", run_id: str = "") -> Sequence[Any]:
        """Who made and who uses artifacts: those that fit everything that is given."""
        ...

    def expired(self, older_than: float) -> list[str]:
        """Finished runs that ended before this time, oldest first."""
        ...

    def close(self) -> None: ...


# ------------------------------------------------------------------ artifacts
class ArtifactStore(Protocol):
    """Stores by URI scheme behind one door. Paths are local."""

    def is_local(self, uri: str) -> bool:
        """True for plain paths and ``file://``."""
        ...

    def local_path(self, uri: str) -> Path:
        """Raises ArtifactError for a URI that is not local."""
        ...

    def fetch(self, uri: str, to: Path) -> Path:
        """Copy the file or tree at ``uri`` to local ``to``; returns ``to``. Raises ArtifactError."""
        ...

    def put(self, source: Path, uri: str) -> None:
        """Copy a local file or tree to ``uri``, atomically where the store can. Raises ArtifactError."""
        ...

    def digest(self, uri: str) -> tuple[str, int]:
        """(``sha256:...`` of a file or tree, size in bytes). Raises ArtifactError."""
        ...

    def exists(self, uri: str) -> bool: ...
    def remove(self, uri: str) -> None: ...


# ------------------------------------------------------------------ tracking
@dataclass(frozen=True, slots=True)
class TrackingEnvironment:
    """What a task needs to log: environment variables (no long-lived secret) and a Python hook file to load."""

    env: Mapping[str, str]
    hook: Path | None = None


class TaskVariables(Protocol):
    """What :class:`TrackingEnvironment` has; a tracker may bring a class of its own."""

    @property
    def env(self) -> Mapping[str, str]: ...
    @property
    def hook(self) -> Path | None: ...


class Tracker(Protocol):
    """The only way to MLflow. No method blocks on MLflow and none raises because MLflow is down: each writes to a
    durable queue and returns."""

    def run_started(self, run: RunRecord) -> str:
        """Queue the creation of the run's parent MLflow run; returns its stable reserved id. Idempotent."""
        ...

    def task_environment(self, run: RunRecord, key: TaskKey, attempt: int) -> TaskVariables: ...
    def rank_environment(self, run: RunRecord) -> Mapping[str, str]:
        """For the ranks of a training job, which log into the run itself."""
        ...

    def keep_files(self, run: RunRecord, files: Mapping[str, bytes]) -> None:
        """Queue small files as artifacts of the run, by their paths in it. Idempotent."""
        ...

    def task_finished(self, run: RunRecord, task: TaskRecord) -> str:
        """Queue metrics, models, datasets and the final state; returns the task's reserved MLflow id or ''."""
        ...

    def run_finished(self, run: RunRecord) -> None: ...
    def ui_url(self, run: RunRecord) -> str: ...
    def close(self) -> None: ...


# ------------------------------------------------------------------ executors
@dataclass(frozen=True, slots=True)
class Interpreter:
    """A user's Python. ``digest`` changes when its installed packages change."""

    executable: str
    digest: str
    version: str
    sys_path: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Launch:
    """One attempt, ready to start. ``spec`` is the launcher's task spec (see launcher/spec.md), already written to
    ``directory``/spec.json. ``kind`` picks the executor: python, command, container."""

    run_id: str
    key: TaskKey
    attempt: int
    kind: str
    directory: Path
    spec: Mapping[str, Any]
    interpreter: Interpreter | None = None
    image: str = ""
    resources: Mapping[str, float] = None  # type: ignore[assignment]
    grace: float = 10.0


@dataclass(frozen=True, slots=True)
class Exit:
    """How an attempt's process ended. The result itself is in ``directory``/result.json (absent: it died)."""

    exit_code: int | None
    signal: int | None = None
    lost: bool = False
    reason: str = ""


class Running(Protocol):
    """A started attempt."""

    @property
    def pid(self) -> int | None: ...
    @property
    def pid_start(self) -> str: ...
    async def wait(self) -> Exit:
        """Until the whole process tree of the attempt is gone. May be awaited once."""
        ...

    async def cancel(self, grace: float) -> None:
        """SIGTERM to the tree, SIGKILL after ``grace`` seconds to whatever is left of it. Idempotent."""
        ...


class Executor(Protocol):
    async def start(self, launch: Launch) -> Running:
        """Raises EnvironmentFailed if the attempt could not be started."""
        ...

    def adopt(self, pid: int, pid_start: str, directory: Path) -> Running | None:
        """A handle on an attempt that an earlier service started, or None if its process is not there any more."""
        ...

    async def close(self) -> None: ...


class Pruned(Protocol):
    """What pruning removed: the environments' names, and their bytes."""

    @property
    def environments(self) -> Sequence[str]: ...
    @property
    def bytes(self) -> int: ...


class Environments(Protocol):
    """Interpreters for tasks."""

    async def interpreter(
        self, base: Interpreter, requirements: Sequence[str], options: Mapping[str, Any]
    ) -> Interpreter:
        """``base`` itself if nothing is asked, else a cached environment holding ``requirements``. Raises
        EnvironmentFailed with the installer's own words."""
        ...

    def prune(self, older_than: float) -> Pruned:
        """Remove cached environments nobody used for ``older_than`` seconds."""
        ...

    async def kfp_runtime(self, base: Interpreter, version: str) -> str:
        """A folder to put on sys.path so that ``import kfp`` gives this version's runtime. Raises EnvironmentFailed."""
        ...


__all__ = [
    "Artifact",
    "ArtifactStore",
    "Batch",
    "Environments",
    "Event",
    "Executor",
    "Exit",
    "Interpreter",
    "JsonValue",
    "Launch",
    "RunStore",
    "Running",
    "Tracker",
    "TrackingEnvironment",
    "Values",
]
