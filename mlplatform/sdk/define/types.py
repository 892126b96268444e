"""What a value of a pipeline is: a parameter with a type, or an artifact. And the annotations that say so.

The artifact classes and markers have kfp's names and mean the same: a function annotated with them runs unchanged in
kfp's runtime, and in a plain call (a unit test) they behave as there.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Final, Literal, TypeVar, Union, get_args, get_origin

from mlplatform.core.values import ParameterType
from mlplatform.ir.model import ArtifactType

_T = TypeVar("_T")
_SCHEMA_VERSION: Final = "0.0.1"


# ------------------------------------------------------------------ artifacts
@dataclass(eq=False)
class Artifact:
    """A file or folder that a task makes or takes: ``uri`` says where, ``metadata`` what is known of it."""

    name: str = ""
    uri: str = ""
    metadata: MutableMapping[str, Any] = field(default_factory=dict[str, Any])

    schema_title: ClassVar[str] = "system.Artifact"
    schema_version: ClassVar[str] = _SCHEMA_VERSION

    @property
    def path(self) -> str:
        """Where it lies on this machine."""
        return self.uri.removeprefix("file://")

    @path.setter
    def path(self, path: str) -> None:
        self.uri = path


class Dataset(Artifact):
    schema_title: ClassVar[str] = "system.Dataset"


class Model(Artifact):
    schema_title: ClassVar[str] = "system.Model"

    @property
    def framework(self) -> str:
        return str(self.metadata.get("framework", ""))

    @framework.setter
    def framework(self, framework: str) -> None:
        self.metadata["framework"] = framework


class Metrics(Artifact):
    schema_title: ClassVar[str] = "system.Metrics"

    def log_metric(self, metric: str, value: float) -> None:
        self.metadata[metric] = value


class ClassificationMetrics(Artifact):
    schema_title: ClassVar[str] = "system.ClassificationMetrics"

    def log_roc_data_point(self, fpr: float, tpr: float, threshold: float) -> None:
        points = self.metadata.setdefault("confidenceMetrics", [])
        points.append({"confidenceThreshold": threshold, "recall": tpr, "falsePositiveRate": fpr})

    def log_roc_curve(self, fpr: Sequence[float], tpr: Sequence[float], threshold: Sequence[float]) -> None:
        for point in zip(fpr, tpr, threshold, strict=True):
            self.log_roc_data_point(*point)

    def set_confusion_matrix_categories(self, categories: Sequence[str]) -> None:
        self.metadata["confusionMatrix"] = {
            "annotationSpecs": [{"displayName": name} for name in categories],
            "rows": [{"row": [0] * len(categories)} for _ in categories],
        }

    def log_confusion_matrix(self, categories: Sequence[str], matrix: Sequence[Sequence[int]]) -> None:
        self.set_confusion_matrix_categories(categories)
        self.metadata["confusionMatrix"]["rows"] = [{"row": list(row)} for row in matrix]


class SlicedClassificationMetrics(Artifact):
    schema_title: ClassVar[str] = "system.SlicedClassificationMetrics"


class HTML(Artifact):
    schema_title: ClassVar[str] = "system.HTML"


class Markdown(Artifact):
    schema_title: ClassVar[str] = "system.Markdown"


BUILT_IN: Final = (
    Artifact,
    Dataset,
    Model,
    Metrics,
    ClassificationMetrics,
    SlicedClassificationMetrics,
    HTML,
    Markdown,
)


# ------------------------------------------------------------------ markers
class InputMark:
    """Marks an input artifact."""


class OutputMark:
    """Marks an output artifact."""


Input = Annotated[_T, InputMark]
Output = Annotated[_T, OutputMark]


class InputPath:
    """The function gets the path of an input's bytes. ``type``: an artifact class, its name, or a parameter's type."""

    def __init__(self, type: Any = None) -> None:
        self.type = type


class OutputPath:
    """The function gets a path to write an output to."""

    def __init__(self, type: Any = None) -> None:
        self.type = type


@dataclass(frozen=True)
class PipelineTaskFinalStatus:
    """How the tasks of an exit handler ended: ``state`` is SUCCEEDED, FAILED or CANCELLED."""

    state: str = ""
    pipeline_job_resource_name: str = ""
    pipeline_task_name: str = ""
    error_code: int | None = None
    error_message: str | None = None


@dataclass
class TaskConfig:
    """Kubernetes settings that KFP passes through to a task that starts pods of its own."""

    affinity: Any = None
    tolerations: Any = None
    node_selector: Any = None
    env: Any = None
    volumes: Any = None
    volume_mounts: Any = None
    resources: Any = None


# ------------------------------------------------------------------ what a value is
_ANY: Final = ArtifactType("system.Artifact", schema_version=_SCHEMA_VERSION)


@dataclass(frozen=True, slots=True)
class ValueType:
    """A parameter's type, or an artifact's where ``parameter`` is None. ``item``: of a list's elements, ``entry``: of
    a mapping's values, where they are known."""

    parameter: ParameterType | None = None
    artifact: ArtifactType = _ANY
    is_list: bool = False
    item: ValueType | None = None
    entry: ValueType | None = None

    @property
    def words(self) -> str:
        """For messages."""
        if self.parameter is not None:
            return _WORDS.get(self.parameter, self.parameter.value)
        return f"list of {self.artifact.schema_title}" if self.is_list else self.artifact.schema_title


def parameter(type_: ParameterType) -> ValueType:
    return ValueType(type_)


STRING: Final = ValueType(ParameterType.STRING)
LIST: Final = ValueType(ParameterType.LIST)
ANY_ARTIFACT: Final = ValueType()
_WORDS: Final = {
    ParameterType.NUMBER_INTEGER: "int",
    ParameterType.NUMBER_DOUBLE: "float",
    ParameterType.STRING: "str",
    ParameterType.BOOLEAN: "bool",
    ParameterType.LIST: "list",
    ParameterType.STRUCT: "dict",
}
_PLAIN: Final = {
    int: ParameterType.NUMBER_INTEGER,
    float: ParameterType.NUMBER_DOUBLE,
    str: ParameterType.STRING,
    bool: ParameterType.BOOLEAN,
    list: ParameterType.LIST,
    dict: ParameterType.STRUCT,
    typing.List: ParameterType.LIST,  # noqa: UP006 - the bare names are annotations too
    typing.Dict: ParameterType.STRUCT,  # noqa: UP006
}
#: Older spellings, in InputPath("Integer") and in component files.
_NAMED: Final = {
    "int": ParameterType.NUMBER_INTEGER,
    "integer": ParameterType.NUMBER_INTEGER,
    "float": ParameterType.NUMBER_DOUBLE,
    "double": ParameterType.NUMBER_DOUBLE,
    "str": ParameterType.STRING,
    "string": ParameterType.STRING,
    "text": ParameterType.STRING,
    "bool": ParameterType.BOOLEAN,
    "boolean": ParameterType.BOOLEAN,
    "list": ParameterType.LIST,
    "jsonarray": ParameterType.LIST,
    "dict": ParameterType.STRUCT,
    "jsonobject": ParameterType.STRUCT,
}


def without_none(annotation: Any) -> Any:
    """``X`` of ``Optional[X]`` and ``X | None``; anything else as it is."""
    if get_origin(annotation) in (Union, types.UnionType):
        rest = [item for item in get_args(annotation) if item is not type(None)]
        if len(rest) == 1:
            return rest[0]
        if set(rest) == {int, float}:
            return float
    return annotation


def parameter_type(annotation: Any) -> ValueType | None:
    """The parameter that an annotation means, or None if it means no parameter."""
    annotation = without_none(annotation)
    if _is(annotation, "PipelineTaskFinalStatus"):
        return ValueType(ParameterType.TASK_FINAL_STATUS)
    if _is(annotation, "TaskConfig"):
        return ValueType(ParameterType.TASK_CONFIG)
    origin = get_origin(annotation)
    if origin is Literal:
        kinds: set[Any] = {type(value) for value in get_args(annotation)}
        return parameter_type(kinds.pop()) if len(kinds) == 1 else None
    if origin in (list, dict):
        return _generic(origin, get_args(annotation))
    try:
        plain = _PLAIN.get(annotation)
    except TypeError:  # an annotation that cannot be hashed is none of these
        return None
    return ValueType(plain) if plain is not None else None


def _generic(origin: type, arguments: tuple[Any, ...]) -> ValueType | None:
    inner = arguments[-1] if arguments else Any
    if is_artifact_class(inner):
        return None
    value = parameter_type(inner)
    if value is None and inner not in (Any, object):
        return None
    if origin is list:
        return ValueType(ParameterType.LIST, item=value)
    return ValueType(ParameterType.STRUCT, entry=value) if arguments[0] is str else None


def is_artifact_class(annotation: Any) -> bool:
    """One of the classes above, kfp's, or somebody's own with the same two attributes."""
    if not isinstance(annotation, type):
        return False
    return isinstance(getattr(annotation, "schema_title", None), str) and hasattr(annotation, "schema_version")


def artifact_type(annotation: Any) -> ValueType | None:
    """``Dataset``, ``list[Dataset]`` and kfp's spellings of them; None for anything else."""
    annotation = without_none(annotation)
    if is_artifact_class(annotation):
        return ValueType(artifact=_schema(annotation))
    if get_origin(annotation) is list and len(inner := get_args(annotation)) == 1 and is_artifact_class(inner[0]):
        return ValueType(artifact=_schema(inner[0]), is_list=True)
    return None


def _schema(cls: Any) -> ArtifactType:
    return ArtifactType(str(cls.schema_title), schema_version=str(cls.schema_version or _SCHEMA_VERSION))


def named_type(type_: Any) -> ValueType:
    """What ``InputPath(...)`` and ``OutputPath(...)`` were given: a class or a name."""
    found = artifact_type(type_) or (parameter_type(type_) if not isinstance(type_, str) else None)
    if found is not None:
        return found
    if isinstance(type_, str):
        if plain := _NAMED.get(type_.lower()):
            return ValueType(plain)
        for cls in BUILT_IN:
            if cls.__name__.lower() == type_.lower():
                return ValueType(artifact=_schema(cls))
    return ANY_ARTIFACT


def marks(annotation: Any) -> tuple[str, Any]:
    """("input" | "output" | "", what is marked) of an annotation; knows kfp's own markers by their names."""
    annotation = without_none(annotation)
    for mark in getattr(annotation, "__metadata__", ()):
        name = getattr(mark, "__name__", "")
        if name in ("InputMark", "InputAnnotation"):
            return "input", get_args(annotation)[0]
        if name in ("OutputMark", "OutputAnnotation"):
            return "output", get_args(annotation)[0]
    return "", annotation


def path_mark(annotation: Any) -> tuple[str, Any]:
    """("input" | "output" | "", type) of ``InputPath(...)`` and ``OutputPath(...)``, ours and kfp's."""
    annotation = without_none(annotation)
    for kind, cls in (("input", "InputPath"), ("output", "OutputPath")):
        if annotation.__class__.__name__ == cls:
            given = annotation.type
            if isinstance(given, str) and "@" in given:  # kfp has resolved it already
                title, _, version = given.partition("@")
                return kind, _of_title(title, version)
            return kind, given
        if getattr(annotation, "__name__", "") == cls and isinstance(annotation, type):
            return kind, None
    return "", None


def _of_title(title: str, version: str) -> Any:
    return type(title, (), {"schema_title": title, "schema_version": version})


def type_of_value(value: Any) -> ValueType | None:
    """The parameter type of a constant, or None if it is no JSON value."""
    if isinstance(value, bool):
        return ValueType(ParameterType.BOOLEAN)
    if isinstance(value, int):
        return ValueType(ParameterType.NUMBER_INTEGER)
    if isinstance(value, float):
        return ValueType(ParameterType.NUMBER_DOUBLE)
    if isinstance(value, str):
        return STRING
    if isinstance(value, (list, tuple)):
        items: Sequence[Any] = value  # pyright: ignore[reportUnknownVariableType]
        return ValueType(ParameterType.LIST, item=type_of_value(items[0]) if items else None)
    if isinstance(value, Mapping):
        entries: list[Any] = list(value.values())  # pyright: ignore[reportUnknownVariableType,reportUnknownArgumentType]
        return ValueType(ParameterType.STRUCT, entry=type_of_value(entries[0]) if entries else None)
    return None


def _is(annotation: Any, name: str) -> bool:
    return isinstance(annotation, type) and annotation.__name__ == name
