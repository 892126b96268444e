"""What a run would do, before it does."""

from __future__ import annotations

import html
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlplatform.core.errors import NotFound
from mlplatform.engine.home import open_home
from mlplatform.sdk.client import LocalClient
from mlplatform.sdk.submitting import check_backend, request

if TYPE_CHECKING:
    from mlplatform.sdk.define.pipelines import Submission

_WORDS = {"run": "runs", "reuse": "reused", "skip": "skipped", "unknown": "depends"}


@dataclass(frozen=True, slots=True)
class PlannedTask:
    """``action``: run, reuse, skip, or unknown where it hangs on what an earlier task will give."""

    task: str
    action: str
    why: str
    cached_from: str = ""

    def __str__(self) -> str:
        return f"{self.task}: {_WORDS.get(self.action, self.action)} ({self.why})"


class Plan:
    """The tasks of a run that was not started, in the order they would start. Shown as a table."""

    def __init__(self, tasks: tuple[PlannedTask, ...]) -> None:
        self.tasks = tasks

    def __iter__(self) -> Iterator[PlannedTask]:
        return iter(self.tasks)

    def __len__(self) -> int:
        return len(self.tasks)

    def __getitem__(self, task: str) -> PlannedTask:
        """A task by its name, or the last part of it. Raises NotFound."""
        for planned in self.tasks:
            if task in (planned.task, planned.task.rpartition("/")[2]):
                return planned
        raise NotFound(f"the plan has no task {task!r}", hint="It has: " + ", ".join(item.task for item in self.tasks))

    def __repr__(self) -> str:
        width = max((len(item.task) for item in self.tasks), default=0)
        return "\n".join(f"{item.task:<{width}}  {_WORDS.get(item.action, ''):<8} {item.why}" for item in self.tasks)

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td style='text-align:left'>{html.escape(item.task)}</td><td>{_WORDS.get(item.action, '')}</td>"
            f"<td style='text-align:left'>{html.escape(item.why)}</td></tr>"
            for item in self.tasks
        )
        return f"<table><tr><th>task</th><th></th><th style='text-align:left'>why</th></tr>{rows}</table>"


def make_plan(submission: Submission) -> Plan:
    """Ask the service. Raises InvalidParameters, Unsupported, ServiceError."""
    check_backend(submission.options)
    home = open_home(submission.options.home)
    told = LocalClient(home).plan(request(submission, home))
    return Plan(tuple(PlannedTask(item["task"], item["action"], item["why"], item["cached_from"]) for item in told))
