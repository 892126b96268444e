"""The same as digits_torch.py in jax: each process computes the gradient of its part of the batch, and the mean of all
is taken over the processes."""

import argparse
import json

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.datasets import load_digits

from mlplatform import training

options = argparse.ArgumentParser()
options.add_argument("--out", required=True)
options.add_argument("--epochs", type=int, default=2)
options.add_argument("--batch", type=int, default=120)
args = options.parse_args()

me = training.init()
jax.config.update("jax_enable_x64", True)
from jax.experimental import multihost_utils  # noqa: E402 - the processes have met by now

digits = load_digits()
x, y = digits.data / 16.0, digits.target
per_epoch = len(x) // args.batch
steps = args.epochs * per_epoch


def total_loss(weights: jax.Array, images: jax.Array, labels: jax.Array) -> jax.Array:
    logits = images @ weights
    return -jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], axis=1).sum()


gradient = jax.jit(jax.value_and_grad(total_loss))
weights, begin = jnp.zeros((64, 10)), 0
if (last := training.resume_from()) is not None:
    weights, begin = jnp.asarray(np.load(last / "weights.npy")), last.step + 1
print(f"rank {me.rank} of {me.world_size} ({jax.process_count()} processes), from step {begin}", flush=True)
for step in range(begin, steps):
    epoch, place = divmod(step, per_epoch)
    order = np.random.default_rng(epoch).permutation(len(x))
    mine = order[place * args.batch : (place + 1) * args.batch][me.rank :: me.world_size]
    loss, slope = gradient(weights, x[mine], y[mine])
    if me.world_size > 1:
        loss, slope = (part.sum(axis=0) for part in multihost_utils.process_allgather((loss, slope)))
    weights = weights - 0.5 * slope / args.batch
    training.report(step, {"loss": float(loss) / args.batch}, total=steps)
    if me.first and training.due(step, every=10):
        with training.checkpoint(step) as folder:
            np.save(folder / "weights.npy", np.asarray(weights))
if me.first:
    with open(f"{args.out}/final.json", "w") as file:
        json.dump({"loss": float(total_loss(weights, x, y)) / len(x), "world": jax.process_count()}, file)
