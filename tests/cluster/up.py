"""A cluster for development: ``make cluster-up``, ``make cluster-down``.

    python -m tests.cluster.up up [--no-node] [--nodes N] [--gpus N] [--name NAME] [--store etcd] [--lease S]
    python -m tests.cluster.up down [--name NAME]

It stays until it is stopped. Several can be up at once, by name.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from pathlib import Path

from tests.cluster import binaries, supervisor
from tests.cluster.cluster import Cluster
from tests.cluster.components import LEASE
from tests.cluster.network import CannotRun


def _link(name: str) -> Path:
    """Where it is written down which cluster bears a name."""
    return supervisor.base() / f"name-{name}"


def _running(name: str) -> Cluster | None:
    supervisor.sweep()
    link = _link(name)
    return Cluster.find(link.resolve()) if (link / "ready.json").exists() else None


def _tools(cluster: Cluster) -> Path:
    """A folder with kubectl, for PATH."""
    assert cluster.folder is not None
    folder = cluster.folder / "bin"
    folder.mkdir(exist_ok=True)
    if not (folder / "kubectl").exists():
        (folder / "kubectl").symlink_to(binaries.program("kubectl"))
    return folder


def up(arguments: argparse.Namespace) -> None:
    """Start it, or find it running, and print what a shell should export."""
    cluster = _running(arguments.name)
    if cluster is None:
        began = time.monotonic()
        print("starting a cluster (the first time its programs are built: minutes)", file=sys.stderr, flush=True)
        cluster = Cluster.start(
            node=not arguments.no_node, store=arguments.store, lease=arguments.lease, lifeline=False
        )
        assert cluster.folder is not None
        link = _link(arguments.name)
        link.unlink(missing_ok=True)
        link.symlink_to(cluster.folder)
        if arguments.nodes:
            cluster.add_nodes(arguments.nodes, gpus=arguments.gpus, prefix="gpu" if arguments.gpus else "kwok")
        print(f"up after {time.monotonic() - began:.1f} s; make cluster-down stops it", file=sys.stderr)
        if cluster.registry:
            print(f"images: push to http://{cluster.registry}; this machine is {cluster.host} to pods", file=sys.stderr)
    print(f"export KUBECONFIG={shlex.quote(str(cluster.kubeconfig))}")
    print(f"export PATH={shlex.quote(str(_tools(cluster)))}:$PATH")
    print(f"export MLPLATFORM_TEST_CLUSTER={shlex.quote(str(cluster.folder))}")


def down(arguments: argparse.Namespace) -> None:
    """Stop it; that there is none is fine."""
    cluster = _running(arguments.name)
    if cluster is not None:
        cluster.stop()
    _link(arguments.name).unlink(missing_ok=True)
    print("stopped" if cluster else "no cluster is up", file=sys.stderr)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="tests.cluster.up")
    parser.add_argument("do", choices=("up", "down"))
    parser.add_argument("--name", default="dev")
    parser.add_argument(
        "--no-node", action="store_true", help="the API server and its controllers alone; needs no root"
    )
    parser.add_argument("--nodes", type=int, default=0, help="this many nodes of kwok's")
    parser.add_argument("--gpus", type=int, default=0, help="GPUs of each of them")
    parser.add_argument("--store", choices=("kine", "etcd"), default="kine")
    parser.add_argument(
        "--lease", type=int, default=LEASE, help="seconds that a lease of kwok's nodes lasts; a quarter of it renews it"
    )
    arguments = parser.parse_args()
    try:
        (up if arguments.do == "up" else down)(arguments)
    except (CannotRun, binaries.CannotBuild) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
