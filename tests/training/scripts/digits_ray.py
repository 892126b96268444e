"""Logistic regression on scikit-learn's digits by ray: the head drives, gradients of parts of each batch are tasks that
run at every node, and their sum is that of the whole batch."""

import argparse
import json
import os
import time

import numpy as np
import ray
from sklearn.datasets import load_digits

from mlplatform import training

options = argparse.ArgumentParser()
options.add_argument("--out", required=True)
args = options.parse_args()

me = training.init()
ray.init(address=os.environ["RAY_ADDRESS"], log_to_driver=False)
end = time.monotonic() + 120
while len([node for node in ray.nodes() if node["Alive"]]) < me.world_size + 1 and time.monotonic() < end:
    time.sleep(0.1)
nodes = [node["NodeID"] for node in ray.nodes() if node["Alive"]]


def gradient(weights, x, y):
    """(the sum of gradients over the rows, where it was computed)."""
    scores = x @ weights
    scores -= scores.max(axis=1, keepdims=True)
    chances = np.exp(scores)
    chances /= chances.sum(axis=1, keepdims=True)
    chances[np.arange(len(y)), y] -= 1.0
    return x.T @ chances, ray.get_runtime_context().get_node_id() if ray.is_initialized() else ""


def trained(parts):
    weights = np.zeros((64, 10))
    where = set()
    for step in range(20):
        batch = np.arange(step * 80, step * 80 + 80)
        shares = [batch[number :: len(parts)] for number in range(len(parts))]
        found = [part(weights, x[share], y[share]) for part, share in zip(parts, shares, strict=False)]
        found = [ray.get(one) if isinstance(one, ray.ObjectRef) else one for one in found]
        weights -= 0.5 / len(batch) * sum(one for one, _ in found)
        where |= {place for _, place in found}
        training.report(step, {"norm": float(np.linalg.norm(weights))}, total=20)
    scores = x @ weights
    chances = np.exp(scores - scores.max(axis=1, keepdims=True))
    chances /= chances.sum(axis=1, keepdims=True)
    return float(-np.log(chances[np.arange(len(y)), y]).mean()), sorted(where)


digits = load_digits()
x, y = digits.data / 16.0, digits.target
strategy = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
remote = ray.remote(num_cpus=0.1)(gradient)
parts = [remote.options(scheduling_strategy=strategy(node, soft=False)).remote for node in nodes]
loss, where = trained(parts)
alone, _ = trained([gradient])
with open(os.path.join(args.out, "final.json"), "w") as file:
    json.dump({"loss": loss, "alone": alone, "nodes": len(nodes), "where": where}, file)
