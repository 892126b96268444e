"""From a pipeline object to a run: what it was given is stored, the service gets it."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from mlplatform.core.errors import Finding, InvalidParameters, Unsupported
from mlplatform.core.model import Artifact, ArtifactValue
from mlplatform.engine.home import Home, open_home
from mlplatform.ir.arguments import check_arguments
from mlplatform.sdk import display_live, values
from mlplatform.sdk.client import require_engine
from mlplatform.sdk.clients import client_of, is_cluster
from mlplatform.sdk.secretstore import has_secret
from mlplatform.sdk.submit import surroundings

if TYPE_CHECKING:
    from mlplatform.sdk.define.pipelines import RunOptions, Submission
    from mlplatform.sdk.run import Run


#: Tag of runs that a notebook's kernel started: the notebook's file.
FROM: Final = "mlplatform.from"


def submit(submission: Submission, pipeline: object) -> Run:
    """Start a run; returns once it is durable.

    Raises:
        InvalidParameters: with every finding; nothing was started.
        Unsupported: a backend that is not there.
        ServiceError: the local service cannot be started.
    """
    from mlplatform.sdk.run import Run

    home = home_of(submission.options)
    client = client_of(home)
    if not is_cluster(home):
        require_engine()
    client.start_early()
    wanted = request(submission, home)
    run_id = client.submit(wanted)
    return Run(home, run_id, pipeline)


def home_of(options: RunOptions) -> Home:
    """Where the run is kept. Raises Unsupported, and KubernetesError where no cluster is configured."""
    if options.backend == "kubernetes":
        from mlplatform.sdk.kubernetes.home import cluster_home

        return cluster_home(options.context, options.namespace, options.home)
    check_backend(options)
    return open_home(options.home)


def check_backend(options: RunOptions) -> None:
    """See that this is a run on this machine. Raises Unsupported."""
    if options.backend != "local":
        raise Unsupported(
            f"There is no backend {options.backend!r} for this.",
            hint="Runs go to this machine ('local') or, as PipelineRuns, to a cluster ('kubernetes').",
        )
    if options.namespace or options.context:
        raise Unsupported(
            "A namespace and a context are a cluster's: runs on this machine have none.",
            hint="Add backend='kubernetes', or leave them out.",
        )


def request(submission: Submission, home: Home) -> dict[str, Any]:
    """The arguments of the service's ``submit``; objects are stored in the home.

    Raises:
        InvalidParameters: with every finding.
        ArtifactError: an object cannot be stored.
    """
    options = submission.options
    pending: dict[str, ArtifactValue] = {name: Artifact(name, "") for name in submission.objects}
    _, findings = check_arguments(submission.pipeline, submission.parameters, pending)
    missing = [name for name in submission.secrets if not has_secret(name, home)]
    findings = [*findings, *map(_no_secret, missing)]
    if findings:
        raise InvalidParameters(
            f"Pipeline {submission.pipeline.name!r} cannot be run with these arguments.", findings=findings
        )
    home.prepare()
    artifacts = {name: values.keep(home, name, value).to_json() for name, value in submission.objects.items()}
    return {
        "document": submission.text(),
        "parameters": dict(submission.parameters),
        "artifacts": artifacts,
        "setup_path": os.path.abspath(options.setup) if options.setup else None,
        "name": options.name,
        "experiment": options.experiment,
        "tags": {**started_from(), **options.tags},
        "cache": options.cache,
        "containers": options.containers or None,
        "priority": options.priority,
        "script": False,
        **surroundings(),
    }


def started_from(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The tag by which JupyterLab's panel finds the runs that were started in a notebook; empty elsewhere."""
    path: Any = getattr(sys.modules.get("__main__"), "__vsc_ipynb_file__", None) or environ.get("JPY_SESSION_NAME")
    if not display_live.in_notebook() or not isinstance(path, str) or not path.endswith(".ipynb"):
        return {}
    return {FROM: os.path.realpath(path)} if os.path.isfile(path) else {}


def _no_secret(name: str) -> Finding:
    hint = f"set the environment variable {name}, or put it into secrets.json of the home"
    return Finding(f"secrets.{name}", "there is no secret of this name", "missing", hint)
