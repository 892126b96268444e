"""kfp.dsl's words, without kfp: components, pipelines, control flow, artifacts, placeholders.

``from mlplatform import dsl`` in place of ``from kfp import dsl``; a pipeline written with it compiles to the same IR.
:mod:`mlplatform.dsl.kubernetes` (``dsl.kubernetes``) has kfp-kubernetes' helpers. Names load when they are used.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mlplatform.sdk.define import kubernetes as kubernetes
    from mlplatform.sdk.define.channels import Collected, OneOf
    from mlplatform.sdk.define.containers import (
        ConcatPlaceholder,
        ContainerSpec,
        IfPresentPlaceholder,
        container_component,
    )
    from mlplatform.sdk.define.control import Condition, Elif, Else, ExitHandler, If, ParallelFor
    from mlplatform.sdk.define.importing import importer
    from mlplatform.sdk.define.kfpstyle import (
        PIPELINE_JOB_CREATE_TIME_UTC_PLACEHOLDER,
        PIPELINE_JOB_ID_PLACEHOLDER,
        PIPELINE_JOB_NAME_PLACEHOLDER,
        PIPELINE_JOB_RESOURCE_NAME_PLACEHOLDER,
        PIPELINE_JOB_SCHEDULE_TIME_UTC_PLACEHOLDER,
        PIPELINE_ROOT_PLACEHOLDER,
        PIPELINE_TASK_EXECUTOR_INPUT_PLACEHOLDER,
        PIPELINE_TASK_EXECUTOR_OUTPUT_PATH_PLACEHOLDER,
        PIPELINE_TASK_ID_PLACEHOLDER,
        PIPELINE_TASK_NAME_PLACEHOLDER,
        WORKSPACE_PATH_PLACEHOLDER,
        KubernetesWorkspaceConfig,
        PipelineConfig,
        WorkspaceConfig,
        component,
        pipeline,
    )
    from mlplatform.sdk.define.tasks import Task as PipelineTask
    from mlplatform.sdk.define.types import (
        HTML,
        Artifact,
        ClassificationMetrics,
        Dataset,
        Input,
        InputPath,
        Markdown,
        Metrics,
        Model,
        Output,
        OutputPath,
        PipelineTaskFinalStatus,
        SlicedClassificationMetrics,
        TaskConfig,
    )

_DEFINE = "mlplatform.sdk.define."
_ROOMS = {
    "channels": ("Collected", "OneOf"),
    "containers": ("ConcatPlaceholder", "ContainerSpec", "IfPresentPlaceholder", "container_component"),
    "control": ("Condition", "Elif", "Else", "ExitHandler", "If", "ParallelFor"),
    "importing": ("importer",),
    "kfpstyle": (
        "KubernetesWorkspaceConfig",
        "PIPELINE_JOB_CREATE_TIME_UTC_PLACEHOLDER",
        "PIPELINE_JOB_ID_PLACEHOLDER",
        "PIPELINE_JOB_NAME_PLACEHOLDER",
        "PIPELINE_JOB_RESOURCE_NAME_PLACEHOLDER",
        "PIPELINE_JOB_SCHEDULE_TIME_UTC_PLACEHOLDER",
        "PIPELINE_ROOT_PLACEHOLDER",
        "PIPELINE_TASK_EXECUTOR_INPUT_PLACEHOLDER",
        "PIPELINE_TASK_EXECUTOR_OUTPUT_PATH_PLACEHOLDER",
        "PIPELINE_TASK_ID_PLACEHOLDER",
        "PIPELINE_TASK_NAME_PLACEHOLDER",
        "PipelineConfig",
        "WORKSPACE_PATH_PLACEHOLDER",
        "WorkspaceConfig",
        "component",
        "pipeline",
    ),
    "types": (
        "Artifact",
        "ClassificationMetrics",
        "Dataset",
        "HTML",
        "Input",
        "InputPath",
        "Markdown",
        "Metrics",
        "Model",
        "Output",
        "OutputPath",
        "PipelineTaskFinalStatus",
        "SlicedClassificationMetrics",
        "TaskConfig",
    ),
}
_HOMES = {name: (_DEFINE + room, name) for room, names in _ROOMS.items() for name in names}
_HOMES["PipelineTask"] = (_DEFINE + "tasks", "Task")
_HOMES["kubernetes"] = (_DEFINE + "kubernetes", "")

__all__ = [
    "HTML",
    "PIPELINE_JOB_CREATE_TIME_UTC_PLACEHOLDER",
    "PIPELINE_JOB_ID_PLACEHOLDER",
    "PIPELINE_JOB_NAME_PLACEHOLDER",
    "PIPELINE_JOB_RESOURCE_NAME_PLACEHOLDER",
    "PIPELINE_JOB_SCHEDULE_TIME_UTC_PLACEHOLDER",
    "PIPELINE_ROOT_PLACEHOLDER",
    "PIPELINE_TASK_EXECUTOR_INPUT_PLACEHOLDER",
    "PIPELINE_TASK_EXECUTOR_OUTPUT_PATH_PLACEHOLDER",
    "PIPELINE_TASK_ID_PLACEHOLDER",
    "PIPELINE_TASK_NAME_PLACEHOLDER",
    "WORKSPACE_PATH_PLACEHOLDER",
    "Artifact",
    "ClassificationMetrics",
    "Collected",
    "ConcatPlaceholder",
    "Condition",
    "ContainerSpec",
    "Dataset",
    "Elif",
    "Else",
    "ExitHandler",
    "If",
    "IfPresentPlaceholder",
    "Input",
    "InputPath",
    "KubernetesWorkspaceConfig",
    "Markdown",
    "Metrics",
    "Model",
    "OneOf",
    "Output",
    "OutputPath",
    "ParallelFor",
    "PipelineConfig",
    "PipelineTask",
    "PipelineTaskFinalStatus",
    "SlicedClassificationMetrics",
    "TaskConfig",
    "WorkspaceConfig",
    "component",
    "container_component",
    "importer",
    "kubernetes",
    "pipeline",
]


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'mlplatform.dsl' has no attribute {name!r}")
    from importlib import import_module

    module = import_module(home[0])
    value = getattr(module, home[1]) if home[1] else module
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
