"""Run parameters against root inputs."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mlplatform.core.model import Artifact
from mlplatform.ir.arguments import check_arguments
from mlplatform.ir.load import loads
from mlplatform.ir.model import Pipeline

TYPES = {
    "integer": "NUMBER_INTEGER",
    "double": "NUMBER_DOUBLE",
    "text": "STRING",
    "flag": "BOOLEAN",
    "items": "LIST",
    "fields": "STRUCT",
}


def pipeline(parameters: dict[str, Any], artifacts: dict[str, Any] | None = None, job: Any = None) -> Pipeline:
    spec = {
        "pipelineInfo": {"name": "p"},
        "root": {"inputDefinitions": {"parameters": parameters, "artifacts": artifacts or {}}},
    }
    return loads(json.dumps(spec if job is None else {"pipelineSpec": spec, "runtimeConfig": {"parameterValues": job}}))


def check(
    parameters: dict[str, Any],
    given: dict[str, Any],
    artifacts: Any = None,
    given_artifacts: Any = None,
    job: Any = None,
) -> tuple[Any, list[tuple[str, str]]]:
    resolved, findings = check_arguments(pipeline(parameters, artifacts, job), given, given_artifacts)
    return resolved, [(finding.path, finding.code) for finding in findings]


@pytest.mark.parametrize(
    ("kind", "given", "resolved"),
    [
        ("integer", 2, "2"),
        ("integer", 2.0, "2"),
        ("double", 2, "2.0"),
        ("double", 0.5, "0.5"),
        ("text", "", "''"),
        ("text", "{{$.x}}", "'{{$.x}}'"),
        ("text", '["a"]', "'[\"a\"]'"),
        ("flag", False, "False"),
        ("items", [1.0, "2"], "[1, '2']"),
        ("items", [], "[]"),
        ("fields", {"a": 1.0}, "{'a': 1}"),
        ("fields", {}, "{}"),
    ],
)
def test_values_of_the_right_type(kind: str, given: Any, resolved: str) -> None:
    found, findings = check({"x": {"parameterType": TYPES[kind]}}, {"x": given})
    assert findings == []
    assert repr(found["x"]) == resolved


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        ("integer", "2"),
        ("integer", 2.5),
        ("integer", True),
        ("integer", [2]),
        ("double", "1"),
        ("double", False),
        ("double", float("nan")),
        ("double", float("inf")),
        ("double", 10**400),
        ("text", 1),
        ("text", "\ud800"),
        ("flag", 1),
        ("flag", "true"),
        ("items", {}),
        ("items", "[]"),
        ("items", [float("nan")]),
        ("fields", []),
        ("fields", {1: 2}),
        ("fields", {"a": {1, 2}}),
        ("fields", {"\udfff": 1}),
    ],
)
def test_values_of_the_wrong_type(kind: str, given: Any) -> None:
    assert check({"x": {"parameterType": TYPES[kind]}}, {"x": given}) == ({}, [("parameters.x", "wrong-type")])


def test_deep_values() -> None:
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    assert check({"x": {"parameterType": "LIST"}}, {"x": deep})[1] == [("parameters.x", "wrong-type")]


def test_defaults_and_missing() -> None:
    integer = {"parameterType": "NUMBER_INTEGER"}
    parameters = {
        "needed": integer,
        "optional": {**integer, "isOptional": True},
        "default": {**integer, "defaultValue": 5.0, "isOptional": True},
        "old": {**integer, "defaultValue": 0},
        "null": {**integer, "defaultValue": None, "isOptional": True},
    }
    assert check(parameters, {}) == ({"default": 5, "old": 0}, [("parameters.needed", "missing")])
    assert check(parameters, {"needed": 0, "optional": None, "default": None}) == (
        {"needed": 0, "default": 5, "old": 0},
        [],
    )
    assert check(parameters, {"needed": None})[1] == [("parameters.needed", "missing")]


def test_unknown_names() -> None:
    spec = pipeline({"learning_rate": {"parameterType": "STRING", "isOptional": True}}, {"data": {}})
    _, findings = check_arguments(spec, {"learning-rate": 1, "data": 2, "a.b": 3}, {"dta": Artifact("a", "b")})
    assert [(finding.path, finding.code, finding.hint) for finding in findings] == [
        ("parameters.learning-rate", "unknown-name", "did you mean 'learning_rate'?"),
        ("parameters.data", "wrong-kind", "give it in the setup file, under artifacts"),
        ('parameters["a.b"]', "unknown-name", "there is 'learning_rate'"),
        ("artifacts.dta", "unknown-name", "did you mean 'data'?"),
        ("artifacts.data", "missing", 'give it in the setup file: {"artifacts": {"data": {"uri": ...}}}'),
    ]


def test_literals() -> None:
    parameters = {"mode": {"parameterType": "STRING", "literals": ["fast", "slow"]}}
    assert check(parameters, {"mode": "fast"}) == ({"mode": "fast"}, [])
    _, findings = check_arguments(pipeline(parameters), {"mode": "quick"})
    assert str(findings[0]) == 'parameters.mode: "quick" is not allowed (one of "fast", "slow")'


def test_artifacts() -> None:
    one, many = Artifact("a", "file:///a"), (Artifact("a", "file:///a"),)
    specs = {"one": {}, "many": {"isArtifactList": True}, "maybe": {"isOptional": True}}
    assert check({}, {}, specs, {"one": one, "many": many}) == ({}, [])
    assert check({}, {}, specs, {"one": many, "many": one}) == (
        {},
        [("artifacts.one", "wrong-type"), ("artifacts.many", "wrong-type")],
    )


def test_a_job_gives_values_that_the_caller_may_override() -> None:
    parameters = {name: {"parameterType": "NUMBER_INTEGER"} for name in ("a", "b")}
    assert check(parameters, {"b": 3}, job={"a": 1, "b": 2}) == ({"a": 1, "b": 3}, [])
    assert check(parameters, {"b": None}, job={"a": 1, "b": 2, "c": 1}) == (
        {"a": 1, "b": 2},
        [("parameters.c", "unknown-name")],
    )
