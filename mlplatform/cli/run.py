"""``mlplatform run``: a pipeline or a notebook from a file, watched until it has ended."""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from mlplatform.cli.options import backend_options, command_for, common, give, print_json, write
from mlplatform.cli.style import Style
from mlplatform.core.errors import InvalidInput
from mlplatform.sdk.client import LocalClient


@click.command()
@click.argument("file", metavar="FILE", type=click.Path())
@click.option("-p", "--param", "params", multiple=True, metavar="NAME=VALUE", help="A parameter; may be repeated.")
@click.option("--params", "params_file", default="", metavar="FILE.json", help="Parameters as one JSON object.")
@click.option("--setup", default="", metavar="FILE.json", help="Secrets, config maps, claims and root artifacts.")
@click.option("--experiment", default="", metavar="NAME", help="Where the run is kept, here and in MLflow.")
@click.option("--name", default="", metavar="NAME", help="A name for the run.")
@click.option("--no-cache", is_flag=True, help="Run every task, whatever could be reused.")
@click.option(
    "--containers",
    type=click.Choice(["docker", "podman", "subprocess"]),
    default=None,
    help="What runs container tasks; subprocess: their commands run on this machine.  [default: what is there]",
)
@click.option("--detach", is_flag=True, help="Start the run and return at once.")
@click.option("--priority", type=int, default=0, metavar="N", help="Tasks of runs with more go first.")
@click.option(
    "--parallel",
    type=click.IntRange(1, 64),
    default=1,
    envvar="MLPLATFORM_PARALLEL",
    metavar="N",
    help="Run up to N tasks of a notebook at once, where that is proven to change nothing.  [default: 1]",
)
@click.option("--offline", is_flag=True, help="Download nothing: packages come from the local caches.")
@backend_options("Where it runs: on this machine, or as a PipelineRun of a cluster.")
@common
def run(
    file: str,
    params: tuple[str, ...],
    params_file: str,
    setup: str,
    experiment: str,
    name: str,
    no_cache: bool,
    containers: str | None,
    detach: bool,
    priority: int,
    parallel: int,
    offline: bool,
    backend: str,
    context: str,
    namespace: str,
    home: str | None,
    output: str,
) -> None:
    """Run a notebook or a pipeline.

    FILE is a notebook (.ipynb, or a .py with # %% cells), what the KFP compiler wrote (YAML or JSON), a package (.zip,
    .tar.gz) that holds it, or a .py with a dsl.pipeline; one of several is named FILE.py:NAME.

    A notebook runs in its own folder, in the notebook's order; what did not change is not run again. Its file is never
    changed: the executed notebook is kept with the run.

    The run belongs to the service of the home folder and outlives this command: Ctrl-C cancels it, closing the
    terminal does not. Exit status: 0 it succeeded, 1 it failed or was cancelled, 2 the request was wrong.
    """
    from mlplatform.sdk.submit import Options

    if offline:
        os.environ["MLPLATFORM_OFFLINE"] = "1"
    options = Options(
        setup_path=setup,
        name=name,
        experiment=experiment,
        cache=not no_cache,
        containers=containers or "",
        priority=priority,
        parallel=parallel,
        script=is_script(),
    )
    client = _client(backend, context, namespace, home)
    run_id, pipeline = start(client, file, params, params_file, options)
    if detach:
        data: dict[str, Any] = {"run_id": run_id, "state": "PENDING", "outputs": {}, "tasks": [], "error": None}
        give(output, data, lambda: [run_id, "watch it: " + command_for(client.home, f"runs logs {run_id} -f")])
        return
    watch(client, run_id, name or pipeline, output, file)


def _client(backend: str, context: str, namespace: str, home: str | None) -> LocalClient:
    if backend == "local":
        if context or namespace:
            raise InvalidInput("A context or namespace is a cluster's.", hint="Add --backend kubernetes.")
        return LocalClient(home)
    from mlplatform.sdk.kubernetes.client import ClusterClient
    from mlplatform.sdk.kubernetes.home import cluster_home

    return ClusterClient(cluster_home(context, namespace, home))


def start(client: LocalClient, file: str, params: tuple[str, ...], params_file: str, options: Any) -> tuple[str, str]:
    """Check and submit; returns the run's id and its pipeline's name."""
    from mlplatform.sdk import submit
    from mlplatform.sdk.client import require_engine
    from mlplatform.sdk.clients import is_cluster

    if not is_cluster(client.home):
        require_engine()
    source = submit.read_source(file, client.home)
    for warning in source.warnings:
        write(f"warning: {warning}", error=True)
    if source.notebook is not None and options.parallel > 1 and is_cluster(client.home):
        from mlplatform.sdk.kubernetes.notebooks import ONE_BY_ONE

        write(f"warning: {ONE_BY_ONE}", error=True)
    parameters = submit.read_parameters(source.pipeline, params, params_file, quoted=source.notebook is not None)
    return client.submit(submit.build(source, parameters, options, client.home)), source.pipeline.name


def watch(client: LocalClient, run_id: str, name: str, output: str, file: str = "", after: int = 0) -> None:
    """Show a run to its end, print its result, and end with its exit status."""
    from mlplatform.cli.summary import ending
    from mlplatform.cli.watching import Detached, follow, progress_stream

    try:
        report = follow(client, run_id, name, progress_stream(output), after)
    except Detached:
        write(f"left {run_id}; it ends alone: " + command_for(client.home, f"runs show {run_id}"), error=True)
        raise click.exceptions.Exit(130) from None
    if output == "json":
        print_json(report)
    else:
        write("\n".join(ending(report, client.home, Style.of(sys.stdout), file=file)))
    if report["state"] != "SUCCEEDED":
        raise click.exceptions.Exit(1)


def is_script() -> bool:
    """Whether nobody sits in front of this command: no terminal, or a CI."""
    return bool(os.environ.get("CI")) or not (sys.stdin.isatty() or sys.stderr.isatty())
