"""Notebooks written in a line: cells as ``("code", source, *tags)``."""

from __future__ import annotations

import json
from typing import Any

from mlplatform.notebook.model import Notebook, NotebookPlan
from mlplatform.notebook.partition import plan
from mlplatform.notebook.read import loads


def md(source: str) -> dict[str, Any]:
    return {"cell_type": "markdown", "metadata": {}, "source": source}


def code(source: str, *tags: str) -> dict[str, Any]:
    metadata = {"tags": list(tags)} if tags else {}
    return {"cell_type": "code", "metadata": metadata, "source": source, "outputs": [], "execution_count": None}


def raw(source: str, mimetype: str = "") -> dict[str, Any]:
    return {"cell_type": "raw", "metadata": {"raw_mimetype": mimetype}, "source": source}


def document(*cells: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    return {"nbformat": 4, "nbformat_minor": 5, "metadata": metadata, "cells": list(cells)}


def book(*cells: dict[str, Any], name: str = "book.ipynb", **metadata: Any) -> Notebook:
    return loads(json.dumps(document(*cells, **metadata)), name)


def planned(*cells: dict[str, Any], **metadata: Any) -> NotebookPlan:
    return plan(book(*cells, **metadata))


def tasks(made: NotebookPlan) -> dict[str, list[int]]:
    return {each.task.name: [cell.index for cell in each.task.cells] for each in made.tasks}
