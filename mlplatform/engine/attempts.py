"""Starting attempts, watching them, and turning what they left into facts."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlplatform.core.errors import ArtifactError, MlPlatformError
from mlplatform.core.model import CacheEntry, TaskError, TaskKey, Values
from mlplatform.core.states import TaskState
from mlplatform.engine import faults
from mlplatform.engine.naming import REMOTE_INPUTS
from mlplatform.engine.ports import Exit, Running
from mlplatform.engine.prepared import Prepared
from mlplatform.engine.result import Outcome, outcome
from mlplatform.engine.run import Ended, RunDriver
from mlplatform.planning.cachekey import Parts, Uncacheable
from mlplatform.planning.model import TaskFact

if TYPE_CHECKING:
    from mlplatform.engine.core import Core

_log = logging.getLogger(__name__)


def write_spec(path: Path, spec: Mapping[str, Any]) -> None:
    """Write spec.json for the launcher, readable by the user alone (it may hold secrets; the launcher deletes it)."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(json.dumps(spec, separators=(",", ":")).encode("ascii"))


class Attempts:
    """Runs attempts on their executors and reports how they ended."""

    def __init__(self, core: Core) -> None:
        self._core = core

    async def execute(self, driver: RunDriver, prepared: Prepared) -> None:
        """From admission to report. Whatever goes wrong becomes a fact: the run never waits for nothing."""
        try:
            ended = await self._execute(driver, prepared)
        except MlPlatformError as error:
            reason = TaskError(error.code, error.message, hint=error.hint)
            ended = self._failed(driver, prepared, reason, retryable=error.retryable)
        except OSError as error:
            reason = TaskError("SYSTEM", f"the attempt could not be started: {error}", hint=_os_hint(error))
            ended = self._failed(driver, prepared, reason, retryable=True)
        self._core.admission.release(driver.run.run_id, prepared.key)
        driver.report(ended)

    async def _execute(self, driver: RunDriver, prepared: Prepared) -> Ended:
        if prepared.work is not None:
            values = await self._core.on_files(prepared.work)
            return Ended(self._fact(driver, prepared, TaskState.SUCCEEDED, values))
        launch = prepared.launch
        if launch is None:
            raise AssertionError("an attempt has work or a launch")
        launch.directory.mkdir(parents=True, exist_ok=True)
        if prepared.downloads:
            await self._core.on_files(self._core.contents.fetch, prepared.downloads)
        if prepared.notes:
            lines = "".join(f"mlplatform: note: {note}\n" for note in prepared.notes)
            (launch.directory / "task.log").write_text(lines, encoding="utf-8")
        write_spec(launch.directory / "spec.json", prepared.full_spec())
        faults.point("spec-written")
        handle = await self._core.ports.executors[launch.kind].start(launch)
        faults.point("attempt-started")
        driver.running[prepared.key] = handle
        if prepared.key in driver.cancelled:  # asked for while it was being started
            await handle.cancel(self._core.grace)
        return await self._finish(driver, prepared, handle)

    async def watch(self, driver: RunDriver, prepared: Prepared, handle: Running) -> None:
        """Like :meth:`execute` for an attempt that an earlier service had started."""
        self._core.admission.occupy(driver, prepared)
        try:
            ended = await self._finish(driver, prepared, handle)
        except MlPlatformError as error:
            reason = TaskError(error.code, error.message, hint=error.hint)
            ended = self._failed(driver, prepared, reason, retryable=error.retryable)
        self._core.admission.release(driver.run.run_id, prepared.key)
        driver.report(ended)

    async def _finish(self, driver: RunDriver, prepared: Prepared, handle: Running) -> Ended:
        exit_ = await handle.wait()
        faults.point("attempt-ended")
        if note := getattr(handle, "note", ""):  # what a handle learned while its attempt ran
            prepared = replace(prepared, why="; ".join(filter(None, (prepared.why, note))))
        return await self.conclude(driver, prepared, exit_)

    async def conclude(self, driver: RunDriver, prepared: Prepared, exit_: Exit | None) -> Ended:
        """The fact of an attempt whose process is gone."""
        result = outcome(prepared.directory, exit_, prepared.list_outputs)
        record = driver.ledger[prepared.key]
        if result.lost:
            if driver.lost_again(prepared.key):
                reason = TaskError("LOST", "the task's process disappeared three times without a trace")
                return self._failed(driver, prepared, reason, retryable=False)
            return Ended(self._fact(driver, prepared, TaskState.PENDING, Values()))
        if driver.run.cancel_requested_at is not None and not result.succeeded and prepared.key in driver.cancelled:
            return Ended(self._fact(driver, prepared, TaskState.CANCELLED, Values(), result.error))
        if not result.succeeded:
            error = result.error or TaskError("TASK_FAILED", "the task failed")
            return self._failed(driver, prepared, error, retryable=True, at=result.finished_at)
        values = result.values
        if self._core.contents.remote:
            values = await self._core.on_files(self._core.contents.published, values)
        entry, note = await self._cacheable(driver, prepared, result, values)
        fact = TaskFact(
            prepared.key,
            TaskState.SUCCEEDED,
            prepared.attempt,
            record.failures,
            outputs=values,
            finished_at=result.finished_at or self._core.clock.now(),
        )
        self._clean(prepared)
        return Ended(fact, entry, note, result.raw.get("started_at") if result.raw.get("beside") else None)

    async def _cacheable(
        self, driver: RunDriver, prepared: Prepared, result: Outcome, values: Values
    ) -> tuple[CacheEntry | None, str]:
        if not prepared.cache_enabled:
            return None, prepared.why
        if not isinstance(prepared.parts, Parts):
            reason = prepared.parts.reason if prepared.parts else ""
            return None, f"{prepared.why}; not kept for reuse: {reason}" if reason else prepared.why
        try:
            entry = await self._core.on_files(
                self._core.cache.entry,
                parts=prepared.parts,
                identity=prepared.identity,
                run_id=driver.run.run_id,
                task=prepared.key,
                outputs=values,
                raw=result.raw,
                project=Path(driver.run.context.get("cwd") or "/nonexistent"),
                now=self._core.clock.now(),
            )
        except ArtifactError as error:
            return None, f"{prepared.why}; not kept for reuse: {error.message}"
        if isinstance(entry, Uncacheable):
            return None, f"{prepared.why}; not kept for reuse: {entry.reason}"
        return entry, prepared.why

    # ------------------------------------------------------------------ helpers
    def _fact(
        self, driver: RunDriver, prepared: Prepared, state: TaskState, values: Values, error: TaskError | None = None
    ) -> TaskFact:
        failures = driver.ledger[prepared.key].failures
        now = self._core.clock.now()
        return TaskFact(prepared.key, state, prepared.attempt, failures, values, error, now)

    def _failed(
        self,
        driver: RunDriver,
        prepared: Prepared,
        error: TaskError,
        *,
        retryable: bool,
        at: float | None = None,
    ) -> Ended:
        self._clean(prepared)
        if prepared.outputs_folder is not None:
            # What a failed attempt wrote is never referred to, and it may be what filled the disk.
            self._core.soon_on_files(shutil.rmtree, prepared.outputs_folder, ignore_errors=True)
        failures = driver.ledger[prepared.key].failures + 1
        when = at or self._core.clock.now()
        return Ended(
            TaskFact(
                prepared.key,
                TaskState.FAILED,
                prepared.attempt,
                failures,
                error=error,
                finished_at=when,
                retryable=retryable,
            )
        )

    def _clean(self, prepared: Prepared) -> None:
        """Scratch folders are the task's own; what is worth keeping is elsewhere by now. Nobody waits for this."""
        self._core.soon_on_files(_remove, prepared.scratch, prepared.directory)


def _remove(scratch: str, directory: Path) -> None:
    if scratch:
        try:
            os.rmdir(scratch)  # most tasks leave nothing there
        except FileNotFoundError:
            pass
        except OSError:
            shutil.rmtree(scratch, ignore_errors=True)
    with contextlib.suppress(OSError):
        (directory / "spec.json").unlink(missing_ok=True)
    copies = directory / REMOTE_INPUTS
    if copies.exists():
        shutil.rmtree(copies, ignore_errors=True)


def claim(path: Path) -> Mapping[str, Any] | None:
    """Claim an attempt that may never have started.

    Returns:
        None: nobody had claimed it; now nobody can start it any more. Otherwise the claim of its process
        (``{"pid", "pid_start", "boot"}``, empty while it is being written).
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        try:
            data = json.loads(path.read_bytes() or b"{}")
        except (OSError, ValueError):
            return {}
        return data if isinstance(data, dict) else {}  # pyright: ignore[reportUnknownVariableType]
    os.close(descriptor)
    return None


def _os_hint(error: OSError) -> str:
    return "Free some space, then `mlplatform runs resume`." if error.errno == 28 else ""


__all__ = ["Attempts", "TaskKey", "claim", "write_spec"]
