"""A pipeline whose one task is ray's: the driver asks each node for its share."""

import mlplatform as ml


@ml.training(framework="ray", workers=2, max_restarts=1)
def spread(rows: int) -> dict:
    """The sum of squares, each node's share computed there."""
    import os
    import time

    import ray

    ray.init(log_to_driver=False)
    wanted = int(os.environ["MLP_RAY_NODES"])
    while len(nodes := [node["NodeID"] for node in ray.nodes() if node["Alive"]]) < wanted:
        time.sleep(0.1)

    @ray.remote(num_cpus=0.1)
    def share(numbers: range) -> tuple[int, str]:
        return sum(number * number for number in numbers), ray.get_runtime_context().get_node_id()

    strategy = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
    shares = [range(rows)[at::wanted] for at in range(wanted)]
    asked = [
        share.options(scheduling_strategy=strategy(node, soft=False)).remote(numbers)
        for node, numbers in zip(nodes, shares, strict=True)
    ]
    found = ray.get(asked)
    return {"sum": sum(part for part, _ in found), "nodes": len({node for _, node in found})}


@ml.pipeline
def squares(rows: int = 1000) -> dict:
    return spread(rows)
