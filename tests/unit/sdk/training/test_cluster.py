"""Training jobs of a namespace, over an API server in memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mlplatform.core.errors import NotFound
from mlplatform.core.model import RunRecord, TaskKey
from mlplatform.core.states import RunState
from mlplatform.engine.home import Home
from mlplatform.sdk.kubernetes import home as homes
from mlplatform.sdk.training.backends import of_task
from mlplatform.sdk.training.cluster import ClusterTraining
from tests.support.kube.training import TrainingCluster, job


@pytest.fixture
def there(monkeypatch: pytest.MonkeyPatch) -> ClusterTraining:
    cluster = TrainingCluster()
    monkeypatch.setattr("mlplatform.kube.transport.connect", lambda *_: cluster.client)
    cluster.submit(job())
    return ClusterTraining("default")


def test_a_job_that_is_there(there: ClusterTraining) -> None:
    assert there.get("job")["metadata"]["name"] == "job"
    assert [rank.rank for rank in there.ranks("job")] == [0, 1]


@pytest.mark.parametrize(
    "ask",
    [
        lambda there: there.get("none"),
        lambda there: there.change("none", {"suspend": True}),
        lambda there: there.change("none", {"replicas": {"worker": 3}}),
        lambda there: there.delete("none"),
    ],
)
def test_one_that_is_not_is_told_as_on_one_machine(there: ClusterTraining, ask: Callable[[Any], Any]) -> None:
    with pytest.raises(NotFound, match="there is no training job 'none' in namespace default"):
        ask(there)


def test_a_task_whose_job_is_not_made_yet_has_none(
    there: ClusterTraining, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.setattr(homes, "read_place", lambda _: homes.Place("default", "https://x"))
    context = {"backend": "kubernetes", "kubernetes": {"uid": "u"}}
    run = RunRecord("r", "r", "p", RunState.RUNNING, "d", context=context)
    assert of_task(run, TaskKey(("train",)), Home(tmp_path)) is None
