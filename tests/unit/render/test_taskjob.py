"""A task that several ranks run, as a TrainingJob: what is in the job, and what its ranks are told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import mlplatform as ml
from mlplatform.apis.names import ANNOTATION_CACHE_KEY, ANNOTATION_RESUME, FINALIZER_RESULT, LABEL_ATTEMPT, LABEL_RUN
from mlplatform.apis.pipelinerun import EnvVar, PipelineRun, PipelineRunSpec
from mlplatform.core.model import TaskKey, Values
from mlplatform.ir.kubernetes import KubernetesConfig
from mlplatform.ir.load import loads
from mlplatform.ir.model import ContainerExecutor, Pipeline
from mlplatform.planning.accepting import Accepted, accept
from mlplatform.planning.brain import Brain
from mlplatform.planning.model import Limits, StartTask
from mlplatform.planning.sources import SourceValues
from mlplatform.planning.templates import RunContext
from mlplatform.planning.training.names import task_job
from mlplatform.planning.training.task import training_of
from mlplatform.render.places import run_store
from mlplatform.render.pod import Reuse
from mlplatform.render.request import Asked
from mlplatform.render.runview import run_view
from mlplatform.render.settings import PodSettings
from mlplatform.render.taskjob import SET_FOR_TASK, comparing_pod, rank_job


@ml.training(
    framework="ray",
    workers=3,
    gpus_per_worker=2,
    gpu="A100",
    spec={"runPolicy": {"ttlSecondsAfterFinished": 5, "activeDeadlineSeconds": 900}},
)
def fit(rows: int) -> int:
    return rows


@ml.pipeline
def whole(rows: int = 1) -> int:
    return fit(rows)


PIPELINES: list[Pipeline] = []


@pytest.fixture
def asked(tmp_path: Path) -> Asked:
    whole.compile(tmp_path / "p.yaml")
    pipeline = loads((tmp_path / "p.yaml").read_bytes())
    [label] = pipeline.executors
    executor = pipeline.executors[label]
    assert isinstance(executor, ContainerExecutor)
    [component] = [one for name, one in pipeline.components.items() if one.executor_label == label]
    start = StartTask(TaskKey(("fit",)), 2, "comp-fit", label, Values({"rows": 1}), True, "")
    context = RunContext(
        run_id=RUN.uid,
        job_name="p",
        pipeline_root="nowhere:",
        task_name="fit",
        task_id="fit",
        created_at=0.0,
        workspace="",
    )
    PIPELINES[:] = [pipeline]
    return Asked(start, component, executor, context, run_store(RUN), training_of(pipeline, label))


RUN = PipelineRun(
    "run-a",
    "team",
    "uid-1",
    spec=PipelineRunSpec(env=(EnvVar("MLFLOW_TRACKING_URI", "http://own"), EnvVar("PLAIN", "x"))),
)


def values_of(asked: Asked) -> SourceValues:
    accepted = accept(RUN, PIPELINES[0])
    assert isinstance(accepted, Accepted)
    brain = Brain(accepted.pipeline, run_view(RUN, accepted), Limits(), 0.0)
    return SourceValues(brain, asked.start.key, asked.start.inputs)


def made(asked: Asked, config: KubernetesConfig, **more: Any) -> dict[str, Any]:
    settings = PodSettings(server="http://server")
    return rank_job(RUN, asked, config, values_of(asked), settings, reuse=Reuse("sha256:key"), **more).pod


def test_the_job(asked: Asked) -> None:
    body = made(asked, KubernetesConfig(active_deadline=600), resume=9)
    meta = body["metadata"]
    assert meta["name"] == task_job("uid-1", TaskKey(("fit",)))
    assert (meta["labels"][LABEL_RUN], meta["labels"][LABEL_ATTEMPT]) == ("run-a", "2")
    assert (meta["annotations"][ANNOTATION_RESUME], meta["annotations"][ANNOTATION_CACHE_KEY]) == ("9", "sha256:key")
    assert meta["finalizers"] == [FINALIZER_RESULT]
    assert body["spec"]["runPolicy"] == {"activeDeadlineSeconds": 600}, "the shorter one; it stays as long as its run"
    head, worker = body["spec"]["groups"]
    assert (head["role"], head["accelerator"]["count"], worker["replicas"]) == ("head", 2, 2)


def test_the_pods(asked: Asked) -> None:
    body = made(asked, KubernetesConfig(active_deadline=600))
    for group in body["spec"]["groups"]:
        template = group["template"]
        assert LABEL_RUN not in template["metadata"]["labels"], "they are the job's"
        spec = template["spec"]
        assert not {"restartPolicy", "activeDeadlineSeconds", "terminationGracePeriodSeconds"} & spec.keys()
        assert spec["containers"][0]["securityContext"]["allowPrivilegeEscalation"] is False
        assert "nvidia.com/gpu" not in json.dumps(spec), "those are the group's to ask for"
        env = {one["name"]: one["value"] for one in spec["containers"][0]["env"]}
        assert (env["PLAIN"], env[SET_FOR_TASK + "MLFLOW_TRACKING_URI"]) == ("x", "http://own")
        assert "MLFLOW_TRACKING_URI" not in env
        assert "MLPLATFORM_SERVER" not in env, "whoever makes the rank's pod says so"
        told = json.loads(env["MLPLATFORM_REQUEST"].replace("$$", "$"))["ranks"]
        assert told["first"] == "head"
        assert told["words"]["head"][-4:] == ["{{python}}", "{{launcher}}", "--task-rank", "{{file}}"]
        assert "--block" in told["words"]["worker"][2]
        assert told["words"]["worker"][3:] == ["{{python}}"], "ray is that of the image's own Python"
        assert told["grace"] == 120


def test_a_pod_that_only_compares(asked: Asked) -> None:
    earlier = {"source": "run-0:fit", "run": "run-0", "image": "sha256:1", "parameters": {}, "artifacts": {}}
    reuse = Reuse("sha256:key", "compared", earlier)
    pod = comparing_pod(RUN, asked, KubernetesConfig(), values_of(asked), PodSettings(), reuse=reuse).pod
    assert pod["kind"] == "Pod"
    env = {one["name"]: one["value"] for one in pod["spec"]["containers"][0]["env"]}
    request = json.loads(env["MLPLATFORM_REQUEST"].replace("$$", "$"))
    assert (request["compare"], request["reuse"]["source"]) == (True, "run-0:fit")
    assert "ranks" not in request
