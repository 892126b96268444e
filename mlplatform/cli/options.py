"""Options that every command has, and how a command gives its answer: as text for people or as one JSON object."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ParamSpec, TypeVar

import click

from mlplatform.engine.home import Home, default_home, open_home

P = ParamSpec("P")
R = TypeVar("R")


def common(function: Callable[P, R]) -> Callable[P, R]:
    """``--home`` and ``--output``."""
    function = click.option(
        "--output",
        type=click.Choice(["text", "json"]),
        default="text",
        show_default=True,
        help="Words for people, or one JSON object on standard output.",
    )(function)
    return click.option(
        "--home",
        "home",
        type=click.Path(file_okay=False),
        default=None,
        metavar="DIR",
        help="Folder of runs and settings.  [default: $MLPLATFORM_HOME or ~/.mlplatform]",
    )(function)


def backend_options(where: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """``--backend``, ``--context`` and ``--namespace``. ``where``: what the choice means for this command."""

    def options(function: Callable[P, R]) -> Callable[P, R]:
        for option in (
            click.option(
                "--namespace", default="", metavar="NAME", help="The cluster's namespace.  [default: the context's]"
            ),
            click.option(
                "--context", default="", metavar="NAME", help="The kubeconfig's context.  [default: its current one]"
            ),
            click.option(
                "--backend",
                type=click.Choice(["local", "kubernetes"]),
                default="local",
                envvar="MLPLATFORM_BACKEND",
                show_default=True,
                help=where,
            ),
        ):
            function = option(function)
        return function

    return options


def run_argument(name: str = "run", *, required: bool = True) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """RUN: an id, a unique beginning of one, a name, or the word ``latest``."""
    return click.argument(name, required=required, metavar="RUN" if required else "[RUN]", shell_complete=_complete)


def _complete(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    from mlplatform.core.errors import MlPlatformError
    from mlplatform.sdk.records import open_records

    try:
        with open_records(open_home(context.params.get("home"))) as store:
            runs = store.list_runs(limit=50)
    except MlPlatformError:
        return []
    names = ["latest", *(run.run_id for run in runs), *(run.name for run in runs)]
    return [name for name in names if name.startswith(incomplete)]


def give(output: str, data: Mapping[str, Any], text: Callable[[], str | Sequence[str]], status: int = 0) -> None:
    """Print a command's answer and end it with ``status``."""
    if output == "json":
        print_json(data)
    else:
        made = text()
        write(made if isinstance(made, str) else "\n".join(made))
    if status:
        raise click.exceptions.Exit(status)


def print_json(data: Any) -> None:
    """One JSON object on standard output."""
    write(json.dumps(data, ensure_ascii=False, indent=2))


def write(text: str, *, error: bool = False) -> None:
    """A text and a newline; what the stream's encoding lacks is escaped."""
    stream = sys.stderr if error else sys.stdout
    try:
        stream.write(text + "\n")
    except UnicodeEncodeError:
        encoding = stream.encoding or "ascii"
        stream.write((text + "\n").encode(encoding, "backslashreplace").decode(encoding))
    stream.flush()


def command_for(home: Home, words: str) -> str:
    """A command line that can be copied: with ``--home`` where it is not the usual one."""
    if home.root == open_home(default_home()).root:
        return f"mlplatform {words}"
    import shlex

    root = str(home.root)
    relative = os.path.relpath(root)
    return f"mlplatform {words} --home {shlex.quote(relative if len(relative) < len(root) else root)}"
