"""Reading inputs, outputs and values of components and tasks."""

from __future__ import annotations

from typing import Any, Final

from mlplatform.core.values import JsonValue, ParameterType, conform, whole_numbers
from mlplatform.ir.model import (
    ArtifactSource,
    ArtifactType,
    InputArtifactSpec,
    InputDefinitions,
    InputParameterSpec,
    OutputArtifactSpec,
    OutputDefinitions,
    OutputParameterSpec,
    ParameterSource,
)
from mlplatform.ir.reading import Message, Reading, fields

PARAMETER_TYPE_NUMBERS: Final = {
    1: "NUMBER_DOUBLE",
    2: "NUMBER_INTEGER",
    3: "STRING",
    4: "BOOLEAN",
    5: "LIST",
    6: "STRUCT",
    7: "TASK_FINAL_STATUS",
    8: "TASK_CONFIG",
}
#: The deprecated ``PrimitiveType``, by name and by number.
_PRIMITIVES: Final[dict[Any, ParameterType]] = {
    "INT": ParameterType.NUMBER_INTEGER,
    "DOUBLE": ParameterType.NUMBER_DOUBLE,
    "STRING": ParameterType.STRING,
    1: ParameterType.NUMBER_INTEGER,
    2: ParameterType.NUMBER_DOUBLE,
    3: ParameterType.STRING,
}
_DEFINITIONS: Final = fields("parameters artifacts")
_INPUT_PARAMETER: Final = fields("type parameterType defaultValue isOptional description literals")
_OUTPUT_PARAMETER: Final = fields("type parameterType description")
_INPUT_ARTIFACT: Final = fields("artifactType isArtifactList isOptional description")
_OUTPUT_ARTIFACT: Final = fields("artifactType properties customProperties metadata isArtifactList description")
_ARTIFACT_TYPE: Final = fields("schemaTitle schemaUri instanceSchema schemaVersion")
_OLD_VALUE: Final = fields("intValue doubleValue stringValue")
_RUNTIME_VALUE: Final = fields("constantValue runtimeParameter constant")
_PARAMETER_SOURCE: Final = fields(
    "taskOutputParameter runtimeValue componentInputParameter taskFinalStatus parameterExpressionSelector"
)
_TASK_OUTPUT_PARAMETER: Final = fields("producerTask outputParameterKey")
_FINAL_STATUS: Final = fields("producerTask")
_ARTIFACT_SOURCE: Final = fields("taskOutputArtifact componentInputArtifact")
_TASK_OUTPUT_ARTIFACT: Final = fields("producerTask outputArtifactKey")
_NULL_DEFAULT: Final = frozenset({"defaultValue"})
_NULL_CONSTANT: Final = frozenset({"constant"})


def parameter_type(message: Message) -> ParameterType:
    """``parameterType``, or the deprecated ``type``. A finding if neither says what it is."""
    if message.has("parameterType"):
        return message.enum("parameterType", ParameterType, ParameterType.STRING, PARAMETER_TYPE_NUMBERS)
    old = message.raw("type")
    if isinstance(old, (str, int)) and old in _PRIMITIVES:
        return _PRIMITIVES[old]
    if old is None:
        message.reading.add(message.path, "a parameter needs a parameterType", "missing")
    else:
        message.reading.wrong(message.at("type"), "INT, DOUBLE or STRING", old)
    return ParameterType.STRING


def conform_or_keep(value: JsonValue, type_: ParameterType) -> JsonValue:
    """``value`` spelt as ``type_``; one of another type is kept for the validator to report."""
    try:
        return conform(value, type_)
    except ValueError:
        return whole_numbers(value)


def input_definitions(message: Message) -> InputDefinitions:
    reading = message.reading
    parameters: dict[str, InputParameterSpec] = {}
    for name, path, item in message.entries("parameters"):
        spec = reading.message(item, path, _INPUT_PARAMETER, _NULL_DEFAULT)
        type_ = parameter_type(spec)
        parameters[name] = InputParameterSpec(
            type=type_,
            default=conform_or_keep(spec.raw("defaultValue"), type_) if spec.has("defaultValue") else None,
            has_default=spec.has("defaultValue"),
            is_optional=spec.flag("isOptional"),
            description=spec.text("description"),
            literals=tuple(conform_or_keep(value, type_) for _, value in spec.items("literals")),
        )
    artifacts: dict[str, InputArtifactSpec] = {}
    for name, path, item in message.entries("artifacts"):
        spec = reading.message(item, path, _INPUT_ARTIFACT)
        artifacts[name] = InputArtifactSpec(
            type=artifact_type(spec, "artifactType"),
            is_list=spec.flag("isArtifactList"),
            is_optional=spec.flag("isOptional"),
            description=spec.text("description"),
        )
    return InputDefinitions(parameters, artifacts)


def output_definitions(message: Message) -> OutputDefinitions:
    reading = message.reading
    parameters: dict[str, OutputParameterSpec] = {}
    for name, path, item in message.entries("parameters"):
        spec = reading.message(item, path, _OUTPUT_PARAMETER)
        parameters[name] = OutputParameterSpec(parameter_type(spec), spec.text("description"))
    artifacts: dict[str, OutputArtifactSpec] = {}
    for name, path, item in message.entries("artifacts"):
        spec = reading.message(item, path, _OUTPUT_ARTIFACT)
        artifacts[name] = OutputArtifactSpec(
            type=artifact_type(spec, "artifactType"),
            is_list=spec.flag("isArtifactList"),
            description=spec.text("description"),
            properties=old_properties(spec, "properties"),
            custom_properties=old_properties(spec, "customProperties"),
            metadata=spec.struct("metadata"),
        )
    return OutputDefinitions(parameters, artifacts)


def definitions(message: Message, name: str) -> Message:
    return message.message(name, _DEFINITIONS)


def artifact_type(message: Message, name: str) -> ArtifactType:
    schema = message.message(name, _ARTIFACT_TYPE)
    schema.only_one("schemaTitle", "schemaUri", "instanceSchema")
    return ArtifactType(
        schema_title=schema.text("schemaTitle"),
        schema_uri=schema.text("schemaUri"),
        instance_schema=schema.text("instanceSchema"),
        schema_version=schema.text("schemaVersion"),
    )


def old_value(reading: Reading, value: Any, path: str) -> JsonValue:
    """The deprecated ``ml_pipelines.Value``: ``{"intValue": "3"}``."""
    message = reading.message(value, path, _OLD_VALUE)
    message.only_one("intValue", "doubleValue", "stringValue")
    if message.has("intValue"):
        return message.integer("intValue")
    if message.has("doubleValue"):
        return message.number("doubleValue")
    return message.text("stringValue")


def runtime_value(message: Message, name: str) -> tuple[JsonValue, bool, str]:
    """A ``ValueOrRuntimeParameter``: the constant, whether there is one, and the runtime parameter's name."""
    value = message.message(name, _RUNTIME_VALUE, _NULL_CONSTANT)
    value.only_one("constantValue", "runtimeParameter", "constant")
    if value.has("runtimeParameter"):
        return None, False, value.needed("runtimeParameter")
    if value.has("constant"):
        return value.json("constant"), True, ""
    if value.has("constantValue"):
        return old_value(message.reading, value.raw("constantValue"), value.at("constantValue")), True, ""
    message.reading.add(message.at(name), "neither a constant nor a runtimeParameter", "missing")
    return None, False, ""


def old_properties(message: Message, name: str) -> dict[str, JsonValue]:
    """The deprecated ``properties``: a map of ``ValueOrRuntimeParameter``, of which only constants have a meaning."""
    found: dict[str, JsonValue] = {}
    for key, path, item in message.entries(name):
        holder = Message(message.reading, message.at(name), {key: item}, {})
        constant, has_constant, runtime = runtime_value(holder, key) if item is not None else (None, False, "")
        if has_constant:
            found[key] = constant
        elif runtime:
            message.reading.add(
                path, "a runtimeParameter cannot stand in properties here", "unsupported", "use metadata"
            )
    return found


def parameter_source(reading: Reading, value: Any, path: str) -> ParameterSource:
    """A task's input parameter. A finding if it has no source or more than one."""
    source = reading.message(value, path, _PARAMETER_SOURCE)
    kinds = ("taskOutputParameter", "runtimeValue", "componentInputParameter", "taskFinalStatus")
    source.only_one(*kinds)
    expression = source.text("parameterExpressionSelector")
    if source.has("componentInputParameter"):
        return ParameterSource(component_input=source.needed("componentInputParameter"), expression=expression)
    if source.has("taskOutputParameter"):
        output = source.message("taskOutputParameter", _TASK_OUTPUT_PARAMETER)
        return ParameterSource(
            producer_task=output.needed("producerTask"),
            output_parameter=output.needed("outputParameterKey"),
            expression=expression,
        )
    if source.has("runtimeValue"):
        constant, has_constant, runtime = runtime_value(source, "runtimeValue")
        return ParameterSource(
            constant=constant, has_constant=has_constant, runtime_parameter=runtime, expression=expression
        )
    if source.has("taskFinalStatus"):
        status = source.message("taskFinalStatus", _FINAL_STATUS)
        return ParameterSource(final_status_of=status.needed("producerTask"), expression=expression)
    reading.add(path, f"has no source; one of {', '.join(kinds)} is needed", "missing")
    return ParameterSource(expression=expression)


def artifact_source(reading: Reading, value: Any, path: str) -> ArtifactSource:
    """A task's input artifact. A finding if it has no source or two."""
    source = reading.message(value, path, _ARTIFACT_SOURCE)
    source.only_one("taskOutputArtifact", "componentInputArtifact")
    if source.has("componentInputArtifact"):
        return ArtifactSource(component_input=source.needed("componentInputArtifact"))
    if source.has("taskOutputArtifact"):
        output = source.message("taskOutputArtifact", _TASK_OUTPUT_ARTIFACT)
        return ArtifactSource(
            producer_task=output.needed("producerTask"), output_artifact=output.needed("outputArtifactKey")
        )
    reading.add(path, "has no source; taskOutputArtifact or componentInputArtifact is needed", "missing")
    return ArtifactSource()
