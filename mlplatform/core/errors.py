"""Every error the platform raises on purpose, in one tree.

::

    MlPlatformError
    +-- InvalidInput            the request itself is wrong; nothing ran            (CLI exit 2)
    |   +-- InvalidPipeline     a pipeline document has findings
    |   +-- InvalidParameters   run parameters or run setup have findings
    |   +-- NotFound            a named run, task, artifact or file does not exist
    |   +-- Unsupported         understood, but cannot be done here
    |   +-- CannotCapture       a function reaches what cannot travel (mlplatform.capture)
    +-- TaskFailed              user code failed                                    (CLI exit 1)
    +-- RunFailed               a run ended FAILED                                  (CLI exit 1)
    +-- RunCancelled            a run ended CANCELLED                               (CLI exit 1)
    +-- TrainingFailed          a training job ended Failed                         (CLI exit 1)
    +-- PlanningError           a value or condition of a run could not be resolved
    +-- EnvironmentFailed       an interpreter, package set, image or tool could not be had
    +-- ServiceError            the local service could not be started or reached
    +-- StoreError              the run store refused or lost a write
    +-- ArtifactError           an artifact store refused or lost a transfer
    +-- TrackingError           MLflow refused a request (never fails a run)
    +-- KubernetesError         the API server refused a request or could not be reached (kinds: mlplatform.kube.errors)
    +-- InvalidTransition       a state machine was asked for an edge it lacks (our bug)
    +-- InternalError           anything else that only a bug of ours explains          (CLI exit 70)

Each class has a stable ``code`` (what scripts match on; it never changes meaning) and ``retryable``
(whether trying the same again may work). Validation gathers every finding before it raises.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing wrong with an input.

    ``path`` is the field path in the document as the user wrote it (``components.comp-a.dag.tasks.b``),
    ``hint`` says what to do next; ``code`` is stable.
    """

    path: str
    message: str
    code: str = "invalid"
    hint: str = ""

    def __str__(self) -> str:
        text = f"{self.path}: {self.message}" if self.path else self.message
        return f"{text} ({self.hint})" if self.hint else text

    def to_json(self) -> dict[str, str]:
        return {"path": self.path, "code": self.code, "message": self.message, "hint": self.hint}


class MlPlatformError(Exception):
    """Root of the tree. ``str(error)`` is a full sentence a user can act on."""

    code: ClassVar[str] = "ERROR"
    retryable: ClassVar[bool] = False
    exit_status: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str = "", findings: Iterable[Finding] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.findings: tuple[Finding, ...] = tuple(findings)

    def __str__(self) -> str:
        lines = [self.message]
        lines += [f"  - {finding}" for finding in self.findings]
        if self.hint:
            lines.append(self.hint)
        return "\n".join(lines)

    def _render_traceback_(self) -> list[str]:
        """What IPython shows instead of every frame: the user's own lines, then what happened and what to do."""
        return [*_own_frames(self), f"{type(self).__name__}: {self}"]

    def to_json(self) -> dict[str, Any]:
        return {
            "code": self.code,
            "message": self.message,
            "hint": self.hint,
            "retryable": self.retryable,
            "findings": [finding.to_json() for finding in self.findings],
        }


class InvalidInput(MlPlatformError):
    """The request is wrong: nothing was started."""

    code = "INVALID_INPUT"
    exit_status = 2


class InvalidPipeline(InvalidInput):
    """A pipeline document cannot be run as it is; ``findings`` lists everything that is wrong."""

    code = "INVALID_PIPELINE"


class InvalidParameters(InvalidInput):
    """Run parameters or the run setup do not fit the pipeline's inputs."""

    code = "INVALID_PARAMETERS"


class NotFound(InvalidInput):
    """A run, task, artifact or file named by the user does not exist."""

    code = "NOT_FOUND"


class Unsupported(InvalidInput):
    """The request is understood but cannot be carried out here."""

    code = "UNSUPPORTED"


class TrainingFailed(MlPlatformError):
    """A training job ended Failed; the message is its status' own."""

    code = "TRAINING_FAILED"


class TaskFailed(MlPlatformError):
    """User code failed; ``traceback`` is the user's own, without our frames."""

    code = "TASK_FAILED"

    def __init__(self, message: str, *, task: str = "", traceback: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.task = task
        self.traceback = traceback

    def __str__(self) -> str:
        told = super().__str__()
        return f"{self.traceback.rstrip()}\n\n{told}" if self.traceback else told

    def _render_traceback_(self) -> list[str]:
        return str(self).splitlines()


class RunFailed(MlPlatformError):
    """A run ended FAILED."""

    code = "RUN_FAILED"


class RunCancelled(MlPlatformError):
    """A run ended CANCELLED."""

    code = "RUN_CANCELLED"


class PlanningError(MlPlatformError):
    """A condition, placeholder, loop or input of a running pipeline could not be resolved."""

    code = "UNRESOLVABLE"


class EnvironmentFailed(MlPlatformError):
    """An interpreter, package set, container image or tool that a task needs could not be had."""

    code = "ENVIRONMENT"
    retryable = True


class ServiceError(MlPlatformError):
    """The local service could not be started or reached."""

    code = "SERVICE"
    retryable = True


class StoreError(MlPlatformError):
    """The run store refused a write (disk full, database locked, connection lost)."""

    code = "STORE"
    retryable = True


class ArtifactError(MlPlatformError):
    """An artifact could not be read from or written to its store."""

    code = "ARTIFACT"
    retryable = True


class TrackingError(MlPlatformError):
    """MLflow refused a request. Never fails a run."""

    code = "TRACKING"
    retryable = True


class KubernetesError(MlPlatformError):
    """The Kubernetes API server refused a request or could not be reached; ``reason`` is its own word for why."""

    code = "KUBERNETES"

    def __init__(
        self,
        message: str,
        *,
        status: int = 0,
        reason: str = "",
        retry_after: float = 0.0,
        hint: str = "",
        findings: Iterable[Finding] = (),
    ) -> None:
        super().__init__(message, hint=hint, findings=findings)
        self.status = status
        self.reason = reason
        self.retry_after = retry_after


class InvalidTransition(MlPlatformError):
    """A state machine was asked for an edge that its table lacks: a bug of ours."""

    code = "INVALID_TRANSITION"


class InternalError(MlPlatformError):
    """A bug of ours. Where the details were written stands in the message."""

    code = "INTERNAL"
    exit_status = 70


_OURS = __file__.rpartition("core")[0]
_SHELL = ("/IPython/", "/ipykernel/", "\\IPython\\", "\\ipykernel\\")


def _own_frames(error: MlPlatformError) -> list[str]:
    """The frames of a traceback that are neither the platform's nor the notebook's machinery. A bug keeps them all."""
    import traceback

    bug = isinstance(error, (InternalError, InvalidTransition))
    frames = traceback.extract_tb(error.__traceback__)
    kept = [
        frame
        for frame in frames
        if bug or not (frame.filename.startswith(_OURS) or any(part in frame.filename for part in _SHELL))
    ]
    return "".join(traceback.format_list(kept)).splitlines()


def error_classes() -> Mapping[str, type[MlPlatformError]]:
    """All concrete classes by ``code``, for the generated error reference and for clients.

    The same whatever has been imported: of several classes with one code it is the one of this module (a room's own
    kinds of an error are told as that error), else the one nearest to the root, else the first by name.
    """
    found: dict[str, type[MlPlatformError]] = {}
    queue: list[type[MlPlatformError]] = [MlPlatformError]
    while queue:
        cls = queue.pop()
        queue.extend(cls.__subclasses__())
        if "code" not in vars(cls):  # a subclass without a code of its own is told as its parent
            continue
        known = found.get(cls.code)
        if known is None or _precedence(cls) < _precedence(known):
            found[cls.code] = cls
    return dict(sorted(found.items()))


def _precedence(cls: type[MlPlatformError]) -> tuple[bool, int, str, str]:
    return cls.__module__ != __name__, len(cls.__mro__), cls.__module__, cls.__qualname__
