"""An operator that dies at any of its writes changes nothing: behaviour 45."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from mlplatform.kube.objects import CLAIMS, SERVICES
from tests.support.kube.faults import Mortal, Write
from tests.support.kube.training import TrainingCluster, group, job

CLAIM = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}


def play(die_at: int = 0, moment: str = "before", patience: float = 0.0) -> tuple[TrainingCluster, list[Write]]:
    """A job's life on a cluster of its own, and what was written. The cluster itself watches that no two attempts of a
    rank live at once."""
    cluster = TrainingCluster(patience=patience)
    mortal = Mortal(cluster.fake, die_at, moment)
    cluster.operator = cluster.new_operator(mortal)
    live(cluster)
    return cluster, mortal.written


def live(cluster: TrainingCluster) -> None:
    """A job with two failures and a suspension, to its end."""
    cluster.submit(job(group(replicas=2), checkpoint={"scope": "Job", "claimSpec": CLAIM}))
    cluster.run(30)
    cluster.end("worker", 1, 1)
    cluster.run()
    cluster.run(30)
    cluster.change(suspend=True)
    cluster.run(30)
    cluster.change(suspend=False)
    cluster.run(5)
    cluster.end("worker", 0, 137, "OOMKilled")
    cluster.run()
    cluster.run(60)
    cluster.run(20)
    cluster.end_all()
    cluster.run()
    cluster.run(10)


def outcome(cluster: TrainingCluster) -> Any:
    """Everything that is left in the end."""
    names = {
        kind.plural: [one["metadata"]["name"] for one in cluster.client.list(kind, "default").items] for kind in KINDS
    }
    held = [pod["metadata"].get("finalizers") for pod in cluster.pods()]
    return cluster.status, names, cluster.names(), held


def close(one: Any, other: Any, seconds: float, name: str = "") -> bool:
    """Whether two outcomes are the same, but for times that lie that close together."""
    if isinstance(one, dict) and isinstance(other, dict):
        return all(close(one.get(key, 0), other.get(key, 0), seconds, key) for key in one.keys() | other.keys())
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(close(*pair, seconds) for pair in zip(one, other, strict=True))
    if isinstance(one, str) and isinstance(other, str) and one != other:
        try:
            return abs((datetime.fromisoformat(one) - datetime.fromisoformat(other)).total_seconds()) <= seconds
        except ValueError:
            return False
    if isinstance(one, int) and isinstance(other, int) and one != other:
        unit = {"startup": 1000, "restart": 1000, "unsaved": 1000, "lost": 1000, "productive": 1000}.get(name, 0)
        unit = 1 if name.endswith("Seconds") or name == "percent" else unit
        return abs(one - other) <= unit * seconds
    return bool(one == other)


KINDS = (CLAIMS, SERVICES)
#: 30 s lost to the first failure and 5 s to the second, 30 and 60 s until the next attempt, 20 s of work that counts.
GOODPUT = {"percent": 13, "wallSeconds": 145, "productiveSeconds": 20, "lostSeconds": 35, "restartSeconds": 90}


@pytest.mark.timeout(600)
@pytest.mark.parametrize("patience", [0.0, 0.5])
def test_dying_before_or_after_any_write_changes_nothing(patience: float) -> None:
    first, writes = play(patience=patience)
    wanted = outcome(first)
    status = wanted[0]
    assert (status["phase"], status["restartsCounted"], status["attempt"]) == ("Complete", 2, 4)
    assert status["goodput"] == GOODPUT
    assert len(writes) > (25 if patience else 30)
    # What the server has after the n-th write is what it has before the next one: only the last needs both.
    deaths = [(number, "before") for number in range(1, len(writes) + 1)] + [(len(writes), "after")]
    for number, moment in deaths:
        cluster, _ = play(number, moment, patience)
        assert cluster.deaths == 1
        assert close(outcome(cluster), wanted, 4 * patience), (writes[number - 1], moment)
