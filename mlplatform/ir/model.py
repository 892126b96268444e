"""KFP's PipelineSpec 2.1.0 as frozen dataclasses.

Field names are the protobuf JSON names in snake case; meanings are those of the public ``pipeline_spec.proto``.
Values of unset fields are ``None`` or empty. ``ir.load`` builds these from documents, ``ir.dump`` writes them back
without loss, ``ir.validate`` reports every finding.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from mlplatform.core.values import JsonValue, ParameterType


class TriggerStrategy(StrEnum):
    TRIGGER_STRATEGY_UNSPECIFIED = "TRIGGER_STRATEGY_UNSPECIFIED"
    ALL_UPSTREAM_TASKS_SUCCEEDED = "ALL_UPSTREAM_TASKS_SUCCEEDED"
    ALL_UPSTREAM_TASKS_COMPLETED = "ALL_UPSTREAM_TASKS_COMPLETED"


@dataclass(frozen=True, slots=True)
class ArtifactType:
    """``schema_title`` such as ``system.Dataset``; or a schema by URI or inline."""

    schema_title: str = ""
    schema_uri: str = ""
    instance_schema: str = ""
    schema_version: str = ""


@dataclass(frozen=True, slots=True)
class InputParameterSpec:
    type: ParameterType
    default: JsonValue = None
    has_default: bool = False
    is_optional: bool = False
    description: str = ""
    literals: tuple[JsonValue, ...] = ()


@dataclass(frozen=True, slots=True)
class OutputParameterSpec:
    type: ParameterType
    description: str = ""


@dataclass(frozen=True, slots=True)
class InputArtifactSpec:
    type: ArtifactType
    is_list: bool = False
    is_optional: bool = False
    description: str = ""


@dataclass(frozen=True, slots=True)
class OutputArtifactSpec:
    type: ArtifactType
    is_list: bool = False
    description: str = ""
    properties: Mapping[str, JsonValue] = field(default_factory=dict[str, JsonValue])
    custom_properties: Mapping[str, JsonValue] = field(default_factory=dict[str, JsonValue])
    metadata: Mapping[str, JsonValue] = field(default_factory=dict[str, JsonValue])


@dataclass(frozen=True, slots=True)
class InputDefinitions:
    parameters: Mapping[str, InputParameterSpec] = field(default_factory=dict[str, InputParameterSpec])
    artifacts: Mapping[str, InputArtifactSpec] = field(default_factory=dict[str, InputArtifactSpec])


@dataclass(frozen=True, slots=True)
class OutputDefinitions:
    parameters: Mapping[str, OutputParameterSpec] = field(default_factory=dict[str, OutputParameterSpec])
    artifacts: Mapping[str, OutputArtifactSpec] = field(default_factory=dict[str, OutputArtifactSpec])


@dataclass(frozen=True, slots=True)
class ParameterSource:
    """Where a task's input parameter comes from: exactly one of the fields.

    ``constant`` (with ``has_constant``) is a template where it is a string; ``runtime_parameter`` is the older name
    for a root parameter; ``expression`` is a CEL selector such as ``parseJson(string_value)["a"]`` applied to the
    value.
    """

    producer_task: str = ""
    output_parameter: str = ""
    component_input: str = ""
    final_status_of: str = ""
    constant: JsonValue = None
    has_constant: bool = False
    runtime_parameter: str = ""
    expression: str = ""


@dataclass(frozen=True, slots=True)
class ArtifactSource:
    """Where a task's input artifact comes from: a producer's output, or an input of the enclosing component."""

    producer_task: str = ""
    output_artifact: str = ""
    component_input: str = ""


@dataclass(frozen=True, slots=True)
class ParameterIterator:
    """Loop over ``items_input`` (an input parameter of the loop task) or the JSON list ``items_raw``."""

    item_input: str
    items_input: str = ""
    items_raw: str = ""


@dataclass(frozen=True, slots=True)
class ArtifactIterator:
    """Loop over the artifact list that is input ``items_input`` of the loop task."""

    item_input: str
    items_input: str


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Durations in seconds; ``None``: KFP's default (0 s back-off, factor 2, at most 3600 s)."""

    max_retry_count: int = 0
    backoff_duration: float | None = None
    backoff_factor: float | None = None
    backoff_max_duration: float | None = None


@dataclass(frozen=True, slots=True)
class CachingOptions:
    enable_cache: bool = False
    cache_key: str = ""


@dataclass(frozen=True, slots=True)
class PipelineTask:
    """One task of a DAG. ``name`` is its display name; its identity is its key in the DAG's ``tasks``."""

    component: str
    name: str = ""
    parameters: Mapping[str, ParameterSource] = field(default_factory=dict[str, ParameterSource])
    artifacts: Mapping[str, ArtifactSource] = field(default_factory=dict[str, ArtifactSource])
    dependent_tasks: tuple[str, ...] = ()
    caching: CachingOptions | None = None
    condition: str = ""
    strategy: TriggerStrategy = TriggerStrategy.TRIGGER_STRATEGY_UNSPECIFIED
    parameter_iterator: ParameterIterator | None = None
    artifact_iterator: ArtifactIterator | None = None
    parallelism_limit: int = 0
    retry: RetryPolicy | None = None


@dataclass(frozen=True, slots=True)
class OutputSelector:
    """Output ``key`` of the task ``producer`` inside the DAG."""

    producer: str
    key: str


@dataclass(frozen=True, slots=True)
class DagOutputParameter:
    """One selector, or several of which the one that ran counts (``is_one_of``)."""

    selectors: tuple[OutputSelector, ...]
    is_one_of: bool = False


@dataclass(frozen=True, slots=True)
class DagOutputArtifact:
    """One selector, or several of which the one that ran counts (more than one selector)."""

    selectors: tuple[OutputSelector, ...]


@dataclass(frozen=True, slots=True)
class DagOutputs:
    parameters: Mapping[str, DagOutputParameter] = field(default_factory=dict[str, DagOutputParameter])
    artifacts: Mapping[str, DagOutputArtifact] = field(default_factory=dict[str, DagOutputArtifact])


@dataclass(frozen=True, slots=True)
class Dag:
    tasks: Mapping[str, PipelineTask]
    outputs: DagOutputs = field(default_factory=DagOutputs)


@dataclass(frozen=True, slots=True)
class Component:
    """A DAG, or something an executor runs (``executor_label``)."""

    inputs: InputDefinitions = field(default_factory=InputDefinitions)
    outputs: OutputDefinitions = field(default_factory=OutputDefinitions)
    dag: Dag | None = None
    executor_label: str = ""
    single_platform_specs: tuple[Mapping[str, Any], ...] = ()
    task_config_passthroughs: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Accelerator:
    """``type`` such as ``nvidia.com/gpu`` or ``NVIDIA_TESLA_K80``; ``count`` may be a placeholder text."""

    type: str = ""
    count: str = ""


@dataclass(frozen=True, slots=True)
class Resources:
    """Kubernetes quantities as text; each may hold a placeholder. Older documents give numbers (cores, gigabytes)."""

    cpu_request: str = ""
    cpu_limit: str = ""
    memory_request: str = ""
    memory_limit: str = ""
    accelerator: Accelerator | None = None


@dataclass(frozen=True, slots=True)
class PreCacheCheck:
    """KFP's ``lifecycle.preCacheCheck``: a command to run before the cache is asked."""

    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ContainerExecutor:
    image: str
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    resources: Resources | None = None
    pre_cache_check: PreCacheCheck | None = None


@dataclass(frozen=True, slots=True)
class ImporterExecutor:
    """Brings an existing URI in as an artifact. ``uri`` is a constant (template) or a runtime parameter name."""

    type: ArtifactType
    uri: str = ""
    uri_parameter: str = ""
    reimport: bool = False
    metadata: Mapping[str, JsonValue] = field(default_factory=dict[str, JsonValue])
    properties: Mapping[str, JsonValue] = field(default_factory=dict[str, JsonValue])
    custom_properties: Mapping[str, JsonValue] = field(default_factory=dict[str, JsonValue])
    download_to_workspace: bool = False


Executor = ContainerExecutor | ImporterExecutor


@dataclass(frozen=True, slots=True)
class PipelineJob:
    """What a ``PipelineJob`` document wraps around its pipeline: a name, labels, and values for root parameters."""

    name: str = ""
    display_name: str = ""
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    parameter_values: Mapping[str, JsonValue] = field(default_factory=dict[str, JsonValue])
    gcs_output_directory: str = ""


@dataclass(frozen=True, slots=True)
class Pipeline:
    """A whole document: the PipelineSpec and its platform documents.

    ``platforms`` is the raw ``platforms:`` mapping (kept for a lossless dump); ``ir.platform.kubernetes_config``
    gives one executor's part of it typed. ``extras`` holds what was read but has no field of its own, by its path,
    so that dump loses nothing (always empty after ``validate`` passed). ``job`` is set where the document was a
    ``PipelineJob``.
    """

    name: str
    root: Component
    components: Mapping[str, Component]
    executors: Mapping[str, Executor]
    schema_version: str = "2.1.0"
    sdk_version: str = ""
    display_name: str = ""
    description: str = ""
    default_pipeline_root: str = ""
    platforms: Mapping[str, Any] = field(default_factory=dict[str, Any])
    extras: Mapping[str, Any] = field(default_factory=dict[str, Any])
    job: PipelineJob | None = None

    def component_of(self, task: PipelineTask) -> Component:
        """The component a task runs. Raises KeyError in an unvalidated pipeline."""
        return self.components[task.component]
