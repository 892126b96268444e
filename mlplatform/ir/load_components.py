"""Reading components, their DAGs and tasks."""

from __future__ import annotations

from typing import Any, Final, cast

from mlplatform.ir import load_types as types
from mlplatform.ir.model import (
    ArtifactIterator,
    CachingOptions,
    Component,
    Dag,
    DagOutputArtifact,
    DagOutputParameter,
    DagOutputs,
    OutputSelector,
    ParameterIterator,
    PipelineTask,
    RetryPolicy,
    TriggerStrategy,
)
from mlplatform.ir.reading import Message, Reading, fields

_COMPONENT: Final = fields(
    "inputDefinitions outputDefinitions dag executorLabel singlePlatformSpecs taskConfigPassthroughs"
)
_DAG: Final = fields("tasks outputs")
_INPUTS: Final = fields("parameters artifacts")
_TASK: Final = fields(
    "taskInfo inputs dependentTasks cachingOptions componentRef triggerPolicy artifactIterator parameterIterator "
    "retryPolicy iteratorPolicy"
)
_NAME: Final = fields("name")
_CACHING: Final = fields("enableCache cacheKey")
_TRIGGER: Final = fields("condition strategy")
_STRATEGIES: Final = {index: strategy.value for index, strategy in enumerate(TriggerStrategy)}
_RETRY: Final = fields("maxRetryCount backoffDuration backoffFactor backoffMaxDuration")
_LIMIT: Final = fields("parallelismLimit")
_ITERATOR: Final = fields("items itemInput")
_PARAMETER_ITEMS: Final = fields("raw inputParameter")
_ARTIFACT_ITEMS: Final = fields("inputArtifact")
_OUTPUTS: Final = fields("artifacts parameters")
_ARTIFACT_OUTPUT: Final = fields("artifactSelectors")
_PARAMETER_OUTPUT: Final = fields("valueFromParameter valueFromOneof")
_ONE_OF: Final = fields("parameterSelectors")
_ARTIFACT_SELECTOR: Final = fields("producerSubtask outputArtifactKey")
_PARAMETER_SELECTOR: Final = fields("producerSubtask outputParameterKey")


def component(reading: Reading, value: Any, path: str) -> Component:
    """Read one ``ComponentSpec``."""
    message = reading.message(value, path, _COMPONENT)
    message.only_one("dag", "executorLabel")
    return Component(
        inputs=types.input_definitions(types.definitions(message, "inputDefinitions")),
        outputs=types.output_definitions(types.definitions(message, "outputDefinitions")),
        dag=dag(message.message("dag", _DAG)) if message.has("dag") else None,
        executor_label=message.text("executorLabel"),
        single_platform_specs=_mappings(message, "singlePlatformSpecs"),
        task_config_passthroughs=_mappings(message, "taskConfigPassthroughs"),
    )


def _mappings(message: Message, name: str) -> tuple[dict[str, Any], ...]:
    found: list[dict[str, Any]] = []
    for path, item in message.items(name):
        if isinstance(item, dict):
            found.append(cast("dict[str, Any]", item))
        else:
            message.reading.wrong(path, "a mapping", item)
    return tuple(found)


def dag(message: Message) -> Dag:
    """Read a ``DagSpec``."""
    reading = message.reading
    tasks = {name: task(reading, item, path) for name, path, item in message.entries("tasks")}
    return Dag(tasks, dag_outputs(message.message("outputs", _OUTPUTS)))


def dag_outputs(message: Message) -> DagOutputs:
    reading = message.reading
    parameters: dict[str, DagOutputParameter] = {}
    for name, path, item in message.entries("parameters"):
        output = reading.message(item, path, _PARAMETER_OUTPUT)
        output.only_one("valueFromParameter", "valueFromOneof")
        if output.has("valueFromOneof"):
            selectors = output.message("valueFromOneof", _ONE_OF)
            chosen = tuple(
                _selector(reading, raw, at, "Parameter") for at, raw in selectors.items("parameterSelectors")
            )
            parameters[name] = DagOutputParameter(chosen, is_one_of=True)
        elif output.has("valueFromParameter"):
            raw, at = output.raw("valueFromParameter"), output.at("valueFromParameter")
            parameters[name] = DagOutputParameter((_selector(reading, raw, at, "Parameter"),))
        else:
            reading.add(path, "has no source; valueFromParameter or valueFromOneof is needed", "missing")
    artifacts: dict[str, DagOutputArtifact] = {}
    for name, path, item in message.entries("artifacts"):
        output = reading.message(item, path, _ARTIFACT_OUTPUT)
        chosen = tuple(_selector(reading, raw, at, "Artifact") for at, raw in output.items("artifactSelectors"))
        artifacts[name] = DagOutputArtifact(chosen)
    return DagOutputs(parameters, artifacts)


def _selector(reading: Reading, value: Any, path: str, kind: str) -> OutputSelector:
    message = reading.message(value, path, _PARAMETER_SELECTOR if kind == "Parameter" else _ARTIFACT_SELECTOR)
    return OutputSelector(message.text("producerSubtask"), message.text(f"output{kind}Key"))


def task(reading: Reading, value: Any, path: str) -> PipelineTask:
    """Read one ``PipelineTaskSpec``."""
    message = reading.message(value, path, _TASK)
    message.only_one("artifactIterator", "parameterIterator")
    inputs = message.message("inputs", _INPUTS)
    trigger = message.message("triggerPolicy", _TRIGGER)
    return PipelineTask(
        component=message.message("componentRef", _NAME).text("name"),
        name=message.message("taskInfo", _NAME).text("name"),
        parameters={key: types.parameter_source(reading, raw, at) for key, at, raw in inputs.entries("parameters")},
        artifacts={key: types.artifact_source(reading, raw, at) for key, at, raw in inputs.entries("artifacts")},
        dependent_tasks=message.texts("dependentTasks"),
        caching=_caching(message),
        condition=trigger.text("condition"),
        strategy=trigger.enum("strategy", TriggerStrategy, TriggerStrategy.TRIGGER_STRATEGY_UNSPECIFIED, _STRATEGIES),
        parameter_iterator=_parameter_iterator(message),
        artifact_iterator=_artifact_iterator(message),
        parallelism_limit=message.message("iteratorPolicy", _LIMIT).integer("parallelismLimit") or 0,
        retry=_retry(message),
    )


def _caching(message: Message) -> CachingOptions | None:
    if not message.has("cachingOptions"):
        return None
    options = message.message("cachingOptions", _CACHING)
    return CachingOptions(options.flag("enableCache"), options.text("cacheKey"))


def _retry(message: Message) -> RetryPolicy | None:
    if not message.has("retryPolicy"):
        return None
    policy = message.message("retryPolicy", _RETRY)
    return RetryPolicy(
        max_retry_count=policy.integer("maxRetryCount") or 0,
        backoff_duration=policy.duration("backoffDuration"),
        backoff_factor=policy.number("backoffFactor"),
        backoff_max_duration=policy.duration("backoffMaxDuration"),
    )


def _parameter_iterator(message: Message) -> ParameterIterator | None:
    if not message.has("parameterIterator"):
        return None
    iterator = message.message("parameterIterator", _ITERATOR)
    items = iterator.message("items", _PARAMETER_ITEMS)
    items.only_one("raw", "inputParameter")
    return ParameterIterator(iterator.text("itemInput"), items.text("inputParameter"), items.text("raw"))


def _artifact_iterator(message: Message) -> ArtifactIterator | None:
    if not message.has("artifactIterator"):
        return None
    iterator = message.message("artifactIterator", _ITERATOR)
    items = iterator.message("items", _ARTIFACT_ITEMS)
    return ArtifactIterator(iterator.text("itemInput"), items.text("inputArtifact"))
