"""``mlplatform mlflow``: the records of a home in MLflow's own pages."""

from __future__ import annotations

import sys

import click

from mlplatform.cli.options import common, give, run_argument, write
from mlplatform.cli.style import is_terminal
from mlplatform.core.errors import NotFound, TrackingError
from mlplatform.engine.home import open_home
from mlplatform.sdk.client import require_engine

#: Seconds that making MLflow's environment for the first time, and starting it, may take.
_START_LIMIT = 600.0


@click.command()
@run_argument(required=False)
@click.option("--browser/--no-browser", default=None, help="Open it in a browser.  [default: on a terminal]")
@common
def mlflow(run: str | None, browser: bool | None, home: str | None, output: str) -> None:
    """Open MLflow with the runs of this home, or at RUN.

    It is started when needed and leaves ten minutes after its last use.
    """
    require_engine()
    from mlplatform.sdk.records import mlflow_url, open_records
    from mlplatform.tracking.door import ask

    place = open_home(home)
    link = ""
    if run:
        with open_records(place) as store:
            record = store.find_run(run)
        if not record.mlflow_run_id:
            raise NotFound(f"run {record.run_id} is not in MLflow", hint="It has not begun, or was not tracked.")
    if not place.mlflow.is_dir():
        raise NotFound(f"there is nothing in MLflow for {place.root} yet", hint="`mlplatform run FILE` starts a run.")
    if output == "text" and is_terminal(sys.stderr):
        write("starting MLflow (the first time, an environment is made for it)", error=True)
    told = ask(place.mlflow, "ui", _START_LIMIT)
    if not told.get("url"):
        troubles = [str(about.get("trouble") or "") for about in dict(told.get("servers") or {}).values()]
        reason = "; ".join(trouble for trouble in troubles if trouble) or "it did not say why"
        raise TrackingError(f"MLflow did not start: {reason}", hint=f"Look into {place.mlflow / 'server.log'}.")
    if run:
        link = mlflow_url(place, record)  # pyright: ignore[reportPossiblyUnboundVariable]
    url = link or str(told["url"])
    if browser or (browser is None and output == "text" and is_terminal(sys.stdout)):
        import webbrowser

        webbrowser.open(url)
    give(output, {"url": url, "pending": told.get("pending"), "rejected": told.get("rejected")}, lambda: url)
