"""The one place where a local service is put together: which store, artifacts, tracker and executors it uses.

``python -m mlplatform.sdk.local --home DIR`` is the service's process.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlplatform.engine.service import SystemClock
from mlplatform.engine.service import main as service_main

if TYPE_CHECKING:
    from mlplatform.engine.core import Core
    from mlplatform.engine.home import Home
    from mlplatform.engine.manager import Manager
    from mlplatform.engine.schedules import Schedules
    from mlplatform.engine.training.trainings import Trainings


@dataclass(frozen=True, slots=True)
class Composition:
    """``web_server``: the command that serves the home's pages on a socket, given its descriptor."""

    core: Core
    manager: Manager
    schedules: Schedules | None = None
    web_server: Callable[[int], Sequence[str]] | None = None
    trainings: Trainings | None = None


def store_target(home: Home) -> str:
    """``MLPLATFORM_STORE`` (a PostgreSQL or SQLite URL) or the home's SQLite file."""
    return os.environ.get("MLPLATFORM_STORE") or str(home.database)


def compose(home: Home) -> Composition:
    """Build the service of a home. Raises StoreError if its store cannot be opened."""
    from mlplatform.artifacts import Artifacts
    from mlplatform.engine.admission import Admission
    from mlplatform.engine.attempts import Attempts
    from mlplatform.engine.caching import ResultCache
    from mlplatform.engine.contents import Contents
    from mlplatform.engine.core import Core, Ports
    from mlplatform.engine.environments import CachedEnvironments
    from mlplatform.engine.executors.containers import ContainerExecutor
    from mlplatform.engine.executors.notebooks import NotebookExecutor
    from mlplatform.engine.executors.processes import ProcessExecutor
    from mlplatform.engine.gpus import Gpus
    from mlplatform.engine.home import cache_folder
    from mlplatform.engine.machine import Machine, is_network_file_system
    from mlplatform.engine.manager import Manager
    from mlplatform.engine.notebooks.beside import Beside
    from mlplatform.engine.notebooks.runs import NotebookRuns
    from mlplatform.engine.platform import Platform
    from mlplatform.engine.prepare import Preparer
    from mlplatform.engine.schedules import Schedules
    from mlplatform.engine.submission import read_private
    from mlplatform.engine.training.executor import TrainingExecutor
    from mlplatform.engine.training.jobs import private_of
    from mlplatform.engine.training.ranks import Here
    from mlplatform.engine.training.tracked import Tracked
    from mlplatform.engine.training.trainings import Trainings
    from mlplatform.notebook.executed import assemble
    from mlplatform.planning.admission import Capacity
    from mlplatform.store import open_store
    from mlplatform.tracking.client import MlflowTracker, TrackingOptions
    from mlplatform.tracking.off import NoTracker, switched_off

    machine = Machine.read()
    processes = ProcessExecutor()
    containers = ContainerExecutor(processes)
    notebooks = NotebookExecutor(containers)
    tracking = TrackingOptions(
        python=sys.executable,
        environment_of=lambda run_id: read_private(private_of(home, run_id)),
        network_disk=is_network_file_system(home.root),
    )
    store = open_store(store_target(home))
    ports = Ports(
        store=store,
        artifacts=Artifacts(),
        tracker=NoTracker() if switched_off() else MlflowTracker(home.mlflow, tracking),
        environments=CachedEnvironments(cache_folder()),
        executors={"python": processes, "command": processes, "container": containers, "notebook": notebooks},
    )
    core = Core(home, ports, SystemClock())
    core.fetch_command = (sys.executable, "-I", "-m", "mlplatform.artifacts.fetching")
    core.contents = Contents(ports.artifacts, home.artifacts, os.environ.get("MLPLATFORM_ARTIFACTS", "").rstrip("/"))
    core.cache = ResultCache(ports.store, ports.artifacts, core.kept)
    gpus = Gpus(machine.gpu_ids)
    core.admission = Admission(Capacity(machine.cores, machine.memory, machine.gpu_ids), gpus)
    gpus.freed = core.admission.soon
    core.prepare = Preparer(core)
    core.attempts = Attempts(core)
    core.platform = Platform(home)
    core.notebooks = NotebookRuns(home, notebooks)
    core.beside = notebooks.neighbours = Beside(core.notebooks, notebooks.begin_alone, core.on_files)
    core.assemble = assemble
    core.containers = containers
    manager = Manager(core)
    trainings = Trainings(core, Here(machine.hostname, machine.boot), gpus, Tracked(core))
    ports.executors["training"] = TrainingExecutor(trainings)
    schedules = Schedules(core, manager, store.catalog)
    return Composition(core, manager, schedules, lambda fd: web_server(home, fd), trainings)


def web_server(home: Home, descriptor: int) -> list[str]:
    """A process by its name: the server is a room above this one."""
    return [sys.executable, "-m", "mlplatform.server", "--home", str(home.root), "--listener", str(descriptor)]


def main(argv: Sequence[str] | None = None) -> int:
    return service_main(argv, compose)


if __name__ == "__main__":
    sys.exit(main())
