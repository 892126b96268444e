"""Reading what a run is given: its document, whichever way it stands in the spec."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from mlplatform.apis.pipelinerun import PipelineRun, PipelineRunSpec
from mlplatform.core.errors import Finding, InvalidPipeline
from mlplatform.ir.load import from_documents, loads
from mlplatform.ir.model import Pipeline
from mlplatform.planning.accepting import Accepted, Rejected, accept, spec_digest


def read_run(run: PipelineRun) -> Accepted | Rejected:
    """The run, if it can be run; else everything that is wrong with it."""
    try:
        pipeline = _pipeline(run.spec)
    except InvalidPipeline as error:
        findings = error.findings or (Finding("spec", error.message),)
        return Rejected(error.message, findings, spec_digest(run.spec))
    return accept(run, pipeline)


def _pipeline(spec: PipelineRunSpec) -> Pipeline:
    """Raises InvalidPipeline."""
    if spec.document:
        return loads(spec.document, origin="spec.document")
    if not spec.pipeline_spec:
        raise InvalidPipeline("the run names no pipeline", findings=[Finding("spec.document", "is missing", "missing")])
    documents: list[Any] = [_plain(spec.pipeline_spec)]
    if spec.platform_spec:
        documents.append(_plain(spec.platform_spec))
    return from_documents(documents, "spec.pipelineSpec")


def _plain(data: Mapping[str, Any]) -> Any:
    return json.loads(json.dumps(data))
