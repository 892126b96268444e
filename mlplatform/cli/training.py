"""``mlplatform training``: the training jobs that there are, and what may be asked of them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from mlplatform.cli.options import common, give
from mlplatform.cli.train import WAITING, ending, follow, where
from mlplatform.planning.training.view import why

if TYPE_CHECKING:
    from mlplatform.sdk.training.run import TrainingRun


@click.group()
def training() -> None:
    """Training jobs: list, show, logs, watch, suspend, resume, scale, delete."""


def _of_a_job(function: Callable[..., None]) -> Callable[..., None]:
    """The command is called with ``run``, the job that is named, and with ``output``."""

    @functools.wraps(function)
    def found(name: str, backend: str, context: str, namespace: str, home: str | None, **others: Any) -> None:
        from mlplatform.sdk.training.backends import training_run

        function(training_run(name, backend=backend, home=home, namespace=namespace, context=context), **others)

    return click.argument("name", metavar="JOB")(where(common(found)))


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
    waits = why(status).split("\n")[0] if status.get("phase") in WAITING else ""
    return "  ".join(f"{text:<12}" for text in (*map(str, columns), step, again, waits) if text).rstrip()


@training.command()
@_of_a_job
def show(run: TrainingRun, output: str) -> None:
    """One of them: how far it is, its ranks, its attempts, where its time went."""
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
@_of_a_job
def logs(run: TrainingRun, rank: int, group: str, attempt: int | None, output: str) -> None:
    """What a rank said."""
    text = run.logs(rank, group=group, attempt=attempt)
    give(output, {"name": run.name, "rank": rank, "log": text}, lambda: text.rstrip("\n"))


@training.command()
@_of_a_job
def watch(run: TrainingRun, output: str) -> None:
    """Follow it until it has ended."""
    follow(run, output)


@training.command()
@_of_a_job
def suspend(run: TrainingRun, output: str) -> None:
    """Have its ranks save and give up their places."""
    run.suspend()
    give(output, {"name": run.name}, lambda: f"{run.name} is being suspended")


@training.command()
@_of_a_job
def resume(run: TrainingRun, output: str) -> None:
    """Have it go on from its newest checkpoint."""
    run.resume()
    give(output, {"name": run.name}, lambda: f"{run.name} goes on")


@training.command()
@click.option("--group", default="worker", show_default=True)
@_of_a_job
@click.argument("workers", type=click.IntRange(0, 5000))
def scale(run: TrainingRun, workers: int, group: str, output: str) -> None:
    """Change the size of an elastic group, or of any while the job is suspended."""
    run.scale(workers, group=group)
    give(output, {"name": run.name, "workers": workers}, lambda: f"{run.name} is to have {workers} workers")


@training.command()
@_of_a_job
def delete(run: TrainingRun, output: str) -> None:
    """End it for good; its checkpoints stay."""
    run.delete()
    give(output, {"name": run.name}, lambda: f"{run.name} is being deleted")
