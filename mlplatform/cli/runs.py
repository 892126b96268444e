"""``mlplatform runs``: looking at runs, and what can be done with them afterwards."""

from __future__ import annotations

import os
import time
from typing import Any

import click

from mlplatform.cli.logs import logs
from mlplatform.cli.options import command_for, common, give, run_argument, write
from mlplatform.cli.style import clean, duration, style_of_output, table
from mlplatform.cli.values import values
from mlplatform.core.errors import InvalidInput, NotFound
from mlplatform.core.states import RunState
from mlplatform.sdk.client import LocalClient
from mlplatform.sdk.clients import client_of, refreshed


@click.group()
def runs() -> None:
    """Look at runs, continue, cancel or delete them.

    RUN is a run's id, a unique beginning of it, its name (the newest wins), or the word latest.
    """


runs.add_command(logs)
runs.add_command(values)


@runs.command("list")
@click.option("--state", "states", multiple=True, type=click.Choice([str(s) for s in RunState], case_sensitive=False))
@click.option("--experiment", default="", metavar="NAME", help="Only runs of this experiment.")
@click.option("--pipeline", default="", metavar="NAME", help="Only runs of this pipeline.")
@click.option("--tag", "tags", multiple=True, metavar="NAME=VALUE", help="Only runs with this tag; may be repeated.")
@click.option("-n", "--limit", type=click.IntRange(1, 10_000), default=20, show_default=True, help="At most so many.")
@click.option("--before", default="", metavar="RUN", help="Only runs older than this one (the next page).")
@common
def list_(
    states: tuple[str, ...],
    experiment: str,
    pipeline: str,
    tags: tuple[str, ...],
    limit: int,
    before: str,
    home: str | None,
    output: str,
) -> None:
    """List runs, the newest first."""
    from mlplatform.sdk.records import open_records
    from mlplatform.sdk.report import run_summary

    wanted = {name: text for name, text in map(_tag, tags) if text}
    try:
        with open_records(refreshed(home)) as store:
            found = store.list_runs(
                states=[RunState(state.upper()) for state in states],
                experiment=experiment,
                pipeline=pipeline,
                tags=wanted,
                limit=limit,
                before=store.find_run(before).run_id if before else "",
            )
    except NotFound:
        if before:
            raise
        found = []
    data = {"runs": [run_summary(run) for run in found]}
    give(output, data, lambda: _run_table(data["runs"]))


def _run_table(found: list[dict[str, Any]]) -> list[str]:
    if not found:
        return ["no runs: `mlplatform run FILE` starts one"]
    style, now = style_of_output(), time.time()
    rows: list[list[str]] = []
    for run in found:
        start = run["started_at"] or run["created_at"]
        seconds = (run["finished_at"] or now) - start if start else None
        tags = " ".join(clean(f"{name}={text}") for name, text in run["tags"].items())
        rows.append(
            [
                style.state(run["state"]),
                style.paint(run["run_id"], "bold"),
                clean(run["name"]),
                clean(run["experiment"]),
                duration(seconds),
                f"{duration(now - run['created_at'])} ago",
                style.paint(tags, "dim"),
            ]
        )
    return table(rows, right=(4, 5))


@runs.command()
@run_argument()
@common
def show(run: str, home: str | None, output: str) -> None:
    """Show a run: its tasks, times, parameters and outputs."""
    from mlplatform.cli import summary
    from mlplatform.sdk.records import read_report

    place = refreshed(home)
    report = read_report(place, run)
    give(output, report, lambda: summary.show(report, place, style_of_output()))


@runs.command()
@run_argument()
@click.option("--force", is_flag=True, help="Kill its processes at once instead of asking them to end.")
@click.option("--wait/--no-wait", default=True, show_default=True, help="Wait until it has ended.")
@common
def cancel(run: str, force: bool, wait: bool, home: str | None, output: str) -> None:
    """Cancel a run and end its processes, whole trees of them."""
    client = client_of(home)
    run_id = client.cancel(_id_of(client, run), force=force)
    state = "CANCELLING"
    if wait:
        for event in client.watch(run_id):
            if event["kind"] == "run":
                state = str(event["body"]["state"])
    give(output, {"run_id": run_id, "state": state}, lambda: f"{style_of_output().state(state)}  {run_id}")


@runs.command()
@run_argument()
@click.argument("file", metavar="[FILE]", required=False)
@click.option("--detach", is_flag=True, help="Start it again and return at once.")
@common
def resume(run: str, file: str | None, detach: bool, home: str | None, output: str) -> None:
    """Continue a failed, cancelled or interrupted run; what has succeeded is not run again.

    With FILE, it goes on with the pipeline as it is in FILE now: tasks that changed run again, with what depends on
    them.
    """
    from mlplatform.cli.run import watch
    from mlplatform.sdk.records import open_records
    from mlplatform.sdk.submit import interpreter, read_source

    client = client_of(home)
    with open_records(client.home) as store:
        record = store.find_run(run)
        told = store.events(run_id=record.run_id, limit=1_000_000)
    document, artifacts = None, dict[str, Any]()
    if file:
        source = read_source(file, client.home)
        for warning in source.warnings:
            write(f"warning: {warning}", error=True)
        document = source.text
        artifacts = {name: dict(entry) for name, entry in source.artifacts.items()}
    if record.state.finished:
        client.resume(record.run_id, document, env=dict(os.environ), interpreter=interpreter(), artifacts=artifacts)
    elif document is not None:
        raise InvalidInput(
            f"Run {record.run_id} is still {record.state.lower()}: its code cannot be changed now.",
            hint="Cancel it first: " + command_for(client.home, f"runs cancel {record.run_id}"),
        )
    else:
        client.ensure()  # a run whose service died goes on as soon as there is one again
    if detach:
        state = "PENDING" if record.state.finished else str(record.state)
        give(output, {"run_id": record.run_id, "state": state}, lambda: record.run_id)
        return
    after = max((event.seq for event in told), default=0) if record.state.finished else 0
    watch(client, record.run_id, record.name, output, file or "", after)


@runs.command()
@run_argument()
@run_argument("other")
@common
def diff(run: str, other: str, home: str | None, output: str) -> None:
    """Show how the second run differs from the first: parameters, code, packages, data, metrics, durations."""
    from mlplatform.sdk.diff import diff_stored
    from mlplatform.sdk.records import open_records

    place = refreshed(home)
    with open_records(place) as store:
        a, b = store.find_run(run).run_id, store.find_run(other).run_id
    found = diff_stored(place, a, b)
    give(output, found.to_dict(), lambda: _painted(repr(found)))


def _painted(text: str) -> list[str]:
    """Lines of a code difference in the colours that everybody knows."""
    style = style_of_output()
    colors = {"  +": "green", "  -": "red", "  @": "cyan"}
    return [style.paint(line, colors.get(line[:3], "")) for line in text.splitlines()]


@runs.command()
@run_argument()
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@common
def delete(run: str, yes: bool, home: str | None, output: str) -> None:
    """Delete a finished run with its logs and artifacts."""
    import sys

    client = client_of(home)
    run_id = _id_of(client, run)
    if not yes and output == "text" and sys.stdin.isatty():
        click.confirm(f"Delete run {run_id} with its logs and artifacts?", abort=True)
    client.delete(run_id)
    give(output, {"run_id": run_id, "deleted": True}, lambda: f"deleted {run_id}")


@runs.command()
@run_argument()
@click.argument("tags", nargs=-1, required=True, metavar="NAME=VALUE...")
@common
def tag(run: str, tags: tuple[str, ...], home: str | None, output: str) -> None:
    """Tag a run; an empty value removes the tag."""
    client = client_of(home)
    changed = dict(map(_tag, tags))
    run_id = client.annotate(_id_of(client, run), tags=changed)
    give(output, _annotations(client, run_id), lambda: f"tagged {run_id}")


@runs.command()
@run_argument()
@click.argument("text", metavar="TEXT")
@common
def note(run: str, text: str, home: str | None, output: str) -> None:
    """Write a note on a run; an empty TEXT removes it."""
    client = client_of(home)
    run_id = client.annotate(_id_of(client, run), note=text)
    give(output, _annotations(client, run_id), lambda: f"noted on {run_id}")


def _tag(text: str) -> tuple[str, str]:
    name, equals, found = text.partition("=")
    if not equals or not name:
        raise InvalidInput(f"{text!r} is not a tag.", hint="Write NAME=VALUE; NAME= removes a tag.")
    return name, found


def _id_of(client: LocalClient, reference: str) -> str:
    """The id a reference means; without starting a service for a run that is not there."""
    from mlplatform.sdk.records import open_records

    with open_records(client.home) as store:
        return store.find_run(reference).run_id


def _annotations(client: LocalClient, run_id: str) -> dict[str, Any]:
    from mlplatform.sdk.records import open_records

    with open_records(client.home) as store:
        record = store.get_run(run_id)
    return {"run_id": run_id, "tags": dict(record.tags), "note": record.note}
