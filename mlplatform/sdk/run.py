"""A run in Python's hands: watched, waited for, read, continued. It outlives the kernel; any other may attach to it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlplatform.core.errors import InvalidInput, MlPlatformError
from mlplatform.core.model import RunRecord
from mlplatform.core.states import RunState
from mlplatform.core.values import JsonValue
from mlplatform.engine.home import Home
from mlplatform.sdk import records as store_records
from mlplatform.sdk.clients import client_of
from mlplatform.sdk.feed import wait_until
from mlplatform.sdk.run_failures import run_failure
from mlplatform.sdk.run_reading import Place, find_path, places, read_pipeline, read_records, split_reference
from mlplatform.sdk.run_task import Task
from mlplatform.sdk.run_values import ValueMap

if TYPE_CHECKING:
    from mlplatform.sdk.diff import RunDiff


class StoppedWaiting(KeyboardInterrupt):
    """Ctrl-C (or the stop button) while waiting for a run: the waiting is over, the run goes on."""

    def _render_traceback_(self) -> list[str]:
        return [str(self)]


class Run:
    """One run of a pipeline.

    Args:
        home: the home folder the run is kept in (``MLPLATFORM_HOME`` or ``~/.mlplatform`` if not given).
        run_id: its full id; ``mlplatform.run("name or id or latest")`` finds one by less.
        pipeline: the pipeline object it was started from, for :meth:`resume` with the code as it is now.

    Nothing is kept here but the id: every look reads what is true now. What waits (:attr:`outputs`, :meth:`wait`, and
    of a task ``outputs``, ``inputs``, ``log``) shows progress and can be interrupted; the run itself goes on.
    """

    def __init__(
        self, home: str | os.PathLike[str] | Home | None = None, run_id: str = "", pipeline: object = None
    ) -> None:
        self.client = client_of(home)
        self.run_id = run_id
        self.pipeline = pipeline

    # ------------------------------------------------------------------ what is known now
    @property
    def record(self) -> RunRecord:
        """Everything the store keeps of the run itself. Raises NotFound."""
        self.client.look()
        with store_records.open_records(self.client.home) as store:
            found = store.get_run(self.run_id)
        return self.client.know(found)

    @property
    def state(self) -> RunState:
        """What it is doing now."""
        return self.record.state

    @property
    def name(self) -> str:
        return self.record.name

    @property
    def experiment(self) -> str:
        return self.record.experiment

    @property
    def parameters(self) -> Mapping[str, JsonValue]:
        """The parameters it runs with, defaults included."""
        return dict(self.record.parameters)

    @property
    def tags(self) -> Mapping[str, str]:
        return dict(self.record.tags)

    @property
    def duration(self) -> float | None:
        """Seconds from its start to its end, or to now; None before the start."""
        record = self.record
        if record.started_at is None:
            return None
        return (record.finished_at if record.finished_at is not None else time.time()) - record.started_at

    @property
    def link(self) -> str:
        """Where the run is shown in a browser: in the web UI if one serves this home, else in MLflow; "" if neither."""
        from mlplatform.sdk.links import links_of

        return next(iter(links_of(self.client.home, self.record).values()), "")

    def report(self) -> dict[str, Any]:
        """Everything about the run as one JSON object, as ``mlplatform runs show --output json`` prints it."""
        return store_records.read_report(self.client.home, self.run_id)

    # ------------------------------------------------------------------ tasks
    def task(self, name: str, *iteration: int) -> Task:
        """A task, begun or not.

        Args:
            name: its name, or its path where several groups have one of that name (``for-loop-1/train``); indexes may
                stand behind it (``train[3]``).
            iteration: indexes in the loops around it, outermost first.

        Raises:
            NotFound: the pipeline has no such task; the hint lists what there is.
        """
        path, indexes = split_reference(name)
        place = find_path(self._places(), path)
        indexes = indexes or iteration
        if len(indexes) > place.loops:
            raise InvalidInput(
                f"task {'/'.join(place.path)} is in {place.loops} loops, not in {len(indexes)}",
                hint=f"run.task({'/'.join(place.path)!r}) is enough." if not place.loops else "",
            )
        return Task(self, place, indexes)

    @property
    def tasks(self) -> list[Task]:
        """Every task that has come up so far, one for each iteration of a loop, in the order in which they began."""
        records = read_records(self.client.home, self.run_id)
        known = {place.path: place for place in self._places()}
        found: list[Task] = []
        for record in records.tasks:
            if record.is_group:
                continue
            place = known.get(record.key.path) or Place(record.key.path, False, len(record.key.iteration))
            found.append(Task(self, place, record.key.iteration))
        return found

    def _places(self) -> list[Place]:
        record = self.record
        try:
            return list(places(read_pipeline(self.client.home, record.spec_digest)).values())
        except MlPlatformError:  # the document is gone: what was recorded is what there is
            tasks = read_records(self.client.home, self.run_id).tasks
            known = {task.key.path: Place(task.key.path, task.is_group, len(task.key.iteration)) for task in tasks}
            return list(known.values())

    # ------------------------------------------------------------------ waiting
    def wait(self, check: bool = True, timeout: float | None = None) -> Run:
        """Wait until the run has ended.

        Args:
            check: raise if it did not succeed.
            timeout: seconds to wait at most; None: as long as it takes.

        Returns:
            itself.

        Raises:
            TaskFailed: a task failed; the user's traceback comes first.
            RunFailed: it failed for another reason.
            RunCancelled: it was cancelled.
            TimeoutError: it goes on after ``timeout`` seconds.
            KeyboardInterrupt: the waiting was stopped; the run goes on.
        """
        self.wait_for(lambda: self.state.finished, "the run", timeout)
        if check:
            error = run_failure(read_records(self.client.home, self.run_id))
            if error is not None:
                raise error
        return self

    @property
    def outputs(self) -> ValueMap:
        """What the pipeline returned, by name; waits for the end of the run.

        Raises:
            TaskFailed, RunFailed, RunCancelled: it did not succeed (see :meth:`wait`).
        """
        self.wait()
        return ValueMap(self.record.outputs, "The outputs of the run")

    @property
    def output(self) -> Any:
        """The pipeline's only output; waits for it.

        Raises:
            InvalidInput: it has none, or several.
        """
        found = self.outputs
        if len(found) != 1:
            names = ", ".join(map(repr, found)) or "none"
            raise InvalidInput(f"the pipeline has {len(found)} outputs, not one", hint=f"run.outputs has: {names}.")
        return next(iter(found.values()))

    @property
    def notebook(self) -> Path:
        """The executed notebook, with all outputs, of the run of a notebook; waits for its end, however that is.

        Raises:
            InvalidInput: it is the run of another pipeline.
        """
        from mlplatform.sdk.notebook_values import notebook_path

        self.wait(check=False)
        return notebook_path(self.record)

    def value(self, name: str) -> Any:
        """What the variable ``name`` held when the run of a notebook ended; waits for that.

        Raises:
            NotFound: it ended without such a variable.
            ArtifactError: the value cannot be loaded in this environment.
        """
        from mlplatform.sdk.notebook_values import load_value

        self.wait(check=False)
        return load_value(self.client.home, self.run_id, name)

    def wait_for(self, done: Callable[[], bool], what: str, timeout: float | None) -> None:
        """Wait with progress until ``done()`` or the end of the run. Used by tasks as well.

        Raises:
            TimeoutError: neither came in time. StoppedWaiting: Ctrl-C.
        """
        if done():
            return
        from mlplatform.sdk.progress import progress_of

        with progress_of(self):
            try:
                ended = wait_until(self.client, self.run_id, done, timeout, time.monotonic)
            except KeyboardInterrupt:
                raise StoppedWaiting(
                    f"stopped waiting for {what}; run {self.run_id} goes on (run.cancel() ends it)"
                ) from None
        if not ended and timeout is not None and not self.state.finished:
            raise TimeoutError(f"{what} of {self.run_id} has not ended after {timeout:g} s; the run goes on")

    # ------------------------------------------------------------------ wishes
    def cancel(self, force: bool = False) -> Run:
        """Ask the run to end; exit handlers still run. ``force``: kill its processes at once.

        Raises:
            InvalidInput: it has ended already.
        """
        self.client.cancel(self.run_id, force=force)
        return self

    def resume(self, pipeline: object = None) -> Run:
        """Go on with a run that failed or was cancelled, with the code as it is now.

        What failed, what changed and what depends on either runs again; everything else stays. It says whose code it
        took: the kernel's (the pipeline object the run was started from, with its functions as they are defined now),
        or the saved file's, and which tasks changed.

        Args:
            pipeline: take this pipeline instead: a pipeline object, or the path of a ``.py`` or compiled pipeline.

        Raises:
            InvalidInput: it is still going on, or succeeded and nothing changed.
            InvalidPipeline: the code as it is now cannot be run.
        """
        from mlplatform.sdk.resuming import resume

        resume(self, pipeline)
        return self

    def delete(self) -> None:
        """Remove the finished run with its logs and artifacts. Raises InvalidInput while it runs."""
        self.client.delete(self.run_id)

    def tag(self, **tags: str) -> Run:
        """Set tags; an empty text removes one."""
        self.client.annotate(self.run_id, tags=tags)
        return self

    def notify(self, to: str | Callable[[Run], object] | None = None) -> Run:
        """Tell somebody when the run has ended, once, as long as this kernel lives.

        Args:
            to: a function that gets the run; an ``http(s)`` address that gets a POST of ``{"run_id", "name", "state",
                "message"}``; None: a notification of this desktop.

        Raises:
            Unsupported: this machine has no way to notify.
        """
        from mlplatform.sdk.notify import notify

        notify(self, to)
        return self

    def diff(self, other: Run | str) -> RunDiff:
        """How another run differs: parameters, code, packages, data, metrics, durations. Waits until both have ended,
        however they do.

        Args:
            other: a run, or what ``mlplatform.run`` takes.
        """
        from mlplatform.sdk.diff import diff_runs

        if isinstance(other, str):
            with store_records.open_records(self.client.home) as store:
                other = Run(self.client.home, store.find_run(other).run_id)
        return diff_runs(self.wait(check=False), other.wait(check=False))

    # ------------------------------------------------------------------ how it looks
    def __repr__(self) -> str:
        try:
            record = self.record
        except MlPlatformError:
            return f"<run {self.run_id} that is no longer there>"
        return f"<run {record.run_id} {record.name!r} {record.state.lower()}>"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        from mlplatform.sdk.display import run_bundle

        return run_bundle(self)

    def _ipython_display_(self) -> None:
        from mlplatform.sdk.display_live import show

        show(self)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Run) and (other.run_id, other.client.home) == (self.run_id, self.client.home)

    def __hash__(self) -> int:
        return hash((self.run_id, str(self.client.home.root)))
