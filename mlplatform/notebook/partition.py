"""From a notebook to tasks: by Kale's tags, by sections, or by data flow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from mlplatform.core.errors import Finding, InvalidPipeline
from mlplatform.notebook import grouping, headings, naming, parameters, tags
from mlplatform.notebook.effects import Effects, NotebookFlow, dependencies, together
from mlplatform.notebook.flow import CellFlow, read_flow
from mlplatform.notebook.model import Cell, Notebook, NotebookPlan, Parameter, PlannedTask, Settings
from mlplatform.planning.notebook_component import CellSource, NotebookTask

TAGS, SECTIONS, FLOW, WHOLE = "tags", "sections", "data flow", "one task"
_NOTHING: Final = "There is no code to run in {}."


@dataclass(slots=True)
class _Part:
    """Cells that become one task. ``title``: the heading or tag it comes from; "" where there is none."""

    cells: list[Cell]
    title: str = ""
    after: list[str] = field(default_factory=list[str])
    settings: Settings = field(default_factory=Settings)
    is_title: bool = False


def plan(notebook: Notebook) -> NotebookPlan:
    """How the notebook becomes a pipeline.

    Raises:
        InvalidPipeline: there is nothing to run, or tags that contradict each other, with every finding.
    """
    cells = [cell for cell in notebook.cells if cell.runs]
    if not cells:
        raise InvalidPipeline(_NOTHING.format(notebook.path or notebook.name), hint="Write a code cell first.")
    flows = {cell.index: read_flow(cell.source) for cell in cells}
    order = [cell.index for cell in cells]
    whole = NotebookFlow([flows[index] for index in order])
    effects = dict(zip(order, whole.effects, strict=True))

    if tags.is_tagged(notebook.cells):
        split_by, parts = TAGS, _by_tags(notebook)
    else:
        split_by, parts = SECTIONS, _by_headings(notebook)
        if len(parts) == 1:
            groups = grouping.group([flows[i] for i in order], [effects[i] for i in order])
            split_by = FLOW
            parts = [_Part([cells[position] for position in group]) for group in groups]
    parts, found = _with_parameters(notebook, parts, flows)
    if len(parts) == 1:
        split_by = WHOLE
    names = _names(parts, flows, found)
    both = [together([effects[cell.index] for cell in part.cells]) for part in parts]
    planned = [
        PlannedTask(
            task=_task(notebook, position, name, part, both[position], flows, found),
            title=part.title,
            settings=part.settings,
            uses=tuple(
                sorted(both[position].reads & frozenset[str]().union(*(each.binds for each in both[:position])))
            ),
            makes=tuple(sorted(both[position].binds & whole.bound)),
            depends_on=tuple(names[other] for other in upstream),
            why_whole=both[position].whole,
        )
        for position, (name, part, upstream) in enumerate(zip(names, parts, dependencies(both), strict=True))
    ]
    kale = _table(notebook.document.get("metadata")).get("kubeflow_notebook")
    return NotebookPlan(
        notebook=notebook,
        tasks=tuple(planned),
        parameters=found,
        split_by=split_by,
        notes=_notes(planned, effects),
        description=str(_table(kale).get("pipeline_description") or ""),
        pipeline_name=str(_table(kale).get("pipeline_name") or ""),
    )


def _table(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}  # pyright: ignore[reportUnknownVariableType]


def _task(
    notebook: Notebook,
    position: int,
    name: str,
    part: _Part,
    effects: Effects,
    flows: Mapping[int, CellFlow],
    found: Sequence[Parameter],
) -> NotebookTask:
    holds = any(cell.index == _holder(found) for cell in part.cells)
    mine = found if holds else ()
    return NotebookTask(
        name=name,
        position=position,
        cells=tuple(_cell(cell, flows[cell.index]) for cell in part.cells),
        may_read=tuple(sorted(effects.reads)),
        may_write=tuple(sorted(effects.writes)),
        whole_namespace=bool(effects.whole),
        parameters=tuple(each.name for each in mine),
        defaults={each.name: each.default for each in mine if each.has_default},
        notebook=notebook.name + (".py" if notebook.path.endswith(".py") else ".ipynb"),
        after=tuple(part.after),
    )


def _cell(cell: Cell, flow: CellFlow) -> CellSource:
    may_fail = "raises-exception" in cell.tags
    return CellSource(cell.index, cell.source, may_fail, flow.definitions)


# ------------------------------------------------------------------ tags
def _by_tags(notebook: Notebook) -> list[_Part]:
    """Kale's way: a tagged cell begins a task or goes on with the one above; untagged cells belong to that above."""
    findings: list[Finding] = []
    default = tags.defaults(_table(notebook.document.get("metadata")))
    parts: list[_Part] = []
    current = None
    seen: set[str] = set()
    for cell in notebook.cells:
        at = f"cells[{cell.index}].metadata.tags"
        if not cell.runs:
            continue
        told = tags.read_tags(cell.tags, at, findings)
        label = told.step or tags.ROLES.get(told.role, "")
        findings += [
            Finding(at, f"prev:{prev} names no step above this one", "unknown-name", _prev_hint(prev, seen))
            for prev in told.prev
            if prev not in seen
        ]
        if not parts or (label and label != current):
            parts.append(_Part([], label))
            current = label or current
        part = parts[-1]
        part.cells.append(cell)
        part.after += [prev for prev in told.prev if prev not in part.after and prev != label]
        part.settings = tags.merged(told.settings, part.settings)
        if told.step:
            seen.add(told.step)
    if findings:
        raise InvalidPipeline(f"The tags of {notebook.path or notebook.name} have findings.", findings=findings)
    for part in parts:
        part.settings = tags.merged(part.settings, default)
    return parts


def _prev_hint(prev: str, seen: set[str]) -> str:
    from mlplatform.ir.findings import did_you_mean

    return did_you_mean(prev, sorted(seen)) or "cells run in the notebook's order: move the step above this cell"


# ------------------------------------------------------------------ sections
def _by_headings(notebook: Notebook) -> list[_Part]:
    found = headings.headings(notebook.cells)
    level = headings.section_level(found)
    starts: dict[int, list[headings.Heading]] = {}
    for heading in found:
        if heading.level <= level:
            starts.setdefault(heading.cell, []).append(heading)
    parts: list[_Part] = [_Part([])]
    for cell in notebook.cells:
        if cell.index in starts:
            # A title over the first section's heading: the section is named after its own.
            last = starts[cell.index][-1]
            parts.append(_Part([], last.text, is_title=last.level < level))
        elif cell.runs:
            parts[-1].cells.append(cell)
    return [part for part in parts if part.cells]


# ------------------------------------------------------------------ parameters
def _holder(found: Sequence[Parameter]) -> int:
    return found[-1].cell if found else -1


def _with_parameters(
    notebook: Notebook, parts: list[_Part], flows: Mapping[int, CellFlow]
) -> tuple[list[_Part], tuple[Parameter, ...]]:
    """The parts with the parameters cell at the end of one, so that overriding a value happens between two tasks."""
    tagged = parameters.tagged_cells(notebook.cells)
    if tagged:
        cells = tagged
    else:
        offered = parameters.offered_cell(notebook.cells, (i for i, flow in flows.items() if flow.definitions))
        cells = [] if offered is None else [offered]
    found = parameters.read_parameters(notebook.cells, cells)
    if not found:
        return parts, ()
    holder = cells[-1]
    found = tuple(
        Parameter(each.name, each.type, holder, each.default, each.has_default, each.description) for each in found
    )
    made: list[_Part] = []
    for part in parts:
        indexes = [cell.index for cell in part.cells]
        if holder not in indexes or len(indexes) == 1:
            made.append(part)
            continue
        at = indexes.index(holder)
        first = at
        while first and indexes[first - 1] in cells:
            first -= 1
        before, own, after = part.cells[:first], part.cells[first : at + 1], part.cells[at + 1 :]
        title = part.title if not before and not after else "parameters"
        for cells_of, name in ((before, part.title), (own, title), (after, part.title)):
            if cells_of:
                made.append(_Part(cells_of, name, part.after, part.settings, part.is_title))
    return made, found


# ------------------------------------------------------------------ names
def _names(parts: Sequence[_Part], flows: Mapping[int, CellFlow], found: Sequence[Parameter]) -> list[str]:
    names = naming.Names()
    made: list[str] = []
    holder = _holder(found)
    for number, part in enumerate(parts, 1):
        word = part.title
        prepares = all(flow.definitions or not flow.binds for flow in (flows[cell.index] for cell in part.cells))
        if not word or (part.is_title and number == 1 and prepares):
            if any(cell.index == holder for cell in part.cells):
                word = "parameters"
            elif number == 1 and len(parts) > 1 and prepares:
                word = "setup"
            else:
                word = _word_of(part.cells[0]) or ("main" if len(parts) == 1 else f"cells-{part.cells[0].index}")
        made.append(names.take(naming.slug(word, f"section-{number}")))
    return made


def _word_of(cell: Cell) -> str:
    """A short comment on the first line names a task that no heading names."""
    first = cell.source.lstrip().partition("\n")[0].strip()
    words = first.lstrip("#").strip(" -=#*")
    spoken = any(letter.islower() for letter in words) and 2 < len(words) <= 40
    return words if first.startswith("#") and not first.startswith("#!") and spoken else ""


def _notes(planned: Sequence[PlannedTask], effects: Mapping[int, Effects]) -> tuple[str, ...]:
    notes: list[str] = []
    for each in planned:
        for cell in each.task.cells:
            why = effects[cell.index].whole
            if why:
                notes.append(f"task {each.task.name}: cell {cell.index} may touch any variable: {why}")
    return tuple(notes)
