"""Inputs and outputs of a pipeline function."""

# Placeholders keep public names free for outputs of the user's: what the modules of this package share is private.
# pyright: reportPrivateUsage=false

from __future__ import annotations

import inspect
import json
from collections.abc import Iterable, Mapping
from typing import Any, cast

from mlplatform.core.errors import InvalidPipeline
from mlplatform.sdk.define.arguments import mismatch
from mlplatform.sdk.define.channels import Channel, Placeholder, as_channel
from mlplatform.sdk.define.interface import parts_of
from mlplatform.sdk.define.tasks import InputSpec, Task
from mlplatform.sdk.define.types import ANY_ARTIFACT, ValueType, artifact_type, marks, parameter_type, type_of_value

_EMPTY = inspect.Parameter.empty


def input_of(name: str, annotation: Any, default: Any, given: Mapping[str, Any], kfp_style: bool) -> InputSpec:
    optional = default is not _EMPTY
    mark, marked = marks(annotation)
    type_ = artifact_type(marked if mark else annotation)
    if type_ is not None:
        return InputSpec(type_, optional=optional)
    type_ = parameter_type(annotation)
    if type_ is None and annotation in (_EMPTY, Any, object):
        value = given.get(name, default if optional else None)
        type_ = _plain_type(value)
    if type_ is not None:
        has = optional and default is not None
        fixed = float(default) if has and type_.words == "float" and isinstance(default, int) else default
        return InputSpec(type_, fixed if has else None, has, optional)
    if kfp_style:
        raise InvalidPipeline(
            f"Argument {name!r} of a pipeline has no annotation that kfp knows.",
            hint="Annotate it: int, float, str, bool, list, dict or Input[Dataset]; or use @ml.pipeline.",
        )
    return InputSpec(ANY_ARTIFACT, optional=optional)


def _plain_type(value: Any) -> ValueType | None:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return None
    return type_of_value(value) if value is not None else None


def outputs_of(returned: Any, annotation: Any, kfp_style: bool, pipeline: str) -> dict[str, tuple[ValueType, Channel]]:
    if returned is None:
        return {}
    found = _named_outputs(returned)
    bad = [name for name, value in found.items() if as_channel(value) is None]
    if bad:
        raise InvalidPipeline(
            f"Pipeline {pipeline!r} returns {bad[0]!r}, which is no output of a task.",
            hint="Return outputs of tasks, or a NamedTuple or dict of them.",
        )
    channels = {name: cast(Channel, as_channel(value)) for name, value in found.items()}
    wanted = _declared(annotation)
    result: dict[str, tuple[ValueType, Channel]] = {}
    for name, channel in channels.items():
        type_ = wanted.get(name)
        if type_ is not None and (problem := mismatch(channel, type_)):
            raise InvalidPipeline(
                f"Pipeline {pipeline!r} returns {name!r}: {problem.replace('it takes', 'its annotation says')}."
            )
        keep = type_ is not None and kfp_style
        result[name] = (cast(ValueType, type_) if keep else channel._type, channel)
    return result


def _named_outputs(returned: Any) -> dict[str, Any]:
    if isinstance(returned, Task):
        if returned._ordered or (len(returned._channels) > 1 and "Output" not in returned._channels):
            return dict(returned.outputs)
        return {"Output": returned}
    if isinstance(returned, Placeholder):
        return {"Output": returned}
    if hasattr(returned, "_asdict"):
        return dict(returned._asdict())
    if isinstance(returned, Mapping):
        return {str(key): value for key, value in cast("Mapping[Any, Any]", returned).items()}
    if hasattr(returned, "__dataclass_fields__"):
        return {name: getattr(returned, name) for name in returned.__dataclass_fields__}
    if isinstance(returned, (list, tuple)):
        items = cast("Iterable[Any]", returned)
        return {f"output_{position}": item for position, item in enumerate(items)}
    return {"Output": returned}


def _declared(annotation: Any) -> dict[str, ValueType]:
    if annotation in (_EMPTY, None, Any):
        return {}
    parts = parts_of(annotation)
    named = parts[1] if parts is not None else {"Output": annotation}
    found = {name: artifact_type(inner) or parameter_type(inner) for name, inner in named.items()}
    return {name: type_ for name, type_ in found.items() if type_ is not None}
