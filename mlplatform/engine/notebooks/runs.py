"""The notebook part of runs: what a session is told about a task."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlplatform.core.model import Values
from mlplatform.engine.home import Home
from mlplatform.ir.model import Pipeline
from mlplatform.planning.notebook_component import NotebookTask, tasks_of


class NotebookRuns:
    """The notebooks of one home."""

    def __init__(self, home: Home) -> None:
        self._home = home

    def folder(self, run_id: str) -> Path:
        """Where a run keeps what concerns its notebook."""
        return self._home.run(run_id) / "notebook"

    def section(self, run_id: str, pipeline: Pipeline, task: NotebookTask, inputs: Values) -> dict[str, Any]:
        """The ``notebook`` member of a task's spec."""
        folder = self.folder(run_id)
        tasks = tasks_of(pipeline)
        before = [cell for other in tasks if other.position < task.position for cell in other.cells]
        parameters: Mapping[str, Any] = inputs.parameters
        return {
            **task.to_json(),
            "cookie": f"{run_id}:notebook",
            "folder": str(folder),
            "outputs": str(folder / f"outputs-{task.position:04d}.json"),
            "execution_count": 1 + sum(1 for cell in before if cell.source.strip()),
            "values": {name: parameters[name] for name in task.parameters if name in parameters},
            "last": task.position == tasks[-1].position,
        }
