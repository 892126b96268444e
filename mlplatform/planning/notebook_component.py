"""Tasks of a notebook, read back from the command that :mod:`mlplatform.notebook` compiles them to.

A compiled notebook is an ordinary KFP pipeline: one component for each task, in a chain, because running a notebook
from top to bottom is what a notebook means. The command of such a component is::

    python3 -m mlplatform.launcher.notebook --executor_input {{$}} --notebook_task BASE64(JSON)

where JSON is what :meth:`NotebookTask.to_json` gives; base64 keeps a user's ``{{$...}}`` from being taken for a
placeholder. The platforms document holds the notebook itself without outputs
(``platforms.mlplatform.config.notebook``), so that a run can give it back with outputs in place wherever it runs.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, cast

from mlplatform.ir.model import ContainerExecutor, Pipeline
from mlplatform.ir.platform import OWN

COMMAND: Final = ("python3", "-m", "mlplatform.launcher.notebook")

#: Artifacts by which tasks of a notebook pass on what they leave where each is a pod of its own: what the next one
#: begins from, and what the cells said. No parameter can be called so.
STATE: Final = "notebook-state"
CELLS: Final = "notebook-cells"

#: Where no image is named. On one machine tasks run in the user's own interpreter.
DEFAULT_IMAGE: Final = "python:3.11"

#: Bytes of a notebook document; what a pipeline file holds beyond that was not put there by us.
_MAX_DOCUMENT: Final = 512 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class CellSource:
    """One code cell. ``index`` is its position in ``nb.cells`` (markdown counts, from 0), ``source`` the text as it
    stands in the notebook (magics included). ``may_fail``: tagged ``raises-exception``. ``definitions``: it only
    imports or defines functions and classes, so running it again in a fresh process is right."""

    index: int
    source: str
    may_fail: bool = False
    definitions: bool = False

    def to_json(self) -> dict[str, Any]:
        return {
            "index": self.index,
            "source": self.source,
            "may_fail": self.may_fail,
            "definitions": self.definitions,
        }

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> CellSource:
        return CellSource(
            int(data["index"]), str(data["source"]), bool(data.get("may_fail")), bool(data.get("definitions"))
        )


@dataclass(frozen=True, slots=True)
class NotebookTask:
    """Everything that one task of a notebook is.

    Attributes:
        name: the task's name in the pipeline.
        position: 0 for the first task in notebook order.
        cells: its code cells, in order.
        may_read, may_write: names of the notebook's namespace that its text may read and change (static reading, which
            only proposes: what is touched when it runs decides).
        whole_namespace: its text may touch any name (``exec``, ``globals()``, ``%run``, star imports ...).
        parameters: names that run parameters set after its cells ran (it ends with the parameters cell). They are
            inputs of the component under the same names; an input that was not given sets nothing.
        defaults: the values that the notebook itself gives them, as JSON. A parameter that equals its default is not
            set again: ``b = a`` after ``a = []`` must stay one list.
        notebook: what to call the notebook in tracebacks and messages.
        after: names of tasks it must follow besides its place in the order (Kale's ``prev:``).
    """

    name: str
    position: int
    cells: tuple[CellSource, ...]
    may_read: tuple[str, ...] = ()
    may_write: tuple[str, ...] = ()
    whole_namespace: bool = False
    parameters: tuple[str, ...] = ()
    defaults: Mapping[str, Any] = field(default_factory=dict[str, Any])
    notebook: str = ""
    after: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "position": self.position,
            "cells": [cell.to_json() for cell in self.cells],
            "may_read": list(self.may_read),
            "may_write": list(self.may_write),
            "whole_namespace": self.whole_namespace,
            "parameters": list(self.parameters),
            "defaults": dict(self.defaults),
            "notebook": self.notebook,
            "after": list(self.after),
        }

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> NotebookTask:
        return NotebookTask(
            name=str(data["name"]),
            position=int(data["position"]),
            cells=tuple(CellSource.from_json(cell) for cell in data["cells"]),
            may_read=tuple(data.get("may_read") or ()),
            may_write=tuple(data.get("may_write") or ()),
            whole_namespace=bool(data.get("whole_namespace")),
            parameters=tuple(data.get("parameters") or ()),
            defaults=dict(data.get("defaults") or {}),
            notebook=str(data.get("notebook") or ""),
            after=tuple(data.get("after") or ()),
        )


def command(task: NotebookTask) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(command, args) of the container executor of a task."""
    text = json.dumps(task.to_json(), separators=(",", ":"), sort_keys=True)
    packed = base64.b64encode(text.encode("utf-8", "surrogatepass")).decode("ascii")
    return COMMAND, ("--executor_input", "{{$}}", "--notebook_task", packed)


def recognise_notebook(executor: ContainerExecutor) -> NotebookTask | None:
    """The notebook task an executor is, or None if it is anything else."""
    command, args = tuple(executor.command), tuple(executor.args)
    if command != COMMAND or len(args) != 4 or args[:3] != ("--executor_input", "{{$}}", "--notebook_task"):
        return None
    try:
        return NotebookTask.from_json(json.loads(base64.b64decode(args[3], validate=True)))
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def tasks_of(pipeline: Pipeline) -> list[NotebookTask]:
    """The notebook's tasks in notebook order; empty if the pipeline is none."""
    found = [
        task
        for executor in pipeline.executors.values()
        if isinstance(executor, ContainerExecutor) and (task := recognise_notebook(executor)) is not None
    ]
    return sorted(found, key=lambda task: task.position)


def platform_of(document: Mapping[str, Any]) -> dict[str, Any]:
    """The entry of the platforms document that holds a notebook (nbformat 4 JSON, without outputs)."""
    text = json.dumps(document, separators=(",", ":"), sort_keys=True)
    packed = zlib.compress(text.encode("utf-8", "surrogatepass"), 9)
    return {OWN: {"config": {"notebook": base64.b64encode(packed).decode("ascii")}}}


def document_of(pipeline: Pipeline) -> dict[str, Any] | None:
    """The notebook that a pipeline was compiled from, or None where it does not say."""
    entry: Any = pipeline.platforms.get(OWN)
    try:
        packed = base64.b64decode(entry["config"]["notebook"], validate=True)
        found: Any = json.loads(zlib.decompressobj().decompress(packed, _MAX_DOCUMENT))
    except (ValueError, KeyError, TypeError, zlib.error):
        return None
    return cast("dict[str, Any]", found) if isinstance(found, dict) else None
