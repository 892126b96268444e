"""From a :class:`~mlplatform.ir.model.Pipeline` back to a document.

What is written is protobuf JSON as today's KFP compiler writes it: camelCase names, unset fields left out, older
spellings replaced by their successors. Loading it gives an equal pipeline.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, cast

from mlplatform.ir import paths
from mlplatform.ir.model import (
    ArtifactSource,
    ArtifactType,
    Component,
    ContainerExecutor,
    Dag,
    DagOutputs,
    Executor,
    ImporterExecutor,
    InputDefinitions,
    OutputDefinitions,
    OutputSelector,
    ParameterSource,
    Pipeline,
    PipelineJob,
    PipelineTask,
    Resources,
    RetryPolicy,
    TriggerStrategy,
)

_Json = dict[str, Any]
_UNSET: Final[tuple[Any, ...]] = ("", 0, False, None, (), [], {})


def dump(pipeline: Pipeline) -> str:
    """The pipeline as YAML: the pipeline document, then a ``platforms:`` document if there are any."""
    if pipeline.job is None and pipeline.platforms:
        documents: list[Any] = [_spec(pipeline), {"platforms": _plain(pipeline.platforms)}]
    else:
        documents = [to_json(pipeline)]
    from mlplatform.ir import yamltext  # PyYAML is slow to import, and to_json does without

    return yamltext.write(documents)


def to_json(pipeline: Pipeline) -> _Json:
    """The pipeline as one JSON object.

    A plain pipeline is its ``PipelineSpec``. With platforms it is ``{"pipelineSpec": ..., "platformSpec": ...}``, and
    a ``PipelineJob`` keeps its wrapper; ``ir.load`` reads all three.
    """
    spec = _spec(pipeline)
    if pipeline.job is None and not pipeline.platforms:
        return spec
    wrapper: _Json = {"pipelineSpec": spec}
    if pipeline.platforms:
        wrapper["platformSpec"] = {"platforms": _plain(pipeline.platforms)}
    if pipeline.job is not None:
        wrapper.update(_job(pipeline.job))
    return wrapper


def _set(**fields: Any) -> _Json:
    """The fields that differ from protobuf's defaults."""
    return {name: value for name, value in fields.items() if value not in _UNSET}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in cast("Mapping[str, Any]", value).items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in cast("Iterable[Any]", value)]
    return value


def _job(job: PipelineJob) -> _Json:
    runtime = _set(parameterValues=_plain(job.parameter_values), gcsOutputDirectory=job.gcs_output_directory)
    made = _set(name=job.name, displayName=job.display_name, labels=dict(job.labels))
    return {**made, "runtimeConfig": runtime}


def _spec(pipeline: Pipeline) -> _Json:
    spec = _set(
        schemaVersion=pipeline.schema_version,
        sdkVersion=pipeline.sdk_version,
        defaultPipelineRoot=pipeline.default_pipeline_root,
        components={name: _component(item) for name, item in pipeline.components.items()},
        deploymentSpec=_set(executors={name: _executor(item) for name, item in pipeline.executors.items()}),
    )
    info = _set(name=pipeline.name, displayName=pipeline.display_name, description=pipeline.description)
    spec |= {"pipelineInfo": info, "root": _component(pipeline.root)}  # even if empty: they tell what the document is
    return _with_extras(spec, pipeline.extras)


def _component(component: Component) -> _Json:
    made = _set(
        inputDefinitions=_inputs(component.inputs),
        outputDefinitions=_outputs(component.outputs),
        executorLabel=component.executor_label,
        singlePlatformSpecs=_plain(component.single_platform_specs),
        taskConfigPassthroughs=_plain(component.task_config_passthroughs),
    )
    if component.dag is not None:
        made["dag"] = _dag(component.dag)
    return made


def _inputs(inputs: InputDefinitions) -> _Json:
    parameters: _Json = {}
    for name, spec in inputs.parameters.items():
        made = _set(
            parameterType=spec.type.value,
            isOptional=spec.is_optional,
            description=spec.description,
            literals=_plain(spec.literals),
        )
        if spec.has_default:
            made["defaultValue"] = _plain(spec.default)
        parameters[name] = made
    artifacts: _Json = {}
    for name, artifact in inputs.artifacts.items():
        artifacts[name] = _set(
            artifactType=_artifact_type(artifact.type),
            isArtifactList=artifact.is_list,
            isOptional=artifact.is_optional,
            description=artifact.description,
        )
    return _set(parameters=parameters, artifacts=artifacts)


def _outputs(outputs: OutputDefinitions) -> _Json:
    parameters = {
        name: _set(parameterType=spec.type.value, description=spec.description)
        for name, spec in outputs.parameters.items()
    }
    artifacts: _Json = {}
    for name, artifact in outputs.artifacts.items():
        artifacts[name] = _set(
            artifactType=_artifact_type(artifact.type),
            isArtifactList=artifact.is_list,
            description=artifact.description,
            properties=_constants(artifact.properties),
            customProperties=_constants(artifact.custom_properties),
            metadata=_plain(artifact.metadata),
        )
    return _set(parameters=parameters, artifacts=artifacts)


def _constants(properties: Mapping[str, Any]) -> _Json:
    return {name: {"constant": _plain(value)} for name, value in properties.items()}


def _artifact_type(type_: ArtifactType) -> _Json:
    return _set(
        schemaTitle=type_.schema_title,
        schemaUri=type_.schema_uri,
        instanceSchema=type_.instance_schema,
        schemaVersion=type_.schema_version,
    )


def _dag(dag: Dag) -> _Json:
    return _set(tasks={name: _task(task) for name, task in dag.tasks.items()}, outputs=_dag_outputs(dag.outputs))


def _dag_outputs(outputs: DagOutputs) -> _Json:
    parameters: _Json = {}
    for name, output in outputs.parameters.items():
        selectors = [_selector(item, "outputParameterKey") for item in output.selectors]
        if output.is_one_of:
            parameters[name] = {"valueFromOneof": {"parameterSelectors": selectors}}
        else:
            parameters[name] = {"valueFromParameter": selectors[0]}
    artifacts = {
        name: _set(artifactSelectors=[_selector(item, "outputArtifactKey") for item in output.selectors])
        for name, output in outputs.artifacts.items()
    }
    return _set(parameters=parameters, artifacts=artifacts)


def _selector(selector: OutputSelector, key: str) -> _Json:
    return _set(**{"producerSubtask": selector.producer, key: selector.key})


def _task(task: PipelineTask) -> _Json:
    trigger = _set(condition=task.condition)
    if task.strategy is not TriggerStrategy.TRIGGER_STRATEGY_UNSPECIFIED:
        trigger["strategy"] = task.strategy.value
    made = _set(
        componentRef=_set(name=task.component),
        taskInfo=_set(name=task.name),
        inputs=_set(
            parameters={name: _parameter_source(source) for name, source in task.parameters.items()},
            artifacts={name: _artifact_source(source) for name, source in task.artifacts.items()},
        ),
        dependentTasks=list(task.dependent_tasks),
        triggerPolicy=trigger,
        iteratorPolicy=_set(parallelismLimit=task.parallelism_limit),
    )
    if task.caching is not None:
        made["cachingOptions"] = _set(enableCache=task.caching.enable_cache, cacheKey=task.caching.cache_key)
    if task.retry is not None:
        made["retryPolicy"] = _retry(task.retry)
    if task.parameter_iterator is not None:
        iterator = task.parameter_iterator
        items = _set(raw=iterator.items_raw, inputParameter=iterator.items_input)
        made["parameterIterator"] = _set(items=items, itemInput=iterator.item_input)
    if task.artifact_iterator is not None:
        items = _set(inputArtifact=task.artifact_iterator.items_input)
        made["artifactIterator"] = _set(items=items, itemInput=task.artifact_iterator.item_input)
    return made


def _retry(retry: RetryPolicy) -> _Json:
    made = _set(maxRetryCount=retry.max_retry_count)
    if retry.backoff_duration is not None:
        made["backoffDuration"] = _duration(retry.backoff_duration)
    if retry.backoff_factor is not None:
        made["backoffFactor"] = retry.backoff_factor
    if retry.backoff_max_duration is not None:
        made["backoffMaxDuration"] = _duration(retry.backoff_max_duration)
    return made


def _duration(seconds: float) -> str:
    return f"{seconds:.9f}".rstrip("0").rstrip(".") + "s"


def _parameter_source(source: ParameterSource) -> _Json:
    made = _set(parameterExpressionSelector=source.expression)
    if source.has_constant:
        made["runtimeValue"] = {"constant": _plain(source.constant)}
    elif source.runtime_parameter:
        made["runtimeValue"] = {"runtimeParameter": source.runtime_parameter}
    elif source.final_status_of:
        made["taskFinalStatus"] = {"producerTask": source.final_status_of}
    elif source.producer_task or source.output_parameter:
        made["taskOutputParameter"] = _set(
            producerTask=source.producer_task, outputParameterKey=source.output_parameter
        )
    else:
        made["componentInputParameter"] = source.component_input
    return made


def _artifact_source(source: ArtifactSource) -> _Json:
    if source.producer_task or source.output_artifact:
        output = _set(producerTask=source.producer_task, outputArtifactKey=source.output_artifact)
        return {"taskOutputArtifact": output}
    return {"componentInputArtifact": source.component_input}


def _executor(executor: Executor) -> _Json:
    if isinstance(executor, ImporterExecutor):
        return {"importer": _importer(executor)}
    return {"container": _container(executor)}


def _container(container: ContainerExecutor) -> _Json:
    made = _set(
        image=container.image,
        command=list(container.command),
        args=list(container.args),
        env=[_set(name=name) | {"value": value} for name, value in container.env.items()],
    )
    if container.resources is not None:
        made["resources"] = _resources(container.resources)
    if container.pre_cache_check is not None:
        check = container.pre_cache_check
        made["lifecycle"] = {"preCacheCheck": _set(command=list(check.command), args=list(check.args))}
    return made


def _resources(resources: Resources) -> _Json:
    made = _set(
        resourceCpuRequest=resources.cpu_request,
        resourceCpuLimit=resources.cpu_limit,
        resourceMemoryRequest=resources.memory_request,
        resourceMemoryLimit=resources.memory_limit,
    )
    if resources.accelerator is not None:
        made["accelerator"] = _set(resourceType=resources.accelerator.type, resourceCount=resources.accelerator.count)
    return made


def _importer(importer: ImporterExecutor) -> _Json:
    uri: _Json = {"runtimeParameter": importer.uri_parameter} if importer.uri_parameter else {"constant": importer.uri}
    return {
        "artifactUri": uri,
        **_set(
            typeSchema=_artifact_type(importer.type),
            reimport=importer.reimport,
            metadata=_plain(importer.metadata),
            properties=_constants(importer.properties),
            customProperties=_constants(importer.custom_properties),
            downloadToWorkspace=importer.download_to_workspace,
        ),
    }


def _with_extras(document: _Json, extras: Mapping[str, Any]) -> _Json:
    """Put what has no field in the model back where it stood."""
    for path, value in extras.items():
        *parents, last = paths.split(path)
        place: Any = document
        for step in parents:
            if isinstance(place, list):
                items = cast("list[Any]", place)
                place = items[step] if isinstance(step, int) and step < len(items) else None
            elif isinstance(place, dict):
                place = cast(_Json, place).setdefault(str(step), {})
            else:
                place = None
        if isinstance(place, dict):
            cast(_Json, place)[str(last)] = _plain(value)
    return document
