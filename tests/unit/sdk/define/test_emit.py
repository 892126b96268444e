"""One source, two compilers: kfp's IR and ours say the same."""

from __future__ import annotations

import ast
import dataclasses
import json
import linecache
import types
import warnings
from typing import Any, cast

import pytest

from mlplatform.ir import dump
from mlplatform.ir.load import loads
from mlplatform.ir.model import Component, ContainerExecutor, Pipeline
from mlplatform.ir.validate import require_valid
from mlplatform.planning.cel import check
from mlplatform.planning.python_component import recognise
from tests.unit.sdk.define.sources import HEAD, PIPELINES

OURS = "from mlplatform import dsl"
THEIRS = "from kfp import dsl"


def module_of(text: str, name: str) -> types.ModuleType:
    """The text as a module whose source ``inspect`` finds."""
    file = f"<{name}>"
    linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
    module = types.ModuleType("pipelines_of_a_test")
    exec(compile(text, file, "exec", dont_inherit=True), module.__dict__)
    return module


def source(feature: str, words: str) -> str:
    return HEAD.format(dsl=words) + PIPELINES[feature]


def compiled_by_kfp(feature: str, folder: Any) -> Pipeline:
    from kfp import compiler

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = module_of(source(feature, THEIRS), f"kfp {feature}")
        file = folder / "p.yaml"
        compiler.Compiler().compile(module.p, str(file))
    return loads(file.read_bytes())


def compiled_by_us(feature: str) -> Pipeline:
    return loads(module_of(source(feature, OURS), f"ours {feature}").p.compile())


# ------------------------------------------------------------------ what does not count
def normal(pipeline: Pipeline) -> dict[str, Any]:
    """A document without what has no meaning: who wrote it, spaces in sources, the names of components and executors,
    inputs of groups that nothing uses, and dependencies that are told by the inputs already."""
    pipeline = _named_by_place(pipeline)
    root = pipeline.root
    components = dict(pipeline.components)
    while True:
        used = {name: _used(component) for name, component in components.items()}
        pruned = {name: _pruned(component, used, name) for name, component in components.items()}
        root_now = _pruned_tasks(root, pruned)
        if pruned == components and root_now == root:
            break
        components, root = pruned, root_now
    executors = {label: _executor(executor) for label, executor in pipeline.executors.items()}
    made = dataclasses.replace(pipeline, sdk_version="", root=root, components=components, executors=executors)
    return cast("dict[str, Any]", json.loads(json.dumps(dump.to_json(made), sort_keys=True)))


def _named_by_place(pipeline: Pipeline) -> Pipeline:
    components: dict[str, Component] = {}
    executors: dict[str, Any] = {}

    def placed(component: Component, place: str) -> Component:
        if component.dag is None:
            executors[place] = pipeline.executors[component.executor_label]
            return dataclasses.replace(component, executor_label=place)
        tasks: dict[str, Any] = {}
        for key, task in component.dag.tasks.items():
            name = task.component.rpartition("-")[0] if task.component[-1].isdigit() else task.component
            inner = f"{name if name.startswith(('comp-condition', 'comp-for', 'comp-exit')) else 'comp'}:{place}/{key}"
            components[inner] = placed(pipeline.components[task.component], inner)
            sources = [*task.parameters.values(), *task.artifacts.values()]
            needs = {*task.dependent_tasks, *(item.producer_task for item in sources if item.producer_task)}
            tasks[key] = dataclasses.replace(task, component=inner, dependent_tasks=tuple(sorted(needs)))
        return dataclasses.replace(component, dag=dataclasses.replace(component.dag, tasks=tasks))

    root = placed(pipeline.root, "")
    return dataclasses.replace(pipeline, root=root, components=components, executors=executors)


def _used(component: Component) -> set[str] | None:
    """Inputs of a group that something in it uses; None for a component that is no group."""
    if component.dag is None:
        return None
    found: set[str] = set()
    for task in component.dag.tasks.values():
        found |= {item.component_input for item in (*task.parameters.values(), *task.artifacts.values())}
    return found


def _pruned(component: Component, used: dict[str, set[str] | None], name: str) -> Component:
    component = _pruned_tasks(component, used)
    mine = used[name]
    if mine is None or component.dag is None or not name.startswith(("comp-condition", "comp-for-loop", "comp-exit")):
        return component
    conditions = " ".join(task.condition for task in component.dag.tasks.values())
    keep = {key for key in component.inputs.parameters if key in mine or key in conditions}
    parameters = {key: spec for key, spec in component.inputs.parameters.items() if key in keep}
    artifacts = {key: spec for key, spec in component.inputs.artifacts.items() if key in mine}
    inputs = dataclasses.replace(component.inputs, parameters=parameters, artifacts=artifacts)
    return dataclasses.replace(component, inputs=inputs)


def _pruned_tasks(component: Component, known: dict[str, Any]) -> Component:
    """Sources of inputs that the group has not (any more), except those a condition or loop of the task reads."""
    if component.dag is None:
        return component
    tasks: dict[str, Any] = {}
    for key, task in component.dag.tasks.items():
        inner = known.get(task.component)
        if isinstance(inner, Component) and inner.dag is not None:
            iterator = task.parameter_iterator or task.artifact_iterator
            own = {iterator.items_input} if iterator else set()
            parameters = {
                name: item
                for name, item in task.parameters.items()
                if name in inner.inputs.parameters or name in own or name in task.condition
            }
            task = dataclasses.replace(task, parameters=parameters)
        tasks[key] = task
    return dataclasses.replace(component, dag=dataclasses.replace(component.dag, tasks=tasks))


def _executor(executor: Any) -> Any:
    if isinstance(executor, ContainerExecutor) and (python := recognise(executor)) is not None:
        told = [
            python.function,
            python.kfp_version,
            *python.packages,
            json.dumps(python.pip_options),
            str(python.use_venv),
        ]
        return dataclasses.replace(executor, command=(*told, ast.dump(ast.parse(python.source))))
    return executor


@pytest.mark.parametrize("feature", PIPELINES)
def test_both_compilers_agree(feature: str, tmp_path: Any) -> None:
    pytest.importorskip("kfp")
    theirs = compiled_by_kfp(feature, tmp_path)
    ours = compiled_by_us(feature)
    require_valid(ours, check, feature)
    assert normal(ours) == normal(theirs)


def test_every_python_component_is_recognised() -> None:
    for feature in PIPELINES:
        for executor in compiled_by_us(feature).executors.values():
            if isinstance(executor, ContainerExecutor) and executor.args[:1] == ("--executor_input",):
                assert recognise(executor) is not None, feature
