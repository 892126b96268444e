"""The values a run is started with, against the inputs that the pipeline declares."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from mlplatform.core.errors import Finding
from mlplatform.core.model import ArtifactValue
from mlplatform.core.values import JsonValue, conform, preview
from mlplatform.ir import paths
from mlplatform.ir.compatible import value_mismatch
from mlplatform.ir.findings import Findings
from mlplatform.ir.model import InputParameterSpec, Pipeline


def check_arguments(
    pipeline: Pipeline,
    parameters: Mapping[str, JsonValue],
    artifacts: Mapping[str, ArtifactValue] | None = None,
) -> tuple[dict[str, JsonValue], tuple[Finding, ...]]:
    """Resolve the parameters of a run: what was given, else what a ``PipelineJob`` document gives, else defaults.

    Args:
        pipeline: a valid pipeline.
        parameters: values by root input; null means not given.
        artifacts: root artifacts by input; only their names and whether they are lists are looked at.

    Returns:
        Every root parameter that has a value, spelt as its type wants it (``2.0`` is ``2`` for an integer), optional
        ones without a value left out; and every finding, with paths ``parameters.NAME`` and ``artifacts.NAME``.
    """
    found = Findings()
    specs = pipeline.root.inputs.parameters
    given: dict[str, JsonValue] = dict(pipeline.job.parameter_values) if pipeline.job is not None else {}
    given.update({name: value for name, value in parameters.items() if value is not None or name not in given})
    for name in given:
        if name not in specs:
            at = paths.child("parameters", name)
            if name in pipeline.root.inputs.artifacts:
                hint = "give it in the setup file, under artifacts"
                found.add(at, "this input is an artifact, not a parameter", "wrong-kind", hint)
            else:
                found.unknown(at, "parameter", name, specs, " in this pipeline")
    resolved: dict[str, JsonValue] = {}
    for name, spec in specs.items():
        _resolve(name, spec, given.get(name), resolved, found)
    _check_artifacts(pipeline, artifacts or {}, found)
    return resolved, found.all()


def _resolve(
    name: str, spec: InputParameterSpec, value: JsonValue, resolved: dict[str, JsonValue], found: Findings
) -> None:
    at = paths.child("parameters", name)
    if value is None:
        if spec.has_default and spec.default is not None:
            resolved[name] = spec.default
        elif not spec.is_optional:
            message = f"the required parameter {name!r} ({spec.type.value}) is missing"
            found.add(at, message, "missing", f"give it a value: -p {name}=...")
        return
    mismatch = _not_json(value) or value_mismatch(value, spec.type)
    if mismatch:
        hint = "text needs no conversion; numbers, lists and mappings are written as JSON"
        found.add(at, mismatch, "wrong-type", hint if isinstance(value, str) else "")
        return
    made = conform(value, spec.type)
    if spec.literals and made not in spec.literals:
        allowed = ", ".join(preview(literal, 40) for literal in spec.literals[:20])
        found.add(at, f"{preview(value)} is not allowed", "invalid-value", f"one of {allowed}")
        return
    resolved[name] = made


def _not_json(value: Any) -> str:
    """Why a value cannot be kept as JSON; empty if it can."""
    stack: list[tuple[Any, int]] = [(value, 0)]
    while stack:
        node, depth = stack.pop()
        if depth > 100:
            return "nested too deeply"
        if isinstance(node, float) and not math.isfinite(node):
            return f"{node} is not a number that JSON can say"
        if isinstance(node, str):
            try:
                node.encode("utf-8")
            except UnicodeEncodeError:
                return "not valid Unicode text (a lone surrogate)"
        elif isinstance(node, dict):
            for key, item in node.items():  # pyright: ignore[reportUnknownVariableType]
                if not isinstance(key, str):
                    return "keys must be text"
                stack += [(key, depth), (item, depth + 1)]
        elif isinstance(node, list):
            stack += [(item, depth + 1) for item in node]  # pyright: ignore[reportUnknownVariableType]
        elif not isinstance(node, (int, float, bool, type(None))):
            return f"a {type(node).__name__} is not JSON"
    return ""


def _check_artifacts(pipeline: Pipeline, artifacts: Mapping[str, ArtifactValue], found: Findings) -> None:
    specs = pipeline.root.inputs.artifacts
    for name, value in artifacts.items():
        at = paths.child("artifacts", name)
        spec = specs.get(name)
        if spec is None:
            found.unknown(at, "input artifact", name, specs, " in this pipeline")
        elif isinstance(value, tuple) != spec.is_list:
            wanted = "a list of artifacts" if spec.is_list else "one artifact"
            found.add(at, f"expected {wanted}", "wrong-type")
    for name, spec in specs.items():
        if not spec.is_optional and name not in artifacts:
            message = f"the required input artifact {name!r} ({spec.type.schema_title}) is missing"
            hint = 'give it in the setup file: {"artifacts": {"' + name + '": {"uri": ...}}}'
            found.add(paths.child("artifacts", name), message, "missing", hint)
