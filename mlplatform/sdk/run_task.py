"""One task of a run, as a user asks about it: ``run.task("train")``."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mlplatform.core.errors import InvalidInput, NotFound, RunCancelled, TaskFailed
from mlplatform.core.model import AttemptRecord, TaskRecord
from mlplatform.core.states import RunState, TaskState
from mlplatform.engine.why import sentence
from mlplatform.sdk.records import log_file
from mlplatform.sdk.run_failures import task_failure
from mlplatform.sdk.run_reading import Place, Records, read_records
from mlplatform.sdk.run_values import StoredArtifact, ValueMap

if TYPE_CHECKING:
    from mlplatform.sdk.replay import Replay
    from mlplatform.sdk.run import Run
    from mlplatform.sdk.training.run import TrainingRun


#: Seconds that the job of a task which has begun may take to be there.
_COMING: Final = 10.0


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try of a task. ``duration`` in seconds, None while it has not begun or not ended."""

    number: int
    state: TaskState
    duration: float | None
    error: str
    log_file: Path

    @property
    def log(self) -> str:
        """What it printed, as far as it came."""
        return read_log(self.log_file)

    def __repr__(self) -> str:
        error = f": {self.error}" if self.error else ""
        return f"<attempt {self.number} {self.state.lower()}{error}>"


class Log(str):
    """A task's output as text; shown line by line instead of in quotes."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


class Task:
    """A task of a run, begun or not. ``iteration`` is empty outside loops, or where all iterations are meant."""

    def __init__(self, run: Run, place: Place, iteration: tuple[int, ...]) -> None:
        self.run = run
        self.path = place.path
        self.iteration = iteration
        self._place = place

    @property
    def name(self) -> str:
        """``for-loop-1/train[3]``: what commands call it."""
        return "/".join(self.path) + "".join(f"[{index}]" for index in self.iteration)

    # ------------------------------------------------------------------ without waiting
    @property
    def record(self) -> TaskRecord | None:
        """Everything known of it now; None while it has not come up.

        Raises:
            InvalidInput: it is in a loop, has several records, and no iteration was named.
        """
        return self._record(self._read())

    @property
    def state(self) -> TaskState:
        """What it is doing now."""
        record = self.record
        return TaskState.PENDING if record is None else record.state

    @property
    def duration(self) -> float | None:
        """Seconds its last attempt took; None if it has not ended or was reused."""
        record = self.record
        if record is None or record.state is TaskState.CACHED or not record.state.finished:
            return None
        if record.started_at is None or record.finished_at is None:
            return None
        return record.finished_at - record.started_at

    def why(self) -> str:
        """Why it ran, was reused, waits, was skipped or failed: one sentence."""
        record = self.record
        return "waits for the tasks before it" if record is None else sentence(record)

    @property
    def attempts(self) -> list[Attempt]:
        """Its tries so far, each with its own log; none where its result was reused."""
        records = self._read()
        record = self._record(records)
        own = [found for found in records.attempts if record is not None and found.key == record.key]
        for found in own:
            self.run.client.bring_log(records.run, found)
        return [_attempt(found) for found in own]

    @property
    def training(self) -> TrainingRun | None:
        """The training job that it is, of a component made with ``ml.training``: its ranks, progress, logs by rank.
        None: it is none, has not begun, or its result was reused. A job that is just being made (or made anew, for
        another try) is waited for, some seconds."""
        from mlplatform.sdk.training.backends import of_task

        end = time.monotonic() + _COMING
        while True:
            record = self.record
            if record is None:
                return None
            found = of_task(self._read().run, record.key, self.run.client.home)
            if found is not None or not self._place.trains or record.state is not TaskState.RUNNING:
                return found
            if time.monotonic() > end:
                return None
            time.sleep(0.2)

    def tail(self, lines: int = 20) -> Log:
        """The last lines of its output so far, without waiting."""
        attempts = self.attempts
        return Log("\n".join(attempts[-1].log.splitlines()[-lines:])) if attempts else Log()

    # ------------------------------------------------------------------ waiting
    def wait(self, timeout: float | None = None) -> Task:
        """Wait until it has ended, however it did. Ctrl-C stops the waiting, not the run.

        Raises:
            TimeoutError: it has not ended after ``timeout`` seconds.
        """
        self.run.wait_for(self._ended, f"task {self.name}", timeout)
        return self

    @property
    def outputs(self) -> ValueMap:
        """What it gave; waits for it.

        Raises:
            TaskFailed: it failed, with the user's traceback.
            RunCancelled: the run was cancelled before it could end.
            InvalidInput: it was skipped, or never came up.
        """
        return ValueMap(self._succeeded().outputs, f"The outputs of task {self.name}")

    @property
    def inputs(self) -> ValueMap:
        """What it was given; waits until its inputs are there.

        Raises:
            InvalidInput: it never came up.
        """
        self.wait_for_inputs()
        record = self.record
        if record is None:
            raise self._never()
        return ValueMap(record.inputs, f"The inputs of task {self.name}")

    def wait_for_inputs(self) -> None:
        """Wait until it has begun, or never will."""
        self.run.wait_for(self._begun, f"the inputs of task {self.name}", None)

    def artifact(self, name: str) -> StoredArtifact:
        """One of its output artifacts (or, where no output has that name, of its input artifacts); waits for it.

        Raises:
            NotFound: it has no such artifact.
            TaskFailed: it failed, and has no outputs.
        """
        record = self._succeeded()
        for values in (record.outputs, record.inputs):
            found = ValueMap(values, "").get(name) if name in values.artifacts else None
            if isinstance(found, StoredArtifact):
                return found
            if isinstance(found, list):
                raise InvalidInput(
                    f"{name!r} of task {self.name} is a list of artifacts",
                    hint=f"run.task({self.name!r}).outputs[{name!r}] has them all.",
                )
        known = ", ".join({**record.outputs.artifacts, **record.inputs.artifacts}) or "none"
        hint = f"Artifacts: {known}."
        if name in record.outputs.parameters:
            hint += f" {name!r} is a value: .outputs[{name!r}]"
        raise NotFound(f"task {self.name} has no artifact {name!r}", hint=hint)

    @property
    def log(self) -> Log:
        """What its last attempt printed; waits until it has ended. Where the result was reused: what was printed then.

        See :meth:`tail` for what there is meanwhile, :attr:`attempts` for earlier tries.
        """
        self.wait()
        attempts = self.attempts
        if attempts:
            return Log(attempts[-1].log)
        record = self.record
        if record is not None and record.cached_from:
            return Log(self._first_log(record.cached_from))
        return Log()

    @property
    def iterations(self) -> list[Task]:
        """Of a task in a loop: one task for each iteration, in order; waits until all of them have ended.

        >>> [task.outputs["Output"] for task in run.task("train").iterations]  # doctest: +SKIP
        """
        self.run.wait_for(self._loop_ended, f"all iterations of {self.name}", None)
        found = [record for record in self._read().tasks if self._is_mine(record) and not record.is_group]
        keys = sorted(record.key.iteration for record in found)
        return [Task(self.run, self._place, iteration) for iteration in keys]

    def replay(self, *, into_namespace: bool = True) -> Replay:
        """Bring its exact inputs, parameters and code into this kernel, ready to call, step through and debug.

        A notebook's task comes back as the variables it began with and its cells.

        Args:
            into_namespace: bind its arguments and its function to their names in the notebook.

        Raises:
            InvalidInput: it never had inputs.
            Unsupported: it is no Python function (a container, an importer); or it is a notebook's and a variable that
                it needs cannot be brought back.
        """
        from mlplatform.sdk.replay import replay
        from mlplatform.sdk.replay_notebook import of_notebook

        self.wait_for_inputs()
        return of_notebook(self, into_namespace=into_namespace) or replay(self, into_namespace=into_namespace)

    # ------------------------------------------------------------------ helpers
    def _read(self) -> Records:
        found = read_records(self.run.client.home, self.run.run_id)
        self.run.client.know(found.run)
        return found

    def _is_mine(self, record: TaskRecord) -> bool:
        return record.key.path == self.path and record.key.iteration[: len(self.iteration)] == self.iteration

    def _record(self, records: Records) -> TaskRecord | None:
        found = [record for record in records.tasks if self._is_mine(record)]
        if self._place.is_group:
            exact = [record for record in found if record.key.iteration == self.iteration]
            return exact[0] if exact else None
        found = [record for record in found if not record.is_group]
        if len(found) > 1:
            raise InvalidInput(
                f"task {self.name} runs {len(found)} times: it is in a loop",
                hint=f"Name an iteration, run.task({'/'.join(self.path)!r}, 0), or take .iterations",
            )
        return found[0] if found else None

    def _ended(self) -> bool:
        records = self._read()
        record = self._record(records)
        return records.run.state.finished or (record is not None and record.state.finished)

    def _begun(self) -> bool:
        records = self._read()
        record = self._record(records)
        return records.run.state.finished or (record is not None and (record.attempt > 0 or record.state.finished))

    def _loop_ended(self) -> bool:
        records = self._read()
        if records.run.state.finished or not self._place.loops:
            return records.run.state.finished or self._ended()
        around = [record for record in records.tasks if record.is_group and not record.key.iteration]
        outer = [record for record in around if record.key.path == self.path[: len(record.key.path)]]
        return bool(outer) and outer[0].state.finished

    def _succeeded(self) -> TaskRecord:
        self.wait()
        records = self._read()
        record = self._record(records)
        if record is None or not record.state.finished:
            if records.run.state.finished:
                raise self._never()
            raise InvalidInput(f"task {self.name} has not ended")
        if record.state is TaskState.FAILED:
            raise task_failure(records, record)
        if record.state is TaskState.CANCELLED:
            raise RunCancelled(f"task {self.name} was cancelled", hint="run.resume() goes on with it.")
        if record.state is TaskState.SKIPPED and records.run.state is RunState.CANCELLED:
            raise self._never()
        if record.state is TaskState.SKIPPED:
            raise InvalidInput(f"task {self.name} was skipped: it has no outputs", hint=sentence(record))
        return record

    def _never(self) -> InvalidInput | TaskFailed:
        """Why a task of a finished run has no record: mostly because one before it failed."""
        records = self._read()
        failed = [record for record in records.tasks if record.state is TaskState.FAILED and not record.is_group]
        if failed:
            return task_failure(records, min(failed, key=lambda record: record.finished_at or 0.0))
        return InvalidInput(
            f"task {self.name} did not run: the run was {records.run.state.lower()} before it could",
            hint="run.resume() goes on with it.",
        )

    def _first_log(self, cached_from: str) -> str:
        """The log of the attempt whose result was reused, if it is still kept."""
        run_id, _, name = cached_from.partition(":")
        try:
            records = read_records(self.run.client.home, run_id)
        except NotFound:
            return ""
        found = [attempt for attempt in records.attempts if str(attempt.key) == name]
        return read_log(log_file(found[-1])) if found else ""

    def __repr__(self) -> str:
        try:
            record = self.record
        except InvalidInput as error:
            return f"<{error.message}>"
        return f"<task {self.name} {'pending' if record is None else record.state.lower()}: {self.why()}>"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        from mlplatform.sdk.display import task_bundle

        return task_bundle(self)


def _attempt(record: AttemptRecord) -> Attempt:
    known = record.started_at is not None and record.finished_at is not None
    seconds = (record.finished_at or 0.0) - (record.started_at or 0.0) if known else None
    error = record.error.message if record.error else ""
    return Attempt(record.attempt, record.state, seconds, error, log_file(record))


def read_log(path: Path) -> str:
    """A log file's text; empty where there is none."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
