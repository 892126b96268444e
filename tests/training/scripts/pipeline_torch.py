"""A pipeline whose one task is torch's: two ranks by torchrun, whose gradients are those of the whole batch."""

import mlplatform as ml
from mlplatform import training


@ml.component
def shuffled(seed: int) -> list:
    import random

    numbers = list(range(1797))
    random.Random(seed).shuffle(numbers)
    return numbers


@ml.training(framework="torch", workers=2, grace=30)
def train(order: list, steps: int) -> dict:
    import torch
    import torch.distributed as dist
    from sklearn.datasets import load_digits

    me = training.init()
    if me.world_size > 1:
        dist.init_process_group("gloo")
    digits = load_digits()
    x = torch.tensor(digits.data[order] / 16.0, dtype=torch.float64)
    y = torch.tensor(digits.target[order])
    model = torch.nn.Linear(64, 10, dtype=torch.float64)
    torch.nn.init.zeros_(model.weight)
    torch.nn.init.zeros_(model.bias)
    wrapped = torch.nn.parallel.DistributedDataParallel(model) if me.world_size > 1 else model
    optimizer = torch.optim.SGD(wrapped.parameters(), lr=0.5)
    for step in range(steps):
        mine = list(range(step * 100 % 1700, step * 100 % 1700 + 90))[me.rank :: me.world_size]
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(wrapped(x[mine]), y[mine])
        loss.backward()
        optimizer.step()
        training.report(step, loss=loss.item(), total=steps)
        if me.first and training.due(step, every=10):
            with training.checkpoint(step) as folder:
                torch.save(model.state_dict(), folder / "state.pt")
    if me.world_size > 1:
        dist.destroy_process_group()
    with torch.no_grad():
        loss = float(torch.nn.functional.cross_entropy(model(x), y))
    return {"loss": loss, "world": me.world_size}


@ml.pipeline
def whole(seed: int = 7, steps: int = 30) -> dict:
    return train(shuffled(seed), steps)
