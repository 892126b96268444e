"""What differs for each task between two documents of one pipeline, for continuing a run with edited code. Pure.

A change is what may change a result: the implementation, the arguments, where they come from, the order, a condition or
a loop. Comments, formatting, docstrings, display names, resources, retries and caching are none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from mlplatform.core.parts import explain_parts
from mlplatform.core.values import JsonValue
from mlplatform.ir.model import (
    Component,
    ContainerExecutor,
    Dag,
    ImporterExecutor,
    ParameterSource,
    Pipeline,
    PipelineTask,
)
from mlplatform.planning.cachekey import normalised_source
from mlplatform.planning.notebook_component import recognise_notebook
from mlplatform.planning.python_component import recognise
from mlplatform.planning.sdk_component import describe as describe_sdk

Path = tuple[str, ...]

#: What of a task's Kubernetes configuration its code can see.
_VISIBLE: Final = frozenset(
    {
        "secretAsVolume",
        "secretAsEnv",
        "configMapAsVolume",
        "configMapAsEnv",
        "pvcMount",
        "fieldPathAsEnv",
        "genericEphemeralVolume",
        "emptyDirMounts",
        "initContainers",
        "securityContext",
    }
)


@dataclass(frozen=True, slots=True)
class Changes:
    """``tasks``: what changed, by path; of a group it goes for everything in it. ``outputs``: groups whose outputs come
    from elsewhere now, which goes for those who take them. ``gone``: tasks that the new document lacks."""

    tasks: Mapping[Path, str] = field(default_factory=dict[Path, str])
    outputs: frozenset[Path] = frozenset()
    gone: tuple[Path, ...] = ()


NO_CHANGES: Final = Changes()


def changes_between(old: Pipeline, new: Pipeline, inputs: Iterable[str] = ()) -> Changes:
    """What differs for each task of ``new``. ``inputs``: inputs of the run that have another value now."""
    found = _Comparison(old, new)
    if old.root.dag is not None and new.root.dag is not None:
        found.dags((), old.root.dag, new.root.dag, frozenset(inputs))
    return Changes(found.tasks, frozenset(found.outputs), tuple(found.gone))


class _Comparison:
    def __init__(self, old: Pipeline, new: Pipeline) -> None:
        self._old = old
        self._new = new
        self.tasks: dict[Path, str] = {}
        self.outputs: set[Path] = set()
        self.gone: list[Path] = []

    def dags(self, prefix: Path, old: Dag, new: Dag, tainted: frozenset[str]) -> None:
        """Compare the tasks of two DAGs. ``tainted``: inputs of the component that get something else now."""
        self.gone += [(*prefix, name) for name in old.tasks if name not in new.tasks]
        for name, task in new.tasks.items():
            path = (*prefix, name)
            before = old.tasks.get(name)
            if before is None:
                self.tasks[path] = "it is new"
                continue
            was, now = self._old.components[before.component], self._new.components[task.component]
            if (was.dag is None) != (now.dag is None):
                self.tasks[path] = "it is something else now"
            elif was.dag is not None and now.dag is not None:
                self._group(path, before, task, was, now, tainted)
            else:
                reason = self._implementation(was, now) or _arguments(before, task, was, now, tainted)
                reason = reason or _frame(before, task)
                if reason:
                    self.tasks[path] = reason

    def _group(
        self,
        path: Path,
        before: PipelineTask,
        task: PipelineTask,
        was: Component,
        now: Component,
        tainted: frozenset[str],
    ) -> None:
        changed = _changed_arguments(before, task, was, now, tainted)
        reason = _frame(before, task)
        for iterator in (task.parameter_iterator, task.artifact_iterator):
            if iterator is not None and iterator.items_input in changed:
                reason = reason or "what it loops over comes from elsewhere"
        if task.condition and any(name in task.condition for name in changed):
            reason = reason or "its condition depends on something else"
        if reason:
            self.tasks[path] = reason
            return
        assert was.dag is not None
        assert now.dag is not None
        if was.dag.outputs != now.dag.outputs:
            self.outputs.add(path)
        self.dags(path, was.dag, now.dag, frozenset(changed))

    def _implementation(self, was: Component, now: Component) -> str:
        old, new = self._old.executors[was.executor_label], self._new.executors[now.executor_label]
        if type(old) is not type(new):
            return "it is something else now"
        if isinstance(old, ImporterExecutor) or isinstance(new, ImporterExecutor):
            return "" if old == new else "what it imports changed"
        before, after = implementation(old), implementation(new)
        for part, words in _PARTS.items():
            one, other = before.get(part), after.get(part)
            if one != other:
                parts = isinstance(one, dict) and isinstance(other, dict) and explain_parts(one, other)
                return f"{words}: {parts}" if parts else words
        if _types(was) != _types(now):
            return "its declared outputs changed"
        if self._platform(self._old, was) != self._platform(self._new, now):
            return "its secrets, volumes or other surroundings changed"
        return ""

    def _platform(self, pipeline: Pipeline, component: Component) -> Any:
        found: dict[str, Any] = {}
        for name, platform in pipeline.platforms.items():
            executors: Any = _member(_member(platform, "deploymentSpec"), "executors")
            config = _member(executors, component.executor_label)
            found[name] = {key: config[key] for key in sorted(config) if key in _VISIBLE}
        return {name: config for name, config in found.items() if config}


_PARTS: Final = {
    "code": "its code changed",
    "adapter": "how it is called changed",
    "command": "its command changed",
    "packages": "its packages changed",
    "image": "its image changed",
    "env": "its environment variables changed",
}


def implementation(executor: ContainerExecutor) -> dict[str, JsonValue]:
    """What an executor does, as parts that compare equal where only comments, formatting or docstrings differ."""
    found: dict[str, JsonValue] = {"image": executor.image, "env": dict(executor.env)}
    python = recognise(executor)
    if python is not None:
        options = {name: list(words) for name, words in python.pip_options.items()}
        packages: list[JsonValue] = [list(python.packages), options, python.use_venv, python.kfp_version]
        sdk = describe_sdk(python.source)
        if sdk is None:
            return {**found, "code": [python.function, normalised_source(python.source)], "packages": packages}
        return {**found, "code": dict(sdk.parts), "adapter": [sdk.adapter, sdk.spec], "packages": packages}
    notebook = recognise_notebook(executor)
    if notebook is not None:
        cells: list[Any] = [[normalised_source(cell.source), cell.may_fail] for cell in notebook.cells]
        return {**found, "code": [cells, list(notebook.parameters)]}
    return {**found, "command": [list(executor.command), list(executor.args)]}


def _types(component: Component) -> Any:
    outputs = component.outputs
    parameters = {name: str(spec.type) for name, spec in outputs.parameters.items()}
    return parameters, {name: (spec.type.schema_title, spec.is_list) for name, spec in outputs.artifacts.items()}


def _arguments(
    before: PipelineTask, task: PipelineTask, was: Component, now: Component, tainted: frozenset[str]
) -> str:
    changed = _changed_arguments(before, task, was, now, tainted)
    if not changed:
        return ""
    names = ", ".join(repr(name) for name in sorted(changed)[:4]) + (", ..." if len(changed) > 4 else "")
    return f"its input{'s' if len(changed) > 1 else ''} {names} changed"


def _changed_arguments(
    before: PipelineTask, task: PipelineTask, was: Component, now: Component, tainted: frozenset[str]
) -> set[str]:
    """Names of inputs that get something else. One that is new and not given is as if it were not there."""
    old, new = _sources(before, was), _sources(task, now)
    changed = {name for name in {*old, *new} if old.get(name) != new.get(name)}
    for sources in (task.parameters, task.artifacts):
        changed |= {name for name, source in sources.items() if source.component_input in tainted}
    return changed


def _sources(task: PipelineTask, component: Component) -> dict[str, Any]:
    """Where every input comes from: given by the task, or the component's default."""
    found: dict[str, Any] = {
        name: ("default", spec.default)
        for name, spec in component.inputs.parameters.items()
        if spec.has_default and spec.default is not None
    }
    found.update({name: _plain(source) for name, source in task.parameters.items()})
    found.update(task.artifacts)
    return found


def _plain(source: ParameterSource) -> Any:
    """A constant is what it is, also where it was a default before."""
    return ("default", source.constant) if source.has_constant and not source.expression else source


def _frame(before: PipelineTask, task: PipelineTask) -> str:
    """What is around a task: its condition, its loop, what it must follow."""
    if before.condition != task.condition or before.strategy != task.strategy:
        return "its condition changed"
    if before.parameter_iterator != task.parameter_iterator or before.artifact_iterator != task.artifact_iterator:
        return "its loop changed"
    if set(before.dependent_tasks) != set(task.dependent_tasks):
        return "what it runs after changed"
    return ""


def _member(value: Any, name: str) -> Any:
    found = value.get(name) if isinstance(value, Mapping) else None  # pyright: ignore[reportUnknownMemberType,reportUnknownVariableType]
    return found if isinstance(found, Mapping) else {}  # pyright: ignore[reportUnknownVariableType]


def describe(changes: Changes) -> str:
    """``train changed (its code changed); report is new; old-task is gone``; empty if nothing changed."""
    words = [f"{'/'.join(path)}: {reason}" for path, reason in changes.tasks.items()]
    words += [f"{'/'.join(path)}: its outputs come from elsewhere" for path in sorted(changes.outputs)]
    words += [f"{'/'.join(path)} is gone" for path in changes.gone]
    return "; ".join(words)
