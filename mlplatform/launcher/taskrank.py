"""One process of a rank whose command is a component of a pipeline: ``launcher --task-rank SPEC.json``.

Every process gets the task's inputs. Outputs are those of the process with rank 0 over all: the others write theirs to
a folder of their own, where nobody looks. Each leaves its result in the folder that the spec names in ``results``, as
``a<attempt>-<rank>.json``. What the user's code leaves with by ``sys.exit`` is what the process ends with (75: saved,
run me again); what cannot get better by running again ends it with 2.

The variables are those that this process was started with; the spec holds none.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping
from typing import Any, cast

from .fields import objects, section

#: Variables of the rank over all, the nearest launcher's first (torchrun, mpirun), then the platform's own.
_RANKS = ("OMPI_COMM_WORLD_RANK", "PMI_RANK", "RANK", "MLP_RANK")
_THREADS = "OMP_NUM_THREADS"


def rank_of(environ: Mapping[str, str]) -> int:
    """Which of all processes this is."""
    return next((int(environ[name]) for name in _RANKS if environ.get(name, "").isdecimal()), 0)


def attempt_of(environ: Mapping[str, str]) -> int:
    text = environ.get("MLP_ATTEMPT", "")
    return int(text) if text.isdecimal() else 0


def spec_of_process(spec: Mapping[str, Any], environ: Mapping[str, str], log: str = "/dev/fd/2") -> dict[str, Any]:
    """The spec of this very process, from the one of all of them."""
    rank, attempt = rank_of(environ), attempt_of(environ)
    made = copy.deepcopy(dict(spec))
    made["env"] = dict(environ)
    made["cookie"] = environ.get("MLPLATFORM_ATTEMPT") or str(spec["cookie"])
    made["claim"] = None
    made["log"] = log
    made["timeout"] = None
    made["scratch"] = os.path.join(spec["scratch"], str(rank))
    made["trace_ignore"] = [*spec["trace_ignore"], spec["scratch"]]
    made["result"] = os.path.join(spec["results"], "a%d-%d.json" % (attempt, rank))
    if spec.get("trace"):
        made["trace"] = os.path.join(spec["results"], "a%d-%d.trace" % (attempt, rank))
    made["cpus"] = int(environ[_THREADS]) if environ.get(_THREADS, "").isdecimal() else None
    made["own_exit"] = True
    if rank:
        _aside(made, os.path.join(made["scratch"], "outputs"))
    return made


def _aside(spec: dict[str, Any], folder: str) -> None:
    """Have what it writes lie below ``folder``, and nothing of it be looked for: what it returns is nobody's."""
    count = 0

    def place(path: str) -> str:
        nonlocal count
        count += 1
        return os.path.join(folder, str(count), os.path.basename(path) or "output")

    spec["outputs"] = {"parameters": {}, "artifacts": {}}
    outputs = cast("dict[str, Any]", section(spec["executor_input"], "outputs"))
    entries = [outputs, *section(outputs, "parameters").values()]
    for entry in entries:
        if entry.get("outputFile"):
            entry["outputFile"] = place(entry["outputFile"])
    for entry in section(outputs, "artifacts").values():
        for artifact in objects(entry, "artifacts"):
            if artifact.get("uri"):
                artifact["uri"] = place(artifact["uri"])
    spec["aside"] = True


def main(path: str) -> int:
    """Run it; the exit status of the process."""
    from .attempt import read_spec, run_attempt

    spec = spec_of_process(read_spec(path), os.environ)
    os.makedirs(os.path.dirname(spec["result"]), exist_ok=True)
    return run_attempt(spec)
