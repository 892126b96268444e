"""What a pod is told about its task: everything the launcher needs, and no secret."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from mlplatform.core.errors import PlanningError
from mlplatform.core.ids import slug
from mlplatform.core.large import ROOM, is_large
from mlplatform.core.model import Artifact, ArtifactValue, Values
from mlplatform.ir.model import Component, ContainerExecutor
from mlplatform.planning.model import StartTask
from mlplatform.planning.naming import file_name, folder_name, pip_words
from mlplatform.planning.notebook_component import recognise_notebook
from mlplatform.planning.python_component import PythonComponent, recognise
from mlplatform.planning.render import OutputLocations, RenderedContainer, executor_input, placed, render_container
from mlplatform.planning.sdk_component import describe
from mlplatform.planning.templates import RunContext
from mlplatform.render.names import task_hash
from mlplatform.render.places import OUTPUTS, WORK, RunStore

VERSION: Final = 1
_PATH: Final = re.compile(r"\{\{\$\.inputs\.artifacts\[\\*['\"]([^'\"]+?)\\*['\"]\]\.path\}\}")


@dataclass(frozen=True, slots=True)
class Asked:
    """A task to be put into a pod. ``context``: what its placeholders stand for. ``training``: the spec (without
    templates) of the training job that it is, where several ranks run it."""

    start: StartTask
    component: Component
    executor: ContainerExecutor
    context: RunContext
    store: RunStore
    training: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """``body`` is JSON for the launcher, ``container`` what the pod's own container is."""

    body: Mapping[str, Any]
    container: RenderedContainer


def task_request(asked: Asked) -> Request:
    """What the pod of a task is told.

    Raises:
        PlanningError: a placeholder has no value, or the task is of a kind that a pod cannot run.
    """
    start, executor = asked.start, asked.executor
    python, notebook = recognise(executor), recognise_notebook(executor)
    locations, outputs = _outputs(asked)
    mounted = _mounted(asked, start.inputs)
    paths = {uri: here for entry in outputs["artifacts"].values() for uri, here in [(entry["uri"], entry["path"])]}
    fetch = {} if python else _to_fetch(asked, start.inputs, mounted)
    places = {**paths, **mounted, **fetch}
    template = replace(executor, command=(), args=()) if python or notebook else executor
    container = render_container(template, start.inputs, asked.component, locations, asked.context, places)
    inputs, _ = placed(start.inputs, locations, mounted)
    body: dict[str, Any] = {
        "version": VERSION,
        "run_id": asked.context.run_id,
        "task": start.key.name,
        "iteration": list(start.key.iteration),
        "attempt": start.attempt,
        "cookie": f"{asked.context.run_id}:{folder_name(start.key)}:{start.attempt}",
        "executor_input": executor_input(inputs, asked.component, locations),
        "outputs": outputs,
        "log_uri": asked.store.log(start.key, start.attempt),
        "values_uri": asked.store.values(start.key, start.attempt),
    }
    if asked.store.mounted:
        body["mounted"] = asked.store.prefix
    if container.resources.cpu:
        body["cpus"] = container.resources.cpu
    if python is not None:
        body |= {"kind": "python", "python": _python(python), "remote": _remote(start.inputs, mounted)}
    elif notebook is not None:
        body |= {"kind": "notebook", "notebook": notebook.to_json(), "fetch": fetch}
    else:
        if not container.command:
            raise PlanningError(
                "the component has no command of its own: what it runs stands in its image, which is not looked into",
                hint="Write the image's entry point into the component's command.",
            )
        if is_large([*container.command, *container.args, *container.env.values()]):
            raise PlanningError(
                f"a value of more than {ROOM // 1024} KiB is put on a command line or into a variable: they hold less",
                hint="Pass it as an artifact.",
            )
        body |= {"kind": "command", "command": [*container.command, *container.args], "fetch": fetch}
        if empty := _empty(asked):
            body["empty"] = empty
    return Request(body, container)


def _python(python: PythonComponent) -> dict[str, Any]:
    sdk = describe(python.source)
    return {
        "source": python.source,
        "function": python.function,
        "filename": f"{slug(python.function if sdk is None else sdk.name, 40)}.py",
        "kfp": sdk is None or sdk.needs_kfp,
        "packages": list(python.packages),
        "pip": list(pip_words(python.pip_options)),
    }


def _outputs(asked: Asked) -> tuple[OutputLocations, dict[str, Any]]:
    key, attempt = asked.start.key, asked.start.attempt
    parameters: dict[str, Any] = {}
    artifacts: dict[str, Any] = {}
    for name, spec in asked.component.outputs.parameters.items():
        parameters[name] = {"path": f"{OUTPUTS}/parameters/{file_name(name)}", "type": str(spec.type)}
    for name, spec in asked.component.outputs.artifacts.items():
        uri = asked.store.output(key, attempt, name)
        artifacts[name] = {
            "path": asked.store.path_of(uri) or f"{OUTPUTS}/artifacts/{file_name(name)}",
            "uri": uri,
            "type": spec.type.schema_title or "system.Artifact",
            "metadata": dict(spec.metadata),
            "list": spec.is_list,
        }
    locations = OutputLocations(
        parameters={name: entry["path"] for name, entry in parameters.items()},
        artifacts={name: entry["uri"] for name, entry in artifacts.items()},
        output_file=f"{OUTPUTS}/executor_output.json",
    )
    return locations, {"parameters": parameters, "artifacts": artifacts}


def _each(inputs: Values) -> list[tuple[str, Artifact]]:
    found: list[tuple[str, Artifact]] = []
    for name, value in inputs.artifacts.items():
        items: ArtifactValue = (value,) if isinstance(value, Artifact) else value
        found += [(name, item) for item in items]
    return found


def _mounted(asked: Asked, inputs: Values) -> dict[str, str]:
    """Inputs that lie on the claim: they are there already."""
    found = {artifact.uri: asked.store.path_of(artifact.uri) for _, artifact in _each(inputs)}
    return {uri: path for uri, path in found.items() if path}


def _remote(inputs: Values, mounted: Mapping[str, str]) -> list[str]:
    """Inputs that are elsewhere: a Python component fetches them when it asks for their path."""
    uris = {artifact.uri for _, artifact in _each(inputs) if not _is_local(artifact.uri)}
    return sorted(uris - mounted.keys())


def _empty(asked: Asked) -> list[str]:
    """URIs of artifacts of ours that are metadata alone: whoever made them wrote nothing there."""
    own = asked.store.shared
    found = [artifact for _, artifact in _each(asked.start.inputs) if artifact.uri.startswith(own)]
    return sorted({artifact.uri for artifact in found if not artifact.digest and artifact.size is None})


def _to_fetch(asked: Asked, inputs: Values, mounted: Mapping[str, str]) -> dict[str, str]:
    """URI -> path of the inputs that a command finds on its disk: the store's own, and those whose path it names."""
    texts = [*asked.executor.command, *asked.executor.args, *asked.executor.env.values()]
    named = {name for text in texts for name in _PATH.findall(text)}
    own = asked.store.shared
    found: dict[str, str] = {}
    for name, artifact in _each(inputs):
        uri = artifact.uri
        if _is_local(uri) or uri in mounted or not (uri.startswith(own) or name in named):
            continue
        last = uri.rstrip("/").rpartition("/")[2] or "artifact"
        found[uri] = f"{WORK}/inputs/{_digest(uri)}/{file_name(last)}"
    return found


def _digest(uri: str) -> str:
    from mlplatform.core.model import TaskKey

    return task_hash(TaskKey((uri,)))


def _is_local(uri: str) -> bool:
    return "://" not in uri or uri.startswith("file://")
