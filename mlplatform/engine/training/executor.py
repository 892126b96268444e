"""Tasks of kind ``training``: an attempt is a training job of this home, driven like any other.

The attempt's claim names the job. Whoever takes the attempt up later (the next service) finds the job by it: ranks and
job live in their own files, and need nobody in between.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mlplatform.core.errors import EnvironmentFailed, InvalidInput, NotFound
from mlplatform.core.values import child
from mlplatform.engine.files import read_json, write_json
from mlplatform.engine.home import cache_folder
from mlplatform.engine.ports import Exit, Launch
from mlplatform.engine.training import jobs
from mlplatform.engine.training.places import JobPlace
from mlplatform.engine.training.tasklog import TaskLog
from mlplatform.engine.training.tasks import job_object, progress_kept, result_of
from mlplatform.launcher.identity import boot_id
from mlplatform.launcher.native import build
from mlplatform.launcher.result import write_result
from mlplatform.planning.training.status import ENDED

if TYPE_CHECKING:
    from mlplatform.engine.training.trainings import Trainings

_LOOK: Final = 0.5
#: Files of a job: what its processes run, and what they left.
TASK_FILE: Final = "task.json"
RESULTS: Final = "results"


class TrainingExecutor:
    """``engine.ports.Executor`` for training jobs."""

    def __init__(self, trainings: Trainings) -> None:
        self._trainings = trainings

    async def start(self, launch: Launch) -> RunningTraining:
        core = self._trainings.core
        body, env, task = await core.on_files(self._written, launch)
        name, uid = str(body["metadata"]["name"]), str(body["metadata"]["uid"])
        kept = await self._replace(name)
        await core.on_files(_claim, launch.directory / "claim", name, uid)
        await core.on_files(self._create, body, env, task, kept)
        self._trainings.look(name)
        return RunningTraining(self._trainings, name, uid, launch.directory)

    def adopt(self, pid: int, pid_start: str, directory: Path) -> RunningTraining | None:
        claim = read_json(directory / "claim")
        name = str(claim.get("job") or "")
        place = JobPlace(self._trainings.core.home, name)
        if not name or child(read_json(place.object), "metadata").get("uid") != claim.get("uid"):
            return None
        return RunningTraining(self._trainings, name, str(claim["uid"]), directory)

    async def close(self) -> None:
        """Jobs go on by themselves."""

    # ------------------------------------------------------------------ a job is made
    def _written(self, launch: Launch) -> tuple[dict[str, Any], dict[str, str], dict[str, Any]]:
        """The job's object, the environment of its ranks, and what their processes run: from the spec as it was
        written, secrets included. It goes from there."""
        path = launch.directory / "spec.json"
        spec = read_json(path)
        path.unlink(missing_ok=True)
        told = spec.pop("training")
        interpreter = launch.interpreter
        if interpreter is None:
            raise AssertionError("ranks of a task have an interpreter")
        place = JobPlace(self._trainings.core.home, str(told["name"]))
        body = job_object(
            told["spec"],
            run_id=launch.run_id,
            key=launch.key,
            attempt=launch.attempt,
            python=interpreter.executable,
            task_file=place.root / TASK_FILE,
            folder=str(spec["cwd"]),
            gpus=spec["gpus"],
            timeout=spec["timeout"],
        )
        env = {str(name): str(value) for name, value in spec.pop("env").items()}
        kfp = child(spec, "python").get("kfp_path")
        env["MLPLATFORM_EXTRA_PATH"] = os.pathsep.join(p for p in interpreter.sys_path if p.endswith("-packages"))
        env |= {"MLPLATFORM_KFP_PATH": str(kfp)} if kfp else {}
        library = build.library(cache_folder()) if spec["trace"] else None
        made = {**spec, "results": str(place.root / RESULTS), "library": str(library or ""), "gpus": None}
        return body, env, made

    async def _replace(self, name: str) -> dict[str, Any]:
        """What is kept of the job of an earlier attempt, which goes. Its ranks may still have been running."""
        core = self._trainings.core
        try:
            body = await core.on_files(jobs.get_job, core.home, name)
        except NotFound:
            return {}
        if body["metadata"]["name"] != name:
            return {}
        with self._trainings.watching(name) as news:
            await core.on_files(jobs.delete, core.home, name, core.clock.now())
            self._trainings.look(name)
            while await core.on_files((JobPlace(core.home, name).object).exists):
                news.clear()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(news.wait(), 0.05)
        return progress_kept(child(body, "status"))

    def _create(self, body: dict[str, Any], env: Mapping[str, str], task: Any, kept: Mapping[str, Any]) -> None:
        core = self._trainings.core
        place = JobPlace(core.home, str(body["metadata"]["name"]))
        place.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(place.root / TASK_FILE, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            json.dump(task, file)
        if kept:
            write_json(place.status, kept)
        jobs.create(core.home, body, env, core.clock.now())


def _claim(path: Path, name: str, uid: str) -> None:
    """Take the attempt. Raises EnvironmentFailed: somebody has."""
    temporary = path.with_name("claim.new")
    write_json(temporary, {"pid": 0, "pid_start": "", "boot": boot_id(), "job": name, "uid": uid})
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise EnvironmentFailed("the attempt had been claimed by another process") from None
    finally:
        temporary.unlink()


class RunningTraining:
    """``engine.ports.Running`` for a job."""

    pid = None
    pid_start = ""

    def __init__(self, trainings: Trainings, name: str, uid: str, directory: Path) -> None:
        self._trainings = trainings
        self._name, self._uid = name, uid
        self._directory = directory
        self._cancelled = False
        self._done = asyncio.Event()
        self._log = TaskLog(JobPlace(trainings.core.home, name), directory)

    async def wait(self) -> Exit:
        """Until the job has ended and its ranks are gone; then the result of the task is there."""
        core = self._trainings.core
        status: dict[str, Any] = {}
        try:
            with self._trainings.watching(self._name) as news:
                while True:
                    news.clear()
                    known, over, status = await core.on_files(self._look, status)
                    if over:
                        break
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(news.wait(), _LOOK)
            if self._cancelled and status.get("phase") not in ENDED:
                await self._end_job()
                return Exit(None, 15, reason="the task was cancelled")
            gone = "" if known else "its training job was deleted"
            result = await core.on_files(result_of, JobPlace(core.home, self._name).root / RESULTS, status, gone)
            await core.on_files(write_result, str(self._directory / "result.json"), result)
            return Exit(0 if result["state"] == "SUCCEEDED" else 1)
        finally:
            self._done.set()

    async def cancel(self, grace: float) -> None:
        """Ranks save and end, within the grace that the training asks for."""
        core = self._trainings.core
        if not self._cancelled:
            self._cancelled = True
            with contextlib.suppress(InvalidInput):  # it has ended, or is gone
                await core.on_files(jobs.change, core.home, self._name, {"suspend": True})
                self._trainings.look(self._name)
        await self._done.wait()

    def _look(self, before: dict[str, Any]) -> tuple[bool, bool, dict[str, Any]]:
        """(whether there is such a job, whether it has ended, its status)."""
        place = JobPlace(self._trainings.core.home, self._name)
        known = child(read_json(place.object), "metadata").get("uid") == self._uid
        status = read_json(place.status) if known else before
        self._log.follow(status)
        phase = str(status.get("phase") or "")
        over = phase in ENDED or not known or (self._cancelled and phase == "Suspended")
        if over:
            self._log.finish(status)
            (place.root / TASK_FILE).unlink(missing_ok=True)
        return known, over, status

    async def _end_job(self) -> None:
        """The job that rests would wait for somebody to let it go on."""
        core = self._trainings.core
        with contextlib.suppress(NotFound):
            await core.on_files(jobs.delete, core.home, self._name, core.clock.now())
            self._trainings.look(self._name)
