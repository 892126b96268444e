"""``mlplatform train``: a script by several ranks at once, watched until it has ended."""

from __future__ import annotations

import difflib
import itertools
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import click

from mlplatform.cli.options import backend_options, common, give, print_json, write
from mlplatform.core.errors import InvalidInput, MlPlatformError
from mlplatform.planning.training.view import why
from mlplatform.sdk.training.run import trouble

#: Where a training job runs.
where = backend_options("Where it runs: processes of this machine, or a TrainingJob of a cluster.")


class _Train(click.Command):
    """What it does not know is the script's, unless it can only be a slip: one of ours cut short or misspelt."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ours = [name for option in self.params for name in option.opts if name.startswith("--")]
        for word in itertools.takewhile(lambda each: each != "--", args):
            name = word.partition("=")[0]
            if not name.startswith("--") or name in ours:
                continue
            near = [each for each in ours if each.startswith(name)] or difflib.get_close_matches(name, ours, 3, 0.85)
            if near:
                raise InvalidInput(
                    f"There is no option {name}; there is {' and '.join(near)}.",
                    hint=f"If it is the script's own, put -- before it: FILE -- {name}",
                )
        return super().parse_args(ctx, args)


@click.command(cls=_Train, context_settings={"ignore_unknown_options": True})
@click.argument("file", metavar="FILE", type=click.Path())
@click.argument("arguments", nargs=-1, metavar="[ARGS]...", type=click.UNPROCESSED)
@click.option(
    "--framework",
    type=click.Choice(["torch", "jax", "ray", "mpi", "python"]),
    default="python",
    show_default=True,
    help="How the ranks find each other; torch starts them by torchrun, mpi by mpirun.",
)
@click.option("--workers", type=click.IntRange(1, 5000), default=1, show_default=True, help="How many ranks.")
@click.option("--procs-per-worker", type=click.IntRange(1, 64), default=None, help="Processes in each rank.")
@click.option("--gpus-per-worker", type=click.IntRange(0, 64), default=0, show_default=True, help="GPUs of each rank.")
@click.option("--gpu", multiple=True, metavar="PRODUCT", help="A product that will do, on a cluster; may be repeated.")
@click.option("--elastic", default="", metavar="MIN:MAX", help="Sizes with which training goes on (torch, ray).")
@click.option("--max-restarts", type=click.IntRange(0), default=3, show_default=True, help="Before it fails.")
@click.option("--hang-seconds", type=click.IntRange(0), default=0, help="So long without a step is a hang; 0: never.")
@click.option("--deadline", type=click.IntRange(1), default=None, metavar="SECONDS", help="From its start.")
@click.option("--checkpoints", type=click.Choice(["shared", "each"]), default="shared", show_default=True)
@click.option("--name", default="", metavar="NAME", help="A name for the job; it is completed.")
@click.option("--image", default="", metavar="IMAGE", help="On a cluster: the image of the ranks.")
@click.option("--experiment", default="", metavar="NAME", help="In MLflow.")
@click.option("--detach", is_flag=True, help="Start it and return at once.")
@where
@common
def train(
    file: str,
    arguments: tuple[str, ...],
    backend: str,
    context: str,
    namespace: str,
    detach: bool,
    home: str | None,
    output: str,
    elastic: str,
    gpu: tuple[str, ...],
    **settings: Any,
) -> None:
    """Train with FILE, a Python script, by several ranks at once. What follows -- is the script's.

    The job belongs to the service of the home folder and outlives this command: Ctrl-C leaves it, and `mlplatform
    training` suspends, resumes and deletes it. Exit status: 0 it is complete, 1 it failed, 2 the request was wrong.
    """
    from mlplatform.sdk.training.job import TrainingJob

    job = TrainingJob(file, arguments, elastic=_sizes(elastic), gpu=gpu, **settings)
    run = job.run(backend=backend, home=home, namespace=namespace, context=context)
    if detach:
        body = run.object
        give(output, body, lambda: [run.name, f"look at it: mlplatform training show {run.name}"])
        return
    follow(run, output)


def _sizes(text: str) -> tuple[int, int] | None:
    if not text:
        return None
    least, colon, most = text.partition(":")
    if not (colon and least.isdecimal() and most.isdecimal()):
        raise InvalidInput(f"--elastic is MIN:MAX, such as 2:4, not {text!r}")
    return int(least), int(most)


def follow(run: Any, output: str) -> None:
    """Tell what happens to a job until it has ended, with what its first rank says."""
    teller = _Teller(run, quiet=output == "json")
    status: dict[str, Any] = {}
    try:
        for status in run.watch():
            teller.look(status)
    except KeyboardInterrupt:
        write(f"\nleft {run.name}; it goes on: mlplatform training show {run.name}", error=True)
        raise click.exceptions.Exit(130) from None
    if output == "json":
        print_json(run.object)
    else:
        write("\n".join(ending(run.name, status)))
    if status.get("phase") == "Failed":
        raise click.exceptions.Exit(1)


#: Phases in which a job may wait for something, and seconds that are no waiting yet.
WAITING = ("Queued", "Starting", "Restarting")
_A_WHILE = 3.0


class _Teller:
    def __init__(self, run: Any, *, quiet: bool, clock: Callable[[], float] = time.monotonic) -> None:
        self._run, self._quiet = run, quiet
        self._phase = ""
        self._attempt = 0
        self._seen = 0
        self._trouble = ""
        self._clock = clock
        self._why, self._since, self._told = "", clock(), set[str]()

    def look(self, status: dict[str, Any]) -> None:
        phase, attempt = str(status.get("phase") or "Queued"), int(status.get("attempt") or 0)
        ended = phase in ("Complete", "Failed", "Restarting")
        if attempt and (phase != "Queued" or self._attempt):
            self._log(attempt)
        if (fault := trouble(status)) and fault != self._trouble:
            self._trouble = fault
            write(f"{self._run.name}: {fault}", error=True)
        if phase != self._phase:
            self._phase = phase
            words = status.get("message") or ""
            where = f" (attempt {attempt})" if attempt > 1 and not ended else ""
            if not ended or phase == "Restarting":
                write(f"{self._run.name}: {phase.lower()}{where}{f': {words}' if words else ''}", error=True)
                self._told.add(words)
        self._wait(phase, why(status))

    def _wait(self, phase: str, words: str) -> None:
        """What a job waits for is told once it has waited for it a while."""
        if words != self._why:
            self._why, self._since = words, self._clock()
        elif phase in WAITING and words and words not in self._told and self._clock() - self._since >= _A_WHILE:
            self._told.add(words)
            write(f"{self._run.name}: {phase.lower()}: {words}", error=True)

    def _log(self, attempt: int) -> None:
        """What rank 0 said since."""
        if self._quiet or os.environ.get("MLPLATFORM_QUIET"):
            return
        if attempt != self._attempt:
            self._attempt, self._seen = attempt, 0
        try:
            text = self._run.logs(0, attempt=attempt)
        except MlPlatformError:
            return
        whole = text[: text.rfind("\n") + 1]
        if len(whole) > self._seen:
            sys.stdout.write(whole[self._seen :])
            sys.stdout.flush()
            self._seen = len(whole)


def _conditions(status: dict[str, Any]) -> list[str]:
    fault = trouble(status)
    return [f"  {fault}"] if fault else []


def ending(name: str, status: dict[str, Any]) -> list[str]:
    """How a job ended, for people."""
    lines = [f"{name}: {str(status.get('phase', '')).lower()}"]
    if words := why(status):
        lines.append(f"  {words}")
    lines += _conditions(status)
    counted, uncounted = status.get("restartsCounted", 0), status.get("restartsUncounted", 0)
    if counted or uncounted:
        lines.append(f"  restarts: {counted + uncounted} ({uncounted} of them not counted)")
    for attempt in (status.get("attempts") or ())[:-1]:
        where = f" of rank {attempt['rank']} ({attempt['group']})" if attempt.get("rank") is not None else ""
        told = f": {attempt['message']}" if attempt.get("message") else ""
        lines.append(f"  attempt {attempt['number']} ended by {attempt.get('reason', '')}{where}{told}")
    if spent := status.get("goodput"):
        parts = ("productive", "unsaved", "queued", "startup", "lost", "restart")
        words = ", ".join(f"{part} {spent[key]} s" for part in parts if spent.get(key := f"{part}Seconds"))
        lines.append(
            f"  goodput: {spent.get('percent', 0)} % of {spent.get('wallSeconds', 0)} s"
            + (f" ({words})" if words else "")
        )
    if checkpoint := status.get("checkpoint"):
        lines.append(
            f"  checkpoint: step {checkpoint['step']}{'  ' + checkpoint['uri'] if checkpoint.get('uri') else ''}"
        )
    return lines
