"""A task brought back into the kernel: its inputs, its parameters and the code it ran, ready to call and to debug.

The code is what the run kept, not what the notebook holds now. It is called in a folder of its own: outputs go there,
and nothing of the run changes.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlplatform.core.errors import InvalidInput, Unsupported
from mlplatform.core.ids import slug
from mlplatform.core.model import Artifact, ArtifactValue, TaskRecord, Values
from mlplatform.engine.naming import file_name
from mlplatform.ir.model import Component, ContainerExecutor, Pipeline
from mlplatform.launcher.component import local_uri
from mlplatform.planning.python_component import PythonComponent, recognise
from mlplatform.planning.render import OutputLocations, executor_input
from mlplatform.planning.sdk_component import describe
from mlplatform.sdk.clients import is_cluster
from mlplatform.sdk.replay_call import Call, prepare
from mlplatform.sdk.replay_debug import debugger, post_mortem, shell, surroundings, traceback_text
from mlplatform.sdk.run_reading import read_pipeline
from mlplatform.sdk.run_values import StoredArtifact

if TYPE_CHECKING:
    from mlplatform.sdk.run_task import Task


class Replay:
    """A task's function and what it was called with.

    Attributes:
        task: its name in the run.
        function: the function, made from the code that the task ran.
        inputs: argument name -> value, loaded.
        folder: where it is called and where its outputs go; it lives as long as this object.
        error: what the last :meth:`call` raised, or None.
        notes: what differs here from where the task ran.
    """

    def __init__(self, task: str, call: Call, folder: tempfile.TemporaryDirectory[str], notes: list[str]) -> None:
        self.task = task
        self.function = call.function
        self.inputs = dict(call.arguments)
        self.notes = notes
        self.error: BaseException | None = None
        self._positional = call.positional
        self._environment = call.environment
        self._workdir = call.workdir
        self._source = call.source
        self._folder = folder

    @property
    def folder(self) -> Path:
        return Path(self._folder.name)

    # ------------------------------------------------------------------ doing it again
    def call(self, **changed: Any) -> Any:
        """Call the function as the task did, in this process.

        Args:
            changed: arguments to give instead.

        Returns:
            what it returns. Whatever it raises comes out as it is.
        """
        around = sys.exception()
        try:
            return self._run({**self.inputs, **changed})
        finally:
            found = sys.exception()
            self.error = found if found is not around else None

    def debug(self, **changed: Any) -> Any:
        """Call the function; when it fails, open the debugger at the line of the task's code that failed.

        Returns:
            what it returns, if it does not fail here.
        """
        with suppress(Exception):
            return self.call(**changed)
        error = self.error
        if error is not None:
            own = frozenset([str(self._source)])
            print(traceback_text(error, own), end="")  # noqa: T201 - what a debugger begins with
            post_mortem(error.__traceback__, own)
        return None

    def step(self, **changed: Any) -> Any:
        """Call the function under the debugger, from its first line."""
        return debugger().runcall(self._run, {**self.inputs, **changed})

    def _run(self, arguments: Mapping[str, Any]) -> Any:
        given = dict(arguments)
        positional = [given.pop(name) for name in self._positional if name in given]
        with surroundings(self._workdir, self._environment):
            result = self.function(*positional, **given)
            return asyncio.run(result) if inspect.iscoroutine(result) and not _in_loop() else result

    # ------------------------------------------------------------------ how it looks
    def __repr__(self) -> str:
        rows = [f"    {name} = {_shown(value)}" for name, value in self.inputs.items()]
        name = getattr(self.function, "__name__", "function")
        lines = [f"replay of {self.task}: {name}({', '.join(self.inputs)}) with", *rows]
        lines += [f"note: {note}" for note in self.notes]
        return "\n".join(
            [*lines, ".call() runs it, .debug() opens the debugger where it fails, .step() at its first line"]
        )


def replay(task: Task, *, into_namespace: bool = True) -> Replay:
    """See :meth:`mlplatform.sdk.run_task.Task.replay`."""
    task.wait_for_inputs()
    record = task.record
    if record is None or record.is_group or not record.component or not record.attempt:
        raise InvalidInput(f"task {task.name} never had inputs: there is nothing to replay")
    home, run = task.run.client.home, task.run.record
    pipeline = read_pipeline(home, run.spec_digest)
    python, executor = _python_of(pipeline, record)
    folder = tempfile.TemporaryDirectory(prefix="mlplatform-replay-")
    component = pipeline.components[record.component]
    inputs = _here(record.inputs, fetched=is_cluster(home))
    data = executor_input(inputs, component, _locations(Path(folder.name), component))
    sdk = describe(python.source)
    name = slug(sdk.name, 40) if sdk is not None else python.function
    source = Path(folder.name) / "component" / f"{name}.py"
    workdir = Path(run.context.get("cwd") or folder.name)
    call = prepare(python, data, source)
    in_project = call.objects and workdir.is_dir()
    call = call.at(workdir if in_project else Path(folder.name), dict(executor.env))
    found = Replay(task.name, call, folder, _notes(python, run.context))
    if into_namespace:
        found.notes.extend(_bind(found))
    return found


def _python_of(pipeline: Pipeline, record: TaskRecord) -> tuple[PythonComponent, ContainerExecutor]:
    component = pipeline.components[record.component]
    executor = pipeline.executors.get(component.executor_label)
    python = recognise(executor) if isinstance(executor, ContainerExecutor) else None
    if python is None or not isinstance(executor, ContainerExecutor):
        raise Unsupported(
            f"task {record.key} is no Python function: it cannot be replayed in a kernel",
            hint="Its inputs and its log are there: .inputs, .log",
        )
    return python, executor


def _here(inputs: Values, *, fetched: bool = False) -> Values:
    """Inputs whose bytes are on this machine; what the task itself had to fetch stays an address. ``fetched``: whatever
    has a content is brought here."""
    ours = os.environ.get("MLPLATFORM_ARTIFACTS", "").rstrip("/")

    def local(artifact: Artifact) -> Artifact:
        uri = local_uri(artifact.uri)
        if (ours and uri.startswith(ours + "/")) or (fetched and "://" in uri and artifact.digest):
            uri = str(StoredArtifact(artifact).path)
        return Artifact(artifact.name, uri, artifact.type, artifact.metadata, artifact.digest, artifact.size)

    artifacts: dict[str, ArtifactValue] = {
        name: local(value) if isinstance(value, Artifact) else tuple(local(item) for item in value)
        for name, value in inputs.artifacts.items()
    }
    return Values(inputs.parameters, artifacts)


def _locations(folder: Path, component: Component) -> OutputLocations:
    return OutputLocations(
        parameters={name: str(folder / "outputs" / file_name(name)) for name in component.outputs.parameters},
        artifacts={name: str(folder / "artifacts" / file_name(name)) for name in component.outputs.artifacts},
        output_file=str(folder / "outputs" / "executor_output.json"),
    )


def _in_loop() -> bool:
    """Whether an event loop runs here already (a notebook's): a coroutine is then the caller's to await."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


# ------------------------------------------------------------------ the notebook
def _bind(found: Replay) -> list[str]:
    """Put arguments and function under their names into the notebook; returns what was there before and is not now."""
    notebook = shell()
    if notebook is None:
        return []
    namespace: dict[str, Any] = notebook.user_ns
    bound = dict(found.inputs)
    name = getattr(found.function, "__name__", "")
    notes: list[str] = []
    if name.isidentifier():
        if hasattr(namespace.get(name), "python_func"):
            notes.append(f"{name} stays the notebook's component; the function as the task ran it is .function")
        else:
            bound[name] = found.function
    replaced = [key for key, value in bound.items() if key in namespace and namespace[key] is not value]
    namespace.update(bound)
    if replaced:
        notes.append(f"replaced in this notebook: {', '.join(replaced)}")
    return notes


def _notes(python: PythonComponent, context: Mapping[str, Any]) -> list[str]:
    notes: list[str] = []
    missing = [package for package in python.packages if not _installed(package)]
    if missing:
        notes.append(f"the task had packages that are not installed here: {', '.join(missing)}")
    interpreter: Any = context.get("interpreter") or {}
    version = ".".join(str(number) for number in sys.version_info[:2])
    ran: str = ".".join(str(interpreter.get("version") or "").split(".")[:2])
    if ran and ran != version:
        notes.append(f"the task ran in Python {ran}, this kernel is Python {version}")
    return notes


def _installed(requirement: str) -> bool:
    """Whether a distribution of that name is here; its version is the user's to judge."""
    import re
    from importlib.metadata import PackageNotFoundError, distribution

    name = re.match(r"[A-Za-z0-9._-]+", requirement)
    if name is None or "://" in requirement or requirement.startswith((".", "/")):
        return True
    try:
        distribution(name[0])
    except PackageNotFoundError:
        return False
    return True


def _shown(value: Any) -> str:
    """An argument in one line."""
    shape = getattr(value, "shape", None)
    kind = type(value).__name__
    if shape is not None:
        return f"{kind} {' × '.join(map(str, shape))}" if shape else kind
    path = getattr(value, "path", None)
    if isinstance(path, str):
        return f"{kind} at {path}"
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:97]}..."
