"""From a document to a :class:`~mlplatform.ir.model.Pipeline`.

Reading is generous where protobuf JSON is (both spellings of field names, numbers as text, older fields) and strict
everywhere else. Whatever is wrong is a finding with the field's path as the user wrote it; all of them come at once.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Final, cast

from mlplatform.core.values import whole_numbers
from mlplatform.ir import documents, package, paths
from mlplatform.ir import load_components as components
from mlplatform.ir import load_executors as executors
from mlplatform.ir import load_types as types
from mlplatform.ir.model import Component, Executor, Pipeline, PipelineJob
from mlplatform.ir.reading import Message, Reading, fields

_SPEC: Final = fields("pipelineInfo deploymentSpec sdkVersion schemaVersion components root defaultPipelineRoot")
_INFO: Final = fields("name displayName description")
_DEPLOYMENT: Final = fields("executors")
_WRAPPER: Final = fields("name displayName labels pipelineSpec platformSpec runtimeConfig")
_RUNTIME: Final = fields("parameters parameterValues gcsOutputDirectory")
_PLATFORMS: Final = fields("platforms")
_SPEC_SIGNS: Final = frozenset(_SPEC) - {"components"}


def load_file(path: str | os.PathLike[str]) -> Pipeline:
    """Load a pipeline from a YAML or JSON file, or from a ``.zip``, ``.tar.gz`` or ``.tgz`` package.

    Raises:
        InvalidPipeline: the file holds no pipeline, with every finding.
        NotFound: there is no such file.
    """
    document = package.read_file(path)
    return loads(document.data, origin=document.origin)


def loads(text: str | bytes, origin: str = "") -> Pipeline:
    """Load a pipeline from the text of a document.

    Args:
        text: YAML (a pipeline document, optionally one with ``platforms`` before or after it) or JSON; also a
            ``PipelineJob``, or a mapping of ``pipeline_spec`` and ``platform_spec``.
        origin: what to call it in messages, such as a file name.

    Raises:
        InvalidPipeline: with every finding. No other exception, whatever the text is.
    """
    return from_documents(documents.read_documents(text, origin), origin)


def from_documents(found: list[Any], origin: str = "") -> Pipeline:
    """Load a pipeline from parsed documents (dict, list, str, int, float, bool, None only).

    Raises:
        InvalidPipeline: with every finding.
    """
    reading = Reading()
    specs: list[Any] = []
    platforms: list[Any] = []
    for document in found:
        if document is None:
            continue
        is_platform = isinstance(document, dict) and "platforms" in document and not _SPEC_SIGNS & document.keys()
        (platforms if is_platform else specs).append(document)
    _check_counts(reading, specs, platforms)
    if reading.findings:
        documents.refuse(origin, reading.all_findings())
    document = specs[0]
    if _is_wrapper(document):
        pipeline = _wrapped(reading, cast("dict[str, Any]", document), platforms)
    else:
        _check_kind(reading, document)
        pipeline = _pipeline(reading, document, "", _platforms(reading, platforms), None)
    if reading.findings:
        documents.refuse(origin, reading.all_findings())
    return pipeline


def _check_counts(reading: Reading, specs: list[Any], platforms: list[Any]) -> None:
    if not specs:
        what = "only a platforms document" if platforms else "nothing"
        reading.add("", f"there is {what} in it, no pipeline", "missing", "compile the pipeline again")
    elif len(specs) > 1:
        reading.add("", f"there are {len(specs)} pipeline documents in it", "conflict", "put each into its own file")
    if len(platforms) > 1:
        reading.add("", f"there are {len(platforms)} platforms documents in it", "conflict", "merge them")


def _is_wrapper(document: Any) -> bool:
    return isinstance(document, dict) and ("pipelineSpec" in document or "pipeline_spec" in document)


def _check_kind(reading: Reading, document: Any) -> None:
    """Say what a document is that is clearly something else than a pipeline."""
    if not isinstance(document, dict):
        reading.wrong("", "a pipeline (a mapping)", document)
        return
    keys = cast("dict[str, Any]", document).keys()
    if keys & _SPEC_SIGNS:
        return
    if "kind" in keys and "apiVersion" in keys:
        kind = paths.shorten(str(cast("dict[str, Any]", document)["kind"]))
        hint = "compile the pipeline with kfp 2" if kind in ("Workflow", "PipelineRun") else ""
        reading.add("kind", f"this is a Kubernetes object ({kind}), not a pipeline", "not-a-pipeline", hint)
    elif "implementation" in keys:
        hint = "load it with kfp.components.load_component_from_file and use it in a pipeline"
        reading.add("implementation", "this is a component of KFP 1, not a pipeline", "not-a-pipeline", hint)
    else:
        reading.add("", "this is not a pipeline: it has none of pipelineInfo, root, deploymentSpec", "not-a-pipeline")


def _platforms(reading: Reading, found: list[Any]) -> Mapping[str, Any]:
    if not found:
        return {}
    message = reading.strict_message(found[0], "", _PLATFORMS)
    return {name: _platform(reading, item, path) for name, path, item in message.entries("platforms")}


def _platform(reading: Reading, value: Any, path: str) -> Any:
    if value is not None and not isinstance(value, dict):
        reading.wrong(path, "a mapping", value)
        return {}
    return whole_numbers(cast("dict[str, Any]", value or {}))


def _wrapped(reading: Reading, document: dict[str, Any], platforms: list[Any]) -> Pipeline:
    """A ``PipelineJob``, or the ``pipeline_spec`` and ``platform_spec`` pair of KFP's API."""
    message = reading.strict_message(document, "", _WRAPPER)
    inner = message.raw("platformSpec")
    if inner is not None:
        if platforms:
            reading.add(message.at("platformSpec"), "there is a platforms document as well", "conflict", "merge them")
        platform_message = reading.strict_message(inner, message.at("platformSpec"), _PLATFORMS)
        found: Mapping[str, Any] = {
            name: _platform(reading, item, path) for name, path, item in platform_message.entries("platforms")
        }
    else:
        found = _platforms(reading, platforms)
    is_job = any(message.has(name) for name in ("name", "displayName", "labels", "runtimeConfig"))
    job = _job(message) if is_job else None
    if not isinstance(message.raw("pipelineSpec"), dict):
        reading.wrong(message.at("pipelineSpec"), "a pipeline (a mapping)", message.raw("pipelineSpec"))
    return _pipeline(reading, message.raw("pipelineSpec"), message.at("pipelineSpec"), found, job)


def _job(message: Message) -> PipelineJob:
    runtime = message.reading.strict_message(message.raw("runtimeConfig"), message.at("runtimeConfig"), _RUNTIME)
    values = runtime.struct("parameterValues")
    for name, path, item in runtime.entries("parameters"):
        values.setdefault(name, types.old_value(message.reading, item, path))
    return PipelineJob(
        name=message.text("name"),
        display_name=message.text("displayName"),
        labels=message.text_map("labels"),
        parameter_values=values,
        gcs_output_directory=runtime.text("gcsOutputDirectory"),
    )


def _pipeline(
    reading: Reading, document: Any, path: str, platforms: Mapping[str, Any], job: PipelineJob | None
) -> Pipeline:
    message = reading.message(document, path, _SPEC)
    info = message.message("pipelineInfo", _INFO)
    return Pipeline(
        name=info.text("name"),
        root=_root(reading, message),
        components={name: components.component(reading, item, at) for name, at, item in message.entries("components")},
        executors=_executors(reading, message.message("deploymentSpec", _DEPLOYMENT)),
        schema_version=message.text("schemaVersion"),
        sdk_version=message.text("sdkVersion"),
        display_name=info.text("displayName"),
        description=info.text("description"),
        default_pipeline_root=message.text("defaultPipelineRoot"),
        platforms=platforms,
        extras=reading.canonical_extras(path),
        job=job,
    )


def _root(reading: Reading, message: Message) -> Component:
    if not message.has("root"):
        return Component()
    return components.component(reading, message.raw("root"), message.at("root"))


def _executors(reading: Reading, message: Message) -> dict[str, Executor]:
    found: dict[str, Executor] = {}
    for name, path, item in message.entries("executors"):
        executor = executors.executor(reading, item, path)
        if executor is not None:
            found[name] = executor
    return found
