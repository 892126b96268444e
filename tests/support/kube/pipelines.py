"""Running pipelines through the PipelineRun controller, on the fake API server and a node without containers."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlplatform.apis.objects import pipeline_run_object
from mlplatform.apis.pipelinerun import PipelineRunSpec, Store
from mlplatform.controllers.framework.manager import Manager
from mlplatform.controllers.pipelinerun.controller import PipelineRuns
from mlplatform.kube.client import Client
from mlplatform.kube.objects import Key, Object
from mlplatform.kube.ours import PIPELINE_RUNS, RECORDS, TRAINING_JOBS
from mlplatform.render.settings import PodSettings
from mlplatform.sdk.kubernetes.reading import read_objects, records_of
from mlplatform.sdk.report import run_report
from tests.support.kube.fake import FakeServer
from tests.support.kube.node import Node
from tests.support.kube.toy import manager

CLAIM = "artifacts"


class Cluster:
    """A fake API server with an operator and a node. Time is real: some tasks measure it."""

    def __init__(self, folder: Path, **node: Any) -> None:
        self.fake = FakeServer(time.time)
        for resource in (PIPELINE_RUNS, RECORDS, TRAINING_JOBS):
            self.fake.register(resource)
        self.client = Client(self.fake)
        self.node = Node(self.client, folder, **node)
        self.operator = self.start()

    def start(self) -> Manager:
        """A new process of the operator."""
        controller = PipelineRuns(PodSettings(), self.node.read_log)
        return manager(self.fake, (controller,), now=time.time)

    def submit(self, spec: PipelineRunSpec, name: str = "run-a") -> Key:
        self.client.create(PIPELINE_RUNS, pipeline_run_object(name, "default", spec))
        return Key("default", name)

    def run(self, key: Key, timeout: float = 120.0) -> Object:
        """Until the run has ended."""
        end = time.monotonic() + timeout
        while True:
            worked = self.operator.settle()
            body = self.client.get(PIPELINE_RUNS, key)
            if body.get("status", {}).get("finishedAt"):
                self.operator.settle()
                return self.client.get(PIPELINE_RUNS, key)
            if time.monotonic() > end:
                raise TimeoutError(f"{body.get('status')}")
            if not self.node.step() and not worked:
                time.sleep(0.01)

    def report(self, key: Key) -> dict[str, Any]:
        """What `mlplatform run --output json` says."""
        chunks = [item for item in self.client.list(RECORDS).items if item["spec"]["run"] == key.name]
        records = records_of(read_objects(self.client.get(PIPELINE_RUNS, key), chunks), time.time())
        return run_report(records.run, records.tasks)


def spec_of(document: str, parameters: Mapping[str, Any] | None = None, **more: Any) -> PipelineRunSpec:
    """A run whose artifacts go to a shared claim."""
    more.setdefault("store", Store(claim_name=CLAIM))
    return PipelineRunSpec(document=document, parameters=dict(parameters or {}), **more)
