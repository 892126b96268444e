"""``mlplatform runs values``: what a notebook's variables held when its run ended."""

from __future__ import annotations

import os
from pathlib import Path

import click

from mlplatform.cli.options import common, give, run_argument, write
from mlplatform.core.errors import Finding, NotFound
from mlplatform.core.values import child
from mlplatform.engine.home import open_home


@click.command()
@run_argument()
@click.argument("names", metavar="[NAME]...", nargs=-1)
@click.option(
    "--to",
    required=True,
    type=click.Path(dir_okay=False),
    metavar="FILE.pkl",
    help="Where to write them: a pickled dictionary of each value's own cloudpickle bytes.",
)
@common
def values(run: str, names: tuple[str, ...], to: str, home: str | None, output: str) -> None:
    """Write variables that a notebook's run ended with; nothing is run again.

    Without NAME: all that can be had; one that is named and cannot be had is an error that says why. Each value is
    pickled by itself, with the notebook's classes and functions in it, so that any Python with cloudpickle and the
    notebook's packages can load it.
    """
    from mlplatform.engine.notebooks.values import write_values
    from mlplatform.sdk.clients import client_of
    from mlplatform.sdk.records import read_run

    place = open_home(home)
    record, _, _ = read_run(place, run)
    client_of(place).bring_values(record)
    context = record.context
    left_out = write_values(
        place,
        record.run_id,
        names,
        Path(to),
        executable=str(child(context, "interpreter").get("executable") or ""),
        folder=str(context.get("cwd") or "."),
        env=os.environ,
    )
    findings = [Finding(name, why) for name, why in left_out.items()]
    if names and findings:
        hint = (
            "What cannot be pickled (open files, locks, generators) and names that begin with _ are not kept. "
            f"All that is there: mlplatform runs values {record.run_id} --to {to}"
        )
        raise NotFound(f"run {record.run_id} has not all of these values", findings=findings, hint=hint)
    for one in findings:
        write(f"left out {one.path}: {one.message}", error=True)
    data = {"run_id": record.run_id, "to": to, "left_out": left_out}
    give(output, data, lambda: [f"written to {to}"])
