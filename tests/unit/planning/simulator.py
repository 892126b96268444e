"""Runs pipelines with the planner alone: leaf tasks are executed by kfp's own executor in a few worker processes.

There is no engine, store or cache here, only the planner's decisions, its rendering and its recognition of components;
what a task computes is real. Used for the conformance set, whose expectations are about semantics.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import time
from collections.abc import Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

from mlplatform.core.model import Artifact, ArtifactValue, TaskError, TaskKey, Values
from mlplatform.core.states import TaskState
from mlplatform.core.values import conform, parse_text
from mlplatform.ir.model import Component, ContainerExecutor, ImporterExecutor, Pipeline
from mlplatform.planning.model import Action, FinishRun, Limits, RecordTask, RunView, StartTask, TaskFact
from mlplatform.planning.planner import Planner
from mlplatform.planning.python_component import recognise
from mlplatform.planning.render import OutputLocations, RunContext, executor_input, render_container, render_importer


class Simulation:
    """One run. ``home`` is where outputs go; ``cwd`` is the working folder of tasks."""

    def __init__(self, pipeline: Pipeline, home: Path, cwd: Path, workers: ProcessPoolExecutor) -> None:
        self.workers = workers
        self.pipeline = pipeline
        self.home = home
        self.cwd = cwd
        self.records: dict[TaskKey, dict[str, Any]] = {}

    @property
    def clock(self) -> float:
        """Real time: some tasks measure how long they were kept waiting."""
        return time.time()

    def run(self, parameters: Mapping[str, Any], artifacts: Mapping[str, ArtifactValue]) -> dict[str, Any]:
        """The result in the form the conformance set wants."""
        view = RunView(
            run_id="r1",
            job_name=f"{self.pipeline.name}-r1",
            parameters=parameters,
            artifacts=artifacts,
            created_at=self.clock,
            pipeline_root=str(self.home),
            workspace=str(self.home / "workspace"),
        )
        planner = Planner(self.pipeline, view, Limits())
        running: dict[Future[Values], StartTask] = {}
        failures: dict[TaskKey, int] = {}
        with ThreadPoolExecutor(8) as pool:
            decision = planner.advance((), self.clock)
            while True:
                finish = self._carry_out(decision.actions, pool, running)
                if finish is not None:
                    return self._result(finish)
                due = decision.wake_at
                assert running or due is not None, "nothing runs and nothing is waited for"
                left = None if due is None else max(0.0, due - self.clock)
                done = wait(running, left, FIRST_COMPLETED).done if running else set[Future[Values]]()
                if not running and left:
                    time.sleep(left)
                facts = [self._fact(running.pop(future), future, failures) for future in done]
                decision = planner.advance(facts, self.clock)

    def _carry_out(
        self, actions: tuple[Action, ...], pool: ThreadPoolExecutor, running: dict[Future[Values], StartTask]
    ) -> FinishRun | None:
        for action in actions:
            match action:
                case StartTask():
                    running[pool.submit(self._execute, action)] = action
                case RecordTask() if not action.is_group and action.state.finished:
                    self._note(action.key, action.state, action.error, Values())
                case FinishRun():
                    return action
                case _:
                    pass
        return None

    def _fact(self, start: StartTask, future: Future[Values], failures: dict[TaskKey, int]) -> TaskFact:
        problem = future.exception()
        if problem is None:
            values = future.result()
            self._note(start.key, TaskState.SUCCEEDED, None, values)
            return TaskFact(start.key, TaskState.SUCCEEDED, start.attempt, outputs=values, finished_at=self.clock)
        error = TaskError("TASK_FAILED", f"{type(problem).__name__}: {problem}")
        failures[start.key] = failures.get(start.key, 0) + 1
        self._note(start.key, TaskState.FAILED, error, Values())
        return TaskFact(
            start.key, TaskState.FAILED, start.attempt, failures[start.key], error=error, finished_at=self.clock
        )

    def _note(self, key: TaskKey, state: TaskState, error: TaskError | None, values: Values) -> None:
        self.records[key] = {
            "name": key.name,
            "iteration": list(key.iteration),
            "state": str(state),
            "error": error.message if error else None,
            "outputs": _plain(values),
        }

    def _result(self, finish: FinishRun) -> dict[str, Any]:
        return {
            "state": str(finish.state),
            "outputs": _plain(finish.outputs),
            "tasks": list(self.records.values()),
            "error": finish.error.message if finish.error else None,
        }

    # ------------------------------------------------------------------ leaves
    def _execute(self, start: StartTask) -> Values:
        component = self.pipeline.components[start.component]
        executor = self.pipeline.executors[start.executor]
        folder = self.home / "tasks" / str(start.key).replace("/", ".") / str(start.attempt)
        folder.mkdir(parents=True)
        context = RunContext("r1", "job", str(self.home), start.key.path[-1], str(start.key), self.clock, "workspace")
        if isinstance(executor, ImporterExecutor):
            found = render_importer(executor, start.inputs, context)
            if "://" not in found.uri.replace("file://", "") and not Path(found.uri.removeprefix("file://")).exists():
                raise FileNotFoundError(found.uri)
            (name,) = component.outputs.artifacts
            return Values(artifacts={name: Artifact(name, found.uri, found.type, dict(found.metadata))})
        locations = OutputLocations(
            {name: str(folder / "parameters" / name) for name in component.outputs.parameters},
            {name: str(folder / "artifacts" / name) for name in component.outputs.artifacts},
            str(folder / "executor_output.json"),
        )
        for path in (*locations.parameters.values(), *locations.artifacts.values()):
            Path(path).parent.mkdir(parents=True, exist_ok=True)
        inputs = Values(start.inputs.parameters, {k: _local(v) for k, v in start.inputs.artifacts.items()})
        python = recognise(executor)
        if python is not None:
            made = executor_input(inputs, component, locations)
            self.workers.submit(_call, python.source, python.function, made, str(self.cwd)).result(timeout=120)
        else:
            self._command(executor, inputs, component, locations, context)
        return _outputs(component, locations)

    def _command(
        self,
        executor: ContainerExecutor,
        inputs: Values,
        component: Component,
        locations: OutputLocations,
        context: RunContext,
    ) -> None:
        ready = render_container(executor, inputs, component, locations, context)
        done = subprocess.run([*ready.command, *ready.args], cwd=self.cwd, check=False, capture_output=True, timeout=60)
        if done.returncode:
            raise RuntimeError(f"exit status {done.returncode}: {done.stderr.decode(errors='replace')[-300:]}")


def workers(count: int) -> ProcessPoolExecutor:
    """Processes in which kfp is in its runtime mode (which it decides when it is imported)."""
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(count, mp_context=context, initializer=_prepare)


def _prepare() -> None:
    os.environ["_KFP_RUNTIME"] = "true"
    import kfp.dsl.executor  # pyright: ignore[reportUnusedImport] # noqa: F401


def _call(source: str, function: str, made: dict[str, Any], cwd: str) -> None:
    """Run a lightweight component as kfp's runtime does, with its own executor."""
    from kfp.dsl.executor import Executor

    os.chdir(cwd)
    namespace: dict[str, Any] = {"__name__": "component"}
    try:
        # Without dont_inherit the source would get the annotations future of this module, and kfp texts for types.
        exec(compile(source, f"{function}.py", "exec", dont_inherit=True), namespace)
        Executor(executor_input=json.loads(json.dumps(made)), function_to_execute=namespace[function]).execute()
    except SystemExit as error:
        raise RuntimeError(f"exit status {error.code}") from None


def _outputs(component: Component, locations: OutputLocations) -> Values:
    path = Path(locations.output_file)
    told: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    parameters: dict[str, Any] = {}
    for name, spec in component.outputs.parameters.items():
        values = told.get("parameterValues", {})
        if name in values:
            parameters[name] = conform(values[name], spec.type)
        else:
            parameters[name] = parse_text(Path(locations.parameters[name]).read_bytes().decode(), spec.type)
    artifacts: dict[str, ArtifactValue] = {}
    for name, spec in component.outputs.artifacts.items():
        listed = told.get("artifacts", {}).get(name, {}).get("artifacts")
        items = tuple(
            Artifact(name, item.get("uri", ""), spec.type.schema_title, item.get("metadata") or {})
            for item in listed or ()
        ) or (Artifact(name, locations.artifacts[name], spec.type.schema_title, dict(spec.metadata)),)
        artifacts[name] = items if spec.is_list else items[0]
    return Values(parameters, artifacts)


def _local(value: ArtifactValue) -> ArtifactValue:
    if isinstance(value, Artifact):
        return Artifact(value.name, value.uri.removeprefix("file://"), value.type, value.metadata)
    return tuple(Artifact(item.name, item.uri.removeprefix("file://"), item.type, item.metadata) for item in value)


def _plain(values: Values) -> dict[str, Any]:
    found: dict[str, Any] = dict(values.parameters)
    for name, value in values.artifacts.items():
        found[name] = value.to_json() if isinstance(value, Artifact) else [item.to_json() for item in value]
    return found


__all__ = ["Simulation", "workers"]
