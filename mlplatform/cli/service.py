"""``mlplatform service`` and ``mlplatform gc``: the process behind the runs, and what they leave behind."""

from __future__ import annotations

import json
from typing import Any

import click

from mlplatform.cli.options import common, give
from mlplatform.cli.style import clean, counted, size, style_of_output, table
from mlplatform.sdk.client import LocalClient, require_engine


@click.group()
def service() -> None:
    """The process that owns the runs of a home. It starts and leaves by itself."""


@service.command()
@common
def status(home: str | None, output: str) -> None:
    """Say whether a service runs, and what it does. None is started."""
    require_engine()
    client = LocalClient(home)
    told = client.status()
    data = {"running": bool(told), "home": str(client.home.root), **told}
    give(output, data, lambda: _words(data))


def _words(data: dict[str, Any]) -> list[str]:
    style = style_of_output()
    if not data["running"]:
        return [f"{style.glyph('SKIPPED')} no service runs for {data['home']}; the next run starts one"]
    lines = [f"{style.glyph('RUNNING')} version {data['version']}, process {data['pid']}, home {data['home']}"]
    facts = [("unfinished runs", str(data.get("active", 0)))]
    capacity: Any = data.get("capacity") or {}
    if isinstance(capacity, dict):
        capacity.pop("holders", None)  # pyright: ignore[reportUnknownMemberType] - for the pages
        for name, value in capacity.items():  # pyright: ignore[reportUnknownVariableType]
            words = size(value) if name == "memory" and isinstance(value, (int, float)) else json.dumps(value)
            facts.append((str(name), words))  # pyright: ignore[reportUnknownArgumentType]
    else:
        facts.append(("capacity", str(capacity)))
    if data.get("trouble"):
        facts.append(("trouble", clean(str(data["trouble"]))))
    return lines + table([[f"  {style.paint(name, 'dim')}", text] for name, text in facts])


@service.command()
@common
def stop(home: str | None, output: str) -> None:
    """Stop the service. Tasks that run are found again by the next one; unfinished runs go on with it."""
    require_engine()
    client = LocalClient(home)
    pid = client.stop()
    words = f"stopped process {pid}" if pid else f"no service ran for {client.home.root}"
    give(output, {"stopped": pid is not None, "pid": pid}, lambda: words)


@click.command()
@click.option(
    "--older-than",
    type=click.FloatRange(0),
    default=None,
    metavar="DAYS",
    help="Also delete finished runs that ended longer ago, with logs, artifacts and unused environments.",
)
@common
def gc(older_than: float | None, home: str | None, output: str) -> None:
    """Remove what no run needs: folders of runs that were deleted; old runs with --older-than."""
    client = LocalClient(home)
    nothing: dict[str, Any] = {"runs": [], "bytes": 0, "environments": 0, "problems": []}
    data = client.gc(older_than) if client.home.root.exists() else nothing
    give(output, data, lambda: _removed(data), status=1 if data.get("problems") else 0)


def _removed(data: dict[str, Any]) -> list[str]:
    words = [counted(len(data["runs"]), "run"), f"{size(data['bytes'])} of unknown folders"]
    environments = data.get("environments")
    if isinstance(environments, int) and environments:
        words.append(counted(environments, "environment"))
    return [f"removed {', '.join(words)}", *(clean(str(problem)) for problem in data.get("problems") or ())]
