"""``mlplatform install`` and ``mlplatform uninstall``: the platform in a cluster."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import click

from mlplatform import __version__
from mlplatform.cli import manifests
from mlplatform.cli.deploying import Deployer, Report
from mlplatform.cli.options import give, write
from mlplatform.cli.style import counted
from mlplatform.core.errors import InvalidInput

F = TypeVar("F", bound=Callable[..., Any])

#: What is installed is marked with this name; one cluster has one platform.
GROUP: Final = "mlplatform"


def _cluster(function: F) -> F:
    for option in (
        click.option("--output", type=click.Choice(["text", "json"]), default="text", show_default=True),
        click.option(
            "--timeout", type=click.FloatRange(1), default=300.0, show_default=True, help="Seconds a wait takes."
        ),
        click.option("--context", default=None, metavar="NAME", help="Context of the kubeconfig."),
        click.option("--kubeconfig", default=None, metavar="FILE", help="[default: $KUBECONFIG or ~/.kube/config]"),
    ):
        function = option(function)
    return function


@click.command()
@click.option(
    "--dry-run", is_flag=True, help="Print the manifests (for kubectl apply -f -, or a repository); change nothing."
)
@click.option("--registry", default=None, metavar="HOST[/PATH]", help="Build our images and push them there.")
@click.option("--insecure-registry", is_flag=True, help="The registry speaks plain HTTP.")
@click.option("--image", "image", multiple=True, metavar="PART=REF", help="Use this image: operator=..., launcher=...")
@click.option("--variant", default="base", show_default=True, help="base, or an overlay: dev, ha ...")
@click.option("--manifests", "folder", type=click.Path(exists=True, file_okay=False), default=None,
              metavar="DIR", help="A kustomization of your own instead.")  # fmt: skip
@click.option("-n", "--namespace", default=manifests.NAMESPACE, show_default=True, help="Where the platform lives.")
@click.option("--serve", default=manifests.SERVED, show_default=True, metavar="NAME",
              help="The namespace whose runs the server shows and tracks.")  # fmt: skip
@click.option("--without", "left_out", multiple=True, type=click.Choice(list(manifests.OPTIONAL)),
              help="Leave this out: no pages and no tracking; no MLflow.")  # fmt: skip
@click.option("--mlflow", "mlflow_url", default="", metavar="URL", help="Track in this MLflow, and install none.")
@click.option("--wait/--no-wait", default=True, show_default=True, help="Until everything runs.")
@_cluster
def install(
    dry_run: bool,
    registry: str | None,
    insecure_registry: bool,
    image: tuple[str, ...],
    variant: str,
    folder: str | None,
    namespace: str,
    serve: str,
    left_out: tuple[str, ...],
    mlflow_url: str,
    wait: bool,
    kubeconfig: str | None,
    context: str | None,
    timeout: float,
    output: str,
) -> None:
    """Install the platform in a cluster, or upgrade it. Runs go on meanwhile."""
    objects = manifests.load(Path(folder) if folder else _variant(variant))
    if mlflow_url:
        objects = manifests.with_mlflow(objects, _checked(mlflow_url))
    objects = manifests.serving(manifests.without(objects, left_out), serve)
    parts = manifests.image_names(objects)
    images = manifests.image_options(image, parts)
    missing = [part for part in parts if part not in images]
    if missing and registry:
        images |= _named(registry, missing) if dry_run else _pushed(registry, missing, insecure_registry)
    elif missing and not dry_run:
        raise InvalidInput(
            f"Where are the images? There is none for: {', '.join(missing)}.",
            hint="Build and push them with --registry HOST/PATH, or name them with --image PART=REFERENCE.",
        )
    adapted = manifests.adapted(objects, namespace=namespace, images=images)
    if dry_run:
        write(manifests.dumped(adapted).rstrip())
        return
    from mlplatform.kube.transport import connect

    deployer = Deployer(connect(kubeconfig, context), _say, timeout)
    version = deployer.check_version()
    deployer.install(adapted, GROUP, wait=wait)
    data = {"version": __version__, "kubernetes": version, "namespace": namespace, "images": images}
    give(output, {**data, **asdict(deployer.report)}, lambda: _installed(deployer.report, namespace, version))


@click.command()
@click.option("--all", "everything", is_flag=True, help="Also every run, the kinds themselves and the namespace.")
@_cluster
def uninstall(everything: bool, kubeconfig: str | None, context: str | None, timeout: float, output: str) -> None:
    """Take the platform out of a cluster. Runs stay, and go on when it is installed again."""
    from mlplatform.kube.transport import connect

    deployer = Deployer(connect(kubeconfig, context), _say, timeout)
    unfinished = 0 if everything else deployer.unfinished_runs()
    deployer.uninstall(GROUP, everything=everything)
    data = {"unfinished_runs": unfinished, **asdict(deployer.report)}
    give(output, data, lambda: _uninstalled(deployer.report, unfinished))


def _checked(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.password:
        raise InvalidInput(
            f"--mlflow {url} is no address of a tracking server.",
            hint="http://HOST:PORT, without a user or a password: manifests are no place for secrets.",
        )
    return url


def _variant(name: str) -> Path:
    known = manifests.variants()
    if name not in known:
        raise InvalidInput(f"There is no variant {name!r}.", hint=f"There is: {', '.join(known)}.")
    return known[name]


def _named(registry: str, parts: list[str]) -> dict[str, str]:
    return {part: f"{registry.rstrip('/')}/mlplatform-{part}:{__version__}" for part in parts}


def _pushed(registry: str, parts: list[str], insecure: bool) -> dict[str, str]:
    from mlplatform.images.platform import push_platform

    _say(f"building and pushing {', '.join(parts)} to {registry}")
    return {part: str(found) for part, found in push_platform(registry, parts, insecure=insecure).items()}


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201 - progress, beside the answer


def _installed(report: Report, namespace: str, version: str) -> list[str]:
    words = [
        counted(len(found), "object") + f" {word}"
        for word, found in (("made", report.made), ("changed", report.changed), ("removed", report.removed))
        if found
    ]
    done = ", ".join(words) or "nothing to do"
    return [f"mlplatform {__version__} is in namespace {namespace} of Kubernetes {version}: {done}"]


def _uninstalled(report: Report, unfinished: int) -> list[str]:
    lines = [f"removed {counted(len(report.removed), 'object')}"]
    if report.kept:
        lines.append(f"kept: {', '.join(report.kept)} (remove them too with: mlplatform uninstall --all)")
    if unfinished:
        lines.append(f"{counted(unfinished, 'run')} unfinished: they go on when the platform is installed again")
    return lines
