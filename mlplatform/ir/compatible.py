"""Which values and outputs may go into which inputs."""

from __future__ import annotations

from typing import Final

from mlplatform.core.values import JsonValue, ParameterType, conform
from mlplatform.ir.model import ArtifactType

_ALSO_FIT: Final = frozenset(
    {
        (ParameterType.NUMBER_INTEGER, ParameterType.NUMBER_DOUBLE),
        (ParameterType.TASK_FINAL_STATUS, ParameterType.STRUCT),
        (ParameterType.STRUCT, ParameterType.TASK_FINAL_STATUS),
        (ParameterType.STRUCT, ParameterType.TASK_CONFIG),
    }
)
_ANY_ARTIFACT: Final = frozenset({"", "system.Artifact"})


def parameter_mismatch(given: ParameterType, wanted: ParameterType) -> bool:
    """Whether values of one declared type never fit another.

    An integer fits where a double is wanted, and a final status is a struct.
    """
    return given is not wanted and (given, wanted) not in _ALSO_FIT


def artifact_mismatch(given: ArtifactType, wanted: ArtifactType) -> bool:
    """Whether artifacts of one type do not fit another, as KFP decides it.

    ``system.Artifact`` fits and takes every type, and so do types without a title (schemas by URI or inline).
    """
    if given.schema_title in _ANY_ARTIFACT or wanted.schema_title in _ANY_ARTIFACT:
        return False
    return given.schema_title != wanted.schema_title


def value_mismatch(value: JsonValue, type_: ParameterType) -> str:
    """Why ``value`` is not of ``type_``; empty if it is."""
    try:
        conform(value, type_)
    except ValueError as error:
        return str(error)
    except OverflowError:
        return f"the number is too large for {type_.value}"
    except RecursionError:
        return "nested too deeply"
    return ""
