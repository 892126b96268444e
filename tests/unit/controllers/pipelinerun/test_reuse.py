"""Results of earlier runs: what is reused, what is not and why, and that an operator may die at any write."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest

from mlplatform.apis.pipelinerun import PipelineRunSpec, Store
from mlplatform.kube.objects import NAMESPACES, PODS, Object
from mlplatform.kube.ours import PIPELINE_RUNS, RECORDS
from tests.support.kube.acting import RUN, Stage
from tests.support.kube.faults import Killed, Mortal
from tests.unit.controllers.pipelinerun.documents import document, task

ON = {"cachingOptions": {"enableCache": True}}
ARTIFACT = {
    "name": "data",
    "uri": "s3://b/p/default/run-a/data",
    "type": "system.Dataset",
    "digest": "sha256:" + "d" * 64,
}


def number(name: str, attempt: int, request: dict[str, Any]) -> dict[str, Any]:
    return {"value": 7}


def word(value: str) -> dict[str, Any]:
    return {"inputs": {"parameters": {"word": {"runtimeValue": {"constant": value}}}}}


def tagged(text: str) -> str:
    """The same pipeline in an image whose name stays."""
    return text.replace('"alpine"', '"alpine:3"')


def little(value: str = "one", **more: Any) -> str:
    return tagged(document({"a": task(**(ON | word(value) | more)), "b": task(after=("a",), **ON)}))


def stage(text: str, act: Any = number, **spec: Any) -> Stage:
    played = Stage(act, PipelineRunSpec(document=text, **spec))
    assert played.play()["status"]["state"] == "SUCCEEDED"
    return played


def tasks(body: Object) -> dict[str, dict[str, Any]]:
    return {"/".join(item["path"]): item for item in body["status"]["tasks"]}


def test_a_result_that_is_there_needs_no_pod() -> None:
    played = stage(little())
    assert played.started == ["a:1", "b:1"]
    first = tasks(played.body())["a"]
    assert first["image"] == f"alpine:3@{played.digest}"
    assert first["note"] == "no earlier result of this task is kept"
    body = played.again("run-b")
    assert played.started == ["a:1", "b:1"], "nothing ran"
    assert body["status"]["counts"] == {"total": 2, "cached": 2}
    found = tasks(body)
    assert found["a"]["outputs"] == first["outputs"]
    assert found["a"]["cachedFrom"] == "run-a:a"
    assert found["a"]["note"] == "nothing it depends on changed since run run-a"
    assert "pod" not in found["a"]
    # A result is as good as the one it was taken from, and outlives it.
    played.client.delete(PIPELINE_RUNS, RUN)
    played.operator.settle()
    assert tasks(played.again("run-c"))["b"]["cachedFrom"] == "run-a:b"
    assert played.started == ["a:1", "b:1"]


def test_what_changed_is_said() -> None:
    played = stage(little("one"))
    body = played.again("run-b", PipelineRunSpec(document=little("two")))
    found = tasks(body)
    assert found["a"]["state"] == "SUCCEEDED"
    assert found["a"]["note"] == 'parameter \'word\' changed: "one" -> "two"'
    assert found["b"]["state"] == "CACHED"
    other = PipelineRunSpec(document=little("two").replace('"work"', '"otherwork"'))
    assert tasks(played.again("run-c", other))["a"]["note"] == "the component's code changed"
    body = played.again("run-d", PipelineRunSpec(document=little("one")))
    assert body["status"]["counts"] == {"total": 2, "cached": 2}, "going back and forth"


@pytest.mark.parametrize(
    ("more", "spec", "note"),
    [
        ({"cachingOptions": {}}, {}, ""),
        ({}, {"cache": False}, "the run was started without the cache"),
    ],
)
def test_who_wants_no_reuse_gets_none(more: dict[str, Any], spec: dict[str, Any], note: str) -> None:
    played = stage(little(**more))
    body = played.again("run-b", PipelineRunSpec(document=little(**more), **spec))
    assert tasks(body)["a"]["state"] == "SUCCEEDED"
    assert tasks(body)["a"].get("note", "") == note
    assert "a:1" in played.started[2:]


def test_a_tag_that_moved_is_another_image() -> None:
    played = stage(little())
    played.digest = "sha256:" + "b" * 64
    other = tagged(document({"x": task(**word("x"))}))
    played.again("run-x", PipelineRunSpec(document=other))  # any pod of the namespace tells of it
    body = played.again("run-b", PipelineRunSpec(document=little()))
    assert tasks(body)["a"]["note"] == "the container image changed"
    assert body["status"]["counts"] == {"total": 2, "succeeded": 2}


def test_an_image_whose_name_moves_is_asked_of_the_kubelet() -> None:
    latest = document({"a": task(**ON)})
    played = stage(latest)
    body = played.again("run-b")
    assert played.started == ["a:1", "a:1"], "its pod began, and looked"
    assert tasks(body)["a"]["state"] == "CACHED"
    assert tasks(body)["a"]["cachedFrom"] == "run-a:a"
    played.digest = "sha256:" + "b" * 64
    body = played.again("run-c")
    assert tasks(body)["a"]["state"] == "SUCCEEDED"
    assert played.started[2:] == ["a:1", "a:2"]


def produce(name: str, attempt: int, request: dict[str, Any]) -> dict[str, Any]:
    return {"value": 1, "artifacts": {"data": [ARTIFACT]}}


def with_artifact() -> str:
    data = json.loads(little())
    data["components"]["comp-work"]["outputDefinitions"]["artifacts"] = {
        "data": {"artifactType": {"schemaTitle": "system.Dataset"}}
    }
    return json.dumps(data)


def test_artifacts_are_compared_where_they_can_be_read() -> None:
    store = Store(uri="s3://b/p")
    played = stage(with_artifact(), produce, store=store)
    body = played.again("run-b")
    assert played.started[2:] == ["a:1", "b:1"]
    assert body["status"]["counts"] == {"total": 2, "cached": 2}
    assert tasks(body)["a"]["outputs"]["artifacts"]["data"]["digest"] == ARTIFACT["digest"]
    played.stale = "its output 'data' is no longer there"
    body = played.again("run-c")
    assert body["status"]["counts"] == {"total": 2, "succeeded": 2}
    assert tasks(body)["a"]["note"] == played.stale
    assert played.started[4:] == ["a:1", "b:1"], "it computed in the pod that had looked"
    elsewhere = PipelineRunSpec(document=with_artifact(), store=Store(uri="s3://other"))
    assert tasks(played.again("run-d", elsewhere))["a"]["note"] == "its earlier result is in another store"


def test_nothing_is_reused_across_namespaces() -> None:
    played = stage(little())
    played.client.create(NAMESPACES, {"metadata": {"name": "other"}})
    body = played.again("run-b", namespace="other")
    assert body["status"]["counts"] == {"total": 2, "succeeded": 2}
    assert tasks(body)["a"]["note"] == "no earlier result of this task is kept"


def test_a_result_goes_with_its_run() -> None:
    played = stage(little())
    played.client.delete(PIPELINE_RUNS, RUN)
    played.operator.settle()
    assert played.again("run-b")["status"]["counts"] == {"total": 2, "succeeded": 2}


def test_what_failed_is_not_reused() -> None:
    broken = [True]

    def act(name: str, attempt: int, request: dict[str, Any]) -> dict[str, Any]:
        if broken[0]:
            raise ValueError("broken")
        return {"value": 1}

    played = Stage(act, PipelineRunSpec(document=little()))
    assert played.play()["status"]["state"] == "FAILED"
    broken[0] = False
    assert played.again("run-b")["status"]["counts"] == {"total": 2, "succeeded": 2}


def test_what_talked_to_the_network_is_not_kept() -> None:
    def act(name: str, attempt: int, request: dict[str, Any]) -> dict[str, Any]:
        assert request["watch"] is True
        return {"value": 1, "peers": ["10.0.0.1:443"] if name == "a" else []}

    played = stage(little(), act)
    assert tasks(played.body())["a"]["note"].endswith("not kept for reuse: it talked to the network (10.0.0.1:443)")
    body = played.again("run-b")
    assert body["status"]["counts"] == {"total": 2, "succeeded": 1, "cached": 1}


def test_results_in_records_are_found() -> None:
    many = tagged(document({f"t{n:03d}": task(**(ON | word(str(n)))) for n in range(120)}))
    played = stage(many)
    assert played.client.list(RECORDS).items
    body = played.again("run-b")
    assert body["status"]["counts"] == {"total": 120, "cached": 120}
    assert len(played.started) == 120


def _lives(die_at: int, moment: str) -> tuple[Stage, int]:
    """A run that finds half of its tasks in the cache, by an operator that dies."""
    parts = {"a": task(**ON), "b": task(after=("a",)), "c": task(after=("b",), **(ON | word("c")))}
    played = stage(tagged(document(parts)))
    played.submit("run-b")
    mortal = Mortal(played.fake, die_at, moment)
    played.operator = played.start(mortal)
    for _ in range(200):
        try:
            played.operator.settle()
        except Killed:
            # What it had found is gone now: it may only go on with what it wrote down.
            played.client.delete(PIPELINE_RUNS, RUN)
            played.operator = played.start()
            played.operator.settle()
        if played.body().get("status", {}).get("finishedAt"):
            return played, len(mortal.written)
        for pod in played.pods():
            played.finish(pod)
    raise AssertionError("the run does not end")


def test_dying_while_results_are_reused_doubles_nothing() -> None:
    first, writes = _lives(0, "before")
    assert {name: item["state"] for name, item in first.records().items()} == {
        "a": "CACHED",
        "b": "SUCCEEDED",
        "c": "CACHED",
    }
    assert writes >= 5
    for number_, moment in itertools.product(range(1, writes + 1), ("before", "after")):
        played, _ = _lives(number_, moment)
        ran = played.started[3:]
        assert played.body()["status"]["state"] == "SUCCEEDED"
        assert len(ran) == len(set(ran)), (number_, moment, ran)
        for name, item in tasks(played.body()).items():
            cached = item["state"] == "CACHED"
            assert (f"{name}:1" in ran) is not cached, (number_, moment, name)
        # Whatever began had what it depends on written down, and what is written down stays.
        if "b:1" in ran and "a:1" in ran:
            assert ran.index("a:1") < ran.index("b:1")
        assert not any(pod["metadata"].get("finalizers") for pod in played.client.list(PODS).items)
