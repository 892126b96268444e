"""What MLflow is told of a run or task, from the platform's own records. Pure: the same record says the same, always,
so that telling it twice (after a crash) is telling it once."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from mlplatform.core.model import Artifact, ArtifactValue, RunRecord, TaskRecord, Values
from mlplatform.core.states import RunState, TaskState
from mlplatform.core.values import JsonValue, to_text
from mlplatform.tracking import limits
from mlplatform.tracking.upstream import Json

RUN_STATUS: Mapping[RunState, str] = {
    RunState.SUCCEEDED: "FINISHED",
    RunState.FAILED: "FAILED",
    RunState.CANCELLED: "KILLED",
}
TASK_STATUS: Mapping[TaskState, str] = {
    TaskState.SUCCEEDED: "FINISHED",
    TaskState.CACHED: "FINISHED",
    TaskState.FAILED: "FAILED",
    TaskState.CANCELLED: "KILLED",
}
#: Metadata by which a component has its ``dsl.Model`` registered.
REGISTERED_NAME = "registered_model_name"
REGISTERED_ALIAS = "registered_model_alias"


def milliseconds(seconds: float | None) -> int:
    return int((seconds or 0.0) * 1000)


def params(values: Mapping[str, JsonValue]) -> list[Json]:
    """Parameters as MLflow keeps them: text, whole values as the user wrote them."""
    return [
        {"key": limits.name(key), "value": limits.cut(to_text(value), limits.PARAM_VALUE)}
        for key, value in values.items()
    ]


def tags(values: Mapping[str, str]) -> list[Json]:
    return [
        {"key": limits.name(key), "value": limits.cut(value, limits.TAG_VALUE)}
        for key, value in values.items()
        if value
    ]


def run_tags(run: RunRecord) -> dict[str, str]:
    """Tags of a run's MLflow run: who it is, and what its author tagged it with."""
    own = {
        "mlplatform.run_id": run.run_id,
        "mlplatform.pipeline": run.pipeline,
        "mlflow.source.type": "JOB",
        "mlflow.source.name": run.pipeline,
        "mlplatform.spec": run.spec_digest,
    }
    if run.note:
        own["mlflow.note.content"] = run.note
    return {key: limits.cut(value, limits.TAG_VALUE) for key, value in {**run.tags, **own}.items() if value}


def task_tags(run_id: str, task: str, iteration: tuple[int, ...]) -> dict[str, str]:
    """Tags of a task's MLflow run that are known before it starts."""
    tags = {"mlplatform.run_id": run_id, "mlplatform.task": task, "mlflow.source.type": "JOB"}
    if iteration:
        tags["mlplatform.iteration"] = ",".join(map(str, iteration))
    return tags


def task_end_tags(task: TaskRecord) -> dict[str, str]:
    return {
        "mlplatform.state": str(task.state),
        "mlplatform.attempts": str(task.attempt),
        "mlplatform.component": task.component,
        "mlplatform.cached_from": task.cached_from,
        "mlplatform.error_code": task.error.code if task.error else "",
    }


def run_end_tags(run: RunRecord) -> dict[str, str]:
    found = {"mlplatform.state": str(run.state), "mlplatform.error_code": run.error.code if run.error else ""}
    for name, value in run.outputs.parameters.items():
        if _number(value) is None:
            found[f"output.{name}"] = to_text(value)
    return found


def each(values: Mapping[str, ArtifactValue]) -> Iterator[tuple[str, Artifact]]:
    """Every artifact with the name it goes by; those of a list are numbered."""
    for name, value in values.items():
        if isinstance(value, Artifact):
            yield name, value
        else:
            for index, artifact in enumerate(value):
                yield f"{name}.{index}", artifact


def _number(value: JsonValue) -> float | int | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return value


def _metric(key: str, value: float | int, at: int, step: int = 0) -> Json:
    number: Any = value
    if not math.isfinite(value):
        number = "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return {"key": limits.name(key), "value": number, "timestamp": at, "step": step}


def metrics(outputs: Values, at: int) -> list[Json]:
    """Numbers in ``dsl.Metrics`` and ``dsl.ClassificationMetrics``; names are prefixed where two outputs share one."""
    found: list[tuple[str, str, float | int]] = []
    curves: list[Json] = []
    for name, artifact in each(outputs.artifacts):
        if not artifact.type.endswith("Metrics"):
            continue
        for key, value in artifact.metadata.items():
            if (number := _number(value)) is not None:
                found.append((name, key, number))
        curves += _curve(name, artifact.metadata.get("confidenceMetrics"), at)
    keys = [key for _, key, _ in found]
    plain = [_metric(key if keys.count(key) == 1 else f"{name}.{key}", value, at) for name, key, value in found]
    return plain + curves


def _curve(name: str, points: JsonValue, at: int) -> list[Json]:
    """A ROC curve as two metrics over the steps of its thresholds."""
    found: list[Json] = []
    for step, point in enumerate(points if isinstance(points, list) else ()):
        for key in ("confidenceThreshold", "falsePositiveRate", "recall"):
            if isinstance(point, dict) and (number := _number(point.get(key))) is not None:  # pyright: ignore[reportUnknownMemberType,reportUnknownArgumentType]
                found.append(_metric(f"{name}.{key}", number, at, step))
    return found


def duration(seconds: float, at: int) -> list[Json]:
    return [_metric("duration_seconds", round(seconds, 3), at)]


def documents(outputs: Values) -> dict[str, bytes]:
    """Files worth keeping with the run: metrics that are not numbers (confusion matrices, slices)."""
    found: dict[str, bytes] = {}
    for name, artifact in each(outputs.artifacts):
        if artifact.type.endswith("Metrics"):
            rest = {key: value for key, value in artifact.metadata.items() if isinstance(value, (dict, list))}
            if rest:
                found[f"{limits.name(name)}.json"] = json.dumps(rest, indent=1, ensure_ascii=False).encode()
    return found


def output_metrics(run: RunRecord, at: int) -> list[Json]:
    """What a whole run is compared by: the numbers among its outputs."""
    numbers = [
        _metric(f"output.{name}", number, at)
        for name, value in run.outputs.parameters.items()
        if (number := _number(value)) is not None
    ]
    return numbers + metrics(run.outputs, at)


def is_model(artifact: Artifact) -> bool:
    return artifact.type.split("@")[0].endswith("Model")


def public_uri(uri: str) -> str:
    """A URI without a user's name and password in it, and without a signed query."""
    parts = urlsplit(uri)
    if "@" not in parts.netloc and not parts.query:
        return uri
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def datasets(inputs: Mapping[str, ArtifactValue]) -> list[Json]:
    """Input artifacts as MLflow dataset inputs, by name and content digest (MLflow takes 36 characters of it)."""
    found: list[Json] = []
    for name, artifact in each(inputs):
        digest = artifact.digest.removeprefix("sha256:")[: limits.DATASET_DIGEST]
        if not digest:
            continue
        uri = public_uri(artifact.uri)
        scheme = urlsplit(uri).scheme
        dataset = {
            "name": limits.cut(name, 500),
            "digest": digest,
            "source_type": "local" if scheme in ("", "file") else scheme,
            "source": json.dumps({"uri": uri, "digest": artifact.digest, "type": artifact.type}),
        }
        context = [{"key": "mlflow.data.context", "value": "input"}]
        found.append({"tags": context, "dataset": dataset})
    return found


def model_body(name: str, artifact: Artifact, run: str, loadable: bool) -> Json:
    """The request that creates a ``dsl.Model`` as a logged model."""
    details = {"uri": public_uri(artifact.uri), "digest": artifact.digest, "type": artifact.type}
    metadata = {key: to_text(value) for key, value in artifact.metadata.items()}
    wanted = tags({**{f"mlplatform.{key}": value for key, value in details.items()}})
    if not loadable:
        wanted.append({"key": "mlflow.model.isExternal", "value": "true"})
    clean = "".join("_" if letter in "/:.%\"'" else letter for letter in name) or "model"
    return {
        "name": clean[: limits.NAME],
        "source_run_id": run,
        "model_type": str(artifact.metadata.get("framework", "")),
        "params": [{"key": limits.name(k), "value": limits.cut(v, 500)} for k, v in {**metadata, **details}.items()],
        "tags": wanted,
    }
