"""The groups of a job by its framework, and what their ranks run. Pure: the same for a job that is asked for by itself
and for one that a pipeline's task makes, on one machine and on a cluster."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

FRAMEWORKS: Final = ("torch", "jax", "ray", "mpi", "python")
#: ``python -m``, for ray comes with the interpreter that the script runs with: another one on PATH may be of another
#: version. What no Python runs finds ``ray`` by itself.
_RAY: Final = '"$0" -m ray.scripts.scripts'
_PYTHON: Final = re.compile(r"(.*/)?python[0-9.]*|\{\{python\}\}")
_IS_THERE: Final = (
    '"$0" -c \'import importlib.util as u, sys; sys.exit(u.find_spec("ray") is None)\' || '
    '{ echo "mlplatform: $0 has no ray: put it into the image or the environment" >&2; exit 127; }\n'
)
#: (``ray health-check`` takes 40 s to find out that it does not.)
_HEAD_ANSWERS: Final = (
    "{python} -c 'import socket, sys; h, _, p = sys.argv[1].rpartition(\":\"); socket.create_connection((h, p), 3)' "
    '"$RAY_ADDRESS" 2>/dev/null'
)
#: Only the driver goes on as this process: SIGTERM is its wish to save, and ray is there until it has. On a busy
#: machine ray gives itself up after half a minute, here and in workers: it is started again.
_RAY_HEAD: Final = """trap 'exit 143' TERM
case "$RAY_ADDRESS" in 127.*) here=--node-ip-address=127.0.0.1;; *) here=;; esac
for attempt in 1 2 3 -; do
  [ $attempt != - ] || exit 1
  {ray} start --head --port="${{RAY_ADDRESS##*:}}" $here --include-dashboard=false --disable-usage-stats >&2 && break
done
exec "$@"
"""
#: ``ray start`` gives up on a head that takes its time, so a worker waits for it. One that is told to end does so after
#: the head: until then the driver needs it, to save.
_RAY_WORKER: Final = """told=
trap told=1 TERM
until {head_answers}; do sleep 0.5; [ -z "$told" ] || exit 143; done
case "$RAY_ADDRESS" in 127.*) here=--node-ip-address=127.0.0.1;; *) here=;; esac
export RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S=0
for attempt in 1 2 3; do
  begun=$(date +%s)
  {ray} start --address="$RAY_ADDRESS" $here --block --disable-usage-stats &
  node=$!
  while kill -0 $node 2>/dev/null; do
    sleep 1 & wait $!
    [ -z "$told" ] || break 2
  done
  wait $node; code=$?
  [ $code != 0 ] && [ $(($(date +%s) - begun)) -lt 90 ] && {head_answers} || exit $code
done
[ -n "$told" ] || exit $code
while kill -0 $node 2>/dev/null && {head_answers}; do sleep 0.2; done
kill $node 2>/dev/null
wait $node
exit 143
"""


@dataclass(frozen=True, slots=True)
class Shape:
    """How many ranks of what kind. ``gpus``: of each worker; ``products``: those that will do. ``elastic``: the least
    and the most workers."""

    framework: str = "python"
    workers: int = 1
    processes: int | None = None
    gpus: int = 0
    products: tuple[str, ...] = ()
    elastic: tuple[int, int] | None = None


class Wanted(Protocol):
    """What people say of a training: of a job by itself (``TrainingJob``), of a task (``Ranks``)."""

    @property
    def framework(self) -> str: ...
    @property
    def workers(self) -> int: ...
    @property
    def procs_per_worker(self) -> int | None: ...
    @property
    def gpus_per_worker(self) -> int: ...
    @property
    def gpu(self) -> str | Sequence[str]: ...
    @property
    def elastic(self) -> tuple[int, int] | None: ...
    @property
    def max_restarts(self) -> int: ...
    @property
    def checkpoints(self) -> str: ...
    @property
    def keep(self) -> int: ...
    @property
    def hang_seconds(self) -> int: ...
    @property
    def grace(self) -> int: ...


def shape_of(wanted: Wanted) -> Shape:
    """How many ranks of what kind were asked for."""
    products = [wanted.gpu] if isinstance(wanted.gpu, str) else wanted.gpu
    return Shape(
        wanted.framework,
        wanted.workers,
        wanted.procs_per_worker,
        wanted.gpus_per_worker,
        tuple(products),
        wanted.elastic,
    )


def spec_of(wanted: Wanted, groups: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A TrainingJob's spec with these groups. Checkpoints go to a claim, so that they outlive a rank."""
    several = wanted.checkpoints == "shared" and wanted.workers > 1
    claim = {
        "accessModes": ["ReadWriteMany" if several else "ReadWriteOnce"],
        "resources": {"requests": {"storage": "10Gi"}},
    }
    scope = "Rank" if wanted.checkpoints == "each" else "Job"
    spec: dict[str, Any] = {
        "framework": wanted.framework,
        "groups": list(groups),
        "failurePolicy": _failures(wanted),
        "preemption": {"gracePeriodSeconds": wanted.grace},
        "checkpoint": {"scope": scope, "claimSpec": claim, "keep": wanted.keep},
    }
    if wanted.hang_seconds:
        spec["health"] = {"progressTimeoutSeconds": wanted.hang_seconds}
    return spec


def _failures(wanted: Wanted) -> dict[str, Any]:
    """A node of ray that is lost is made anew by itself: its tasks are done again elsewhere meanwhile."""
    scope = {"restartScope": "Pod"} if wanted.framework == "ray" else {}
    return {**scope, "maxRestarts": wanted.max_restarts}


def merged(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Both specs, member by member; where both have one, the other's."""
    found = {**one, **other}
    for name in one.keys() & other.keys():
        if isinstance(one[name], Mapping) and isinstance(other[name], Mapping):
            found[name] = merged(one[name], other[name])
    if "claimName" in other and "claimSpec" not in other:
        found.pop("claimSpec", None)  # a claim that is there already takes the place of the one that would be made
    return found


def groups(shape: Shape) -> list[dict[str, Any]]:
    """The groups of the job's spec, without templates."""
    workers: dict[str, Any] = {"name": "worker", "replicas": shape.workers}
    match shape.framework:
        case "mpi":
            launcher: dict[str, Any] = {"name": "launcher", "role": "launcher", "replicas": 1}
            launcher["dependsOn"] = [{"group": "worker", "status": "Ready"}]
            # mpirun starts the processes in the workers: how many, and on what, is theirs.
            found = [_computing(workers, shape), _processes(launcher, shape)]
        case "ray":
            head: dict[str, Any] = {"name": "head", "role": "head", "replicas": 1}
            rest = [{**workers, "replicas": shape.workers - 1}] if shape.workers > 1 else []
            found = [_computing(group, shape) for group in (head, *rest)]
        case _:
            found = [_computing(workers, shape)]
    return found


def _processes(group: dict[str, Any], shape: Shape) -> dict[str, Any]:
    return group if shape.processes is None else {**group, "procsPerReplica": shape.processes}


def _computing(group: dict[str, Any], shape: Shape) -> dict[str, Any]:
    group = dict(_processes(group, shape))
    if shape.elastic is not None and group["name"] == "worker":
        least, most = shape.elastic
        group["elastic"] = {"min": least, "max": most}
    if shape.gpus:
        group["accelerator"] = {"count": shape.gpus, "products": [one for one in shape.products if one]}
    return group


def working_role(framework: str) -> str:
    """The role of the group whose ranks run the user's code; of others they run what the framework needs."""
    return {"mpi": "launcher", "ray": "head"}.get(framework, "worker")


def words(framework: str, role: str, process: Sequence[str], python: str) -> list[str]:
    """What a rank runs.

    Args:
        role: of its group.
        process: the user's process: a Python and what follows it.
        python: the interpreter that has the framework.

    Returns:
        The words; empty: nothing of its own (a worker of mpi waits to be called).
    """
    match framework, role:
        case "torch", "worker":
            return [python, "-m", "torch.distributed.run", *process[1:]]
        case "mpi", "launcher":
            return ["mpirun", *process]
        case "mpi", "worker":
            return []
        case "ray", "head":
            return ["/bin/sh", "-c", *_ray(_RAY_HEAD, python), *process]
        case "ray", "worker":
            return ["/bin/sh", "-c", *_ray(_RAY_WORKER, python)]
        case _:
            return list(process)


def _ray(script: str, python: str) -> tuple[str, str]:
    """What the shell runs, and its ``$0``."""
    if _PYTHON.fullmatch(python):
        answers = _HEAD_ANSWERS.format(python='"$0"')
        return _IS_THERE + script.format(ray=_RAY, head_answers=answers), python
    return script.format(ray="ray", head_answers=_HEAD_ANSWERS.format(python="python3")), "sh"
