"""How a notebook compiles, for people and for pages: its tasks, their cells, what passes between them."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from typing import Any

from mlplatform.notebook.model import NotebookPlan


def describe(plan: NotebookPlan) -> dict[str, Any]:
    """The plan as JSON.

    ::

        {"notebook", "split_by", "tasks": [{"name", "title", "cells": [0], "uses", "makes", "depends_on",
         "whole": "why it may touch any variable"}], "parameters": [{"name", "type", "default", "cell"}], "notes"}

    ``depends_on`` is what the text tells; what really passes is seen when it runs.
    """
    return {
        "notebook": plan.notebook.path or plan.notebook.name,
        "split_by": plan.split_by,
        "tasks": [
            {
                "name": each.task.name,
                "title": each.title,
                "cells": [cell.index for cell in each.task.cells],
                "uses": list(each.uses),
                "makes": list(each.makes),
                "depends_on": list(each.depends_on),
                "whole": each.why_whole,
            }
            for each in plan.tasks
        ],
        "parameters": [
            {"name": each.name, "type": each.type.value, "default": each.default, "cell": each.cell}
            for each in plan.parameters
        ],
        "notes": list(plan.notes),
    }


def ranges(numbers: Iterable[int]) -> str:
    """``1-3, 5``: positions in one line."""
    found: list[str] = []
    for _, group in groupby(enumerate(sorted(numbers)), lambda pair: pair[1] - pair[0]):
        part = [number for _, number in group]
        found.append(str(part[0]) if len(part) == 1 else f"{part[0]}-{part[-1]}")
    return ", ".join(found)


def few(names: Iterable[str], most: int = 4) -> str:
    """Some names in one line, and how many more there are."""
    every = list(names)
    more = len(every) - most
    return ", ".join(every) if more <= 0 else f"{', '.join(every[:most])} and {more} more"


def rows(plan: NotebookPlan) -> list[list[str]]:
    """A line for each task: number, name, cells, what it takes and from which tasks, what it makes."""
    made: list[list[str]] = []
    for number, each in enumerate(plan.tasks, 1):
        task = each.task
        cells = ranges(cell.index for cell in task.cells)
        word = "cell" if len(task.cells) == 1 else "cells"
        uses = f"uses {few(each.uses)}" if each.uses else ""
        if each.why_whole:
            uses = "may use any variable"
        made.append(
            [
                f"  {number}",
                task.name,
                f"{word} {cells}",
                f"after {few(each.depends_on, 3)}" if each.depends_on else "",
                uses,
                f"makes {few(each.makes)}" if each.makes else "",
            ]
        )
    return made
