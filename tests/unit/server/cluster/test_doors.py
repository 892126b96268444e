"""Who comes in where the server is one of a cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest

from mlplatform.engine.home import open_home
from mlplatform.kube.client import Client
from mlplatform.kube.errors import ObjectNotFound, Unavailable
from mlplatform.kube.objects import Key, Resource
from mlplatform.server.access import Refused
from mlplatform.server.cluster.doors import Doors
from mlplatform.server.cluster.kinds import TOKEN_REVIEWS
from mlplatform.server.cluster.pods import Pods
from mlplatform.server.cluster.reviews import Reviews, verb_of
from mlplatform.server.settings import Settings


class Answers(Client):
    """An API server that knows one service account, which may read and create."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.audiences = ["pipelines.kubeflow.org"]
        self.down = False
        self.extra: dict[str, list[str]] = {"a": ["b"]}
        self.pods: dict[str, dict[str, Any]] = {}

    def create(self, resource: Resource, body: dict[str, Any], *, dry_run: bool = False) -> dict[str, Any]:
        self.asked.append(resource.kind)
        if self.down:
            raise Unavailable("no answer", status=0)
        spec = body["spec"]
        if resource == TOKEN_REVIEWS:
            assert spec["audiences"] == ["pipelines.kubeflow.org", "mlplatform"]
            user = {"username": "system:serviceaccount:team:ann", "uid": "u", "groups": ["g"], "extra": self.extra}
            known = spec["token"] == "good"
            return {"status": {"authenticated": known, "user": user, "audiences": self.audiences}}
        assert (spec["user"], spec["uid"], spec["groups"], spec["extra"]) == (
            "system:serviceaccount:team:ann",
            "u",
            ["g"],
            self.extra,
        )
        asked = spec["resourceAttributes"]
        assert (asked["namespace"], asked["resource"]) == ("team", "pipelineruns")
        return {"status": {"allowed": asked["verb"] in ("get", "create")}}

    def get(self, resource: Resource, key: Key) -> dict[str, Any]:
        self.asked.append(f"{resource.kind} {key}")
        if key.name not in self.pods:
            raise ObjectNotFound("there is none", status=404)
        return self.pods[key.name]


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def server() -> Answers:
    return Answers()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def doors(server: Answers, clock: Clock, tmp_path: Path) -> Doors:
    reviews = Reviews(server, "team", clock)
    return Doors(Settings(open_home(tmp_path), "", "its-own-token"), reviews, Pods(server, reviews, clock))


def come(doors: Doors, token: str, method: str = "GET", path: str = "/api/v1/runs") -> bool:
    headers = {"authorization": f"Bearer {token}"} if token else {}
    return anyio.run(doors.admit, {"type": "http", "method": method, "path": path}, headers)


def test_a_known_bearer_with_the_right_comes_in(doors: Doors) -> None:
    assert come(doors, "good")
    assert come(doors, "good", "POST", "/apis/v2beta1/runs")


def test_one_without_the_right_is_told_so(doors: Doors) -> None:
    with pytest.raises(Refused) as refused:
        come(doors, "good", "DELETE", "/api/v1/runs/r")
    assert refused.value.status == 403
    assert refused.value.body["message"] == (
        "system:serviceaccount:team:ann may not delete pipelineruns in this namespace"
    )


def test_nobodys_token(doors: Doors) -> None:
    for token in ("bad", "x" * 20_000, "gr\u00fcn"):
        with pytest.raises(Refused) as refused:
            come(doors, token)
        assert refused.value.status == 401


def test_a_token_for_another_audience_is_nobodys(doors: Doors, server: Answers) -> None:
    server.audiences = ["https://kubernetes.default.svc"]
    with pytest.raises(Refused) as refused:
        come(doors, "good")
    assert refused.value.status == 401
    assert "--audience pipelines.kubeflow.org" in refused.value.body["hint"]


def test_what_is_not_for_them_to_say(doors: Doors, server: Answers) -> None:
    assert not come(doors, "")
    assert not come(doors, "its-own-token")
    assert not come(doors, "", path="/mlflow/")
    assert server.asked == []


def test_answers_are_remembered_for_a_while(doors: Doors, server: Answers, clock: Clock) -> None:
    for _ in range(3):
        come(doors, "good")
    assert server.asked == ["TokenReview", "SubjectAccessReview"]
    clock.now = 11
    come(doors, "good")
    assert server.asked == ["TokenReview", "SubjectAccessReview", "SubjectAccessReview"]
    clock.now = 61
    come(doors, "good")
    assert server.asked[3:] == ["TokenReview", "SubjectAccessReview"]


def test_a_cluster_that_does_not_answer_lets_nobody_in(doors: Doors, server: Answers) -> None:
    server.down = True
    with pytest.raises(Refused) as refused:
        come(doors, "good")
    assert refused.value.status == 503


@pytest.mark.parametrize(
    ("method", "path", "verb"),
    [
        ("GET", "/api/v1/runs", "get"),
        ("POST", "/api/v1/runs", "create"),
        ("POST", "/api/v1/runs/r/cancel", "update"),
        ("POST", "/apis/v2beta1/runs/r:terminate", "update"),
        ("POST", "/apis/v2beta1/runs/r:archive", "update"),
        ("PATCH", "/api/v1/runs/r", "update"),
        ("DELETE", "/apis/v2beta1/runs/r", "delete"),
        ("POST", "/apis/v2beta1/pipelines", "create"),
        ("POST", "/mlflow/api/2.0/mlflow/runs/search", "get"),
        ("POST", "/mlflow/api/2.0/mlflow/runs/log-metric", "create"),
    ],
)
def test_what_a_request_means(method: str, path: str, verb: str) -> None:
    assert verb_of(method, path) == verb


def a_pod(uid: str = "pod-1") -> dict[str, Any]:
    owner = {"kind": "PipelineRun", "name": "nightly", "uid": "run-1"}
    return {"metadata": {"name": "train", "uid": uid, "labels": {"a": "b"}, "ownerReferences": [owner]}}


def bind(server: Answers, uid: str = "pod-1") -> None:
    told = {"pod-name": ["train"], "pod-uid": [uid]}
    server.extra = {f"authentication.kubernetes.io/{name}": values for name, values in told.items()}
    server.audiences = ["mlplatform"]


def test_a_pod_is_known_by_its_token_and_goes_nowhere_else(doors: Doors, server: Answers, clock: Clock) -> None:
    bind(server)
    server.pods["train"] = a_pod()
    scope: dict[str, Any] = {"type": "http", "method": "POST", "path": "/api/v1/pods/tracking"}
    for _ in range(3):
        assert anyio.run(doors.admit, scope, {"authorization": "Bearer good"})
    assert server.asked == ["TokenReview", "Pod team/train"]
    pod = scope["state"]["pod"]
    assert (pod.namespace, pod.pod, pod.uid, pod.labels) == ("team", "train", "pod-1", {"a": "b"})
    assert pod.owner("PipelineRun") == ("nightly", "run-1")
    assert pod.owner("TrainingJob") == ("", "")
    with pytest.raises(Refused) as refused:  # what its service account may do is another question
        come(doors, "good", "DELETE", "/api/v1/runs/r")
    assert refused.value.status == 403


@pytest.mark.parametrize("case", ["no pod's token", "gone", "of an earlier pod of that name", "nobody's"])
def test_what_is_no_pod_of_ours(doors: Doors, server: Answers, case: str) -> None:
    if case != "no pod's token":
        bind(server)
    if case == "of an earlier pod of that name":
        server.pods["train"] = a_pod("pod-2")
    with pytest.raises(Refused) as refused:
        come(doors, "bad" if case == "nobody's" else "good", "POST", "/api/v1/pods/tracking")
    assert refused.value.status == 401


def test_a_person_is_not_a_pod(doors: Doors) -> None:
    with pytest.raises(Refused) as refused:
        come(doors, "", "POST", "/api/v1/pods/tracking")
    assert refused.value.status == 401
