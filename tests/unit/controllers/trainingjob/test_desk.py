"""Reports of progress at the operator: by whom, what is refused, what is written, and when."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import pytest

from mlplatform.apis.names import PROGRESS_AUDIENCE
from mlplatform.apis.times import told_time
from mlplatform.controllers.trainingjob.desk import ADDRESS, LARGEST, RANK, WHO_SECONDS, Desk, Reply
from mlplatform.controllers.trainingjob.resources import TOKEN_REVIEWS, TRAINING_JOBS
from mlplatform.kube.client import Client
from mlplatform.kube.errors import ObjectNotFound
from mlplatform.kube.objects import PODS, Key, Object, Resource, uid_of
from mlplatform.kube.wire import Answer, Request, Stream
from tests.support.kube.training import KEY, TrainingCluster, group, job


@dataclass
class Reviewing:
    """An API server that knows tokens: ``pod NAME`` is that of the pod NAME, as long as it is there."""

    cluster: TrainingCluster
    asked: int = 0
    broken: bool = False
    writes: list[Request] = field(default_factory=list[Request])

    def send(self, request: Request) -> Answer:
        if request.path != TOKEN_REVIEWS.path():
            if self.broken:
                return Answer(500, b"{}")
            self.writes.append(request)
            return self.cluster.fake.send(request)
        self.asked += 1
        spec = json.loads(request.body)["spec"]
        assert spec["audiences"] == [PROGRESS_AUDIENCE]
        kind, _, name = spec["token"].partition(" ")
        pod = next((pod for pod in self.cluster.pods() if pod["metadata"]["name"] == name), None)
        status: Object = {"authenticated": pod is not None, "audiences": [PROGRESS_AUDIENCE]}
        if pod is not None:
            extra = {"pod-name": [name], "pod-uid": [uid_of(pod)]}
            known = {f"authentication.kubernetes.io/{part}": value for part, value in extra.items()}
            user: Object = {"username": "system:serviceaccount:default:default", "extra": known}
            status["user"] = user if kind == "pod" else {"username": "somebody"}
        return Answer(201, json.dumps({"status": status}).encode())

    def stream(self, request: Request) -> Stream:
        raise NotImplementedError

    def close(self) -> None:
        """Nothing is open."""


class Ranks:
    """A job's ranks, and the desk they report to."""

    def __init__(self, body: Object | None = None, patience: float = 0.0) -> None:
        self.cluster = TrainingCluster(patience=patience)
        self.cluster.submit(body or job())
        self.server = Reviewing(self.cluster)
        self.desk = self.new_desk()

    def new_desk(self) -> Desk:
        def cached(resource: Resource, key: Key) -> Object | None:
            try:
                return self.cluster.client.get(resource, key)
            except ObjectNotFound:
                return None

        loop = self.cluster.operator.loops[0]
        return Desk(Client(self.server, sleep=lambda _: None), cached, lambda: self.cluster.now, loop.hurry)

    def send(self, rank: int, report: Any, *, attempt: int = 1, place: Key = KEY, address: str = "") -> Reply:
        body = report if isinstance(report, bytes) else json.dumps(report).encode()
        name = f"job-worker-a{attempt}-{rank}"
        return self.desk.receive(place, f"pod {name}", address or name, body)

    @property
    def progress(self) -> Object:
        return self.cluster.status.get("progress") or {}


def test_a_report_is_in_the_status_and_the_controller_leaves_it_there() -> None:
    ranks = Ranks()
    reply = ranks.send(0, {"step": 7, "totalSteps": 10, "metrics": [{"name": "loss", "value": 0.5}]})
    assert reply == Reply(200, {"kept": True, "stop": False, "dumpStacks": False})
    ranks.cluster.run()
    assert ranks.progress == {
        "step": 7,
        "totalSteps": 10,
        "attempt": 1,
        "slowestGroup": "worker",
        "slowestRank": 0,
        "lastReportTime": "2023-11-14T22:13:20.000Z",
        "metrics": [{"name": "loss", "value": "0.5"}],
    }


def test_reports_are_gathered_and_written_now_and_then() -> None:
    ranks = Ranks()
    ranks.send(0, {"step": 1})
    for step in (2, 3, 4):
        ranks.cluster.now += 1
        ranks.send(0, {"step": step})
        ranks.send(1, {"step": step - 1})
    assert (len(ranks.server.writes), ranks.progress["step"]) == (1, 1)
    ranks.desk.flush()
    assert len(ranks.server.writes) == 1
    ranks.cluster.now += 3
    ranks.desk.flush()
    assert (ranks.progress["step"], ranks.progress["slowestRank"], ranks.progress["lagSteps"]) == (3, 1, 1)
    ranks.cluster.now += 60
    ranks.desk.flush()
    assert len(ranks.server.writes) == 2, "silence is not written"


def test_a_rank_that_is_through_is_told_at_once_and_once() -> None:
    ranks = Ranks()
    ranks.send(0, {"step": 1, "totalSteps": 9, "progressPercentage": 22})
    ranks.send(0, {"step": 8, "totalSteps": 9, "progressPercentage": 100})
    assert (len(ranks.server.writes), ranks.progress["step"], ranks.progress["percent"]) == (2, 8, 100)
    ranks.send(0, {"step": 8, "totalSteps": 9, "progressPercentage": 100, "metrics": [{"name": "a", "value": 1}]})
    assert len(ranks.server.writes) == 2


def test_who_reports_before_its_job_was_told_has_it_told() -> None:
    ranks = Ranks(patience=20.0)
    assert ranks.cluster.status == {}
    assert ranks.send(0, {"step": 5, "checkpointStep": 5}).status == 503
    ranks.cluster.operator.settle()
    assert ranks.cluster.phase == "Running"
    assert ranks.send(0, {"step": 5, "checkpointStep": 5}).status == 200
    assert ranks.progress["checkpointStep"] == 5


def test_a_checkpoint_is_written_before_it_is_thanked_for() -> None:
    ranks = Ranks()
    ranks.send(0, {"step": 1})
    ranks.server.broken = True
    assert ranks.send(0, {"step": 5, "checkpointStep": 5}).status == 503
    ranks.server.broken = False
    assert ranks.send(0, {"step": 5, "checkpointStep": 5, "checkpointUri": "s3://b/5"}).status == 200
    ranks.cluster.run()
    assert ranks.cluster.status["checkpoint"]["step"] == 5
    assert ranks.cluster.status["checkpoint"]["uri"] == "s3://b/5"
    before = len(ranks.server.writes)
    assert ranks.send(1, {"step": 5, "checkpointStep": 5}).status == 200
    assert len(ranks.server.writes) == before, "the same checkpoint is no news"


def test_a_new_process_knows_what_the_one_before_wrote() -> None:
    ranks = Ranks()
    ranks.send(0, {"step": 40, "checkpointStep": 30})
    ranks.desk = ranks.new_desk()
    assert ranks.send(0, {"step": 39}).status == 422
    assert ranks.send(0, {"step": 41}).status == 200
    ranks.cluster.now += 10
    ranks.desk.flush()
    assert (ranks.progress["step"], ranks.progress["checkpointStep"]) == (41, 30)


def test_what_was_said_last_is_written_at_the_end() -> None:
    ranks = Ranks()
    ranks.send(0, {"step": 1})
    ranks.send(0, {"step": 2})
    ranks.desk.flush(all_of_it=True)
    assert ranks.progress["step"] == 2


@pytest.mark.parametrize(
    ("report", "status"),
    [
        ({"progressPercentage": 101}, 422),
        ({"step": 1, "rank": 0}, 422),
        ({"step": 1, "attempt": 9}, 422),
        ({"metrics": [{"name": "loss", "value": 1e400}]}, 400),
        (b'{"step": NaN}', 400),
        (b'{"step": 1' + b"0" * 5000 + b"}", 400),
        (b"[" * 60_000, 400),
        (b"{", 400),
        (b"\xff\xfe", 400),
        (b"7", 422),
        (b" " * (LARGEST + 1), 413),
    ],
)
def test_nonsense_is_refused_and_changes_nothing(report: Any, status: int) -> None:
    ranks = Ranks()
    ranks.send(1, {"step": 3})
    before = ranks.cluster.status
    assert ranks.send(1, report).status == status
    ranks.desk.flush(all_of_it=True)
    assert ranks.cluster.status == before


def test_a_step_that_goes_back_is_refused_by_name() -> None:
    ranks = Ranks()
    ranks.send(0, {"step": 3})
    reply = ranks.send(0, {"step": 2})
    assert reply.status == 422
    assert [one["path"] for one in reply.body["findings"]] == ["step"]


def test_another_jobs_token_speaks_for_nobody_else() -> None:
    ranks = Ranks()
    ranks.cluster.submit(job(name="other"))
    reply = ranks.desk.receive(KEY, "pod other-worker-a1-0", "other", b'{"step": 1}')
    assert reply.status == 403
    assert ranks.progress == {}
    assert ranks.send(0, {"step": 1}, place=Key("elsewhere", "job")).status == 403


@pytest.mark.parametrize("token", ["", "pod nobody", "user job-worker-a1-0", "é", "x" * 20_000])
def test_who_is_not_known_is_not_heard(token: str) -> None:
    ranks = Ranks()
    assert ranks.desk.receive(KEY, token, "a", b'{"step": 1}').status == 401
    assert ranks.progress == {}


def test_a_pod_that_only_looks_like_a_rank_is_not_heard() -> None:
    ranks = Ranks()
    body = ranks.cluster.pod("job-worker-a1-0")
    meta = {"name": "liar", "namespace": "default", "labels": body["metadata"]["labels"]}
    ranks.cluster.client.create(PODS, {**body, "metadata": meta})
    assert ranks.desk.receive(KEY, "pod liar", "a", b'{"step": 1}').status == 401


def test_an_attempt_that_is_over_may_only_say_that_it_saved() -> None:
    ranks = Ranks()
    ranks.send(0, {"step": 10, "checkpointStep": 8})
    body = ranks.cluster.body()
    ledger = {**body["status"]["ledger"], "stage": "Suspending"}
    ranks.cluster.client.replace_status(
        ranks.cluster.operator.loops[0].controller.resource, {**body, "status": {**body["status"], "ledger": ledger}}
    )
    for report in ({"step": 11}, {}):
        assert ranks.send(0, report) == Reply(200, {"kept": False, "stop": True, "dumpStacks": False})
    reply = ranks.send(0, {"step": 12, "checkpointStep": 12, "group": "worker"})
    assert (reply.status, reply.body["stop"]) == (200, True)
    assert (ranks.progress["step"], ranks.progress["checkpointStep"]) == (10, 12)


def test_a_new_attempt_begins_where_it_resumed() -> None:
    ranks = Ranks(job(failurePolicy={"backoffSeconds": 0}))
    ranks.send(0, {"step": 10, "checkpointStep": 8})
    ranks.cluster.end("worker", 1, 1)
    ranks.cluster.run()
    assert ranks.cluster.status["attempt"] == 2
    assert ranks.send(0, {"step": 8}, attempt=2).status == 200
    ranks.cluster.now += 10
    ranks.desk.flush()
    assert (ranks.progress["step"], ranks.progress["attempt"], ranks.progress["checkpointStep"]) == (8, 2, 8)


def test_what_was_said_before_the_end_is_kept_when_the_job_is_over() -> None:
    ranks = Ranks()
    ranks.send(0, {"step": 1, "totalSteps": 9})
    ranks.send(1, {"step": 1, "totalSteps": 9})
    for rank in (0, 1):
        ranks.send(rank, {"step": 9, "totalSteps": 9, "metrics": [{"name": "loss", "value": 0.1}]})
        ranks.cluster.end("worker", rank, 0)
    ranks.cluster.run()
    assert (ranks.cluster.phase, ranks.progress["step"]) == ("Complete", 1)
    before = len(ranks.server.writes)
    ranks.desk.flush()
    assert (ranks.progress["step"], ranks.progress["metrics"]) == (9, [{"name": "loss", "value": "0.1"}])
    ranks.cluster.now += 60
    ranks.desk.flush()
    assert len(ranks.server.writes) == before + 1
    ranks.cluster.run()
    assert (ranks.cluster.phase, ranks.progress["step"]) == ("Complete", 9)


def test_a_job_that_has_ended_takes_no_reports() -> None:
    ranks = Ranks()
    ranks.cluster.end_all()
    ranks.cluster.run()
    assert ranks.send(0, {"step": 1}).status == 409


def test_a_flood_of_a_rank_costs_the_api_server_little_and_nobody_else_anything() -> None:
    ranks = Ranks()
    found = [ranks.send(0, {"step": step}).status for step in range(200)]
    assert set(found) == {200, 429}
    assert found.count(200) == RANK[1]
    assert (len(ranks.server.writes), ranks.server.asked) == (1, 1)
    assert ranks.send(1, {"step": 1}).status == 200
    ranks.cluster.now += 5
    assert ranks.send(0, {"step": 500}).status == 200


def test_a_flood_of_strangers_is_cut_off_by_address() -> None:
    ranks = Ranks()
    found = [ranks.desk.receive(KEY, f"pod x{n}", "10.0.0.9", b"{}").status for n in range(300)]
    assert set(found) == {401, 429}
    assert ranks.server.asked < ADDRESS[1] / 5
    assert ranks.send(0, {"step": 1}).status == 200


def test_whose_a_token_is_is_asked_again_after_a_while() -> None:
    ranks = Ranks()
    ranks.send(0, {"step": 1})
    ranks.cluster.now += WHO_SECONDS - 1
    ranks.send(0, {"step": 2})
    assert ranks.server.asked == 1
    ranks.cluster.now += 1
    ranks.send(0, {"step": 3})
    assert ranks.server.asked == 2


def test_ranks_that_stall_are_told_to_dump_their_stacks_before_the_job_is_taken_for_hung() -> None:
    ranks = Ranks(job(group(), health={"progressTimeoutSeconds": 100}))
    ranks.send(0, {"step": 1})
    ranks.cluster.now += 79
    assert ranks.send(0, {"step": 1}).body["dumpStacks"] is False
    ranks.cluster.now += 1
    assert ranks.send(0, {"step": 1}).body["dumpStacks"] is True
    ranks.cluster.run(20)
    assert ranks.cluster.status["attempts"][0]["reason"] == "Hung"


def test_what_was_saved_on_a_claim_that_was_given_up_is_no_checkpoint_any_more() -> None:
    ranks = Ranks()
    for rank in range(2):
        ranks.send(rank, {"step": 9, "checkpointStep": 9})
    assert ranks.progress["checkpointStep"] == 9
    ranks.cluster.run(10)
    void = {"ledger": {"voidBefore": told_time(ranks.cluster.now)}}
    ranks.cluster.client.patch(TRAINING_JOBS, KEY, {"status": void}, subresource="status")
    ranks.cluster.now += 1
    ranks.send(0, {"step": 10})
    ranks.desk.flush(all_of_it=True)
    assert "checkpointStep" not in ranks.progress
    ranks.send(0, {"step": 11, "checkpointStep": 4})
    assert ranks.progress["checkpointStep"] == 4
