"""Writing pipelines: nothing is lost on the way there and back."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from mlplatform.ir import paths
from mlplatform.ir.dump import dump, to_json
from mlplatform.ir.load import loads
from mlplatform.ir.model import Pipeline

NOTE = "root/dag/tasks/make/inputs/parameters/note"
CONTAINER = "deploymentSpec/executors/exec-make/container"


def round_trip(pipeline: Pipeline) -> None:
    assert loads(dump(pipeline)) == pipeline
    assert loads(json.dumps(to_json(pipeline))) == pipeline
    assert dump(loads(dump(pipeline))) == dump(pipeline)


def test_the_document_comes_back(document: dict[str, Any]) -> None:
    pipeline = loads(json.dumps(document))
    assert to_json(pipeline) == document
    assert list(yaml.safe_load_all(dump(pipeline))) == [document]
    round_trip(pipeline)


@pytest.mark.parametrize(
    ("path", "values"),
    [
        ("root/dag/tasks/make/cachingOptions", [None, {}, {"enableCache": True}, {"cacheKey": "k"}]),
        ("root/dag/tasks/use/retryPolicy", [None, {}, {"backoffDuration": "0s"}, {"backoffFactor": 1}]),
        ("root/inputDefinitions/parameters/n/defaultValue", [None, 0, 1]),
        ("root/inputDefinitions/parameters/n/isOptional", [True, False]),
        (f"{NOTE}/runtimeValue/constant", [None, "", 0, [], {}, "\x85\u2028é"]),
        (NOTE, [{"componentInputParameter": "a"}, {"taskFinalStatus": {"producerTask": "a"}}]),
        (f"{CONTAINER}/resources", [None, {}, {"accelerator": {}}, {"resourceCpuLimit": "1"}]),
        (f"{CONTAINER}/lifecycle", [None, {"preCacheCheck": {}}]),
        (f"{CONTAINER}/env", [[], [{"name": "A", "value": ""}]]),
        ("root/dag/outputs/parameters/result", [
            {"valueFromParameter": {"producerSubtask": "a", "outputParameterKey": "b"}},
            {"valueFromOneof": {"parameterSelectors": [{"producerSubtask": "a", "outputParameterKey": "b"}]}},
            {"valueFromOneof": {"parameterSelectors": []}},
        ]),
        ("components/comp-use/taskConfigPassthroughs", [[], [{"field": "ENV", "applyToTask": True}]]),
        ("root/dag/tasks/use/triggerPolicy/strategy", ["ALL_UPSTREAM_TASKS_SUCCEEDED", "ALL_UPSTREAM_TASKS_COMPLETED"]),
    ],
)  # fmt: skip
def test_set_and_unset_are_told_apart(document: dict[str, Any], path: str, values: list[Any]) -> None:
    seen: list[Pipeline] = []
    for value in values:
        *parents, last = path.split("/")
        place: Any = document
        for step in parents:
            place = place[step]
        place[last] = value
        pipeline = loads(json.dumps(document))
        round_trip(pipeline)
        assert pipeline not in seen
        seen.append(pipeline)


def test_what_has_no_field_is_kept(document: dict[str, Any]) -> None:
    document["root"]["dag"]["tasks"]["make"]["bogus"] = {"a": [1, {"b": None}]}
    document["components"]["comp.dotted"] = {"executorLabel": "exec-use", "surplus key": [1]}
    document["deploymentSpec"]["executors"]["job"] = {"customJob": {"customJob": {"x": 1}}}
    document["deploymentSpec"]["executors"]["exec-make"]["container"]["env"][0]["valueFrom"] = 1
    pipeline = loads(json.dumps(document))
    assert len(pipeline.extras) == 4
    assert to_json(pipeline) == document
    round_trip(pipeline)


@pytest.mark.parametrize("with_platforms", [False, True])
@pytest.mark.parametrize("with_job", [False, True])
def test_wrappers(document: dict[str, Any], with_platforms: bool, with_job: bool) -> None:
    document["bogus"] = 1
    wrapper: dict[str, Any] = {"pipeline_spec": document}
    if with_platforms:
        wrapper["platform_spec"] = {"platforms": {"kubernetes": {"deploymentSpec": {"executors": {"exec-make": {}}}}}}
    if with_job:
        wrapper |= {"name": "j", "labels": {"a": "b"}, "runtimeConfig": {"parameterValues": {"n": 1}}}
    pipeline = loads(json.dumps(wrapper))
    assert bool(pipeline.platforms) == with_platforms
    assert pipeline.extras == {"bogus": 1}
    round_trip(pipeline)


@pytest.mark.parametrize("keys", [("a", "b-c", 3, "d"), ("a.b", 0, 'q"uo\\te', "[1]"), ("", "é", "x y"), (1, 2)])
def test_paths_are_split_as_they_were_made(keys: tuple[str | int, ...]) -> None:
    path = ""
    for key in keys:
        path = paths.element(path, key) if isinstance(key, int) else paths.child(path, key)
    assert paths.split(path) == keys
