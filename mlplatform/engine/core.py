"""What all runs of one service share: the ports, the clock, the threads, the news for watchers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, Protocol, TypeVar

from mlplatform.core.clock import Clock
from mlplatform.core.model import RunRecord
from mlplatform.engine.home import Home
from mlplatform.engine.ports import ArtifactStore, Environments, Executor, RunStore, Tracker

if TYPE_CHECKING:
    from mlplatform.engine.admission import Admission
    from mlplatform.engine.attempts import Attempts
    from mlplatform.engine.caching import ResultCache
    from mlplatform.engine.contents import Contents
    from mlplatform.engine.notebooks.beside import Beside
    from mlplatform.engine.notebooks.executed import Assemble
    from mlplatform.engine.notebooks.runs import NotebookRuns
    from mlplatform.engine.platform import Platform
    from mlplatform.engine.prepare import Preparer

P = ParamSpec("P")
T = TypeVar("T")


class Images(Protocol):
    """What container images are, by content."""

    async def image_digest(self, image: str, engine: str = "", pull: str = "") -> str:
        """Raises EnvironmentFailed: no container engine, or the image cannot be had."""
        ...


@dataclass(frozen=True, slots=True)
class Ports:
    """The outside of the engine. ``executors`` by kind: python, command, container, notebook."""

    store: RunStore
    artifacts: ArtifactStore
    tracker: Tracker
    environments: Environments
    executors: dict[str, Executor]


@dataclass
class Core:
    """Shared by every run of a service. Lives on one event loop."""

    home: Home
    ports: Ports
    clock: Clock
    grace: float = 10.0
    trouble: str = ""
    #: Brings an artifact to a local path: followed by its URI and the path. Run by tasks, with their own variables.
    fetch_command: tuple[str, ...] = ()
    stored_run: dict[str, RunRecord] = field(default_factory=dict[str, RunRecord])

    contents: Contents = field(init=False)
    cache: ResultCache = field(init=False)
    admission: Admission = field(init=False)
    prepare: Preparer = field(init=False)
    attempts: Attempts = field(init=False)
    platform: Platform = field(init=False)
    notebooks: NotebookRuns = field(init=False)
    beside: Beside | None = None
    assemble: Assemble = field(init=False)
    containers: Images = field(init=False)

    def __post_init__(self) -> None:
        # One thread for the store: its writes stay in order and the event loop stays free.
        self._store_thread = ThreadPoolExecutor(1, thread_name_prefix="store")
        self._file_threads = ThreadPoolExecutor(4, thread_name_prefix="files")
        self._watchers: dict[str, set[asyncio.Event]] = {}

    @property
    def store(self) -> RunStore:
        return self.ports.store

    @property
    def artifacts(self) -> ArtifactStore:
        return self.ports.artifacts

    @property
    def tracker(self) -> Tracker:
        return self.ports.tracker

    @property
    def kept(self) -> Path:
        return self.home.root / "kept"

    async def in_thread(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call something that writes or reads the store, in order with all other such calls."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._store_thread, lambda: function(*args, **kwargs))

    async def on_files(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call something that reads or copies files and may take long."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._file_threads, lambda: function(*args, **kwargs))

    def stored(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """:meth:`in_thread` for those who are in a thread of their own already: they wait."""
        return self._store_thread.submit(function, *args, **kwargs).result()

    def soon_on_files(self, function: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> None:
        """The same for what nobody waits for. It is done before the service leaves in peace."""
        self._file_threads.submit(function, *args, **kwargs)

    # ------------------------------------------------------------------ news
    def published(self, run_id: str) -> None:
        """New events of this run are durable."""
        for event in self._watchers.get(run_id, ()):
            event.set()

    def subscribe(self, run_id: str) -> asyncio.Event:
        event = asyncio.Event()
        self._watchers.setdefault(run_id, set()).add(event)
        return event

    def unsubscribe(self, run_id: str, event: asyncio.Event) -> None:
        watchers = self._watchers.get(run_id, set())
        watchers.discard(event)
        if not watchers:
            self._watchers.pop(run_id, None)

    def close_threads(self) -> None:
        self._store_thread.shutdown(wait=True)
        self._file_threads.shutdown(wait=True)
