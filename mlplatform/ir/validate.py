"""Everything that can be known to be wrong with a pipeline before it runs, all at once."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from mlplatform.core.errors import Finding, InvalidPipeline
from mlplatform.ir import paths
from mlplatform.ir.check_components import check_components, each_component, loop_components
from mlplatform.ir.check_executors import check_executors
from mlplatform.ir.check_platform import check_platform, check_platform_sources
from mlplatform.ir.check_tasks import check_dag
from mlplatform.ir.findings import Findings
from mlplatform.ir.model import Pipeline
from mlplatform.ir.scope import CheckExpression, DagScope

_SCHEMA: Final = re.compile(r"2\.[01]\.\d+")
_UNSUPPORTED: Final = {
    "customJob": "custom jobs of Vertex AI cannot be run here",
    "resolver": "resolvers cannot be run here",
}


def validate(pipeline: Pipeline, check_expression: CheckExpression | None = None) -> tuple[Finding, ...]:
    """Every finding about a pipeline, empty if it can be run. Linear in the size of the pipeline.

    Args:
        pipeline: as ``ir.load`` made it.
        check_expression: says what is wrong with a CEL expression, or None; conditions and expression selectors are
            not parsed without it.

    Returns:
        Findings whose paths are those of the pipeline document, in JSON names.
    """
    found = Findings()
    _check_header(pipeline, found)
    _check_extras(pipeline, found)
    check_components(pipeline, found)
    check_executors(pipeline, found)
    configs = check_platform(pipeline, found)
    loops = loop_components(pipeline)
    looped = {paths.child("components", name) for name in loops}
    for path, component in each_component(pipeline):
        if component.dag is not None:
            scope = DagScope(pipeline, component, component.dag, f"{path}.dag", path in looped, found, check_expression)
            check_dag(scope)
            check_platform_sources(scope, configs)
    return found.all()


def require_valid(pipeline: Pipeline, check_expression: CheckExpression | None = None, origin: str = "") -> None:
    """Raise if :func:`validate` finds anything.

    Raises:
        InvalidPipeline: with every finding.
    """
    refuse(pipeline, validate(pipeline, check_expression), origin)


def refuse(pipeline: Pipeline, findings: Sequence[Finding], origin: str = "") -> None:
    """Raise InvalidPipeline if there are findings. ``origin``: what the pipeline is called."""
    if findings:
        name = origin or (f"pipeline {pipeline.name!r}" if pipeline.name else "the pipeline document")
        raise InvalidPipeline(f"{name} is not a pipeline that can be run.", findings=findings)


def _check_header(pipeline: Pipeline, found: Findings) -> None:
    if not pipeline.name.strip():
        found.add("pipelineInfo.name", "the pipeline has no name", "missing", "give it one")
    elif not pipeline.name.isprintable() or len(pipeline.name) > 256:
        message = "a pipeline's name has at most 256 characters, all printable"
        found.add("pipelineInfo.name", message, "invalid-value")
    if not pipeline.schema_version:
        found.add("schemaVersion", "the document does not say its schema version", "missing", "write 2.1.0")
    elif not _SCHEMA.fullmatch(pipeline.schema_version):
        message = f"schema version {paths.shorten(pipeline.schema_version)} is not supported"
        found.add("schemaVersion", message, "unsupported", "compile the pipeline with a kfp that writes 2.1.0")


def _check_extras(pipeline: Pipeline, found: Findings) -> None:
    for path in pipeline.extras:
        last = paths.split(path)[-1]
        unsupported = _UNSUPPORTED.get(str(last)) if path.startswith("deploymentSpec.executors") else None
        if unsupported:
            found.add(path, unsupported, "unsupported", "use a container component instead")
        else:
            found.add(path, "this field is not known", "unknown-field", "remove it, or check its spelling")
