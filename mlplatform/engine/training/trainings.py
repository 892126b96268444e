"""The training jobs of a service: each has a driver that looks at it a few times a second while it lives."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from mlplatform.apis.trainingstatus import TrainingJob
from mlplatform.core.errors import InvalidInput, MlPlatformError
from mlplatform.engine.core import Core
from mlplatform.engine.training import jobs
from mlplatform.engine.training.driver import Driver
from mlplatform.engine.training.places import JobPlace
from mlplatform.engine.training.ranks import Here, Room
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
    room: Room
    tracking: Callable[[TrainingJob], Mapping[str, str]] = _nothing
    ended: Callable[[TrainingJob], None] | None = None
    _tasks: dict[str, asyncio.Task[None]] = field(default_factory=dict[str, asyncio.Task[None]])
    _news: dict[str, asyncio.Event] = field(default_factory=dict[str, asyncio.Event])

    _resting: set[str] = field(default_factory=set[str])

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
        driver = await core.on_files(
            lambda: Driver(place, self.here, self.room, tracking=self.tracking, told=self._told)
        )
        calm = 0
        while True:
            news.clear()
            before = driver.job.status
            await core.on_files(driver.turn, core.clock.now())
            if driver.idle:
                return
            (self._resting.add if driver.resting else self._resting.discard)(name)
            calm = 0 if driver.job.status is not before else calm + 1
            pause = _REST if driver.resting else _QUICK if calm < _CALM else _LOOK
            try:
                await asyncio.wait_for(news.wait(), pause)
            except TimeoutError:
                pass

    def _told(self, job: TrainingJob) -> None:
        if self.ended is not None and job.status.phase in ENDED:
            self.ended(job)


@dataclass
class GpuRoom:
    """GPUs of this machine for ranks. ``busy``: those that tasks hold."""

    gpus: tuple[int, ...] = ()
    busy: Callable[[], set[int]] = lambda: set[int]()
    _held: dict[str, tuple[int, ...]] = field(default_factory=dict[str, tuple[int, ...]])

    _lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, holder: str, gpus: int) -> tuple[int, ...] | str:
        with self._lock:
            if holder in self._held:
                return self._held[holder]
            taken = {number for held in list(self._held.values()) for number in held} | self.busy()
            free = [number for number in self.gpus if number not in taken]
            if len(free) < gpus:
                return f"{gpus} of this machine's {len(self.gpus)} GPUs are asked for, {len(free)} are free"
            self._held[holder] = tuple(free[:gpus])
            return self._held[holder]

    def hold(self, holder: str, gpus: Sequence[int]) -> None:
        self._held[holder] = tuple(gpus)

    def free(self, holder: str) -> None:
        self._held.pop(holder, None)
