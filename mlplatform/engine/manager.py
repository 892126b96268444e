"""All runs of one home: submitting, resuming, cancelling, taking up after a crash."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import os
import shutil
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from typing import Any

from mlplatform.core.errors import InvalidInput, InvalidParameters, MlPlatformError, NotFound
from mlplatform.core.ids import new_run_id
from mlplatform.core.model import NO_VALUES, ArtifactValue, RunRecord, TaskError, TaskKey, TaskRecord
from mlplatform.core.states import RunState, TaskState, transition_run
from mlplatform.core.values import JsonValue, child
from mlplatform.engine import dryrun, faults, recovery
from mlplatform.engine.core import Core
from mlplatform.engine.gc import remove_unreferenced
from mlplatform.engine.ports import Batch
from mlplatform.engine.records import run_event, task_event
from mlplatform.engine.run import RunDriver
from mlplatform.engine.submission import Setup, Submission, keep_private, read_private, read_setup, root_artifacts
from mlplatform.engine.training.jobs import forget_run
from mlplatform.ir.arguments import check_arguments
from mlplatform.ir.load import loads
from mlplatform.ir.model import Pipeline
from mlplatform.planning.changes import NO_CHANGES, Changes, changes_between, describe
from mlplatform.planning.checking import require_runnable
from mlplatform.planning.resetting import Reset, known_only, other_contents, reset_for_resume

_log = logging.getLogger(__name__)

#: How often a watcher of a run in which nothing happens looks whether the service is in trouble.
_TROUBLE_SECONDS = 2.0

_UNFINISHED = (RunState.PENDING, RunState.RUNNING, RunState.CANCELLING)


def read_pipeline(document: str) -> Pipeline:
    """Load and validate a document. Raises InvalidPipeline with every finding."""
    pipeline = loads(document)
    require_runnable(pipeline)
    return pipeline


def read_arguments(
    pipeline: Pipeline, parameters: Mapping[str, JsonValue], artifacts: Mapping[str, ArtifactValue]
) -> dict[str, JsonValue]:
    """Run parameters with defaults filled in. Raises InvalidParameters with every finding."""
    resolved, findings = check_arguments(pipeline, parameters, artifacts)
    if findings:
        raise InvalidParameters(f"pipeline {pipeline.name!r} cannot be run with these parameters", findings=findings)
    return resolved


def _resume_events(now: float, reset: Reset, changes: Changes) -> list[tuple[float, str, dict[str, Any]]]:
    """What watchers are told of a resume: what changed, and which tasks begin anew."""
    told = describe(changes)
    events: list[tuple[float, str, dict[str, Any]]] = [(now, "note", {"message": f"resumed; {told}"})] if told else []
    again = set(reset.again)
    moved = [record for record in reset.records if record.key in again] + list(reset.gone)
    return events + [(now, "task", task_event(record)) for record in moved]


class Manager:
    """Owns the run drivers of a service."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._drivers: dict[str, RunDriver] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    @property
    def active(self) -> int:
        """How many runs are not finished."""
        return len(self._tasks)

    # ------------------------------------------------------------------ submit
    async def submit(self, submission: Submission) -> str:
        """Check a submission, make it durable, start it; returns the run's id.

        Raises:
            InvalidPipeline, InvalidParameters: nothing was started.
        """
        core = self._core
        if submission.run_id and await self._exists(submission.run_id):
            return submission.run_id
        run, pipeline = await self._read(submission)
        run_id, now, document = run.run_id, run.created_at, submission.document.encode("utf-8", "surrogatepass")
        keep_private(core.home.private(run_id), submission.env)
        faults.point("private-kept")
        await core.in_thread(core.store.create_run, run, document)
        faults.point("run-created")
        if notes := core.platform.run_notes(pipeline):
            events = [(now, "note", {"message": note}) for note in notes]
            await core.in_thread(core.store.apply, Batch(run_id, events=events))
        core.stored_run[run_id] = run
        self._start(RunDriver(core, run, pipeline, (), submission.env))
        return run_id

    async def _read(self, submission: Submission) -> tuple[RunRecord, Pipeline]:
        """The run that a submission asks for. Raises InvalidPipeline, InvalidParameters."""
        core = self._core
        pipeline = await core.on_files(read_pipeline, submission.document)
        setup = read_setup(submission.setup_path)
        types = {name: spec.type.schema_title for name, spec in pipeline.root.inputs.artifacts.items()}
        artifacts = root_artifacts(setup, types, submission.artifacts)
        parameters = read_arguments(pipeline, submission.parameters, artifacts)
        now = core.clock.now()
        run_id = submission.run_id or new_run_id(now, os.urandom(6))
        run = RunRecord(
            run_id=run_id,
            name=submission.name or f"{pipeline.name}-{run_id[-6:]}",
            pipeline=pipeline.name,
            state=RunState.PENDING,
            spec_digest="sha256:" + hashlib.sha256(submission.document.encode("utf-8", "surrogatepass")).hexdigest(),
            experiment=submission.experiment or "Default",
            parameters=parameters,
            artifacts=await core.on_files(core.contents.digested, artifacts),
            context=submission.context(),
            priority=submission.priority,
            created_at=now,
            tags=submission.tags,
        )
        return run, pipeline

    async def plan(self, submission: Submission) -> list[dict[str, Any]]:
        """What a run of this submission would do (see ``engine.dryrun``). Raises InvalidPipeline, InvalidParameters."""
        run, pipeline = await self._read(submission)
        return await dryrun.plan(self._core, run, pipeline, submission.env)

    async def _exists(self, run_id: str) -> bool:
        try:
            await self._core.in_thread(self._core.store.get_run, run_id)
        except NotFound:
            return False
        return True

    def _start(self, driver: RunDriver) -> None:
        run_id = driver.run.run_id
        self._drivers[run_id] = driver
        self._tasks[run_id] = asyncio.ensure_future(self._drive(driver))
        limit = self._core.platform.run_deadline(driver.pipeline)
        if limit is not None:
            begun = driver.run.started_at or self._core.clock.now()
            left = max(0.0, begun + limit - self._core.clock.now())
            asyncio.get_running_loop().call_later(left, self._expire, driver)

    def _expire(self, driver: RunDriver) -> None:
        if self._drivers.get(driver.run.run_id) is driver:
            driver.expire()

    async def _drive(self, driver: RunDriver) -> None:
        run_id = driver.run.run_id
        try:
            await driver.drive()
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - a bug in one run must not take the others along
            _log.exception("run %s stopped by an internal error", run_id)
            await self._give_up(driver, error)
        finally:
            self._tasks.pop(run_id, None)
            self._drivers.pop(run_id, None)
            self._core.stored_run.pop(run_id, None)
            self._core.admission.forget(run_id)
            self._core.published(run_id)

    async def _give_up(self, driver: RunDriver, error: Exception) -> None:
        """End a run that our own bug stopped: kill what runs, say so, leave nothing open."""
        for handle in driver.running.values():
            await handle.cancel(self._core.grace)
        now = self._core.clock.now()
        message = f"the platform failed while it drove this run: {error!r}"
        reason = TaskError("INTERNAL", message, hint=f"Please report this with {self._core.home.service_log}.")
        run = replace(driver.run, state=RunState.FAILED, error=reason, finished_at=now)
        await self._core.in_thread(self._core.tracker.run_finished, run)
        await self._core.in_thread(
            self._core.store.apply, Batch(run.run_id, run, events=[(now, "run", run_event(run))])
        )

    # ------------------------------------------------------------------ after a crash
    async def recover(self) -> int:
        """Take up every unfinished run; returns how many."""
        core = self._core
        runs = await core.in_thread(core.store.list_runs, states=_UNFINISHED, limit=100_000)
        for run in reversed(runs):
            try:
                await self._take_up(run)
            except MlPlatformError as error:
                _log.error("run %s cannot be taken up again: %s", run.run_id, error)
                now = core.clock.now()
                failed = replace(
                    run,
                    state=RunState.FAILED,
                    error=TaskError(error.code, f"the run could not be taken up again: {error}"),
                    finished_at=now,
                )
                batch = Batch(run.run_id, failed, events=[(now, "run", run_event(failed))])
                await core.in_thread(core.tracker.run_finished, failed)
                await core.in_thread(core.store.apply, batch)
        return len(runs)

    async def _take_up(self, run: RunRecord) -> None:
        core = self._core
        document = await core.in_thread(core.store.document, run.spec_digest)
        pipeline = await core.on_files(read_pipeline, document.decode("utf-8", "surrogatepass"))
        records: list[TaskRecord] = []
        adopted: dict[TaskKey, Any] = {}
        for record in known_only(pipeline, await core.in_thread(core.store.tasks, run.run_id)):
            if not record.is_group and record.state in (TaskState.QUEUED, TaskState.RUNNING):
                handle = None
                if record.state is TaskState.RUNNING:
                    handle = await recovery.find_again(core, run.run_id, record)
                if handle is None:
                    record = recovery.lost(record)
                else:
                    adopted[record.key] = handle
            records.append(record)
        core.stored_run[run.run_id] = run
        driver = RunDriver(core, run, pipeline, records, read_private(core.home.private(run.run_id)))
        driver.adopted = adopted
        self._start(driver)

    # ------------------------------------------------------------------ later wishes
    async def resume(self, run_id: str, document: str | None, env: Mapping[str, str], args: Mapping[str, Any]) -> str:
        """Continue a failed or cancelled run. ``document`` replaces its pipeline: what differs from the one before runs
        again, with what depends on it, like what has not succeeded.

        Raises:
            InvalidInput: the run is still going on, or succeeded.
        """
        core = self._core
        run = await core.in_thread(core.store.find_run, run_id)
        if run.run_id in self._tasks:
            raise InvalidInput(f"run {run.run_id} is still {run.state.lower()}", hint="Wait for it or cancel it first.")
        if run.state is RunState.SUCCEEDED:
            raise InvalidInput(f"run {run.run_id} succeeded: there is nothing to resume")
        stored = await core.in_thread(core.store.document, run.spec_digest)
        text = document if document is not None else stored.decode("utf-8", "surrogatepass")
        pipeline = await core.on_files(read_pipeline, text)
        artifacts = await self._resumed_artifacts(run, pipeline, child(args, "artifacts"))
        changes = NO_CHANGES
        if text.encode("utf-8", "surrogatepass") != stored or artifacts != run.artifacts:
            before = await core.on_files(read_pipeline, stored.decode("utf-8", "surrogatepass"))
            changes = changes_between(before, pipeline, other_contents(run.artifacts, artifacts))
        declared = pipeline.root.inputs.parameters
        given = {name: value for name, value in run.parameters.items() if name in declared}
        parameters = read_arguments(pipeline, given, artifacts)
        reset = reset_for_resume(pipeline, await core.in_thread(core.store.tasks, run.run_id), changes)
        body = text.encode("utf-8", "surrogatepass")
        context = dict(run.context)
        if args.get("interpreter"):
            context["interpreter"] = dict(args["interpreter"])
        now = core.clock.now()
        run = replace(
            run,
            state=transition_run(run.state, RunState.PENDING),
            spec_digest="sha256:" + hashlib.sha256(body).hexdigest(),
            parameters=parameters,
            artifacts=artifacts,
            context=context,
            outputs=NO_VALUES,
            error=None,
            finished_at=None,
            cancel_requested_at=None,
        )
        keep_private(core.home.private(run.run_id), env)
        events = [(now, "run", run_event(run)), *_resume_events(now, reset, changes)]
        records = [*reset.records, *reset.gone]
        await core.in_thread(core.store.apply, Batch(run.run_id, run, records, events=events, document=body))
        core.stored_run[run.run_id] = run
        self._start(RunDriver(core, run, pipeline, reset.records, dict(env)))
        return run.run_id

    async def _resumed_artifacts(
        self, run: RunRecord, pipeline: Pipeline, given: Mapping[str, Mapping[str, Any]]
    ) -> dict[str, ArtifactValue]:
        """Root artifacts of a resumed run: those it had, as far as the pipeline still takes them, and those given."""
        declared = pipeline.root.inputs.artifacts
        types = {name: spec.type.schema_title for name, spec in declared.items()}
        fresh = await self._core.on_files(self._core.contents.digested, root_artifacts(Setup(), types, given))
        return {name: value for name, value in {**run.artifacts, **fresh}.items() if name in declared}

    async def cancel(self, reference: str, *, force: bool) -> str:
        """Raises NotFound, or InvalidInput if the run is finished."""
        run = await self._core.in_thread(self._core.store.find_run, reference)
        driver = self._drivers.get(run.run_id)
        if driver is None:
            raise InvalidInput(f"run {run.run_id} is not running (it is {run.state})")
        driver.cancel(force=force)
        return run.run_id

    async def delete(self, reference: str) -> str:
        """Remove a finished run: rows, logs, artifacts that no other run reuses. Raises InvalidInput while it runs."""
        core = self._core
        run = await core.in_thread(core.store.find_run, reference)
        if run.run_id in self._tasks:
            raise InvalidInput(f"run {run.run_id} is still running", hint="Cancel it first.")
        await core.in_thread(core.store.delete_run, run.run_id)
        await core.on_files(shutil.rmtree, core.home.run(run.run_id), ignore_errors=True)
        await core.on_files(forget_run, core.home, run.run_id)
        await core.on_files(remove_unreferenced, core, core.home.artifacts / run.run_id)
        return run.run_id

    async def watch(self, run_id: str, after: int) -> AsyncIterator[Mapping[str, Any]]:
        """Events of a run from ``after`` on, until it has finished and all were told. Raises NotFound.

        ``trouble`` events are not kept: they tell watchers why nothing moves (a full disk, a lost database)."""
        core = self._core
        news = core.subscribe(run_id)
        told = ""
        try:
            while True:
                news.clear()
                active = run_id in self._tasks
                events = await core.in_thread(core.store.events, after=after, run_id=run_id)
                for event in events:
                    after = event.seq
                    yield {"seq": event.seq, "at": event.at, "kind": event.kind, "body": dict(event.body)}
                if events:
                    continue
                if not active:
                    await core.in_thread(core.store.get_run, run_id)
                    return
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(news.wait(), _TROUBLE_SECONDS)
                if core.trouble and core.trouble != told:
                    told = core.trouble
                    yield {"seq": after, "at": core.clock.now(), "kind": "trouble", "body": {"message": told}}
        finally:
            core.unsubscribe(run_id, news)

    async def close(self) -> None:
        """Stop driving. Attempts go on and are found again by the next service."""
        for task in list(self._tasks.values()):
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
