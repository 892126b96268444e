"""From the plan of a notebook to a pipeline: one component a task, in a chain, as KFP has it."""

from __future__ import annotations

import re
from typing import Any, Final

from mlplatform import __version__
from mlplatform.ir.model import (
    Accelerator,
    CachingOptions,
    Component,
    ContainerExecutor,
    Dag,
    InputDefinitions,
    InputParameterSpec,
    ParameterSource,
    Pipeline,
    PipelineTask,
    Resources,
)
from mlplatform.notebook import naming
from mlplatform.notebook.executed import without_outputs
from mlplatform.notebook.model import NotebookPlan, Parameter, PlannedTask, Settings
from mlplatform.planning.notebook_component import DEFAULT_IMAGE, command, platform_of

_ACCELERATORS: Final = re.compile(r".+/(?:gpu|tpu|npu|xpu|gpu\..+|mig-.+)|amd\.com/.+|habana\.ai/.+")


def convert(plan: NotebookPlan) -> Pipeline:
    """The pipeline that a notebook is. Cells keep the notebook's order: each task follows the one before it."""
    components: dict[str, Component] = {}
    executors: dict[str, ContainerExecutor] = {}
    tasks: dict[str, PipelineTask] = {}
    configs: dict[str, Any] = {}
    specs = {each.name: _spec(each) for each in plan.parameters}
    previous = ""
    for planned in plan.tasks:
        task = planned.task
        label, component = f"exec-{task.name}", f"comp-{task.name}"
        own = {name: specs[name] for name in task.parameters}
        components[component] = Component(inputs=InputDefinitions(parameters=own), executor_label=label)
        words, args = command(task)
        executors[label] = ContainerExecutor(
            image=planned.settings.image or DEFAULT_IMAGE,
            command=words,
            args=args,
            resources=_resources(planned.settings),
        )
        if metadata := _pod_metadata(planned.settings):
            configs[label] = {"podMetadata": metadata}
        tasks[task.name] = PipelineTask(
            component=component,
            name=_title(planned),
            parameters={name: ParameterSource(component_input=name) for name in own},
            dependent_tasks=(previous,) if previous else (),
            caching=CachingOptions(enable_cache=planned.settings.cache is not False),
        )
        previous = task.name
    name = naming.slug(plan.pipeline_name or plan.notebook.name, "notebook")
    return Pipeline(
        name=name,
        root=Component(inputs=InputDefinitions(parameters=specs), dag=Dag(tasks=tasks)),
        components=components,
        executors=executors,
        sdk_version=f"mlplatform-{__version__}",
        display_name=plan.notebook.name if plan.notebook.name != name else "",
        description=plan.description,
        platforms={
            **({"kubernetes": {"deploymentSpec": {"executors": configs}}} if configs else {}),
            **platform_of(without_outputs(plan.notebook.document)),
        },
    )


def _spec(parameter: Parameter) -> InputParameterSpec:
    return InputParameterSpec(
        type=parameter.type,
        default=parameter.default,
        has_default=parameter.has_default,
        is_optional=True,
        description=parameter.description,
    )


def _title(planned: PlannedTask) -> str:
    title = naming.plain(planned.title)
    return title if title and len(title) <= 100 else planned.task.name


def _resources(settings: Settings) -> Resources | None:
    if not settings.limits:
        return None
    limits = dict(settings.limits)
    cpu, memory = limits.pop("cpu", ""), limits.pop("memory", "")
    devices = [Accelerator(kind, count) for kind, count in limits.items() if _ACCELERATORS.fullmatch(kind)]
    accelerator = devices[0] if devices else None
    if not cpu and not memory and accelerator is None:
        return None
    return Resources(cpu_limit=cpu, cpu_request="", memory_limit=memory, accelerator=accelerator)


def _pod_metadata(settings: Settings) -> dict[str, Any]:
    made: dict[str, Any] = {}
    if settings.labels:
        made["labels"] = dict(settings.labels)
    if settings.annotations:
        made["annotations"] = dict(settings.annotations)
    return made
