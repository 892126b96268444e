"""``mlplatform up``, ``server`` and ``token``: the pages in a browser, and the API for programs."""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from mlplatform.cli.options import backend_options, common, give, write
from mlplatform.cli.style import is_terminal
from mlplatform.core.errors import InvalidInput, ServiceError
from mlplatform.engine.home import open_home
from mlplatform.sdk.client import LocalClient, require_engine


@click.command()
@click.option("--browser/--no-browser", default=None, help="Open it in a browser.  [default: on a terminal]")
@backend_options("The pages of this machine's runs, or of the server in a cluster.")
@click.option("--platform-namespace", default="", envvar="MLPLATFORM_PLATFORM_NAMESPACE", metavar="NAME",
              help="Where the platform is installed.  [default: mlplatform-system]")  # fmt: skip
@click.option("--account", default="", metavar="NAME",
              help="The account to come in as.  [default: mlplatform-editor or -viewer]")  # fmt: skip
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="With a cluster: this machine's port for it.")
@common
def up(
    browser: bool | None,
    backend: str,
    context: str,
    namespace: str,
    platform_namespace: str,
    account: str,
    port: int,
    home: str | None,
    output: str,
) -> None:
    """Start the service and show the pages.

    The service then stays until `mlplatform service stop`, so recurring runs are made. The link lets a browser in for a
    day; a browser that was let in is known for a month.

    With --backend kubernetes: the pages of the server in the cluster, at an address of this machine, until Ctrl-C.
    Nothing else is needed but a kubeconfig; programs (kfp.Client) reach it at that address too.
    """
    require_engine()
    if backend == "kubernetes":
        _up_in_cluster(browser, output, context, namespace, platform_namespace, account, port, home)
        return
    if context or namespace or platform_namespace or account or port:
        raise InvalidInput("That is for a cluster's server.", hint="Add --backend kubernetes.")
    from mlplatform.sdk.links import ui_url
    from mlplatform.server.links import entry_url, open_browser

    client = LocalClient(home)
    client.ensure()
    client.stay()
    url = entry_url(client.home)
    if not url:
        raise ServiceError("the service found no port for the pages", hint=f"Look into {client.home.service_log}.")
    person = output == "text" and is_terminal(sys.stdout)
    if browser or (browser is None and person):
        open_browser(url)
    data = {"url": url, "api": ui_url(client.home).rstrip("/") + "/api/v1", "home": str(client.home.root)}
    give(output, data, lambda: url)


def _up_in_cluster(browser: bool | None, output: str, *way: Any) -> None:
    from mlplatform.server.cluster.connecting import connect
    from mlplatform.server.links import open_browser

    context, namespace, platform, account, port, home = way
    connection = connect(
        context=context, namespace=namespace, platform_namespace=platform, account=account, port=port, home=home
    )
    with connection:
        url = connection.link()
        person = output == "text" and is_terminal(sys.stdout)
        if browser or (browser is None and person):
            open_browser(url)
        data = {"url": url, "api": f"{connection.url}/api/v1", "account": connection.account}
        give(output, data, lambda: [url, f"as {connection.account}, until Ctrl-C; kfp.Client(host={connection.url!r})"])
        connection.wait()


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8787, show_default=True, help="0: any that is free.")
@click.option("--store", default="", metavar="URL", help="A store (postgresql://...) instead of the home's own.")
@click.option("--allow-host", multiple=True, metavar="NAME", help="Another name that browsers reach it by.")
@click.option("--print-link/--no-print-link", default=True, help="Print the link that lets a browser in.")
@click.option("--namespace", default="", metavar="NAME", help="Show the PipelineRuns of a cluster's namespace.")
@click.option("--context", default="", metavar="NAME", help="With --namespace: the kubeconfig's context.")
@click.option("--mlflow", default="", envvar="MLPLATFORM_MLFLOW", metavar="URL",
              help="With --namespace: track its runs in this MLflow (one server of a namespace may).")  # fmt: skip
@click.option("--address", default="", envvar="MLPLATFORM_SERVER", metavar="URL",
              help="With --mlflow: how pods reach this server, to log.")  # fmt: skip
@common
def server(
    host: str,
    port: int,
    store: str,
    allow_host: tuple[str, ...],
    print_link: bool,
    namespace: str,
    context: str,
    mlflow: str,
    address: str,
    home: str | None,
    output: str,
) -> None:
    """Run the pages and the API here until Ctrl-C, on an address of your own.

    Whoever reaches that address still needs the link or the token. Beyond this machine, put a proxy in front that
    speaks TLS, and name its host with --allow-host.

    With --namespace it serves the runs of a Kubernetes namespace and keeps their history; whoever the cluster knows may
    do through it what they may do there: kubectl create token NAME --audience pipelines.kubeflow.org gives a token.
    """
    require_engine()
    from mlplatform.server.__main__ import Site, run_here

    place = open_home(home)
    if store:
        os.environ["MLPLATFORM_STORE"] = store

    def tell(url: str) -> None:
        if print_link:
            write(url, error=output == "json")

    site = Site(namespace, context, mlflow, address) if namespace else None
    status = run_here(place, host, port, allow_host, tell, site)
    if status:
        raise click.exceptions.Exit(status)


@click.command()
@common
def token(home: str | None, output: str) -> None:
    """Print the token for programs: an API client sends it as a bearer.

    For kfp: kfp.Client(host=URL, existing_token=TOKEN). On Linux, programs of the same user on this machine need none.
    Whoever has it may do everything this home can do: keep it as you keep a password.
    """
    from mlplatform.server.settings import load_token

    place = open_home(home)
    place.prepare()
    found = load_token(place)
    give(output, {"token": found}, lambda: found)
