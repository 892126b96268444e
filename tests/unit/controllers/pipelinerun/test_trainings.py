"""Tasks that several ranks run: the operators of runs and of training jobs, on the fake API server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mlplatform.apis.names import ANNOTATION_RESUME, FINALIZER_RESULT, LABEL_RUN
from mlplatform.kube.objects import CLAIMS, Key, key_of
from mlplatform.kube.ours import PIPELINE_RUNS, TRAINING_JOBS
from tests.support.kube.faults import Mortal, Write
from tests.support.kube.trainedtasks import RUN, TaskCluster, document, word


@pytest.fixture
def text(tmp_path: Path) -> str:
    return document(tmp_path)


def failing(at: float, text: str) -> str:
    return word("FAILED", at, error={"code": "TASK_FAILED", "message": text, "traceback": "line 1"})


def test_ranks_run_it_and_rank_0_answers(text: str) -> None:
    cluster = TaskCluster()
    cluster.begin(text)
    job = cluster.job()
    assert cluster.task()["training"] == job["metadata"]["name"]
    assert job["metadata"]["finalizers"] == [FINALIZER_RESULT]
    [owner] = job["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["name"]) == ("PipelineRun", RUN.name)
    assert job["spec"]["runPolicy"] == {"activeDeadlineSeconds": 600}
    assert cluster.ranks() == [f"{job['metadata']['name']}-worker-a1-{rank}" for rank in (0, 1)]
    pod = cluster.pod(cluster.ranks()[0])
    assert LABEL_RUN not in pod["metadata"]["labels"], "it is its job's pod"
    assert pod["spec"]["containers"][0]["resources"]["limits"] == {"nvidia.com/gpu": "1"}
    request = json.loads(pod["spec"]["containers"][0]["env"][-1]["value"].replace("$$", "$"))
    assert request["ranks"]["words"]["worker"][:3] == ["{{python}}", "-m", "torch.distributed.run"]
    cluster.rank(1)
    assert cluster.task()["state"] == "RUNNING"
    cluster.rank(0, Output=7)
    status = cluster.run_status()
    assert status["state"] == "SUCCEEDED", status
    assert status["outputs"]["parameters"] == {"Output": 7}
    task = cluster.task()
    assert (task["attempt"], task["pod"]) == (1, f"{job['metadata']['name']}-worker-a1-0")
    assert task["image"].endswith("@sha256:" + "a" * 64)
    assert not cluster.job()["metadata"].get("finalizers"), "a recorded result holds no job"
    assert [pod for pod in cluster.pods() if pod["metadata"].get("finalizers")] == []


def test_a_rank_that_fails_starts_the_gang_again_and_the_task_not(text: str) -> None:
    cluster = TaskCluster()
    cluster.begin(text)
    cluster.rank(1, 1, failing(cluster.now, "boom"))
    cluster.run(30)
    assert [name[-4:] for name in cluster.ranks()] == ["a2-0", "a2-1"]
    assert (cluster.task()["attempt"], cluster.task().get("failures", 0)) == (1, 0)
    cluster.rank(0, Output=7)
    cluster.rank(1)
    assert cluster.run_status()["state"] == "SUCCEEDED"
    task = cluster.task()
    assert "started again" in task["note"]
    assert "cacheKey" not in task, "what lost ranks read is not known"


def test_a_retry_goes_on_from_the_checkpoint(text: str) -> None:
    cluster = TaskCluster()
    cluster.begin(text)
    first = cluster.job()
    cluster.said(step=12, checkpointStep=9)
    cluster.rank(1, 2, failing(cluster.now, "boom"))
    cluster.run(60)
    second = cluster.job()
    assert second["metadata"]["name"] == first["metadata"]["name"]
    assert second["metadata"]["uid"] != first["metadata"]["uid"]
    assert second["metadata"]["annotations"][ANNOTATION_RESUME] == "9"
    assert cluster.env(cluster.ranks()[0])["MLP_RESUME_STEP"] == "9"
    assert (cluster.task()["attempt"], cluster.task()["failures"]) == (2, 1)
    [claim] = cluster.client.list(CLAIMS, "default").items
    [owner] = claim["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["controller"]) == ("PipelineRun", False)
    cluster.rank(0, 2, failing(cluster.now, "boom again"))
    cluster.run(60)
    status = cluster.run_status()
    assert status["state"] == "FAILED"
    assert cluster.task()["error"] == {"code": "TASK_FAILED", "message": "boom again", "traceback": "line 1"}


def test_the_same_training_is_not_done_twice(text: str) -> None:
    cluster = TaskCluster()
    cluster.begin(text)
    cluster.rank(0, Output=7)
    cluster.rank(1)
    assert cluster.run_status()["state"] == "SUCCEEDED"
    cluster.begin(text, "run-b")
    cluster.run(10)
    assert cluster.run_status("run-b")["state"] == "SUCCEEDED"
    assert cluster.task(run="run-b")["state"] == "CACHED"
    assert len(cluster.client.list(TRAINING_JOBS, "default").items) == 1


def test_what_ranks_talked_to_is_heard_of_all(text: str) -> None:
    cluster = TaskCluster()
    cluster.begin(text)
    cluster.rank(1, message=word("SUCCEEDED", cluster.now, aside=True, peers=["10.1.2.3:443"]))
    cluster.rank(0, Output=7)
    task = cluster.task()
    assert task["state"] == "SUCCEEDED"
    assert "talked to the network (10.1.2.3:443)" in task["note"]


def test_ranks_that_leave_no_result(text: str) -> None:
    cluster = TaskCluster()
    cluster.begin(text)
    for _ in range(2):
        cluster.rank(1)
        cluster.rank(0)
        cluster.run(60)
    assert "rank 0 left no result" in cluster.task()["error"]["message"]


def test_cancelling_takes_the_job_away(text: str) -> None:
    cluster = TaskCluster()
    cluster.begin(text)
    cluster.client.patch(PIPELINE_RUNS, RUN, {"spec": {"cancel": True}})
    cluster.run()
    cluster.run(5)
    assert cluster.run_status()["state"] == "CANCELLED"
    assert cluster.task()["state"] == "CANCELLED"
    assert cluster.client.list(TRAINING_JOBS, "default").items == []
    assert cluster.ranks() == []


def test_a_job_that_a_person_deletes_is_a_failed_attempt(text: str) -> None:
    cluster = TaskCluster()
    cluster.begin(text)
    cluster.client.delete(TRAINING_JOBS, key_of(cluster.job()))
    cluster.run()
    cluster.run(60)
    assert (cluster.task()["attempt"], cluster.task()["failures"]) == (2, 1)
    assert len(cluster.ranks()) == 2


def test_a_suspended_job_is_told(text: str) -> None:
    cluster = TaskCluster()
    cluster.begin(text)
    cluster.client.patch(TRAINING_JOBS, key_of(cluster.job()), {"spec": {"suspend": True}})
    cluster.run(5)
    assert "training resume" in cluster.task()["waitingFor"]
    cluster.client.patch(TRAINING_JOBS, key_of(cluster.job()), {"spec": {"suspend": False}})
    cluster.run(5)
    assert "waitingFor" not in cluster.task()


# ---------------------------------------------------------------------- dying
def play(text: str, die_at: int = 0, moment: str = "before") -> tuple[TaskCluster, list[Write]]:
    """A rank that fails, an attempt that fails for good, one that succeeds."""
    cluster = TaskCluster()
    mortal = Mortal(cluster.fake, die_at, moment)
    cluster.operator = cluster.new_operator(mortal)
    cluster.begin(text)
    cluster.rank(1, 1, failing(cluster.now, "boom"))
    cluster.run(30)
    cluster.rank(0, 2, failing(cluster.now, "never"))
    cluster.run(60)
    cluster.run(60)
    cluster.rank(1)
    cluster.rank(0, Output=7)
    cluster.run(60)
    return cluster, mortal.written


def outcome(cluster: TaskCluster) -> Any:
    tasks = {
        one["path"][-1]: (one["state"], one["attempt"], one.get("failures", 0), one.get("pod"), one.get("outputs"))
        for one in cluster.run_status()["tasks"]
    }
    job = cluster.job()
    kept = (job["status"]["phase"], job["status"]["result"]["message"], job["metadata"].get("finalizers"))
    held = [pod["metadata"].get("finalizers") for pod in cluster.pods()]
    claims = [one["metadata"]["name"] for one in cluster.client.list(CLAIMS).items]
    found = (cluster.run_status()["state"], tasks, kept, cluster.names(), held, claims, sorted(set(cluster.started)))
    return json.loads(json.dumps(found).replace(job["metadata"]["name"], "JOB"))  # named by the run's UID


@pytest.mark.timeout(600)
def test_dying_before_or_after_any_write_changes_nothing(text: str) -> None:
    first, writes = play(text)
    wanted = outcome(first)
    assert wanted[0] == "SUCCEEDED", wanted
    assert wanted[1]["fit"][:3] == ["SUCCEEDED", 2, 1]
    written = [(write.verb, write.resource.partition(".")[0]) for write in writes]
    assert {("create", "trainingjobs"), ("patch", "trainingjobs"), ("delete", "trainingjobs")} <= set(written)
    deaths = [(number, "before") for number in range(1, len(writes) + 1)] + [(len(writes), "after")]
    for number, moment in deaths:
        cluster, _ = play(text, number, moment)
        assert cluster.deaths == 1
        assert outcome(cluster) == wanted, (writes[number - 1], moment)
    assert Key("default", RUN.name) == RUN
