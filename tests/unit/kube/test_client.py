"""The client: what it sends, and what it makes of answers."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest

from mlplatform.core.errors import KubernetesError, error_classes
from mlplatform.kube import errors
from mlplatform.kube.client import Client
from mlplatform.kube.errors import error_of
from mlplatform.kube.metrics import Metered, Metrics, describe
from mlplatform.kube.objects import CONFIG_MAPS, NODES, PODS, Key, Resource
from mlplatform.kube.wire import Answer, Request
from tests.support.kube.fake import FakeServer

RUNS = Resource("pipelines.mlplatform.dev", "v1alpha1", "pipelineruns", "PipelineRun")


class Scripted:
    """Gives the answers it was made with."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.requests: list[Request] = []

    def send(self, request: Request) -> Answer:
        self.requests.append(request)
        return self.answers.pop(0)

    def stream(self, request: Request) -> None:
        raise AssertionError("nobody streams here")

    def close(self) -> None: ...


def answer(status: int, headers: Mapping[str, str] | None = None, **body: object) -> Answer:
    return Answer(status, json.dumps(body).encode(), headers or {})


@pytest.mark.parametrize(
    ("resource", "given", "path"),
    [
        (PODS, ("ns", "a"), "/api/v1/namespaces/ns/pods/a"),
        (PODS, ("",), "/api/v1/pods"),
        (NODES, ("", "n"), "/api/v1/nodes/n"),
        (RUNS, ("ns", "a", "status"), "/apis/pipelines.mlplatform.dev/v1alpha1/namespaces/ns/pipelineruns/a/status"),
    ],
)
def test_paths(resource: Resource, given: tuple[str, ...], path: str) -> None:
    assert resource.path(*given) == path


@pytest.mark.parametrize(
    ("status", "reason", "cls"),
    [
        (404, "NotFound", errors.ObjectNotFound),
        (409, "AlreadyExists", errors.AlreadyExists),
        (409, "Conflict", errors.Conflict),
        (410, "Expired", errors.Gone),
        (422, "Invalid", errors.Invalid),
        (400, "BadRequest", errors.Invalid),
        (403, "Forbidden", errors.Forbidden),
        (401, "Unauthorized", errors.Unauthorized),
        (429, "TooManyRequests", errors.TooManyRequests),
        (500, "InternalError", errors.Unavailable),
        (504, "Timeout", errors.Unavailable),
    ],
)
def test_errors_are_typed(status: int, reason: str, cls: type[KubernetesError]) -> None:
    error = error_of(status, {"reason": reason, "message": "words"}, "get pods a/b")
    assert type(error) is cls
    assert (error.status, error.reason, error.code, str(error)) == (status, reason, "KUBERNETES", "get pods a/b: words")


def test_an_invalid_object_names_every_field() -> None:
    causes = [
        {"reason": "FieldValueInvalid", "field": "spec.a", "message": "Invalid value: 1"},
        {"reason": "FieldValueRequired", "field": "spec.b", "message": "Required value"},
    ]
    error = error_of(422, {"reason": "Invalid", "message": "is invalid", "details": {"causes": causes}}, "create")
    assert [finding.path for finding in error.findings] == ["spec.a", "spec.b"]
    assert error.exit_status == 2


def test_an_answer_that_is_no_json_is_told_as_it_is() -> None:
    error = error_of(502, b"<html>bad gateway</html>", "get pods")
    assert isinstance(error, errors.Unavailable)
    assert "bad gateway" in str(error)


def test_the_tree_of_errors_has_one_code_for_all_of_them() -> None:
    assert error_classes()["KUBERNETES"] is KubernetesError


def test_a_busy_server_is_asked_again_after_the_time_it_names() -> None:
    slept: list[float] = []
    transport = Scripted(
        answer(429, {"retry-after": "2"}, message="busy"),
        answer(429, details={"retryAfterSeconds": 1}),
        answer(200, a=1),
    )
    client = Client(transport, sleep=slept.append)
    assert client.get(PODS, Key("a", "b")) == {"a": 1}
    assert slept == [2, 1]


def test_a_server_that_still_starts_is_asked_again() -> None:
    slept: list[float] = []
    transport = Scripted(
        answer(
            503, reason="ServiceUnavailable", message="before all known HTTP paths", details={"retryAfterSeconds": 5}
        ),
        answer(200, a=1),
    )
    assert Client(transport, sleep=slept.append).create(CONFIG_MAPS, {"metadata": {"name": "a", "namespace": "b"}}) == {
        "a": 1
    }
    assert slept == [5]


def test_patience_ends() -> None:
    transport = Scripted(*[answer(429, {"retry-after": "1"}) for _ in range(4)])
    with pytest.raises(errors.TooManyRequests) as raised:
        Client(transport, sleep=lambda _: None).get(PODS, Key("a", "b"))
    assert raised.value.retry_after == 1
    assert len(transport.requests) == 4


def test_what_failed_otherwise_is_not_sent_again() -> None:
    transport = Scripted(answer(503, {"retry-after": "1"}))
    with pytest.raises(errors.Unavailable):
        Client(transport).create(CONFIG_MAPS, {"metadata": {"name": "a", "namespace": "b"}})
    assert len(transport.requests) == 1


def test_a_page_token_that_is_too_old_begins_anew_without_pages() -> None:
    meta = {"resourceVersion": "5", "continue": "token"}
    whole = {"resourceVersion": "9"}
    transport = Scripted(
        answer(200, metadata=meta, items=[{"metadata": {"name": "a"}}]),
        answer(410, reason="Expired"),
        answer(200, metadata=whole, items=[{"metadata": {"name": "a"}}, {"metadata": {"name": "b"}}]),
    )
    listing = Client(transport).list(CONFIG_MAPS, limit=1)
    assert [one["metadata"]["name"] for one in listing.items] == ["a", "b"]
    assert listing.resource_version == "9"
    assert "limit" not in transport.requests[2].query


def test_apply_says_who_we_are() -> None:
    transport = Scripted(answer(200))
    Client(transport).apply(CONFIG_MAPS, {"metadata": {"name": "a", "namespace": "b"}})
    [request] = transport.requests
    assert request.query == {"fieldManager": "mlplatform", "force": "true"}
    assert request.content_type == "application/apply-patch+yaml"
    assert json.loads(request.body or b"") == {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "a", "namespace": "b"},
    }


def test_a_finalizer_comes_off_whatever_others_do_meanwhile() -> None:
    fake = FakeServer()
    client = Client(fake)
    body = {"metadata": {"name": "a", "namespace": "default", "finalizers": ["x.dev/1", "ours.dev/2"]}}
    client.create(CONFIG_MAPS, body)
    stale = client.get(CONFIG_MAPS, Key("default", "a"))
    client.patch(CONFIG_MAPS, Key("default", "a"), {"metadata": {"finalizers": ["ours.dev/2"]}})
    left = client.remove_finalizer(CONFIG_MAPS, stale, "ours.dev/2")
    assert left is not None
    assert not left["metadata"].get("finalizers")
    assert client.remove_finalizer(CONFIG_MAPS, left, "ours.dev/2") is None
    client.delete(CONFIG_MAPS, Key("default", "a"))
    client.create(CONFIG_MAPS, body)  # another one of that name keeps its own
    assert client.remove_finalizer(CONFIG_MAPS, stale, "x.dev/1") is None
    assert len(client.get(CONFIG_MAPS, Key("default", "a"))["metadata"]["finalizers"]) == 2


@pytest.mark.parametrize(
    ("request_", "told"),
    [
        (Request("GET", "/api/v1/pods", {"watch": "1"}), ("watch", "pods")),
        (Request("GET", "/api/v1/namespaces/a/pods"), ("list", "pods")),
        (Request("GET", "/api/v1/namespaces/a/pods/b"), ("get", "pods")),
        (Request("GET", "/api/v1/namespaces/a"), ("get", "namespaces")),
        (Request("GET", "/api/v1/namespaces"), ("list", "namespaces")),
        (Request("PATCH", "/apis/x.dev/v1/namespaces/a/runs/b/status"), ("patch", "runs.x.dev/status")),
        (Request("DELETE", "/apis/x.dev/v1/namespaces/a/runs/b"), ("delete", "runs.x.dev")),
        (Request("PUT", "/apis/x.dev/v1/runs/b"), ("update", "runs.x.dev")),
        (Request("GET", "/version"), ("get", "/version")),
    ],
)
def test_requests_are_described_as_rbac_does(request_: Request, told: tuple[str, str]) -> None:
    assert describe(request_) == told


def test_requests_are_counted() -> None:
    metrics = Metrics()
    client = Client(Metered(FakeServer(), metrics))
    client.create(CONFIG_MAPS, {"metadata": {"name": "a", "namespace": "default"}})
    with pytest.raises(errors.ObjectNotFound):
        client.get(CONFIG_MAPS, Key("default", "b"))
    text = metrics.text().decode()
    assert 'mlplatform_operator_api_requests_total{code="201",resource="configmaps",verb="create"} 1.0' in text
    assert 'mlplatform_operator_api_requests_total{code="404",resource="configmaps",verb="get"} 1.0' in text
    assert 'mlplatform_operator_api_sent_bytes_total{resource="configmaps",verb="create"} 8' in text
