"""Logistic regression on scikit-learn's digits by ray: the head drives, the gradients of the parts of each batch are
tasks, one on each node, and their sum is that of the whole batch. Without a job one process does all of it."""

import argparse
import json
import os
import socket
import sys
import time

import numpy as np
import ray
from sklearn.datasets import load_digits

from mlplatform import training

options = argparse.ArgumentParser()
options.add_argument("--out", required=True)
options.add_argument("--epochs", type=int, default=2)
options.add_argument("--batch", type=int, default=120)
options.add_argument("--every", type=int, default=5)
options.add_argument("--pause", type=float, default=0.0)
args = options.parse_args()

me = training.init()
digits = load_digits()
x, y = digits.data / 16.0, digits.target
per_epoch = len(x) // args.batch
steps = args.epochs * per_epoch


def gradient(weights, images, labels):
    """(the sum of gradients over the rows, where it was computed)."""
    scores = images @ weights
    scores -= scores.max(axis=1, keepdims=True)
    chances = np.exp(scores)
    chances /= chances.sum(axis=1, keepdims=True)
    chances[np.arange(len(labels)), labels] -= 1.0
    return images.T @ chances, socket.gethostname()


def nodes(wanted):
    """The nodes that are there, once there are so many: what was lost is made anew."""
    end = time.monotonic() + 240
    while True:
        found = sorted(node["NodeID"] for node in ray.nodes() if node["Alive"])
        if len(found) >= wanted:
            return found
        if time.monotonic() > end:
            sys.exit(f"{len(found)} of {wanted} nodes are there")
        time.sleep(0.1)


def everywhere(weights, batch):
    """The gradients of all parts, each from its node; again, where a node was lost meanwhile."""
    while True:
        places = nodes(count)
        asked = [
            remote.options(scheduling_strategy=strategy(node, soft=False)).remote(weights, x[mine], y[mine])
            for node, mine in zip(places, (batch[number::count] for number in range(count)), strict=True)
        ]
        try:
            return ray.get(asked, timeout=60)
        except (ray.exceptions.RayError, ray.exceptions.GetTimeoutError) as error:
            print(f"again: {type(error).__name__}", flush=True)


count = int(os.environ.get("MLP_RAY_NODES", "0"))
if count:
    ray.init(log_to_driver=False)
    strategy = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
    remote = ray.remote(num_cpus=0.1, max_retries=0)(gradient)
    nodes(count)

weights, begin = np.zeros((64, 10)), 0
if (last := training.resume_from()) is not None:
    weights, begin = np.load(last / "weights.npy"), last.step + 1
print(f"driver on {socket.gethostname()}, attempt {me.attempt}, {count} nodes, from step {begin}", flush=True)
seen = open(f"{args.out}/seen-{me.attempt}-{me.rank}-{os.getpid()}", "a", buffering=1)  # noqa: SIM115 - open as long as the process
for step in range(begin, steps):
    epoch, place = divmod(step, per_epoch)
    order = np.random.default_rng(epoch).permutation(len(x))
    batch = order[place * args.batch : (place + 1) * args.batch]
    parts = everywhere(weights, batch) if count else [gradient(weights, x[batch], y[batch])]
    weights = weights - 0.5 / args.batch * sum(part for part, _ in parts)
    seen.write(json.dumps({"step": step, "at": time.time(), "where": sorted(host for _, host in parts)}) + "\n")
    training.report(step, {"norm": float(np.linalg.norm(weights))}, total=steps)
    if training.due(step, every=args.every):
        with training.checkpoint(step) as folder:
            np.save(folder / "weights.npy", weights)
    time.sleep(args.pause)

scores = x @ weights
chances = np.exp(scores - scores.max(axis=1, keepdims=True))
chances /= chances.sum(axis=1, keepdims=True)
loss = float(-np.log(chances[np.arange(len(y)), y]).mean())
with open(f"{args.out}/final.json", "w") as file:
    json.dump({"loss": loss, "world": max(1, count), "attempt": me.attempt}, file)
