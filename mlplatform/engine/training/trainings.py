"""The training jobs of a service: each has a driver that looks at it a few times a second while it lives."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from mlplatform.apis.codec import encode
from mlplatform.apis.trainingstatus import TrainingJob
from mlplatform.core.errors import InvalidInput, MlPlatformError
from mlplatform.engine.core import Core
from mlplatform.engine.gpus import Gpus, Within
from mlplatform.engine.training import jobs
from mlplatform.engine.training.driver import Driver
from mlplatform.engine.training.places import JobPlace
from mlplatform.engine.training.ranks import Here, Room
from mlplatform.engine.training.tasks import gpus_given, is_of_task
from mlplatform.engine.training.tracked import Tracked
from mlplatform.planning.training.status import ENDED

_log = logging.getLogger(__name__)

#: Seconds between two looks: at a job whose ranks move, and at one whose ranks only run.
_QUICK: Final = 0.05
_LOOK: Final = 0.25
#: At one that has ended and has a time to live.
_REST: Final = 5.0
#: Before one that something went wrong with is looked at again.
_TROUBLE: Final = 2.0
_TROUBLE_MOST: Final = 60.0
#: After this many looks without news a job is looked at less often.
_CALM: Final = 40


def _nothing(job: TrainingJob) -> Mapping[str, str]:
    return {}


@dataclass
class Trainings:
    """Lives on the service's event loop; looks happen in threads, since they read files and start processes."""

    core: Core
    here: Here
    room: Gpus
    tracked: Tracked | None = None
    _tasks: dict[str, asyncio.Task[None]] = field(default_factory=dict[str, asyncio.Task[None]])
    _news: dict[str, asyncio.Event] = field(default_factory=dict[str, asyncio.Event])

    _resting: set[str] = field(default_factory=set[str])
    _watchers: dict[str, list[Callable[[], None]]] = field(default_factory=dict[str, list[Callable[[], None]]])

    @contextlib.contextmanager
    def watching(self, name: str) -> Generator[asyncio.Event]:
        """An event that is set whenever the job has a new status."""
        event, loop = asyncio.Event(), asyncio.get_running_loop()

        def tell() -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(event.set)

        self._watchers.setdefault(name, []).append(tell)
        try:
            yield event
        finally:
            self._watchers[name].remove(tell)

    @property
    def active(self) -> int:
        """How many jobs are not finished or suspended."""
        return len(self._tasks.keys() - self._resting)

    async def recover(self) -> None:
        """Take up every job of the home."""
        for body in await self.core.on_files(jobs.list_jobs, self.core.home):
            self.look(str(body["metadata"]["name"]))

    def look(self, name: str) -> None:
        """Something about the job has changed."""
        if name in self._tasks:
            self._news[name].set()
            return
        self._news[name] = asyncio.Event()
        self._tasks[name] = asyncio.ensure_future(self._drive(name))

    async def close(self) -> None:
        """Let go: ranks go on, and the next service takes them up."""
        for task in list(self._tasks.values()):
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def _drive(self, name: str) -> None:
        try:
            wait = _TROUBLE
            while not await self._guarded(name):
                await asyncio.sleep(wait)
                wait = min(2 * wait, _TROUBLE_MOST)
        finally:
            again = self._news.pop(name).is_set()
            self._tasks.pop(name, None)
            self._resting.discard(name)
        if again:
            self.look(name)

    async def _guarded(self, name: str) -> bool:
        """Whether the job needs nobody any more; False: something went wrong, and it is taken up anew."""
        try:
            await self._turns(name)
        except asyncio.CancelledError:
            raise
        except InvalidInput as error:
            _log.error("training job %s cannot be read: %s", name, error)
        except Exception as error:  # noqa: BLE001 - a bug in one job must not take the others along, nor end it silently
            _log.exception("training job %s is in trouble", name)
            await self._tell(name, error)
            return False
        return True

    async def _tell(self, name: str, error: Exception) -> None:
        """In the job's status, where whoever waits for it looks."""
        place = JobPlace(self.core.home, name)
        why = f"the platform fails at this job, and tries again: {error!r}; details are in {self.core.home.service_log}"
        try:
            driver = await self.core.on_files(lambda: Driver(place, self.here, self.room))
            await self.core.on_files(driver.trouble, why, self.core.clock.now())
        except (OSError, MlPlatformError):
            _log.exception("nor can that be told")

    async def _turns(self, name: str) -> None:
        core, news = self.core, self._news[name]
        place = JobPlace(core.home, name)
        body = await core.on_files(jobs.get_job, core.home, name)
        tracked = None if is_of_task(body) else self.tracked  # a task's ranks log to the task's run
        room = self._room(body)
        driver = await core.on_files(
            lambda: Driver(
                place,
                self.here,
                room,
                tracking=_nothing if tracked is None else _tracking(tracked, body),
                told=self._told,
            )
        )
        calm = 0
        while True:
            news.clear()
            before = driver.job.status
            await core.on_files(driver.turn, core.clock.now())
            ended = driver.job.status.phase in ENDED
            if tracked is not None and (ended or driver.removed):
                await core.on_files(tracked.ended, _as_kept(body, driver.job), cancelled=not ended)
            if driver.idle:
                return
            (self._resting.add if driver.resting else self._resting.discard)(name)
            calm = 0 if driver.job.status is not before else calm + 1
            pause = _REST if driver.resting else _QUICK if calm < _CALM else _LOOK
            try:
                await asyncio.wait_for(news.wait(), pause)
            except TimeoutError:
                pass

    def _room(self, body: Mapping[str, Any]) -> Room:
        given = gpus_given(body)
        return self.room if given is None else Within(self.room, given)

    def _told(self, job: TrainingJob) -> None:
        for tell in list(self._watchers.get(job.name, ())):
            tell()


def _tracking(tracked: Tracked, body: Mapping[str, Any]) -> Callable[[TrainingJob], Mapping[str, str]]:
    return lambda job: tracked.variables(_as_kept(body, job))


def _as_kept(body: Mapping[str, Any], job: TrainingJob) -> dict[str, Any]:
    """The object with the status that it has by now."""
    return {**body, "status": encode(job.status)}
