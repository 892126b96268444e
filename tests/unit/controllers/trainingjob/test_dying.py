"""An operator that dies at any of its writes changes nothing: behaviour 45."""

from __future__ import annotations

from typing import Any

import pytest

from mlplatform.kube.objects import CLAIMS, SERVICES
from tests.support.kube.faults import Mortal, Write
from tests.support.kube.training import TrainingCluster, group, job

CLAIM = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}


def play(die_at: int = 0, moment: str = "before") -> tuple[TrainingCluster, list[Write]]:
    """A job's life on a cluster of its own, and what was written. The cluster itself watches that no two attempts of a
    rank live at once."""
    cluster = TrainingCluster()
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


def outcome(cluster: TrainingCluster) -> Any:
    """Everything that is left in the end."""
    names = {kind.plural: [one["metadata"]["name"] for one in cluster.client.list(kind).items] for kind in KINDS}
    held = [pod["metadata"].get("finalizers") for pod in cluster.pods()]
    return cluster.status, names, cluster.names(), held


KINDS = (CLAIMS, SERVICES)
#: 30 s lost to the first failure and 5 s to the second, 30 and 60 s until the next attempt, 20 s of work that counts.
GOODPUT = {"percent": 13, "wallSeconds": 145, "productiveSeconds": 20, "lostSeconds": 35, "restartSeconds": 90}


@pytest.mark.timeout(600)
def test_dying_before_or_after_any_write_changes_nothing() -> None:
    first, writes = play()
    wanted = outcome(first)
    status = wanted[0]
    assert (status["phase"], status["restartsCounted"], status["attempt"]) == ("Complete", 2, 4)
    assert status["goodput"] == GOODPUT
    assert len(writes) > 30
    # What the server has after the n-th write is what it has before the next one: only the last needs both.
    deaths = [(number, "before") for number in range(1, len(writes) + 1)] + [(len(writes), "after")]
    for number, moment in deaths:
        cluster, _ = play(number, moment)
        assert cluster.deaths == 1
        assert outcome(cluster) == wanted, (writes[number - 1], moment)
