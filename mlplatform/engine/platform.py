"""What a pipeline's ``platforms: kubernetes:`` document means on one machine.

Secrets and config maps come from the setup file, claims are folders, fields of the pod are made up sensibly, wishes
about nodes are compared with this machine and told. Nothing is dropped silently: what has no effect is a note, what
cannot be had is an error that names it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Final

from mlplatform.core.errors import EnvironmentFailed, Finding, InvalidParameters, PlanningError, Unsupported
from mlplatform.core.model import TaskKey, Values
from mlplatform.core.quantities import count_bytes
from mlplatform.engine.home import Home
from mlplatform.engine.platform_nodes import machine_labels, placement_notes
from mlplatform.engine.platform_plan import ContainerOptions, PlatformPlan
from mlplatform.engine.platform_pod import VOLATILE, Pod
from mlplatform.engine.platform_volumes import CREATE, Volumes, volume_action
from mlplatform.engine.submission import OWN_SECRETS, Setup
from mlplatform.ir.kubernetes import KeyToEnv, KubernetesConfig
from mlplatform.ir.model import ContainerExecutor, Pipeline
from mlplatform.ir.platform import kubernetes_config, pipeline_config
from mlplatform.planning.model import StartTask
from mlplatform.planning.render import RenderedContainer
from mlplatform.planning.sources import Driver, SourceValues

#: Runs whose platform document is kept in its read form.
_READ_RUNS: Final = 64


class Platform:
    """Kubernetes' part in a run, on this machine."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self.volumes = Volumes(home.root / "volumes")
        self._labels = machine_labels()
        self._read: dict[str, tuple[Pipeline, bool, dict[str, KubernetesConfig]]] = {}

    def workspace(self, run_id: str) -> Path:
        """The folder all tasks of a run share; not created by asking."""
        return self._home.run(run_id) / "workspace"

    def has_workspace(self, pipeline: Pipeline) -> bool:
        """Whether the run asks for a workspace. Raises InvalidPipeline."""
        return pipeline_config(pipeline).workspace is not None

    def run_notes(self, pipeline: Pipeline) -> tuple[str, ...]:
        """What of the run's own settings has no effect here. Raises InvalidPipeline."""
        config = pipeline_config(pipeline)
        notes: list[str] = []
        if config.workspace is not None:
            notes.append(f"the workspace is a folder; its size {config.workspace.size} is not enforced")
        if (config.ttl_on_completion, config.ttl_on_success, config.ttl_on_failure) != (None, None, None):
            notes.append("times to live of finished pods have no meaning here; see `mlplatform gc`")
        for what, name in (("semaphore", config.semaphore_key), ("mutex", config.mutex_name)):
            if name:
                notes.append(f"the {what} {name!r} is not held: runs of one machine wait for resources only")
        return tuple(notes)

    def run_deadline(self, pipeline: Pipeline) -> float | None:
        """Seconds after which the whole run fails, None for no limit. Raises InvalidPipeline."""
        deadline = pipeline_config(pipeline).active_deadline
        return None if deadline is None else float(deadline)

    # ------------------------------------------------------------------ tasks
    def resolve(self, driver: Driver, start: StartTask, setup: Setup) -> PlatformPlan:
        """What the platform document says about the executor of a task that is about to start.

        Raises:
            InvalidParameters: secrets, config maps or claims are missing; every one is named, no value is.
            PlanningError: a source has no value.
            Unsupported: something that cannot be had on one machine.
        """
        if not driver.pipeline.platforms:
            return NO_PLAN
        config = self._config(driver, start.executor)
        values = SourceValues(driver, start.key, start.inputs)
        return _Resolver(self, config, values, setup).plan(driver.run.run_id, start.key, start.attempt)

    def _config(self, driver: Driver, executor: str) -> KubernetesConfig:
        """One executor's configuration, read once a run; the run's workspace is made on the way."""
        run_id, pipeline = driver.run.run_id, driver.pipeline
        known = self._read.get(run_id)
        if known is None or known[0] is not pipeline:
            if len(self._read) >= _READ_RUNS:
                self._read.clear()
            known = self._read[run_id] = (pipeline, self.has_workspace(pipeline), {})
        _, workspace, configs = known
        if workspace:
            self.workspace(run_id).mkdir(parents=True, exist_ok=True, mode=0o700)
        if executor not in configs:
            configs[executor] = kubernetes_config(pipeline, executor)
        return configs[executor]

    def placement(self, config: KubernetesConfig, values: SourceValues) -> list[str]:
        return placement_notes(config, values, self._labels)

    def volume_task(self, driver: Driver, start: StartTask, setup: Setup) -> Values | None:
        """Carry out a CreatePVC or DeletePVC task and give its outputs; None for any other task.

        Raises:
            PlanningError: its inputs name no usable claim.
            EnvironmentFailed: the folder cannot be made or removed.
        """
        action = volume_action(driver.pipeline.executors[start.executor])
        inputs = start.inputs.parameters
        if not action:
            return None
        if action == CREATE:
            return self.volumes.create(driver.run.run_id, start.key, start.attempt, inputs)
        return self.volumes.delete(inputs, setup.pvcs)

    def subprocess_argv(self, rendered: RenderedContainer) -> list[str]:
        return subprocess_argv(rendered)


NO_PLAN = PlatformPlan()


def subprocess_argv(rendered: RenderedContainer) -> list[str]:
    """The command line of a container component as a process of this machine.

    Raises:
        EnvironmentFailed: it has no command of its own, and what its image would start is not known here.
    """
    if not rendered.command:
        raise EnvironmentFailed(
            f"the component has no command of its own: what it runs stands in its image {rendered.image}",
            hint="Run it in its image: --containers docker or --containers podman.",
        )
    return [*rendered.command, *rendered.args]


def is_volume_task(executor: ContainerExecutor) -> bool:
    """Whether an executor stands for CreatePVC or DeletePVC."""
    return bool(volume_action(executor))


@dataclass
class _Resolver:
    """Gathers one task's plan; findings first, so that all are told at once."""

    platform: Platform
    config: KubernetesConfig
    values: SourceValues
    setup: Setup
    env: dict[str, str] = field(default_factory=dict[str, str])
    key_env: dict[str, str] = field(default_factory=dict[str, str])
    secret_env: dict[str, str] = field(default_factory=dict[str, str])
    secret_names: list[str] = field(default_factory=list[str])
    mask: set[str] = field(default_factory=set[str])
    mounts: list[Mapping[str, Any]] = field(default_factory=list[Mapping[str, Any]])
    notes: list[str] = field(default_factory=list[str])
    uncacheable: list[str] = field(default_factory=list[str])
    findings: list[Finding] = field(default_factory=list[Finding])

    def plan(self, run_id: str, key: TaskKey, attempt: int) -> PlatformPlan:
        config = self.config
        if config.init_containers:
            names = ", ".join(container.name for container in config.init_containers)
            raise Unsupported(f"task {key} has init containers ({names}), which one machine does not run")
        self._secrets()
        self._config_maps()
        self._claims()
        self._fresh_volumes()
        self._pod(run_id, key, attempt)
        self.notes += self.platform.placement(config, self.values)
        self._remarks()
        if self.findings:
            raise InvalidParameters(f"task {key} cannot have what it asks for", findings=self.findings)
        metadata = config.pod_metadata
        return PlatformPlan(
            env=self.env,
            key_env=self.key_env,
            secret_env=self.secret_env,
            secret_names=tuple(self.secret_names),
            mask=frozenset(value for value in self.mask if value.strip()),
            mounts=tuple(self.mounts),
            notes=tuple(dict.fromkeys(self.notes)),
            deadline=None if config.active_deadline is None else float(config.active_deadline),
            uncacheable="; ".join(self.uncacheable),
            labels=metadata.labels if metadata else {},
            annotations=metadata.annotations if metadata else {},
            container=self._container(),
        )

    # ------------------------------------------------------------------ secrets and config maps
    def _secrets(self) -> None:
        for item in self.config.secrets_as_env:
            name = self.values.text(item.name, "the name of a secret")
            for variable, key, value in self._keys("secrets", name, item.keys, item.optional):
                self.secret_env[variable] = value
                self.secret_names.append(f"{name}/{key}")
                self.mask.add(value)
        for item in self.config.secrets_as_volume:
            name = self.values.text(item.name, "the name of a secret")
            files = self._all("secrets", name, item.optional)
            self.secret_names += [f"{name}/{key}" for key in files]
            self.mask |= set(files.values())
            self._files(f"secret {name}", item.mount_path, files)

    def _config_maps(self) -> None:
        for item in self.config.config_maps_as_env:
            name = self.values.text(item.name, "the name of a config map")
            for variable, _, value in self._keys("config_maps", name, item.keys, item.optional):
                self.env[variable] = self.key_env[variable] = value
        for item in self.config.config_maps_as_volume:
            name = self.values.text(item.name, "the name of a config map")
            self._files(f"config map {name}", item.mount_path, self._all("config_maps", name, item.optional))

    def _keys(self, section: str, name: str, keys: tuple[KeyToEnv, ...], optional: bool) -> list[tuple[str, str, str]]:
        """(variable, key, value) of those that are there; findings for those that should be."""
        table = self._table(section, name, optional)
        found: list[tuple[str, str, str]] = []
        for entry in keys:
            if table is not None and entry.key in table:
                found.append((entry.variable, entry.key, table[entry.key]))
            elif table is not None and not optional:
                self._missing(section, name, entry.key)
        return found

    def _all(self, section: str, name: str, optional: bool) -> Mapping[str, str]:
        return self._table(section, name, optional) or {}

    def _table(self, section: str, name: str, optional: bool) -> Mapping[str, str] | None:
        table = (self.setup.secrets if section == "secrets" else self.setup.config_maps).get(name)
        if table is None and not optional:
            self._missing(section, name, "")
        return table

    def _missing(self, section: str, name: str, key: str) -> None:
        what = "secret" if section == "secrets" else "config map"
        message = f"{what} {name!r} has no key {key!r}" if key else f"there is no {what} {name!r}"
        hint = f'Put it into the setup file (--setup): {{"{section}": {{"{name}": {{"{key or "KEY"}": "..."}}}}}}'
        if section == "secrets" and name == OWN_SECRETS and key:
            hint = f"Set the environment variable {key}, or put it into secrets.json of the home, and start again."
        self.findings.append(Finding(f"{section}.{name}" + (f".{key}" if key else ""), message, "missing", hint))

    def _files(self, what: str, target: str, files: Mapping[str, str]) -> None:
        for name in files:
            if "/" in name or name in ("", ".", ".."):
                self.findings.append(Finding(what, f"the key {name!r} is no file name"))
        self.mounts.append({"target": _absolute(target), "read_only": True, "files": dict(files)})
        self.uncacheable.append(f"it reads {what} as files")

    # ------------------------------------------------------------------ volumes
    def _claims(self) -> None:
        for item in self.config.pvc_mounts:
            name = self.values.text(item.name, "the name of a volume claim")
            try:
                mount = self.platform.volumes.mount(name, item.sub_path, _absolute(item.mount_path), self.setup.pvcs)
            except InvalidParameters as error:
                self.findings.append(Finding(f"pvcs.{name}", error.message, "missing", error.hint))
                continue
            self.mounts.append(mount)
            self.uncacheable.append(f"it uses the volume claim {name}, which changes unseen")

    def _fresh_volumes(self) -> None:
        for item in self.config.empty_dirs:
            mount: dict[str, Any] = {"target": _absolute(item.mount_path), "read_only": False}
            mount["volume"] = item.volume_name
            if item.medium == "Memory":
                mount |= {"memory": True, "size": _bytes(item.size_limit, "an emptyDir's size limit")}
            elif item.size_limit:
                self.notes.append(f"the size limit {item.size_limit} of volume {item.volume_name} is not enforced")
            self.mounts.append(mount)
        for item in self.config.ephemeral_volumes:
            target = _absolute(item.mount_path)
            self.mounts.append({"target": target, "read_only": False, "volume": item.volume_name})
            text = f"ephemeral volume {item.volume_name} is a folder of the attempt"
            self.notes.append(f"{text}; its size {item.size} is not enforced" if item.size else text)

    # ------------------------------------------------------------------ the pod
    def _pod(self, run_id: str, key: TaskKey, attempt: int) -> None:
        metadata = self.config.pod_metadata
        labels = {"pipeline/runid": run_id, **(metadata.labels if metadata else {})}
        pod = Pod.of(run_id, key, attempt, labels, metadata.annotations if metadata else {})
        for item in self.config.field_paths_as_env:
            value = pod.field(item.field_path)
            self.env[item.variable] = value
            if item.field_path not in VOLATILE and "pipeline/runid" not in item.field_path:
                self.key_env[item.variable] = value

    def _remarks(self) -> None:
        config = self.config
        for source in config.image_pull_secrets:
            name = self.values.text(source, "the name of an image pull secret")
            self.notes.append(f"image pull secret {name}: images are pulled with the login of docker or podman")
        for claim in config.resource_claims:
            what = claim.template_name or "given as JSON"
            self.notes.append(f"resource claim {what}: nothing is reserved for it on this machine")
        security = config.security_context
        if security is not None and (security.run_as_user is not None or security.run_as_group is not None):
            self.notes.append("the user and group of its security context: tasks run as you, so that results are yours")
        if config.shared_memory is not None:
            self.notes.append("shared memory: a process uses this machine's /dev/shm, a container gets its own")

    def _container(self) -> ContainerOptions:
        config = self.config
        memory = config.shared_memory
        security = config.security_context
        return ContainerOptions(
            pull=config.image_pull_policy,
            shared_memory=_bytes(memory.size, "the size of shared memory") if memory else None,
            user=security.run_as_user if security else None,
            group=security.run_as_group if security else None,
            labels=config.pod_metadata.labels if config.pod_metadata else {},
        )


def _bytes(text: str, what: str) -> int | None:
    if not text.strip():
        return None
    try:
        return count_bytes(text)
    except ValueError as error:
        raise PlanningError(f"{what}: {error}") from None


def _absolute(path: str) -> str:
    """A mount path in its plain form. Raises PlanningError for one that is not absolute or is the root itself."""
    pure = PurePosixPath(path)
    if not pure.is_absolute() or ".." in pure.parts or len(pure.parts) < 2:
        raise PlanningError(f"a volume cannot be mounted at {path!r}: an absolute path below / is needed")
    return str(PurePosixPath("/", *pure.parts[1:]))
