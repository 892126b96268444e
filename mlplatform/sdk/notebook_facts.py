"""What a report says of a run that is a notebook's: each task's cells, and where the executed notebook is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlplatform.core.errors import MlPlatformError
from mlplatform.core.model import Artifact, RunRecord
from mlplatform.engine.home import Home
from mlplatform.engine.notebooks.executed import OUTPUT
from mlplatform.planning.notebook_component import NotebookTask, tasks_of

if TYPE_CHECKING:
    from mlplatform.store.runstore import SqlRunStore


@dataclass(frozen=True, slots=True)
class NotebookFacts:
    """``cells``: task -> positions in ``nb.cells``; ``path``: the executed notebook, "" until the run has ended."""

    cells: Mapping[str, tuple[int, ...]]
    path: str = ""


def notebook_facts(home: Home, store: SqlRunStore, run: RunRecord) -> NotebookFacts | None:
    """None if the run is no notebook's."""
    artifact = run.outputs.artifacts.get(OUTPUT)
    executed = isinstance(artifact, Artifact) and artifact.metadata.get("format") == "ipynb"
    if not executed and not (home.run(run.run_id) / "notebook").exists():
        return None
    try:
        tasks = read_tasks(store.document(run.spec_digest))
    except MlPlatformError:
        tasks = []
    if not tasks and not executed:
        return None
    cells = {task.name: tuple(cell.index for cell in task.cells) for task in tasks}
    path = artifact.uri.removeprefix("file://") if executed and isinstance(artifact, Artifact) else ""
    return NotebookFacts(cells, path)


def read_tasks(document: bytes) -> list[NotebookTask]:
    """The notebook's tasks in a stored pipeline document; none if it is no notebook's. Raises InvalidPipeline."""
    from mlplatform.ir.load import from_documents, loads

    try:
        found: Any = json.loads(document)
    except ValueError:
        return tasks_of(loads(document))
    return tasks_of(from_documents([found]))
