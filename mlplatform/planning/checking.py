"""Everything that can be known to be wrong with a pipeline before it runs: what the IR says of itself, and what its
training components say of their jobs."""

from __future__ import annotations

from collections.abc import Iterator

from mlplatform.core.errors import Finding, InvalidInput
from mlplatform.core.values import child
from mlplatform.ir.model import Pipeline
from mlplatform.ir.platform import OWN
from mlplatform.ir.validate import refuse, validate
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
    refuse(pipeline, check_pipeline(pipeline), origin)


def _trainings(pipeline: Pipeline) -> Iterator[Finding]:
    told = child(child(pipeline.platforms.get(OWN) or {}, "deploymentSpec"), "executors")
    for label in told:
        try:
            training_of(pipeline, label)
        except InvalidInput as error:
            yield from error.findings
