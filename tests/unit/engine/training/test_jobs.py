"""What users ask of the training jobs of a home."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import pytest

from mlplatform.core.errors import InvalidInput, NotFound
from mlplatform.engine.files import write_json
from mlplatform.engine.home import Home
from mlplatform.engine.submission import read_private
from mlplatform.engine.training import jobs
from mlplatform.engine.training.places import JobPlace, read_rank_name
from mlplatform.planning.training.facts import RankKey
from mlplatform.planning.training.names import rank_name
from tests.support.kube.training import group, job


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = Home(tmp_path / "home")
    made.prepare()
    return made


def create(home: Home, name: str = "digits-1", *groups: dict[str, Any], **spec: Any) -> None:
    jobs.create(home, job(*groups, name=name, **spec), {"SECRET": "s3cret"}, 1000.0)


def test_a_job_is_kept_and_found(home: Home) -> None:
    create(home)
    body = jobs.get_job(home, "digits")
    assert body["metadata"]["creationTimestamp"] == "1970-01-01T00:16:40.000Z"
    assert (body["kind"], body["metadata"]["generation"], body["status"]) == ("TrainingJob", 1, {})
    assert [one["metadata"]["name"] for one in jobs.list_jobs(home)] == ["digits-1"]
    private = JobPlace(home, "digits-1").private
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    assert "s3cret" not in JobPlace(home, "digits-1").object.read_text()


def test_nodes_of_ray_know_each_other_by_what_nobody_else_reads(home: Home) -> None:
    """The uid, which pages and the status tell, would be none."""
    tokens: list[str] = []
    for name in ("one", "two"):
        create(home, name, group("head", 1, role="head"), group(), framework="ray")
        place = JobPlace(home, name)
        tokens.append(read_private(place.private)["RAY_AUTH_TOKEN"])
        assert stat.S_IMODE(place.private.stat().st_mode) == 0o600
        assert tokens[-1] not in place.object.read_text()
    assert [len(token) for token in tokens] == [64, 64]
    assert tokens[0] != tokens[1]
    create(home, "three")
    assert "RAY_AUTH_TOKEN" not in read_private(JobPlace(home, "three").private)


def test_what_is_not_done_yet_is_refused_here_as_on_a_cluster(home: Home) -> None:
    with pytest.raises(InvalidInput) as raised:
        create(home, "ray", group("head", 1, role="head"), framework="ray", backend="kuberay")
    assert [(one.path, one.message) for one in raised.value.findings] == [
        ("spec.backend", "kuberay is not done yet: leave it out")
    ]


def test_asked_for_again_it_is_one_job(home: Home) -> None:
    body = job(name="digits")
    body["metadata"]["uid"] = "u-1"
    for _ in range(2):
        jobs.create(home, body, {}, 1000.0)
    with pytest.raises(InvalidInput, match="already"):
        create(home, "digits")
    create(home, "digits-2")
    assert jobs.get_job(home, "digits")["metadata"]["uid"] == "u-1"
    with pytest.raises(NotFound, match="2 training jobs begin"):
        jobs.get_job(home, "digit")
    with pytest.raises(NotFound, match="no training job"):
        jobs.get_job(home, "other")


@pytest.mark.parametrize("name", ["", "Upper", "1st", "a" * 41, "a/../b", "a-"])
def test_names_that_are_none(home: Home, name: str) -> None:
    with pytest.raises(InvalidInput, match="no name"):
        create(home, name)
    assert jobs.list_jobs(home) == []


def test_everything_that_cannot_be_is_told_at_once(home: Home) -> None:
    two = group("two", 5, elastic={"min": 1, "max": 4}, dependsOn=[{"group": "two"}])
    with pytest.raises(InvalidInput) as caught:
        create(home, "digits", group("one"), two, framework="mpi")
    assert sorted(finding.path for finding in caught.value.findings) == [
        "spec.groups",
        "spec.groups[1].dependsOn",
        "spec.groups[1].elastic",
        "spec.groups[1].replicas",
    ]


def test_suspending_counts_as_a_change_once(home: Home) -> None:
    create(home)
    for _ in range(2):
        assert jobs.change(home, "digits-1", {"suspend": True})["metadata"]["generation"] == 2
    assert jobs.get_job(home, "digits-1")["spec"]["suspend"] is True


def test_only_an_elastic_group_changes_its_size_while_it_runs(home: Home) -> None:
    create(home, "digits-1", group(replicas=2, elastic={"min": 2, "max": 4}), group("rest", 1))
    jobs.change(home, "digits-1", {"replicas": {"worker": 4}})
    assert jobs.get_job(home, "digits-1")["spec"]["groups"][0]["replicas"] == 4
    for wrong in ({"worker": 5}, {"rest": 2}, {"other": 1}):
        with pytest.raises(InvalidInput):
            jobs.change(home, "digits-1", {"replicas": wrong})
    jobs.change(home, "digits-1", {"suspend": True})
    jobs.change(home, "digits-1", {"replicas": {"rest": 2}})


def test_one_that_has_ended_does_not_change(home: Home) -> None:
    create(home)
    write_json(JobPlace(home, "digits-1").status, {"phase": "Complete"})
    with pytest.raises(InvalidInput, match="has ended"):
        jobs.change(home, "digits-1", {"suspend": True})
    assert jobs.delete(home, "digits", 2000.0) == "digits-1"
    assert jobs.get_job(home, "digits-1")["metadata"]["deletionTimestamp"] == "1970-01-01T00:33:20.000Z"


@pytest.mark.parametrize("key", [RankKey("worker", 3, 41), RankKey("a-a1", 0, 1), RankKey("w", 12, 36)])
def test_the_name_of_a_rank_is_read_back(key: RankKey) -> None:
    assert read_rank_name("my-job", rank_name("my-job", key)) == key
    assert read_rank_name("my-jo", rank_name("my-job", key)) != key
    assert read_rank_name("my-job", "my-job-x") is None


def test_jobs_of_a_run_go_with_it_and_no_others(home: Home) -> None:
    claim = {"claimSpec": {"accessModes": ["ReadWriteOnce"]}}
    for name, labels in (("mine", {jobs.LABEL_RUN: "r1"}), ("other", {})):
        made = job(name=name)
        made["metadata"]["labels"] = labels
        made["spec"]["checkpoint"] = claim
        jobs.create(home, made, {}, 1.0)
        (home.claims / f"{name}-checkpoint").mkdir(parents=True)
    jobs.forget_run(home, "r2")
    assert len(jobs.list_jobs(home)) == 2
    jobs.forget_run(home, "r1")
    assert [one["metadata"]["name"] for one in jobs.list_jobs(home)] == ["other"]
    assert [path.name for path in home.claims.iterdir()] == ["other-checkpoint"]
