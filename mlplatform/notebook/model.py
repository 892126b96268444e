"""What a notebook is to us, and what becomes of it: cells, tasks, parameters. Plain frozen records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mlplatform.core.values import JsonValue, ParameterType
from mlplatform.planning.notebook_component import NotebookTask


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell. ``index`` is its position in the notebook, from 0; ``kind`` is code, markdown or raw."""

    index: int
    kind: str
    source: str
    tags: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def runs(self) -> bool:
        """Whether there is something to run: a code cell that is not blank and not tagged to be left out."""
        return self.kind == "code" and bool(self.source.strip()) and not SKIPPED & set(self.tags)


#: Tags of cells that no run executes: Kale's, and papermill's and Jupyter Book's.
SKIPPED = frozenset({"skip", "skip-execution"})


@dataclass(frozen=True, slots=True)
class Notebook:
    """A notebook as it was read.

    Attributes:
        path: the file, absolute; empty where it was read from text.
        name: the file's name without folder and ending.
        document: the notebook as nbformat 4 JSON (without outputs where it was read from a script).
        language: the kernel's language, lower case.
    """

    path: str
    name: str
    cells: tuple[Cell, ...]
    document: Mapping[str, Any]
    language: str = "python"


@dataclass(frozen=True, slots=True)
class Parameter:
    """A value that a run may override. ``default`` counts where ``has_default``; ``cell`` is where it is set."""

    name: str
    type: ParameterType
    cell: int
    default: JsonValue = None
    has_default: bool = True
    description: str = ""


@dataclass(frozen=True, slots=True)
class Settings:
    """What tags ask of a task: an image, limits by resource name, pod labels and annotations, the cache (None: as
    the run says)."""

    image: str = ""
    limits: Mapping[str, str] = field(default_factory=dict[str, str])
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    annotations: Mapping[str, str] = field(default_factory=dict[str, str])
    cache: bool | None = None


@dataclass(frozen=True, slots=True)
class PlannedTask:
    """One task.

    Attributes:
        task: what runs.
        title: the heading or tag it comes from; "" where there is none.
        settings: what its tags ask for.
        uses: variables that it may take from earlier tasks.
        makes: variables that it binds.
        depends_on: the earlier tasks that it may depend on, by its text; what others imply is left out.
        why_whole: why it may touch any variable; "" if it does not.
    """

    task: NotebookTask
    title: str
    settings: Settings = Settings()
    uses: tuple[str, ...] = ()
    makes: tuple[str, ...] = ()
    depends_on: tuple[str, ...] = ()
    why_whole: str = ""


@dataclass(frozen=True, slots=True)
class NotebookPlan:
    """How a notebook becomes a pipeline. ``split_by`` says what made the tasks: tags, sections, data flow, or that
    there is only one; ``notes`` are for the user, a sentence each."""

    notebook: Notebook
    tasks: tuple[PlannedTask, ...]
    parameters: tuple[Parameter, ...] = ()
    split_by: str = ""
    notes: tuple[str, ...] = ()
    description: str = ""
    pipeline_name: str = ""
