"""From "start this task" to everything its process needs, and what its cached result would depend on."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlplatform.core.errors import PlanningError
from mlplatform.core.ids import slug
from mlplatform.core.model import NO_VALUES, TaskKey, TaskRecord, Values
from mlplatform.core.values import child
from mlplatform.engine.caching import Hit, Miss
from mlplatform.engine.contents import Contents
from mlplatform.engine.executors.containers import container_spec
from mlplatform.engine.executors.notebooks_image import shown
from mlplatform.engine.importer import Import, run_importer
from mlplatform.engine.naming import (
    REMOTE_INPUTS,
    file_name,
    folder_name,
    list_outputs,
    pip_words,
    runtime_version,
    tracking_names,
)
from mlplatform.engine.notebooks.asks import image_note, images
from mlplatform.engine.platform import is_volume_task
from mlplatform.engine.platform_plan import PlatformPlan
from mlplatform.engine.ports import Interpreter, Launch
from mlplatform.engine.prepared import Prepared
from mlplatform.engine.submission import Setup, read_setup, with_own_secrets
from mlplatform.ir.model import Component, ContainerExecutor, ImporterExecutor
from mlplatform.planning.cachekey import Parts, Uncacheable, command_code, make_parts, python_code
from mlplatform.planning.model import StartTask
from mlplatform.planning.notebook_component import NotebookTask, recognise_notebook
from mlplatform.planning.python_component import PythonComponent, recognise
from mlplatform.planning.render import (
    OutputLocations,
    RenderedContainer,
    executor_input,
    render_container,
    render_importer,
)
from mlplatform.planning.sdk_component import describe
from mlplatform.planning.templates import RunContext
from mlplatform.planning.training.names import task_job
from mlplatform.planning.training.task import answer_parts, devices, training_of

if TYPE_CHECKING:
    from mlplatform.engine.core import Core
    from mlplatform.engine.run import RunDriver


#: Shorter secrets are not masked: hiding every "on" or "user1" would garble logs and say where the secret stood.
MASKED_FROM = 8


@dataclass(frozen=True, slots=True)
class _Task:
    """The task being prepared, with what most helpers need."""

    driver: RunDriver
    start: StartTask
    component: Component
    directory: Path
    identity: str


class Preparer:
    """Prepares tasks. Fast where environments exist already; else it waits for their installation."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def root(self, run_id: str) -> Path:
        """Where a run's artifacts are."""
        return self._core.home.artifacts / run_id

    def workspace(self, driver: RunDriver) -> str:
        """The folder all tasks of a run share, if its pipeline asks for one."""
        platform = self._core.platform
        return str(platform.workspace(driver.run.run_id)) if platform.has_workspace(driver.pipeline) else ""

    def directory(self, run_id: str, key: TaskKey, attempt: int) -> Path:
        """The folder of an attempt: spec, claim, log, result. Names are short whatever the task is called."""
        return self._core.home.run(run_id) / folder_name(key) / str(attempt)

    def adopted(self, driver: RunDriver, record: TaskRecord) -> Prepared:
        """What is needed to watch an attempt that an earlier service started."""
        component = driver.pipeline.components.get(record.component)
        lists = list_outputs(component) if component else frozenset[str]()
        run_id = driver.run.run_id
        return Prepared.of_adopted(run_id, record, self.directory(run_id, record.key, record.attempt), lists)

    async def task(self, driver: RunDriver, start: StartTask) -> tuple[Prepared, Hit | Miss]:
        """Resolve one task and ask the cache.

        Raises:
            PlanningError, EnvironmentFailed, InvalidParameters: it cannot be started; the text says why.
        """
        pipeline = driver.pipeline
        component = pipeline.components[start.component]
        executor = pipeline.executors[start.executor]
        job = _Task(
            driver,
            start,
            component,
            self.directory(driver.run.run_id, start.key, start.attempt),
            f"{pipeline.name}/{start.key.name}",
        )
        if isinstance(executor, ImporterExecutor):
            return self._importer(job, executor), Miss("importers always run")
        if is_volume_task(executor):
            return self._volume(job), Miss("volumes are made and removed each time")
        if not Contents.all_known(start.inputs.artifacts.values()):
            digested = await self._core.on_files(self._core.contents.digested, start.inputs.artifacts)
            start = replace(start, inputs=Values(start.inputs.parameters, digested))
        prepared = await self._container(replace(job, start=start), executor)
        notebook = recognise_notebook(executor)
        if notebook is not None:
            return await self._ask_notebook(driver, prepared, start, notebook)
        return await self._ask_cache(driver, prepared, start)

    async def _ask_notebook(
        self, driver: RunDriver, prepared: Prepared, start: StartTask, task: NotebookTask
    ) -> tuple[Prepared, Hit | Miss]:
        """Tasks of notebooks have records of their own, and begin where the tasks before them ended."""
        core, run_id = self._core, driver.run.run_id
        answer: Hit | Miss = Miss("caching is off for it")
        if start.cache_enabled:
            answer = await core.on_files(core.notebooks.ask, run_id, task)
        why = answer.note
        if isinstance(answer, Miss) and prepared.launch is not None:
            limit = 1 if prepared.secret_env or prepared.mounts else int(driver.run.context.get("parallel") or 1)
            assert core.beside is not None, "a service that runs notebooks has it"
            told, note = await core.beside.turn(run_id, task, prepared.launch, limit)
            why = "; ".join(filter(None, (why, note)))
            spec = {**prepared.launch.spec, "notebook": {**prepared.launch.spec["notebook"], **told}}
            prepared = replace(prepared, launch=replace(prepared.launch, spec=spec))
        return replace(prepared, why=why, cache_enabled=False), replace(answer, note=why)

    async def _ask_cache(self, driver: RunDriver, prepared: Prepared, start: StartTask) -> tuple[Prepared, Hit | Miss]:
        core = self._core
        if not start.cache_enabled:
            why = "caching is off for it"
            return replace(prepared, why=why), Miss(why)
        if isinstance(prepared.parts, Uncacheable):
            why = f"its result cannot be reused: {prepared.parts.reason}"
            return replace(prepared, why=why), Miss(why)
        if not driver.run.context.get("cache", True):
            why = "the run was started without the cache"
            return replace(prepared, why=why), Miss(why)
        assert isinstance(prepared.parts, Parts)
        env: Mapping[str, str] = prepared.launch.spec["env"] if prepared.launch else {}
        answer = await core.in_thread(core.cache.lookup, prepared.parts, prepared.identity, env)
        return replace(prepared, why=answer.note), answer

    # ------------------------------------------------------------------ kinds
    def _importer(self, job: _Task, executor: ImporterExecutor) -> Prepared:
        found = render_importer(executor, job.start.inputs, self._context(job, job.directory))
        outputs = list(job.component.outputs.artifacts)
        task = self._without_process(job)
        if len(outputs) != 1:
            raise PlanningError(f"importer {job.start.key} must have one output artifact, it has {len(outputs)}")
        work = Import(found.uri, found.type, outputs[0], found.metadata, executor.reimport)
        return replace(task, work=lambda: run_importer(self._core.artifacts, work))

    def _volume(self, job: _Task) -> Prepared:
        """CreatePVC and DeletePVC: folders of this machine."""

        def work() -> Values:
            setup = self._setup(job.driver)
            return self._core.platform.volume_task(job.driver, job.start, setup) or NO_VALUES

        return replace(self._without_process(job), work=work)

    def _without_process(self, job: _Task) -> Prepared:
        return Prepared(
            run_id=job.driver.run.run_id,
            key=job.start.key,
            attempt=job.start.attempt,
            directory=job.directory,
            identity=job.identity,
            priority=job.driver.run.priority,
            created_at=self._core.clock.now(),
        )

    def _setup(self, driver: RunDriver) -> Setup:
        """The run's setup, and with it the secrets that the SDK names. Raises InvalidParameters."""
        setup = read_setup(driver.run.context.get("setup_path") or "")
        return with_own_secrets(setup, driver.env, self._core.home.secrets)

    async def _container(self, job: _Task, executor: ContainerExecutor) -> Prepared:
        core, run, start = self._core, job.driver.run, job.start
        setup = self._setup(job.driver)
        locations, spec_outputs = self._locations(job)
        context = self._context(job, job.directory)
        inputs, downloads = self._core.contents.for_task(job.start.inputs)
        python, notebook = recognise(executor), recognise_notebook(executor)
        # The source of a function is code, not a template: text in it that looks like a placeholder stays text.
        template = replace(executor, command=(), args=()) if python or notebook else executor
        rendered = render_container(template, inputs, job.component, locations, context)
        training = training_of(job.driver.pipeline, start.executor)
        if training is not None and python is None:
            raise PlanningError(f"{start.key} trains by several ranks: on one machine these run Python components only")
        ranks, gpus = devices(training) if training else (1, rendered.resources.gpus)
        plan = core.platform.resolve(job.driver, start, setup)
        base = self._base(run.context)
        scratch = self._scratch(job)
        spec = self._spec(job, rendered, plan, spec_outputs, scratch, context, locations, inputs)
        spec["cpus"] = rendered.resources.cpu
        if python is not None:
            if foreign := core.contents.foreign(inputs):
                folder = str(job.directory / REMOTE_INPUTS)
                spec["fetch"] = {"command": list(core.fetch_command), "folder": folder, "uris": foreign}
            launch, code, extra = await self._python(job, executor, python, base, spec)
            if training is not None:
                told = {"name": task_job(run.run_id, start.key), "spec": training}
                launch = replace(launch, kind="training", spec={**launch.spec, "training": told})
                code = {**code, "training": answer_parts(training)}
        elif notebook is not None:
            launch, code, extra = await self._notebook(job, notebook, base, spec, rendered, plan)
        else:
            launch, code, extra = await self._command(job, executor, rendered, base, spec, setup, plan)
        parts = make_parts(
            code=code,
            inputs=start.inputs,
            outputs={name: entry["type"] for name, entry in spec_outputs["parameters"].items()}
            | {name: entry["type"] for name, entry in spec_outputs["artifacts"].items()},
            environment=plan.key_env,
            secrets=plan.secret_names,
            user_key=start.cache_key,
            **extra,
        )
        if plan.uncacheable and not start.cache_key:
            parts = Uncacheable(plan.uncacheable)
        return Prepared(
            run_id=run.run_id,
            key=start.key,
            attempt=start.attempt,
            directory=job.directory,
            identity=job.identity,
            launch=launch,
            parts=parts,
            cache_enabled=start.cache_enabled,
            list_outputs=list_outputs(job.component),
            downloads=downloads,
            outputs_folder=self._outputs_folder(job),
            secret_env=plan.secret_env,
            mounts=plan.mounts,
            notes=tuple(
                filter(
                    None,
                    (
                        *plan.notes,
                        *rendered.resources.notes,
                        image_note(executor, str(run.context.get("containers") or "")) if notebook else "",
                    ),
                )
            ),
            cpu=(rendered.resources.cpu or 0.0) * ranks,
            memory=(rendered.resources.memory or 0.0) * ranks,
            gpus=gpus,
            priority=run.priority,
            created_at=core.clock.now(),
        )

    async def _python(
        self,
        job: _Task,
        template: ContainerExecutor,
        python: PythonComponent,
        base: Interpreter,
        spec: dict[str, Any],
    ) -> tuple[Launch, Any, dict[str, str]]:
        core = self._core
        environments = core.ports.environments
        options = {"pip_options": pip_words(python.pip_options), "env": job.driver.env}
        interpreter = await environments.interpreter(base, python.packages, options)
        sdk = describe(python.source)
        kfp, kfp_path = "", ""
        if sdk is None or sdk.needs_kfp:
            kfp = runtime_version(python.kfp_version)
            kfp_path = await environments.kfp_runtime(interpreter, kfp)
        name = slug(python.function if sdk is None else sdk.name, 40)
        digest = hashlib.sha256(python.source.encode("utf-8", "surrogatepass")).hexdigest()[:10]
        spec["kind"] = "python"
        spec["python"] = {
            "source": python.source,
            "function": python.function,
            "kfp_path": kfp_path or None,
            "filename": f"{name}.py",
            "folder": str(core.home.run(job.driver.run.run_id) / "components" / f"{name}-{digest}"),
        }
        code = python_code(template, python, kfp)
        if sdk is not None:
            # What the SDK made is somebody's own code: it runs where they stand, so that relative paths hold.
            folder = str(job.driver.run.context.get("cwd") or "")
            if os.path.isdir(folder):
                spec["cwd"] = folder
            # In another folder the same code reads other files.
            code |= {"folder": folder, "folders": list(sdk.folders)}
        launch = self._launch(job, "python", spec, interpreter=interpreter)
        return launch, code, {"python": interpreter.version, "packages": interpreter.digest}

    async def _notebook(
        self,
        job: _Task,
        task: NotebookTask,
        base: Interpreter,
        spec: dict[str, Any],
        rendered: RenderedContainer,
        plan: PlatformPlan,
    ) -> tuple[Launch, Any, dict[str, str]]:
        core, run = self._core, job.driver.run
        mode = str(run.context.get("containers") or "")
        named = images(job.driver.pipeline, mode)
        digests = {name: await core.containers.image_digest(name, mode) for name in sorted(set(named.values()))}
        interpreter = await core.ports.environments.interpreter(base, (), {})
        spec["kind"] = "notebook"
        spec["cwd"] = run.context.get("cwd") or spec["cwd"]
        folder = {"python": interpreter.version, "packages": interpreter.digest, "folder": spec["cwd"]}
        cache = bool(run.context.get("cache", True))
        theirs = job.driver.env  # tracking's additions to these are no part of what the task depends on
        given = {
            name: theirs.get(name) for name in ("NO_PROXY", "no_proxy") if spec["env"].get(name) != theirs.get(name)
        }
        env = {name: value for name, value in {**spec["env"], **given}.items() if value is not None}
        book = (run.run_id, job.driver.pipeline, run.parameters, folder, env)
        parallel = int(run.context.get("parallel") or 1)
        places = {position: digests[name] for position, name in named.items()}
        await core.on_files(core.notebooks.open, *book, cache=cache, parallel=parallel, images=places)
        spec["notebook"] = core.notebooks.section(run.run_id, task, job.start.attempt) | {"given": given}
        if name := named.get(task.position):
            names = {*rendered.env, *plan.env, *plan.secret_env, *tracking_names(spec)}
            folders = [str(core.home.run(run.run_id)), str(core.notebooks.library.root)]
            spec["notebook"]["image"] = {"name": name, "digest": digests[name], "python": interpreter.version}
            spec["container"] = container_spec(rendered, mode, names, plan.container, shown(spec["cwd"], folders))
        launch = self._launch(job, "notebook", spec, interpreter=interpreter)
        return launch, {}, {"python": interpreter.version, "packages": interpreter.digest}

    async def _command(
        self,
        job: _Task,
        template: ContainerExecutor,
        rendered: RenderedContainer,
        base: Interpreter,
        spec: dict[str, Any],
        setup: Setup,
        plan: PlatformPlan,
    ) -> tuple[Launch, Any, dict[str, str]]:
        core = self._core
        mode = job.driver.run.context.get("containers") or ""
        if not mode and "container-as-subprocess" in setup.allow:
            mode = "subprocess"
        code = command_code(template)
        if mode == "subprocess":
            spec["kind"] = "command"
            spec["command"] = core.platform.subprocess_argv(rendered)
            base = await core.ports.environments.interpreter(base, (), {})
            return self._launch(job, "command", spec, interpreter=base), code, {"image": rendered.image}
        containers = core.containers
        names = {*rendered.env, *plan.env, *plan.secret_env, *tracking_names(spec)}
        workspace = self.workspace(job.driver)
        spec["kind"] = "container"
        spec["container"] = container_spec(rendered, mode, names, plan.container, [workspace] if workspace else [])
        digest = await containers.image_digest(rendered.image, mode, plan.container.pull)
        return self._launch(job, "container", spec, image=rendered.image), code, {"image": digest}

    # ------------------------------------------------------------------ parts of a spec
    def _launch(
        self, job: _Task, kind: str, spec: Mapping[str, Any], *, interpreter: Interpreter | None = None, image: str = ""
    ) -> Launch:
        return Launch(
            run_id=job.driver.run.run_id,
            key=job.start.key,
            attempt=job.start.attempt,
            kind=kind,
            directory=job.directory,
            spec=spec,
            interpreter=interpreter,
            image=image,
            resources={},
            grace=self._core.grace,
        )

    def _spec(
        self,
        job: _Task,
        rendered: RenderedContainer,
        plan: PlatformPlan,
        outputs: dict[str, Any],
        scratch: Path,
        context: RunContext,
        locations: OutputLocations,
        inputs: Values,
    ) -> dict[str, Any]:
        run, start, directory = job.driver.run, job.start, job.directory
        tracking = self._core.tracker.task_environment(run, start.key, start.attempt)
        env = {**job.driver.env, **tracking.env, **rendered.env, **plan.env}
        return {
            "version": 1,
            "run_id": run.run_id,
            "task": start.key.name,
            "iteration": list(start.key.iteration),
            "attempt": start.attempt,
            "cookie": f"{run.run_id}:{folder_name(start.key)}:{start.attempt}",
            "executor_input": executor_input(inputs, job.component, locations, context),
            "cwd": str(scratch),
            "env": env,
            "sys_path": [],
            "scratch": str(scratch),
            "outputs": outputs,
            "claim": str(directory / "claim"),
            "result": str(directory / "result.json"),
            "log": str(directory / "task.log"),
            "trace": str(directory / "trace.bin") if start.cache_enabled else None,
            "trace_ignore": [str(self._core.home.root)],
            "hooks": [str(tracking.hook)] if tracking.hook else [],
            "timeout": plan.deadline,
            "secrets": sorted(v for v in {*plan.secret_env.values(), *plan.mask} if len(v) >= MASKED_FROM),
            "mounts": [],
            "cpus": None,
            "gpus": None,
        }

    def _base(self, context: Mapping[str, Any]) -> Interpreter:
        python = child(context, "interpreter")
        return Interpreter(
            executable=python.get("executable") or "",
            digest="",
            version=python.get("version") or "",
            sys_path=tuple(python.get("sys_path") or ()),
        )

    def _scratch(self, job: _Task) -> Path:
        base = job.driver.env.get("TMPDIR") or tempfile.gettempdir()
        digest = hashlib.sha256(str(job.directory).encode()).hexdigest()[:16]
        return Path(base) / f"mlplatform-{os.getuid()}-{digest}"

    def _context(self, job: _Task, directory: Path) -> RunContext:
        run = job.driver.run
        return RunContext(
            run_id=run.run_id,
            job_name=f"{job.driver.pipeline.name}-{run.run_id}",
            pipeline_root=str(self.root(run.run_id)),
            task_name=job.start.key.path[-1],
            task_id=str(job.start.key),
            created_at=run.created_at,
            workspace=self.workspace(job.driver),
        )

    def _outputs_folder(self, job: _Task) -> Path:
        return self.root(job.driver.run.run_id) / folder_name(job.start.key) / str(job.start.attempt)

    def _locations(self, job: _Task) -> tuple[OutputLocations, dict[str, Any]]:
        """Where the task writes: parameters beside its log, artifacts in the run's artifact folder."""
        place = self._outputs_folder(job)
        parameters: dict[str, Any] = {}
        artifacts: dict[str, Any] = {}
        for name, spec in job.component.outputs.parameters.items():
            path = job.directory / "outputs" / file_name(name)
            parameters[name] = {"path": str(path), "type": str(spec.type)}
        for name, spec in job.component.outputs.artifacts.items():
            path = place / file_name(name)
            artifacts[name] = {
                "path": str(path),
                "uri": str(path),
                "type": spec.type.schema_title or "system.Artifact",
                "metadata": dict(spec.metadata),
                "list": spec.is_list,
            }
        locations = OutputLocations(
            parameters={name: entry["path"] for name, entry in parameters.items()},
            artifacts={name: entry["uri"] for name, entry in artifacts.items()},
            output_file=str(job.directory / "outputs" / "executor_output.json"),
        )
        return locations, {"parameters": parameters, "artifacts": artifacts}
