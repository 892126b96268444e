"""API objects to JSON and back: nothing is lost, everything wrong is told at once."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

import pytest

from mlplatform.apis.codec import decode, encode
from mlplatform.apis.conditions import Condition, with_conditions
from mlplatform.apis.objects import pipeline_run, pipeline_run_object
from mlplatform.apis.pipelinerun import (
    ArtifactRef,
    Counts,
    EnvVar,
    PipelineRunSpec,
    PipelineRunStatus,
    Store,
    TaskStatus,
)
from mlplatform.apis.times import read_time, told_time
from mlplatform.core.errors import InvalidInput
from mlplatform.core.states import RunState, TaskState

SPEC = PipelineRunSpec(
    document="text",
    parameters={"a": 1, "b": [1.5, {"c": None}]},
    artifacts={"data": ArtifactRef("s3://b/k", metadata={"rows": 3})},
    store=Store(uri="s3://bucket/x", secret_name="keys"),
    env=(EnvVar("A", "1"),),
    cache=False,
    run_as_user=12,
)


def test_a_spec_comes_back_as_it_was() -> None:
    data = encode(SPEC)
    assert data == {
        "document": "text",
        "parameters": {"a": 1, "b": [1.5, {"c": None}]},
        "artifacts": {"data": {"uri": "s3://b/k", "metadata": {"rows": 3}}},
        "store": {"uri": "s3://bucket/x", "secretName": "keys"},
        "env": [{"name": "A", "value": "1"}],
        "cache": False,
        "runAsUser": 12,
    }
    assert decode(PipelineRunSpec, data) == SPEC


def test_defaults_are_left_out_and_come_back() -> None:
    assert encode(PipelineRunStatus()) == {}
    assert decode(PipelineRunStatus, {}) == PipelineRunStatus()
    status = PipelineRunStatus(
        state=RunState.RUNNING,
        counts=Counts(total=2),
        tasks=(TaskStatus(("a", "b"), (0, 2), TaskState.RUNNING, attempt=1),),
    )
    assert decode(PipelineRunStatus, encode(status)) == status


def test_what_is_read_quickly_and_what_is_read_with_paths_is_the_same() -> None:
    data = encode(SPEC) | {"ttlSecondsAfterFinished": None, "unknown": {"a": 1}}
    assert decode(PipelineRunSpec, MappingProxyType(data)) == decode(PipelineRunSpec, data) == SPEC
    status = {"state": "RUNNING", "counts": {"total": 2}, "finishedAt": None}
    quick, slow = decode(PipelineRunStatus, status), decode(PipelineRunStatus, MappingProxyType(status))
    assert quick == slow
    assert quick.state is RunState.RUNNING
    with pytest.raises(InvalidInput) as raised:
        decode(PipelineRunStatus, {"state": "WALKING", "counts": {"total": True}})
    assert {finding.path for finding in raised.value.findings} == {"state", "counts.total"}


def test_every_finding_is_told() -> None:
    with pytest.raises(InvalidInput) as raised:
        decode(PipelineRunSpec, {"document": 3, "env": [{"value": "x"}], "cache": "yes", "store": [], "new": 1}, "spec")
    told = {finding.path: finding.message for finding in raised.value.findings}
    assert told == {
        "spec.document": "must be a text",
        "spec.env[0].name": "is missing",
        "spec.cache": "must be true or false",
        "spec.store": "must be an object",
    }


def test_an_object_of_the_api_server() -> None:
    data: dict[str, Any] = pipeline_run_object("run-a", "team", SPEC)
    data["metadata"] |= {"uid": "u-1", "generation": 3, "creationTimestamp": "2026-01-02T03:04:05Z"}
    run = pipeline_run(data)
    assert (run.name, run.namespace, run.uid, run.generation) == ("run-a", "team", "u-1", 3)
    assert run.created_at == read_time("2026-01-02T03:04:05.000Z")
    assert run.spec == SPEC


@pytest.mark.parametrize("at", [0.0, 1.001, 1_700_000_000.999, 1_700_000_000.0, 1_699_999_999.9996])
def test_times_come_back_to_the_millisecond(at: float) -> None:
    assert read_time(told_time(at)) == round(at, 3)


def test_what_is_no_time() -> None:
    assert (told_time(None), read_time(""), read_time(None), read_time("soon")) == ("", None, None, None)


def test_a_condition_keeps_its_time_while_its_status_stays() -> None:
    first = with_conditions((), [Condition("Ready", "False", "Starting")], 10.0)
    second = with_conditions(first, [Condition("Ready", "False", "Waiting", "for x")], 20.0)
    third = with_conditions(second, [Condition("Ready", "True", "Done"), Condition("A", "True", "B")], 30.0)
    assert [item.last_transition_time for item in (*first, *second)] == [told_time(10.0)] * 2
    assert [(item.type, item.reason, item.last_transition_time) for item in third] == [
        ("A", "B", told_time(30.0)),
        ("Ready", "Done", told_time(30.0)),
    ]
