"""Everything that can be known to be wrong with a pipeline before it runs: what the IR says of itself, and what its
training components say of their jobs."""

from __future__ import annotations

from collections.abc import Iterator

from mlplatform.core.errors import Finding, InvalidInput, InvalidPipeline
from mlplatform.core.values import child
from mlplatform.ir.model import Pipeline
from mlplatform.ir.platform import OWN
from mlplatform.ir.validate import validate
from mlplatform.planning.cel import check
from mlplatform.planning.training.task import training_of


def check_pipeline(pipeline: Pipeline) -> tuple[Finding, ...]:
    """Every finding, by its path in the document; empty: it can be run."""
    return (*validate(pipeline, check), *_trainings(pipeline))


def require_runnable(pipeline: Pipeline, origin: str = "") -> None:
    """Raise if :func:`check_pipeline` finds anything. ``origin``: what the pipeline is called.

    Raises:
        InvalidPipeline: with every finding.
    """
    if findings := check_pipeline(pipeline):
        name = origin or (f"pipeline {pipeline.name!r}" if pipeline.name else "the pipeline document")
        raise InvalidPipeline(f"{name} is not a pipeline that can be run.", findings=findings)


def _trainings(pipeline: Pipeline) -> Iterator[Finding]:
    told = child(child(pipeline.platforms.get(OWN) or {}, "deploymentSpec"), "executors")
    for label in told:
        try:
            training_of(pipeline, label)
        except InvalidInput as error:
            yield from error.findings
