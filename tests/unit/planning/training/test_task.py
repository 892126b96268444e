"""Training as the IR says it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

import mlplatform as ml
from mlplatform.apis.pipelinerun import PipelineRun
from mlplatform.core.errors import InvalidInput, InvalidPipeline
from mlplatform.core.model import TaskKey
from mlplatform.ir.load import loads
from mlplatform.ir.model import Pipeline
from mlplatform.ir.validate import validate
from mlplatform.planning.accepting import Rejected, accept
from mlplatform.planning.checking import check_pipeline, require_runnable
from mlplatform.planning.training.names import task_job
from mlplatform.planning.training.task import answer_parts, devices, training_of


@ml.training(framework="torch", workers=4, gpus_per_worker=2, gpu="A100", max_restarts=1)
def fit(rows: int) -> int:
    return rows


@ml.component
def plain(rows: int) -> int:
    return rows


@ml.pipeline
def both(rows: int = 1) -> int:
    return plain(fit(rows))


@pytest.fixture
def pipeline(tmp_path: Any) -> Pipeline:
    both.compile(tmp_path / "p.yaml")
    return loads((tmp_path / "p.yaml").read_bytes())


def label_of(pipeline: Pipeline, name: str) -> str:
    return next(label for label in pipeline.executors if name in label)


def test_it_travels_in_the_document(pipeline: Pipeline) -> None:
    validate(pipeline)
    spec = training_of(pipeline, label_of(pipeline, "fit"))
    assert spec is not None
    assert (spec["framework"], spec["failurePolicy"]) == ("torch", {"maxRestarts": 1})
    assert devices(spec) == (4, 8)
    assert training_of(pipeline, label_of(pipeline, "plain")) is None


def test_what_a_cluster_cannot_run(pipeline: Pipeline) -> None:
    run = PipelineRun("r", "team", "1-2")
    assert not isinstance(accept(run, pipeline), Rejected)
    label = label_of(pipeline, "fit")
    spec = training_of(pipeline, label)
    assert spec is not None
    groups = [*spec["groups"], {"name": "launcher", "role": "launcher", "replicas": 1}]
    told: Any = {"deploymentSpec": {"executors": {label: {"training": {**spec, "framework": "mpi", "groups": groups}}}}}
    refused = accept(run, replace(pipeline, platforms={**pipeline.platforms, "mlplatform": told}))
    assert isinstance(refused, Rejected)
    (finding,) = refused.findings
    assert finding.path == f"platforms.mlplatform.deploymentSpec.executors.{label}.training.framework"
    assert "mlplatform train" in finding.hint


def test_what_changes_the_answer(pipeline: Pipeline) -> None:
    spec = training_of(pipeline, label_of(pipeline, "fit"))
    assert spec is not None
    parts = answer_parts(spec)
    assert parts == {"framework": "torch", "groups": [["worker", "worker", 4, 2]]}
    (group,) = spec["groups"]
    other = {**group, "accelerator": {"count": 2, "products": ["H100"]}}
    assert answer_parts({**spec, "groups": [other], "failurePolicy": {"maxRestarts": 9}}) == parts
    assert answer_parts({**spec, "groups": [{**group, "replicas": 5}]}) != parts
    assert answer_parts({**spec, "framework": "jax"}) != parts


@pytest.mark.parametrize(
    ("spec", "path"),
    [
        ([], ".training"),
        ({"framework": "torch", "groups": "two"}, ".training.groups"),
        ({"framework": "torch", "groups": []}, ".training.groups"),
        ({"framework": "torch", "groups": [{"name": "w", "replicas": "x"}]}, ".training.groups[0].replicas"),
        (
            {"framework": "torch", "groups": [{"name": "w", "template": {"spec": {}}}]},
            ".training.groups[0].template",
        ),
        (
            {"framework": "jax", "groups": [{"name": "w", "elastic": {"min": 1, "max": 2}}]},
            ".training.groups[0].elastic",
        ),
    ],
)
def test_what_cannot_be_is_told_by_its_path(pipeline: Pipeline, spec: Any, path: str) -> None:
    label = label_of(pipeline, "fit")
    platforms = {"mlplatform": {"deploymentSpec": {"executors": {label: {"training": spec}}}}}
    with pytest.raises(InvalidInput) as caught:
        training_of(replace(pipeline, platforms=platforms), label)
    # whoever submits it is told at once, with all else that is wrong
    broken = replace(pipeline, name="", platforms=platforms)
    found = [finding.path for finding in check_pipeline(broken)]
    assert set(found) >= {"pipelineInfo.name", caught.value.findings[0].path}
    with pytest.raises(InvalidPipeline, match="not a pipeline that can be run"):
        require_runnable(broken)
    assert caught.value.findings[0].path == f"platforms.mlplatform.deploymentSpec.executors.{label}{path}"


def test_a_task_has_one_job_in_all_its_attempts() -> None:
    key = TaskKey(("for-loop-1", "Train the Model!"), (3,))
    assert task_job("r1", key) == task_job("r1", key)
    assert task_job("r1", key) != task_job("r2", key) != task_job("r2", TaskKey(key.path, (4,)))
    assert task_job("r1", key).startswith("train-the-model-")
    assert len(task_job("r1", TaskKey(("x" * 80,)))) <= 40
    assert task_job("r1", TaskKey(("7-of-9",))).startswith("t-7-of-9-")


def test_it_is_refused_where_it_is_written() -> None:
    with pytest.raises(InvalidPipeline) as caught:
        ml.training(framework="jax", workers=0, elastic=(1, 2))(plain.function)
    assert sorted(finding.path for finding in caught.value.findings) == ["elastic", "workers", "workers"]
    with pytest.raises(InvalidPipeline, match="gpus_per_worker"):
        fit.options(gpus=2)
