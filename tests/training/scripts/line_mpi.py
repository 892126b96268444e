"""A line through points, by gradients of which every process of mpi computes its part: the sum over all is that of one
process. Needs mpi4py where there are several, and numpy."""

import argparse
import json
import os
import sys
import time

import numpy as np

from mlplatform import training

options = argparse.ArgumentParser()
options.add_argument("--out", required=True)
options.add_argument("--steps", type=int, default=40)
options.add_argument("--every", type=int, default=5)
options.add_argument("--hold", action="append", default=[], help="STEP/WORLD/ATTEMPT: stay there until asked to leave")
args = options.parse_args()

me = training.init()
held = {tuple(map(int, told.split("/"))) for told in args.hold}
world = None
if me.world_size > 1:
    from mpi4py import MPI

    world = MPI.COMM_WORLD


def over_all(part: np.ndarray) -> np.ndarray:
    """The sum over all processes."""
    if world is None:
        return part
    whole = np.empty_like(part)
    world.Allreduce(part, whole)
    return whole


def leaving() -> bool:
    """Whether anybody is asked to: then all do."""
    return over_all(np.array([float(training.stopping())]))[0] > 0


chance = np.random.default_rng(0)
x = np.column_stack([chance.normal(size=(1000, 4)), np.ones(1000)])
y = x @ np.array([1.0, -2.0, 3.0, 0.5, 4.0]) + chance.normal(size=1000)
mine = slice(me.rank, None, me.world_size)

weights, begin = np.zeros(5), 0
if (last := training.resume_from()) is not None:
    weights, begin = np.load(last / "weights.npy"), last.step + 1
words = f"rank {me.rank} of {me.world_size} in {me.group} {me.replica}, attempt {me.attempt}"
print(f"{words}, {os.environ.get('GREETING', 'no greeting')}, from step {begin}", flush=True)
with open(f"{args.out}/seen-{me.attempt}-{me.rank}-{os.getpid()}", "a", buffering=1) as seen:
    for step in range(begin, args.steps):
        slope = over_all(x[mine].T @ (x[mine] @ weights - y[mine])) / len(x)
        weights -= 0.1 * slope
        told = {"step": step, "at": time.time(), "world": me.world_size, "ids": []}
        seen.write(json.dumps(told) + "\n")
        training.report(step, {"slope": float(np.linalg.norm(slope))}, total=args.steps)
        leave = leaving()
        while (step, me.world_size, me.attempt) in held and not leave:
            time.sleep(0.05)
            leave = leaving()
        if me.first and (leave or training.due(step, every=args.every)):
            try:
                with training.checkpoint(step) as folder:
                    np.save(folder / "weights.npy", weights)
            except SystemExit:
                leave = True
        if leave:
            # mpirun ends all when the first one leaves in this way: none does before it is saved.
            if world is not None:
                world.Barrier()
            sys.exit(75)
loss = over_all(np.array([((x[mine] @ weights - y[mine]) ** 2).sum()]))[0] / len(x)
if me.first:
    with open(f"{args.out}/final.json", "w") as file:
        json.dump({"loss": float(loss), "world": me.world_size}, file)
