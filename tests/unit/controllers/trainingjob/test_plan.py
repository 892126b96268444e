"""What a training job costs: how many requests and looks, and that a look at which nothing follows makes nothing."""

from __future__ import annotations

import pytest

from mlplatform.apis.names import ANNOTATION_RESUME
from mlplatform.controllers.trainingjob import plan
from mlplatform.controllers.trainingjob.controller import TrainingJobs
from mlplatform.controllers.trainingjob.resources import TRAINING_JOBS
from mlplatform.kube.metrics import describe
from mlplatform.kube.objects import EVENTS, Key
from tests.support.kube.training import KEY, TrainingCluster, group, job

STATUS = ("patch", "trainingjobs.training.mlplatform.dev/status")
EVENT = ("create", "events.events.k8s.io")


def writes_of(cluster: TrainingCluster) -> list[tuple[str, str]]:
    """What is written from now on: verb and resource."""
    found: list[tuple[str, str]] = []
    cluster.fake.after.append(lambda request: found.append(describe(request)) if request.writes else None)
    return found


def test_what_a_job_of_one_rank_takes() -> None:
    """An API server's time for a job is that of its requests, and an operator's that of its looks."""
    cluster = TrainingCluster(patience=0.5)
    cluster.client.create(TRAINING_JOBS, job(group(replicas=1), framework="python"))
    found = writes_of(cluster)

    def worked() -> tuple[int, list[tuple[str, str]]]:
        found.clear()
        return cluster.operator.settle(), list(found)

    assert worked() == (2, [("create", "pods")])
    cluster.machines()
    assert worked() == (1, [])
    cluster.now += 1.0
    assert worked() == (2, [STATUS, EVENT])
    cluster.end_all()
    # the end is written and the pod let go in one look; the other sees that both are so
    assert worked() == (2, [STATUS, ("patch", "pods"), EVENT])
    assert worked() == (0, [])
    assert {one["reason"] for one in cluster.client.list(EVENTS, "default").items} == {"Running", "Completed"}


def test_a_decision_and_what_it_stops_are_one_look() -> None:
    cluster = TrainingCluster()
    cluster.submit(job(group(replicas=2)))
    found = writes_of(cluster)
    cluster.end("worker", 0, 1)
    cluster.operator.refresh()
    found.clear()
    while cluster.operator.loops[0].process_one():
        pass
    # the failed rank is let go, and the other one stopped, after what follows from it was kept
    assert found == [STATUS, ("patch", "pods"), ("delete", "pods"), ("delete", "pods")]


def test_what_many_jobs_tell_takes_a_share_of_a_workers_time() -> None:
    cluster = TrainingCluster(patience=0.5)
    cluster.fake.after.clear()  # whether no two attempts live at once is others' to look at
    cluster.submit(job(group(replicas=1), name="first", framework="python"))

    def slow(request: object) -> None:
        cluster.now += 1.0 if describe(request) == STATUS else 0.0  # type: ignore[arg-type]

    cluster.fake.after.append(slow)
    cluster.now += 1.0
    cluster.operator.settle()  # it is told, which takes the server a second: 0.1 in the mean that counts
    for number in range(40):
        cluster.client.create(TRAINING_JOBS, job(group(replicas=1), name=f"many-{number}", framework="python"))
    cluster.operator.settle()
    began = cluster.now

    def told() -> int:
        return sum("status" in one for one in cluster.client.list(TRAINING_JOBS, "default").items) - 1

    # 40 of them at 0.1 s, in half of one worker's time: 8 s, and what each waits anyhow
    for seconds, least, most in ((2.0, 0, 0), (7.0, 0, 0), (9.5, 1, 40)):
        cluster.now = max(cluster.now, began + seconds)
        cluster.operator.settle()
        assert least <= told() <= most, seconds
    # ... and never more than half a minute
    cluster.now = max(cluster.now, began + 31.0)
    cluster.operator.settle()
    assert told() == 40


def test_a_look_at_which_nothing_follows_makes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = TrainingCluster()
    cluster.submit(job(group(replicas=2)))
    cluster.run(30)
    assert cluster.phase == "Running"
    controller = TrainingJobs()

    def never(*_: object, **__: object) -> object:
        raise AssertionError("it was made for nothing")

    cluster.operator.refresh()
    observed = controller.observe(cluster.operator.loops[0].caches, Key(KEY.namespace, KEY.name))
    assert observed is not None
    for name in ("encode", "rank_pod"):
        monkeypatch.setattr(plan, name, never)
    found = controller.plan(observed, cluster.now + 100)
    assert (found.status, found.create, found.release, found.delete) == (None, [], [], [])


def test_numbers_as_large_as_the_api_takes_stop_nobody() -> None:
    """Deadlines past the end of time, and a step to resume from that no number holds."""
    far = 2**63 - 1
    seconds = ("activeDeadlineSeconds", "pendingDeadlineSeconds", "ttlSecondsAfterFinished")
    body = job(
        group(replicas=1),
        runPolicy=dict.fromkeys(seconds, far),
        health={"startupTimeoutSeconds": far, "progressTimeoutSeconds": far},
        gang={"scheduleTimeoutSeconds": far},
        failurePolicy={"windowSeconds": far},
        framework="python",
    )
    body["metadata"]["annotations"] = {ANNOTATION_RESUME: "9" * 6000}
    cluster = TrainingCluster()
    cluster.submit(body)
    assert cluster.phase == "Running"
    assert (cluster.operator.loops[0].queue.next_due() or 0) > 1e18
    cluster.end_all()
    cluster.run()
    assert cluster.phase == "Complete"


def test_a_job_at_work_does_not_wait_for_many_that_have_just_come() -> None:
    cluster = TrainingCluster()
    cluster.submit(job(group(replicas=1), framework="python"))
    for number in range(20):
        cluster.client.create(TRAINING_JOBS, job(group(replicas=1), name=f"many-{number}", framework="python"))
    cluster.end("worker", 0)
    cluster.operator.refresh()
    for _ in range(2):
        cluster.operator.loops[0].process_one()
    assert (cluster.phase, len(cluster.pods())) == ("Complete", 2)
