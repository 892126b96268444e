"""``dsl.importer``: something that exists already, as an artifact."""

# Placeholders keep public names free for outputs of the user's: what the modules of this package share is private.
# pyright: reportPrivateUsage=false

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from mlplatform.core.errors import InvalidPipeline
from mlplatform.ir.model import ImporterExecutor
from mlplatform.sdk.define import scope
from mlplatform.sdk.define.channels import Channel, as_channel
from mlplatform.sdk.define.conditions import with_placeholders
from mlplatform.sdk.define.executors import Implementation
from mlplatform.sdk.define.naming import INJECTED
from mlplatform.sdk.define.tasks import InputSpec, Interface, OutputSpec, Task
from mlplatform.sdk.define.types import STRING, artifact_type
from mlplatform.sdk.define.where import user_line


class ImporterComponent:
    """One call of ``dsl.importer``."""

    executed = False
    name = "importer"

    def __init__(self, interface: Interface, executor: ImporterExecutor) -> None:
        self.interface = interface
        self._executor = executor

    def implement(self, task: Task, arguments: Mapping[str, Any]) -> Implementation:
        return Implementation(arguments, self._executor)


def importer(
    artifact_uri: Any,
    artifact_class: Any,
    reimport: bool = False,
    metadata: Mapping[str, Any] | None = None,
    download_to_workspace: bool = False,
) -> Task:
    """Bring what lies at ``artifact_uri`` into the pipeline; the task's output is the artifact.

    Args:
        artifact_uri: a text, or an output or parameter that is one.
        artifact_class: ``dsl.Dataset`` and the like.
        reimport: a new artifact each time, although the same URI was imported before.
        metadata: of the artifact; may hold outputs and parameters.
    """
    recording = scope.recording("dsl.importer")
    type_ = artifact_type(artifact_class)
    if type_ is None:
        raise InvalidPipeline(
            f"dsl.importer: {artifact_class!r} is no artifact class ({user_line()}).", hint="Use dsl.Dataset ..."
        )
    channel = as_channel(artifact_uri)
    if channel is None and not isinstance(artifact_uri, str):
        raise InvalidPipeline(f"dsl.importer: {artifact_uri!r} is no URI ({user_line()}).")
    inputs = {"uri": InputSpec(STRING)}
    arguments: dict[str, Any] = {"uri": channel if channel is not None else artifact_uri}
    text, used = with_placeholders(dict(metadata or {}), recording.channels)
    for number, value in enumerate(used):
        name = "metadata" if number == 0 else f"metadata-{number + 1}"
        inputs[name] = InputSpec(value._type)
        arguments[name] = value
        text = _renamed(text, value, name)
    executor = ImporterExecutor(
        type_.artifact,
        uri="" if channel is not None else str(artifact_uri),
        uri_parameter="uri" if channel is not None else "",
        reimport=reimport,
        metadata=text,
        download_to_workspace=download_to_workspace,
    )
    task = Task(ImporterComponent(Interface(inputs, {"artifact": OutputSpec(type_)}), executor), arguments)
    recording.add_task(task, "importer")
    return task


def _renamed(value: Any, channel: Channel, name: str) -> Any:
    """The placeholder of a channel's injected input as that of the importer's own input."""
    old, new = f"['{channel._injected()}']", f"['{name}']"
    if isinstance(value, str):
        return value.replace(old, new) if INJECTED in value else value
    if isinstance(value, dict):
        return {
            _renamed(k, channel, name): _renamed(v, channel, name) for k, v in cast("dict[str, Any]", value).items()
        }
    if isinstance(value, list):
        return [_renamed(item, channel, name) for item in cast("list[Any]", value)]
    return value
