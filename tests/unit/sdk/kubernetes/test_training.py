"""What the tracker is told of a namespace's training jobs: one run for each, its end once."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlplatform.kube.client import Client
from mlplatform.kube.ours import TRAINING_JOBS
from mlplatform.sdk.kubernetes.training import ClusterJobs
from tests.support.fakes import FakeTracker
from tests.support.kube.training import KEY, TrainingCluster, job


class Site:
    def __init__(self, folder: Path) -> None:
        self.cluster = TrainingCluster()
        self.tracker = FakeTracker()
        self.folder = folder
        self.jobs = self.opened()

    def opened(self) -> ClusterJobs:
        """Another life of the server."""
        return ClusterJobs(Client(self.cluster.fake), "default", self.folder, self.tracker)

    def told(self, jobs: ClusterJobs | None = None) -> list[str]:
        (jobs or self.jobs)._jobs.refresh()  # pyright: ignore[reportPrivateUsage]
        words = [what for what, _ in self.tracker.told]
        self.tracker.told.clear()
        return words


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_one_run_holds_all_attempts(site: Site) -> None:
    site.cluster.submit(job())
    assert site.told() == ["run_started"]
    site.cluster.end("worker", 0, 1)
    site.cluster.run()
    site.cluster.run(30)
    assert site.cluster.status["attempt"] == 2
    assert site.told() == []
    site.cluster.end_all()
    site.cluster.run()
    assert site.told() == ["run_finished"]


def test_a_server_that_comes_later_says_the_same_again(site: Site) -> None:
    site.cluster.submit(job())
    assert site.told() == ["run_started"]
    assert site.told(site.opened()) == ["run_started"]
    site.cluster.end_all()
    site.cluster.run()
    assert site.told(site.opened()) == ["run_finished"]


def test_a_job_that_is_deleted_was_cancelled(site: Site) -> None:
    site.cluster.submit(job())
    site.told()
    site.cluster.client.delete(TRAINING_JOBS, KEY)
    site.cluster.run()
    site.jobs._jobs.refresh()  # pyright: ignore[reportPrivateUsage]
    assert site.tracker.told == [("run_finished", "CANCELLED")]


def test_who_names_a_server_of_mlflow_is_left_alone(site: Site) -> None:
    site.cluster.submit(job(tracking={"mlflowTrackingUri": "http://mine"}))
    assert site.told() == []
