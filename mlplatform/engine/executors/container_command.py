"""The ``run`` command line of one attempt's container. Pure: given the engine, nothing is looked at."""

from __future__ import annotations

import csv
import hashlib
import io
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

from mlplatform.engine.executors.container_engine import CLIENT_VARIABLES, Engine

#: A submitter's word for the network of containers (as ``--network`` takes it).
NETWORK_VARIABLE: Final = "MLPLATFORM_CONTAINER_NETWORK"
#: Labels by which our containers are found.
LABEL_ATTEMPT: Final = "dev.mlplatform.attempt"
LABEL_OWNER: Final = "dev.mlplatform.owner"

_PULL: Final = {"Always": "always", "Never": "never", "IfNotPresent": "missing", "": "missing"}
#: Variables that mean something to the client itself: their values cannot be handed over by its environment.
_CLIENT_OWN: Final = frozenset(CLIENT_VARIABLES.split())


@dataclass(frozen=True, slots=True)
class Bind:
    """A folder or file of this machine at a path in the container."""

    source: str
    target: str
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class ContainerRun:
    """One container. ``env`` may hold secrets: only names stand on the command line, where the client's environment
    carries the values. ``memory`` and ``shared_memory`` in bytes; ``gpus`` are ids, None for untouched."""

    name: str
    image: str
    command: Sequence[str] = ()
    args: Sequence[str] = ()
    env: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    binds: Sequence[Bind] = ()
    memory_mounts: Sequence[tuple[str, int | None]] = ()
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    cpus: float | None = None
    memory: int | None = None
    shared_memory: int | None = None
    gpus: Sequence[int] | None = None
    pull: str = ""
    network: str = ""
    interactive: bool = False


def container_name(cookie: str) -> str:
    """The container's name for an attempt's cookie."""
    return "mlplatform-" + hashlib.sha256(cookie.encode()).hexdigest()[:20]


def run_arguments(run: ContainerRun, engine: Engine, user: str) -> tuple[list[str], list[str]]:
    """What follows the client's own name: options, and from the image on. ``user`` is ``uid:gid`` of whom results must
    belong to."""
    words = ["run", "--name", run.name, f"--pull={_PULL[run.pull]}"]
    words += _user(engine, user)
    if run.interactive:
        words.append("--interactive")
    if run.network:
        words += ["--network", run.network]
    for name, value in sorted(run.labels.items()):
        words += ["--label", f"{name}={value}"]
    for name, value in sorted(run.env.items()):
        words += ["--env", f"{name}={value}" if is_client_variable(name) else name]
    for bind in covering(run.binds):
        words += _bind(bind)
    for target, size in run.memory_mounts:
        words += ["--tmpfs", target + (f":size={size}" if size else "")]
    if engine.limits and run.memory:
        words += ["--memory", str(run.memory)]
    if engine.limits and run.cpus:
        words += ["--cpus", f"{run.cpus:g}"]
    if run.shared_memory:
        words += ["--shm-size", str(run.shared_memory)]
    words += _gpus(engine, run.gpus)
    if engine.name == "podman" and os.path.exists("/sys/fs/selinux/enforce"):
        words += ["--security-opt", "label=disable"]  # else a container may not even read what is mounted
    if run.command:
        words += ["--entrypoint", run.command[0]]
    return words, [run.image, *run.command[1:], *run.args]


def choose_network(engine: Engine, env: Mapping[str, str]) -> tuple[str, str]:
    """(network of a container, "" for the engine's own choice; a note for its task's log, "" for none).

    Tasks log to MLflow through this machine's loopback interface, so a container shares the machine's network where it
    can: no less than any other task of this machine has. ``MLPLATFORM_CONTAINER_NETWORK`` names another one.
    """
    address = env.get("MLFLOW_TRACKING_URI", "")
    asked = env.get(NETWORK_VARIABLE, "")
    if urlsplit(address).hostname not in ("127.0.0.1", "localhost", "::1"):
        return asked, ""
    if engine.remote or (engine.name == "docker" and engine.rootless):
        where = "runs in a virtual machine" if engine.remote else "has a network of its own without root"
        return asked, f"{engine.name} {where}: MLflow cannot be reached from the container, and what it logs is lost"
    if asked in ("", "host"):
        return "host", ""
    reason = f"{NETWORK_VARIABLE}={asked}: MLflow at {address} may not be reachable from the container"
    return asked, f"{reason}; without it the container shares this machine's network"


def is_client_variable(name: str) -> bool:
    """Whether the client itself goes by this variable, so that it is set on the command line, not handed through."""
    return name in _CLIENT_OWN or name.startswith(("DOCKER_", "CONTAINER", "PODMAN_", "_CONTAINERS_", "LD_"))


def _user(engine: Engine, user: str) -> list[str]:
    """Results belong to the user: as root where root inside is the user outside, else as the user's own number."""
    if engine.remote:
        return []
    return ["--user", "0:0" if engine.rootless else user]


def _bind(bind: Bind) -> list[str]:
    if ":" not in bind.source + bind.target:
        return ["--volume", f"{bind.source}:{bind.target}" + (":ro" if bind.read_only else "")]
    fields = ["type=bind", f"source={bind.source}", f"target={bind.target}"]
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow([*fields, "readonly"] if bind.read_only else fields)
    return ["--mount", line.getvalue()]


def _gpus(engine: Engine, gpus: Sequence[int] | None) -> list[str]:
    if not gpus:
        return []
    if engine.name == "docker":
        return ["--gpus", '"device=' + ",".join(map(str, gpus)) + '"']
    return [word for gpu in gpus for word in ("--device", f"nvidia.com/gpu={gpu}")]


def covering(binds: Iterable[Bind]) -> list[Bind]:
    """Binds without doubles and without those that another one shows already, parents first."""
    found: list[Bind] = []
    for bind in sorted(set(binds), key=lambda bind: (bind.target.count("/"), bind.target, bind.read_only)):
        if not any(_shows(other, bind) for other in found):
            found.append(bind)
    return found


def _shows(outer: Bind, inner: Bind) -> bool:
    """Whether ``outer`` already puts the source of ``inner`` at its target, with at least its rights."""
    if outer.read_only and not inner.read_only:
        return False
    rest = inner.target[len(outer.target) :]
    below = inner.target == outer.target or inner.target.startswith(outer.target.rstrip("/") + "/")
    return below and inner.source == outer.source + rest


def task_binds(spec: Mapping[str, Any], extra: Iterable[str] = ()) -> list[Bind]:
    """What a task must see at its own paths: places it writes to, inputs it reads, its scratch folder."""
    outputs = spec["outputs"]
    told = spec["executor_input"]
    writable = {os.path.dirname(entry["path"]) for entry in outputs["parameters"].values()}
    writable |= {os.path.dirname(entry["path"]) for entry in outputs["artifacts"].values()}
    file = told.get("outputs", {}).get("outputFile") or ""
    writable |= {os.path.dirname(file), spec["scratch"], *extra} - {""}
    binds = [Bind(path, path) for path in writable]
    for entry in told.get("inputs", {}).get("artifacts", {}).values():
        for artifact in entry.get("artifacts", ()):
            path = str(artifact.get("uri") or "")
            if path.startswith("/"):
                binds.append(Bind(path, path, read_only=True))
    return binds
