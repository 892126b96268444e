"""A fake cluster in which both operators work: runs of pipelines, and training jobs that their tasks are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mlplatform as ml
from mlplatform.apis.names import ANNOTATION_TASK, LABEL_GROUP, LABEL_RANK
from mlplatform.apis.objects import pipeline_run_object
from mlplatform.apis.pipelinerun import PipelineRunSpec
from mlplatform.apis.times import told_time
from mlplatform.controllers.framework.loop import Parts
from mlplatform.controllers.framework.manager import Manager, Settings
from mlplatform.controllers.pipelinerun.controller import PipelineRuns
from mlplatform.controllers.trainingjob.controller import TrainingJobs
from mlplatform.kube.client import Client
from mlplatform.kube.events import Recorder
from mlplatform.kube.metrics import Metrics
from mlplatform.kube.objects import PODS, Key, Object, key_of
from mlplatform.kube.ours import PIPELINE_RUNS, RECORDS, TRAINING_JOBS
from mlplatform.kube.times import timestamp
from mlplatform.kube.wire import Transport
from mlplatform.render.settings import PodSettings
from tests.support.kube.training import TrainingCluster

RUN = Key("default", "run-a")
DIGEST = "sha256:" + "a" * 64


@ml.component
def prepare(rows: int) -> int:
    return rows


@ml.training(framework="torch", workers=2, gpus_per_worker=1, gpu="A100", retries=1, timeout=600)
def fit(rows: int) -> int:
    return rows


@ml.component
def judge(model: int) -> int:
    return model


@ml.pipeline(name="trained")
def trained(rows: int = 3) -> int:
    return judge(fit(prepare(rows)))


def document(folder: Path) -> str:
    trained.compile(folder / "trained.yaml")
    return (folder / "trained.yaml").read_text(encoding="utf-8")


def word(state: str, at: float, **more: Any) -> str:
    told = {"mlplatform": 1, "state": state, "finished_at": at, **more}
    return json.dumps(told, sort_keys=True, separators=(",", ":"))


class TaskCluster(TrainingCluster):
    """Pods of plain tasks end at once, ranks when they are told to."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for kind in (PIPELINE_RUNS, RECORDS):
            self.fake.register(kind)
        self.started: list[str] = []
        self.operator = self.new_operator()

    def new_operator(self, transport: Transport | None = None) -> Manager:
        client = Client(transport or self.fake, sleep=lambda _: None)
        recorder = Recorder(client, "operator", "operator-0", now=lambda: self.now)
        parts = Parts(client, recorder, Metrics(), now=lambda: self.now, clock=lambda: self.now)
        controllers = [PipelineRuns(PodSettings()), TrainingJobs(self.settings)]
        return Manager(client, parts, controllers, Settings(namespace=self.watched))

    def begin(self, text: str, name: str = RUN.name, **spec: Any) -> None:
        made = pipeline_run_object(name, "default", PipelineRunSpec(document=text, **spec))
        self.client.create(PIPELINE_RUNS, made)
        self.run()

    def machines(self) -> None:
        super().machines()
        for pod in self.pods():
            if LABEL_RANK not in pod["metadata"]["labels"] and pod["status"].get("phase") == "Running":
                self._plain(pod)

    def _plain(self, pod: Object) -> None:
        name = pod["metadata"]["annotations"][ANNOTATION_TASK]
        request = json.loads(pod["spec"]["containers"][0]["env"][-1]["value"].replace("$$", "$"))
        self.started.append(f"{name}:{request['attempt']}")
        given: dict[str, Any] = request["executor_input"]["inputs"].get("parameterValues") or {}
        outputs = {out: next(iter(given.values()), 0) for out in request["outputs"]["parameters"]}
        if request.get("compare"):
            earlier = {part: request["reuse"][part] for part in ("parameters", "artifacts")}
            cached = {part: request["reuse"][part] for part in ("source", "image")}
            self._ended(pod, 0, word("CACHED", self.now, cached=cached, **earlier))
        else:
            self._ended(pod, 0, word("SUCCEEDED", self.now, parameters=outputs))

    def rank(self, rank: int, code: int = 0, message: str = "", **parameters: Any) -> None:
        """A rank ends. ``parameters``: what it gives (rank 0)."""
        if not message and code == 0:
            more = {"parameters": parameters} if parameters else {"aside": True}
            message = word("SUCCEEDED", self.now, **more)
        found = [pod for pod in self.pods() if pod["metadata"]["labels"].get(LABEL_RANK) == str(rank)]
        alive = [pod for pod in found if pod["status"].get("phase") == "Running"]
        self._ended(alive[0], code, message)
        self.run()

    def _ended(self, pod: Object, code: int, message: str) -> None:
        times = {"startedAt": told_time(self.now), "finishedAt": timestamp(self.now)}
        ended: Object = {"exitCode": code, "message": message, **times}
        container: Object = {"name": "main", "imageID": f"registry/work@{DIGEST}", "state": {"terminated": ended}}
        current = self.client.get(PODS, key_of(pod))
        phase = "Failed" if code else "Succeeded"
        status = {**current["status"], "phase": phase, "containerStatuses": [container]}
        self.client.replace_status(PODS, {**current, "status": status})

    def ranks(self) -> list[str]:
        """The pods of ranks that live."""
        return [
            pod["metadata"]["name"]
            for pod in self.pods()
            if LABEL_GROUP in pod["metadata"]["labels"] and pod["status"].get("phase") not in ("Succeeded", "Failed")
        ]

    def job(self) -> Object:
        [found] = self.client.list(TRAINING_JOBS, "default").items
        return found

    def said(self, **progress: Any) -> None:
        """What the progress endpoint writes."""
        patch = {"status": {"progress": progress}}
        self.client.patch(TRAINING_JOBS, key_of(self.job()), patch, subresource="status")
        self.run()

    def run_status(self, name: str = RUN.name) -> Object:
        return self.client.get(PIPELINE_RUNS, Key("default", name)).get("status") or {}

    def task(self, name: str = "fit", run: str = RUN.name) -> Object:
        return next(one for one in self.run_status(run)["tasks"] if one["path"][-1] == name)
