"""``mlplatform training``: the training jobs that there are, and what may be asked of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import click

from mlplatform.cli.options import common, give, write
from mlplatform.cli.train import ending, follow, where

P = ParamSpec("P")
R = TypeVar("R")


@click.group()
def training() -> None:
    """Training jobs: list, show, logs, watch, suspend, resume, scale, delete."""


def _named(function: Callable[P, R]) -> Callable[P, R]:
    return click.argument("name", metavar="JOB")(where(common(function)))


def _run(name: str, backend: str, context: str, namespace: str, home: str | None) -> Any:
    from mlplatform.sdk.training.backends import training_run

    return training_run(name, backend=backend, home=home, namespace=namespace, context=context)


@training.command("list")
@where
@common
def list_(backend: str, context: str, namespace: str, home: str | None, output: str) -> None:
    """All of them, the newest first."""
    from mlplatform.sdk.training.backends import backend_of

    bodies = backend_of(backend, home=home, namespace=namespace, context=context).list()
    give(output, {"jobs": bodies}, lambda: [_row(body) for body in bodies] or ["no training jobs"])


def _row(body: dict[str, Any]) -> str:
    status: dict[str, Any] = body.get("status") or {}
    ranks = sum(int(group.get("replicas", 1)) for group in body["spec"]["groups"])
    progress: dict[str, Any] = status.get("progress") or {}
    step = f"step {progress['step']}" if progress.get("step") is not None else ""
    restarts = int(status.get("restartsCounted", 0)) + int(status.get("restartsUncounted", 0))
    again = f"{restarts} restarts" if restarts else ""
    columns = (body["metadata"]["name"], status.get("phase") or "Queued", body["spec"]["framework"], f"{ranks} ranks")
    return "  ".join(f"{text:<12}" for text in (*map(str, columns), step, again) if text).rstrip()


@training.command()
@_named
def show(name: str, backend: str, context: str, namespace: str, home: str | None, output: str) -> None:
    """One of them: how far it is, its ranks, its attempts, where its time went."""
    run = _run(name, backend, context, namespace, home)
    body = run.object
    give(output, body, lambda: [*ending(run.name, body.get("status") or {}), *_groups(body)])


def _groups(body: dict[str, Any]) -> list[str]:
    lines: list[str] = []
    status: dict[str, Any] = body.get("status") or {}
    groups: list[dict[str, Any]] = status.get("groups") or []
    for group in groups:
        counts = [f"{group[word]} {word}" for word in ("active", "ready", "succeeded", "failed") if group.get(word)]
        lines.append(
            f"  {group['name']}: {group.get('desired', 0)} ranks" + (f" ({', '.join(counts)})" if counts else "")
        )
    return lines


@training.command()
@click.option("--rank", type=click.IntRange(0), default=0, show_default=True)
@click.option("--group", default="", help="[default: the one that does the framework's work]")
@click.option("--attempt", type=int, default=None, help="[default: the newest; -1: the one before]")
@_named
def logs(
    name: str,
    rank: int,
    group: str,
    attempt: int | None,
    backend: str,
    context: str,
    namespace: str,
    home: str | None,
    output: str,
) -> None:
    """What a rank said."""
    run = _run(name, backend, context, namespace, home)
    text = run.logs(rank, group=group, attempt=attempt)
    give(output, {"name": run.name, "rank": rank, "log": text}, lambda: text.rstrip("\n"))


@training.command()
@_named
def watch(name: str, backend: str, context: str, namespace: str, home: str | None, output: str) -> None:
    """Follow it until it has ended."""
    follow(_run(name, backend, context, namespace, home), output)


@training.command()
@_named
def suspend(name: str, backend: str, context: str, namespace: str, home: str | None, output: str) -> None:
    """Have its ranks save and give up their places."""
    run = _run(name, backend, context, namespace, home)
    run.suspend()
    give(output, {"name": run.name}, lambda: f"{run.name} is being suspended")


@training.command()
@_named
def resume(name: str, backend: str, context: str, namespace: str, home: str | None, output: str) -> None:
    """Have it go on from its newest checkpoint."""
    run = _run(name, backend, context, namespace, home)
    run.resume()
    give(output, {"name": run.name}, lambda: f"{run.name} goes on")


@training.command()
@click.argument("name", metavar="JOB")
@click.argument("workers", type=click.IntRange(0, 5000))
@click.option("--group", default="worker", show_default=True)
@where
@common
def scale(
    name: str,
    workers: int,
    group: str,
    backend: str,
    context: str,
    namespace: str,
    home: str | None,
    output: str,
) -> None:
    """Change the size of an elastic group, or of any while the job is suspended."""
    run = _run(name, backend, context, namespace, home)
    run.scale(workers, group=group)
    give(output, {"name": run.name, "workers": workers}, lambda: f"{run.name} is to have {workers} workers")


@training.command()
@_named
def delete(name: str, backend: str, context: str, namespace: str, home: str | None, output: str) -> None:
    """End it for good; its checkpoints stay."""
    run = _run(name, backend, context, namespace, home)
    run.delete()
    if output != "json":
        write(f"{run.name} is being deleted")
    else:
        give(output, {"name": run.name}, lambda: "")
