"""``mlplatform runs values``: what a notebook's variables held when its run ended."""

from __future__ import annotations

import os
from pathlib import Path

import click

from mlplatform.cli.options import common, give, run_argument, write
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

    Without NAME: all of them. One that cannot be had is left out, and why is told on standard error (and as left_out
    in the JSON): a notebook need not end with every name. Each value is pickled by itself, with the notebook's classes
    and functions in it, so that any Python with cloudpickle and the notebook's packages can load it.
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
    for name, why in left_out.items():
        write(f"left out {name}: {why}", error=True)
    data = {"run_id": record.run_id, "to": to, "left_out": left_out}
    give(output, data, lambda: [f"written to {to}"])
