"""The operations that clients of the service may ask for."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from mlplatform.core.errors import InvalidInput
from mlplatform.core.values import child
from mlplatform.engine.core import Core
from mlplatform.engine.gc import collect_garbage
from mlplatform.engine.manager import Manager
from mlplatform.engine.protocol import Handler, StreamHandler
from mlplatform.engine.schedules import Schedules
from mlplatform.engine.submission import Submission
from mlplatform.engine.training import jobs
from mlplatform.engine.training.trainings import Trainings
from mlplatform.engine.webdoor import stop_server
from mlplatform.engine.why import explain_task


def _nothing() -> None:
    return None


class Operations:
    """Maps the protocol's operations to the manager."""

    def __init__(
        self,
        core: Core,
        manager: Manager,
        version: str,
        schedules: Schedules | None = None,
        trainings: Trainings | None = None,
    ) -> None:
        self._core = core
        self._manager = manager
        self._version = version
        self._schedules = schedules
        self._trainings = trainings
        #: True once somebody asked this service to stay however idle it is.
        self.stays = False
        self.on_stop: Callable[[], None] = _nothing
        #: True until somebody interactive used this service.
        self.only_scripts = True

    def looked_at(self) -> None:
        """Somebody opened the pages."""
        self.only_scripts = False

    def tables(self) -> tuple[dict[str, Handler], dict[str, StreamHandler]]:
        handlers: dict[str, Handler] = {
            "hello": self.hello,
            "submit": self.submit,
            "plan": self.plan,
            "cancel": self.cancel,
            "resume": self.resume,
            "delete": self.delete,
            "annotate": self.annotate,
            "cache_clear": self.cache_clear,
            "why": self.why,
            "gc": self.gc,
            "status": self.status,
            "stop": self.stop,
            "flush_tracking": self.flush_tracking,
            "stay": self.stay,
            "schedules_changed": self.schedules_changed,
            "train": self.train,
            "train_change": self.train_change,
            "train_delete": self.train_delete,
        }
        return handlers, {"watch": self.watch}

    async def hello(self, args: Mapping[str, Any]) -> Any:
        return {
            "version": self._version,
            "pid": os.getpid(),
            "home": str(self._core.home.root),
            "active": self._manager.active,
        }

    async def submit(self, args: Mapping[str, Any]) -> Any:
        submission = Submission.from_args(args)
        self.only_scripts = self.only_scripts and submission.script
        return {"run_id": await self._manager.submit(submission)}

    async def plan(self, args: Mapping[str, Any]) -> Any:
        return {"tasks": await self._manager.plan(Submission.from_args(args))}

    async def watch(self, args: Mapping[str, Any]) -> AsyncIterator[Mapping[str, Any]]:
        async for event in self._manager.watch(_text(args, "run_id"), int(args.get("after") or 0)):
            yield event

    async def cancel(self, args: Mapping[str, Any]) -> Any:
        return {"run_id": await self._manager.cancel(_text(args, "run_id"), force=bool(args.get("force")))}

    async def resume(self, args: Mapping[str, Any]) -> Any:
        run_id = await self._manager.resume(_text(args, "run_id"), args.get("document"), child(args, "env"), args)
        return {"run_id": run_id}

    async def delete(self, args: Mapping[str, Any]) -> Any:
        return {"run_id": await self._manager.delete(_text(args, "run_id"))}

    async def annotate(self, args: Mapping[str, Any]) -> Any:
        run = await self._core.in_thread(self._core.store.find_run, _text(args, "run_id"))
        tags, note = child(args, "tags"), args.get("note")
        await self._core.in_thread(self._core.store.annotate, run.run_id, tags=tags, note=note)
        return {"run_id": run.run_id}

    async def cache_clear(self, args: Mapping[str, Any]) -> Any:
        count = await self._core.in_thread(
            self._core.store.clear_cache, run_id=args.get("run_id") or "", identity=args.get("identity") or ""
        )
        return {"removed": count}

    async def why(self, args: Mapping[str, Any]) -> Any:
        return await self._core.in_thread(explain_task, self._core.store, _text(args, "run_id"), _text(args, "task"))

    async def gc(self, args: Mapping[str, Any]) -> Any:
        days = args.get("older_than_days")
        return await collect_garbage(self._core, self._manager, None if days is None else float(days))

    async def status(self, args: Mapping[str, Any]) -> Any:
        return {
            **await self.hello(args),
            "trouble": self._core.trouble,
            "capacity": self._core.admission.describe(),
            "stays": self.stays,
            "training_jobs": self._trainings.active if self._trainings is not None else 0,
            "recurring_runs": self._schedules.enabled if self._schedules is not None else 0,
        }

    async def stay(self, args: Mapping[str, Any]) -> Any:
        self.stays = bool(args.get("stay", True))
        return {"stays": self.stays}

    async def schedules_changed(self, args: Mapping[str, Any]) -> Any:
        if self._schedules is not None:
            await self._schedules.look()  # so that a service that was about to leave knows at once that it stays
            self._schedules.changed()
        return {}

    async def train(self, args: Mapping[str, Any]) -> Any:
        self.only_scripts = self.only_scripts and bool(args.get("script"))
        env = {name: str(value) for name, value in child(args, "env").items()}
        job = await self._core.on_files(
            jobs.create, self._core.home, child(args, "object"), env, self._core.clock.now()
        )
        self._train_look(job.name)
        return {"name": job.name}

    async def train_change(self, args: Mapping[str, Any]) -> Any:
        body = await self._core.on_files(jobs.change, self._core.home, _text(args, "name"), child(args, "spec"))
        name = str(body["metadata"]["name"])
        self._train_look(name)
        return {"name": name}

    async def train_delete(self, args: Mapping[str, Any]) -> Any:
        name = await self._core.on_files(jobs.delete, self._core.home, _text(args, "name"), self._core.clock.now())
        self._train_look(name)
        return {"name": name}

    def _train_look(self, name: str) -> None:
        if self._trainings is not None:
            self._trainings.look(name)

    async def flush_tracking(self, args: Mapping[str, Any]) -> Any:
        flush = getattr(self._core.tracker, "flush", None)
        done = True if flush is None else await self._core.on_files(flush, float(args.get("timeout") or 60.0))
        return {"done": bool(done)}

    async def stop(self, args: Mapping[str, Any]) -> Any:
        stop_server(self._core.home)
        self.on_stop()
        return {"pid": os.getpid()}


def _text(args: Mapping[str, Any], name: str) -> str:
    value = args.get(name)
    if not isinstance(value, str) or not value:
        raise InvalidInput(f"the request lacks {name!r}")
    return value
