"""``mlplatform operator``: the process that runs the controllers, in the cluster or beside it."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import click

from mlplatform.apis.names import TRAINING_API_VERSION
from mlplatform.controllers.framework.loop import Loop
from mlplatform.controllers.framework.model import Controller
from mlplatform.core.errors import InvalidInput, KubernetesError
from mlplatform.kube.client import Client
from mlplatform.kube.errors import ObjectNotFound

if TYPE_CHECKING:
    from mlplatform.controllers.framework.process import Beside


#: How often, a second apart, a cluster that does not answer is asked what it has.
_ASKED: Final = 60


def pipelinerun(client: Client, environment: Mapping[str, str]) -> Sequence[Controller[Any]]:
    """One pod a task: PipelineRuns."""
    from mlplatform.controllers.pipelinerun.controller import PipelineRuns
    from mlplatform.controllers.pipelinerun.lookups import ServerLookups
    from mlplatform.render.settings import PodSettings

    usual = PodSettings()
    settings = PodSettings(
        launcher_image=environment.get("MLPLATFORM_LAUNCHER_IMAGE") or usual.launcher_image,
        launcher_pull_policy=environment.get("MLPLATFORM_LAUNCHER_PULL_POLICY") or usual.launcher_pull_policy,
        server=environment.get("MLPLATFORM_SERVER", usual.server),
        trainings=_knows(client, f"/apis/{TRAINING_API_VERSION}"),
    )
    return [PipelineRuns(settings, client.last_lines, ServerLookups(client))]


def trainingjob(client: Client, environment: Mapping[str, str]) -> Sequence[Controller[Any]]:
    """A pod a rank: TrainingJobs."""
    from mlplatform.controllers.trainingjob.controller import TrainingJobs
    from mlplatform.render.training.environment import TrainingSettings

    settings = TrainingSettings(
        progress=environment.get("MLPLATFORM_PROGRESS", "").rstrip("/"),
        tracking_uri=environment.get("MLPLATFORM_TRACKING_URI", ""),
        default_image=environment.get("MLPLATFORM_TRAINING_IMAGE", ""),
        server=environment.get("MLPLATFORM_SERVER", "").rstrip("/"),
        launcher_image=environment.get("MLPLATFORM_LAUNCHER_IMAGE", ""),
        launcher_pull_policy=environment.get("MLPLATFORM_LAUNCHER_PULL_POLICY") or "IfNotPresent",
    )
    # claims on devices are there from Kubernetes 1.34 on, Kueue where somebody installed it, which is rare
    devices = _knows(client, "/apis/resource.k8s.io/v1")
    kueue = _knows(client, "/apis/kueue.x-k8s.io/v1beta2", tries=_ASKED, unknown=False)
    return [TrainingJobs(settings, devices=devices, kueue=kueue)]


def _knows(client: Client, group: str, *, tries: int = 1, unknown: bool = True) -> bool:
    """Whether the cluster has the kinds of a group. One that does not answer is asked ``tries`` times, a second apart;
    then ``unknown`` is what is taken for true."""
    for left in reversed(range(tries)):
        try:
            client.read(group)
        except ObjectNotFound:
            return False
        except KubernetesError:
            time.sleep(1.0 if left else 0.0)
        else:
            return True
    return unknown


def progress_endpoint(client: Client, loop: Loop[Any], host: str, port: int) -> Beside:
    """Where the ranks of TrainingJobs report."""
    from mlplatform.controllers.trainingjob.desk import Desk
    from mlplatform.controllers.trainingjob.endpoint import Endpoint

    try:
        return Endpoint(Desk(client, loop.caches.get, hurry=loop.hurry), host, port)
    except OSError as error:
        hint = "Name a free port by --progress-port, or -1: ranks report nowhere then."
        raise InvalidInput(f"reports of progress cannot be taken on port {port}: {error.strerror}", hint=hint) from None


def recurringrun(client: Client, environment: Mapping[str, str]) -> Sequence[Controller[Any]]:
    """PipelineRuns by the clock: RecurringRuns."""
    from mlplatform.controllers.recurringrun.controller import RecurringRuns

    return [RecurringRuns()]


#: What each operator is composed of, from a client and the environment variables.
OPERATORS: Final[Mapping[str, Callable[[Client, Mapping[str, str]], Sequence[Controller[Any]]]]] = {
    "pipelinerun": pipelinerun,
    "trainingjob": trainingjob,
    "recurringrun": recurringrun,
}


@click.command()
@click.option("--only", "only", multiple=True, metavar="NAME", help="Run only these controllers.  [default: all]")
@click.option(
    "--kubeconfig", default=None, metavar="FILE", help="[default: $KUBECONFIG, ~/.kube/config, or this pod's]"
)
@click.option("--context", default=None, metavar="NAME", help="Context of the kubeconfig.")
@click.option("-n", "--namespace", default="", metavar="NAME", help="Look at one namespace only.  [default: all]")
@click.option("--workers", type=click.IntRange(1, 64), default=4, show_default=True, help="Runs worked on at once.")
@click.option(
    "--resync", type=click.FloatRange(1), default=600.0, show_default=True, help="Seconds between full looks."
)
@click.option("--port", type=int, default=8080, show_default=True, help="Of /healthz, /readyz, /metrics; -1: none.")
@click.option("--host", default="0.0.0.0", show_default=True, help="Address of that port.")  # noqa: S104 - probes
@click.option(
    "--progress-port", type=int, default=8081, show_default=True, help="Where ranks report progress; -1: nowhere."
)
@click.option(
    "--shards",
    type=click.IntRange(0, 256),
    default=0,
    show_default=True,
    help="Share the runs among replicas in so many parts, by Leases; 0: this is the only one; 1: one leads.",
)
@click.option("--lease-namespace", default=None, metavar="NAME", help="Where the Leases are.  [default: this pod's]")
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning"]),
    default="info",
    show_default=True,
    help="What to log.",
)
def operator(
    only: tuple[str, ...],
    kubeconfig: str | None,
    context: str | None,
    namespace: str,
    workers: int,
    resync: float,
    port: int,
    host: str,
    progress_port: int,
    shards: int,
    lease_namespace: str | None,
    log_level: str,
) -> int:
    """Run pipelines on Kubernetes: the controllers, until the process is asked to stop."""
    from mlplatform.controllers.framework.manager import Settings, Sharing
    from mlplatform.controllers.framework.process import Options, identity, serve
    from mlplatform.kube.http import HttpTransport
    from mlplatform.kube.transport import loader

    logging.basicConfig(level=log_level.upper(), format="%(asctime)s %(levelname)s %(name)s %(message)s")
    transport = HttpTransport(loader(kubeconfig, context))
    controllers = controllers_of(only, Client(transport), os.environ)
    sharing = None
    if shards:
        place = lease_namespace or os.environ.get("POD_NAMESPACE") or transport.target.namespace
        sharing = Sharing(namespace=place, identity=identity(), shards=shards)
    settings = Settings(namespace=namespace, workers=workers, resync=resync, sharing=sharing)
    beside: dict[str, Callable[[Client, Loop[Any]], Beside]] = {}
    if progress_port >= 0:
        beside["trainingjob"] = lambda client, loop: progress_endpoint(client, loop, host, progress_port)
    options = Options(settings=settings, health=None if port < 0 else (host, port), beside=beside)
    return serve(Client(transport), controllers, options)


def controllers_of(only: Sequence[str], client: Client, environment: Mapping[str, str]) -> list[Controller[Any]]:
    """The controllers of the named operators (none named: of all). Raises InvalidInput for a name there is not."""
    unknown = sorted(set(only) - set(OPERATORS))
    if unknown:
        raise InvalidInput(f"There is no controller {unknown[0]!r}.", hint=f"There is: {', '.join(OPERATORS)}.")
    return [
        controller
        for name, compose in OPERATORS.items()
        if not only or name in only
        for controller in compose(client, environment)
    ]
