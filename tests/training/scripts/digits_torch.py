"""Logistic regression on scikit-learn's digits, data-parallel: each step takes one batch of a fixed order, of which
every process takes its part. Whatever the number of processes, the gradients are those of the whole batch."""

import argparse
import json
import os
import sys
import time

import torch
import torch.distributed as dist
from sklearn.datasets import load_digits
from torch.nn.parallel import DistributedDataParallel

from mlplatform import training

options = argparse.ArgumentParser()
options.add_argument("--out", required=True)
options.add_argument("--epochs", type=int, default=4)
options.add_argument("--batch", type=int, default=120)
options.add_argument("--every", type=int, default=5)
options.add_argument("--hold", action="append", default=[], help="STEP/WORLD/ATTEMPT: stay there until asked to leave")
args = options.parse_args()

me = training.init()
held = {tuple(map(int, told.split("/"))) for told in args.hold}


def leaving() -> bool:
    """All agree whether somebody is to leave: the others cannot go on without it, and it is saved before."""
    said = torch.tensor(float(training.stopping()))
    if me.world_size > 1:
        dist.all_reduce(said, dist.ReduceOp.MAX)
    return bool(said)


torch.manual_seed(0)
if me.world_size > 1:
    dist.init_process_group("gloo")
digits = load_digits()
x = torch.tensor(digits.data / 16.0, dtype=torch.float64)
y = torch.tensor(digits.target)
per_epoch = len(x) // args.batch
steps = args.epochs * per_epoch

model = torch.nn.Linear(64, 10, dtype=torch.float64)
wrapped = DistributedDataParallel(model) if me.world_size > 1 else model
optimizer = torch.optim.SGD(wrapped.parameters(), lr=0.5, momentum=0.9)

last = training.resume_from()
begin = 0
if last is not None:
    state = torch.load(last / "state.pt", weights_only=True)
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    begin = last.step + 1
print(f"rank {me.rank} of {me.world_size}, attempt {me.attempt}, from step {begin}", flush=True)

seen = open(f"{args.out}/seen-{me.attempt}-{me.rank}-{os.getpid()}", "a", buffering=1)  # noqa: SIM115 - open as long as the process
for step in range(begin, steps):
    epoch, place = divmod(step, per_epoch)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(epoch))
    batch = order[place * args.batch : (place + 1) * args.batch]
    mine = batch[me.rank :: me.world_size]
    optimizer.zero_grad()
    loss = torch.nn.functional.cross_entropy(wrapped(x[mine]), y[mine], reduction="sum") * me.world_size / len(batch)
    loss.backward()
    optimizer.step()
    seen.write(json.dumps({"step": step, "at": time.time(), "world": me.world_size, "ids": mine.tolist()}) + "\n")
    training.report(step, {"loss": loss.item()}, total=steps)
    leave = leaving()
    while (step, me.world_size, me.attempt) in held and not leave:
        time.sleep(0.05)
        leave = leaving()
    if me.first and (leave or training.due(step, every=args.every)):
        with training.checkpoint(step) as folder:
            torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, folder / "state.pt")
    if leave and training.stopping():
        sys.exit(75)

if me.first:
    with torch.no_grad():
        final = float(torch.nn.functional.cross_entropy(model(x), y))
    with open(f"{args.out}/final.json", "w") as file:
        json.dump({"loss": final, "world": me.world_size, "attempt": me.attempt}, file)
    print(f"final loss {final:.6f}", flush=True)
if me.world_size > 1:
    dist.destroy_process_group()
