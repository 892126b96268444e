"""``mlplatform cache``: why tasks ran or were reused, and forgetting results."""

from __future__ import annotations

import sys
from typing import Any

import click

from mlplatform.cli.options import common, give, run_argument
from mlplatform.cli.style import clean, counted, style_of_output, table
from mlplatform.core.errors import InvalidInput
from mlplatform.core.model import TaskKey
from mlplatform.engine.home import open_home
from mlplatform.sdk.client import LocalClient


@click.group()
def cache() -> None:
    """Why tasks ran or were reused; forgetting what could be reused."""


@cache.command()
@run_argument()
@click.argument("task", metavar="[TASK]", required=False)
@common
def why(run: str, task: str | None, home: str | None, output: str) -> None:
    """Say why the tasks of a run (or TASK alone) ran, were reused, wait, were skipped or failed."""
    from mlplatform.engine.why import sentence
    from mlplatform.sdk.records import matching_tasks, read_run

    record, tasks, _ = read_run(open_home(home), run)
    found = matching_tasks(tasks, task) if task else [each for each in tasks if not each.is_group]
    data: dict[str, Any] = {
        "run_id": record.run_id,
        "tasks": [
            {
                "name": each.key.name,
                "iteration": list(each.key.iteration),
                "state": str(each.state),
                "why": sentence(each),
                "cached_from": each.cached_from,
            }
            for each in found
        ],
    }
    give(output, data, lambda: _words(data["tasks"]))


def _words(tasks: list[dict[str, Any]]) -> list[str]:
    style = style_of_output()
    rows = [
        [
            f"{style.glyph(task['state'])} {clean(str(TaskKey((task['name'],), tuple(task['iteration']))))}",
            clean(task["why"]),
        ]
        for task in tasks
    ]
    return table(rows) or ["no task has begun"]


@cache.command()
@run_argument(required=False)
@click.option("--all", "everything", is_flag=True, help="Forget the results of all runs.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@common
def clear(run: str | None, everything: bool, yes: bool, home: str | None, output: str) -> None:
    """Forget the reusable results of RUN, or of all runs with --all. Runs and artifacts stay."""
    if bool(run) == everything:
        raise InvalidInput(
            "Name a RUN, or say --all.", hint="mlplatform cache clear RUN | mlplatform cache clear --all"
        )
    client = LocalClient(home)
    run_id = ""
    if run:
        from mlplatform.sdk.records import open_records

        with open_records(client.home) as store:
            run_id = store.find_run(run).run_id
    elif not yes and output == "text" and sys.stdin.isatty():
        click.confirm("Forget every reusable result of this home?", abort=True)
    removed = client.cache_clear(run_id=run_id)
    give(output, {"run_id": run_id or None, "removed": removed}, lambda: f"forgot {counted(removed, 'result')}")
