"""The executed notebook of a run that has ended, however it ended: an artifact of the run."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from mlplatform.core.errors import ArtifactError
from mlplatform.core.model import Artifact, RunRecord, Values
from mlplatform.core.values import JsonValue
from mlplatform.planning.notebook_component import NotebookTask, document_of, tasks_of

if TYPE_CHECKING:
    from mlplatform.engine.core import Core
    from mlplatform.ir.model import Pipeline

_log = logging.getLogger(__name__)

#: Its name among the run's outputs.
OUTPUT = "notebook"


class Assemble(Protocol):
    """Puts outputs in place (``mlplatform.notebook.executed.assemble``)."""

    def __call__(
        self,
        document: Mapping[str, Any] | None,
        tasks: Sequence[NotebookTask],
        outputs: Iterable[Mapping[str, Any]],
        parameters: Mapping[str, JsonValue],
        about: Mapping[str, Any],
    ) -> bytes: ...


async def with_notebook(core: Core, run: RunRecord, pipeline: Pipeline) -> RunRecord:
    """The ended run with its executed notebook among its outputs; unchanged if it is no notebook's."""
    tasks = tasks_of(pipeline)
    if not tasks:
        return run
    try:
        artifact = await core.on_files(_write, core, run, pipeline, tasks)
        outputs = Values(run.outputs.parameters, {**run.outputs.artifacts, OUTPUT: artifact})
        return replace(run, outputs=await core.on_files(core.contents.published, outputs))
    except (OSError, ArtifactError) as error:
        # The run is what it is; what its cells said is kept beside it.
        _log.error("run %s: its notebook could not be written: %s", run.run_id, error)
        return run


def _write(core: Core, run: RunRecord, pipeline: Pipeline, tasks: Sequence[NotebookTask]) -> Artifact:
    assemble: Callable[..., bytes] = core.assemble
    about = {
        "run_id": run.run_id,
        "state": str(run.state),
        "started_at": run.started_at,
        "finished_at": run.finished_at,
        "parameters": dict(run.parameters),
    }
    folder = core.notebooks.folder(run.run_id)
    data = assemble(document_of(pipeline), tasks, _kept(folder, tasks), run.parameters, about)
    name = os.path.splitext(tasks[0].notebook or "notebook")[0] + ".ipynb"
    target = core.home.artifacts / run.run_id / OUTPUT / "1" / name
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{name}.tmp")
    temporary.write_bytes(data)
    temporary.replace(target)
    digest, size = core.artifacts.digest(str(target))
    return Artifact(OUTPUT, str(target), "system.Artifact", {"format": "ipynb"}, digest, size)


def _kept(folder: Path, tasks: Sequence[NotebookTask]) -> list[dict[str, Any]]:
    """What the tasks that ran left of their outputs."""
    found: list[dict[str, Any]] = []
    for task in tasks:
        try:
            found.append(json.loads((folder / f"outputs-{task.position:04d}.json").read_bytes()))
        except (OSError, ValueError):
            continue  # it did not run
    return found
