"""Reading executors: containers and importers."""

from __future__ import annotations

from typing import Any, Final

from mlplatform.ir import load_types as types
from mlplatform.ir.model import (
    Accelerator,
    ContainerExecutor,
    Executor,
    ImporterExecutor,
    PreCacheCheck,
    Resources,
)
from mlplatform.ir.reading import Message, Reading, fields

_EXECUTOR: Final = fields("container importer resolver customJob")
_CONTAINER: Final = fields("image command args lifecycle resources env")
_LIFECYCLE: Final = fields("preCacheCheck")
_EXEC: Final = fields("command args")
_ENV: Final = fields("name value")
_RESOURCES: Final = fields(
    "cpuLimit memoryLimit cpuRequest memoryRequest resourceCpuLimit resourceMemoryLimit resourceCpuRequest "
    "resourceMemoryRequest accelerator"
)
_ACCELERATOR: Final = fields("type count resourceType resourceCount")
_IMPORTER: Final = fields("artifactUri typeSchema properties customProperties reimport metadata downloadToWorkspace")


def executor(reading: Reading, value: Any, path: str) -> Executor | None:
    """Read one executor. ``resolver`` and ``customJob`` go to ``extras``: nothing here can run them."""
    message = reading.message(value, path, _EXECUTOR)
    message.only_one("container", "importer", "resolver", "customJob")
    for name in ("resolver", "customJob"):
        if message.has(name):
            reading.extras[message.at(name)] = message.raw(name)
    if message.has("container"):
        return _container(message.message("container", _CONTAINER))
    if message.has("importer"):
        return _importer(message.message("importer", _IMPORTER))
    if not message.has("resolver") and not message.has("customJob"):
        reading.add(path, "says nothing to run; container or importer is needed", "missing")
    return None


def _container(message: Message) -> ContainerExecutor:
    lifecycle = message.message("lifecycle", _LIFECYCLE)
    check = lifecycle.message("preCacheCheck", _EXEC)
    return ContainerExecutor(
        image=message.text("image"),
        command=message.texts("command"),
        args=message.texts("args"),
        env=_environment(message),
        resources=_resources(message.message("resources", _RESOURCES)) if message.has("resources") else None,
        pre_cache_check=PreCacheCheck(check.texts("command"), check.texts("args"))
        if lifecycle.has("preCacheCheck")
        else None,
    )


def _environment(message: Message) -> dict[str, str]:
    found: dict[str, str] = {}
    for path, item in message.items("env"):
        variable = message.reading.message(item, path, _ENV)
        name, value = variable.text("name"), variable.text("value")
        if found.setdefault(name, value) != value:
            message.reading.add(path, f"the variable {name!r} is already set to another value", "duplicate-key")
    return found


def _resources(message: Message) -> Resources:
    accelerator = message.message("accelerator", _ACCELERATOR)
    return Resources(
        cpu_request=message.text("resourceCpuRequest") or _cores(message, "cpuRequest"),
        cpu_limit=message.text("resourceCpuLimit") or _cores(message, "cpuLimit"),
        memory_request=message.text("resourceMemoryRequest") or _gigabytes(message, "memoryRequest"),
        memory_limit=message.text("resourceMemoryLimit") or _gigabytes(message, "memoryLimit"),
        accelerator=Accelerator(
            type=accelerator.text("resourceType") or accelerator.text("type"),
            count=accelerator.text("resourceCount") or _count(accelerator),
        )
        if message.has("accelerator")
        else None,
    )


def _cores(message: Message, name: str) -> str:
    """The deprecated number of cores as a Kubernetes quantity."""
    value = message.number(name)
    return f"{value:.10g}" if value else ""


def _gigabytes(message: Message, name: str) -> str:
    """The deprecated number of gigabytes as a Kubernetes quantity."""
    value = message.number(name)
    return f"{value:.10g}G" if value else ""


def _count(message: Message) -> str:
    value = message.integer("count")
    return str(value) if value else ""


def _importer(message: Message) -> ImporterExecutor:
    uri, has_uri, parameter = types.runtime_value(message, "artifactUri")
    if has_uri and not isinstance(uri, str):
        message.reading.wrong(message.at("artifactUri"), "a URI", uri)
        uri = ""
    return ImporterExecutor(
        type=types.artifact_type(message, "typeSchema"),
        uri=uri if isinstance(uri, str) else "",
        uri_parameter=parameter,
        reimport=message.flag("reimport"),
        metadata=message.struct("metadata"),
        properties=types.old_properties(message, "properties"),
        custom_properties=types.old_properties(message, "customProperties"),
        download_to_workspace=message.flag("downloadToWorkspace"),
    )
