"""Attempts of kind ``container``: Docker or Podman underneath the launcher.

The launcher runs a small script (``container_shim``) which runs the container. So an attempt in a container is claimed,
logged, limited in time, cancelled, found again after a restart and has its outputs collected like any other.
"""

from __future__ import annotations

import asyncio
import json
import os
import platform
import sys
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from mlplatform.core.errors import EnvironmentFailed
from mlplatform.engine.env_interpreters import write_atomically
from mlplatform.engine.executors import container_shim
from mlplatform.engine.executors.container_command import (
    LABEL_ATTEMPT,
    LABEL_OWNER,
    Bind,
    ContainerRun,
    choose_network,
    container_name,
    is_client_variable,
    run_arguments,
    task_binds,
)
from mlplatform.engine.executors.container_engine import Engine, Engines, client_environment, remove_words
from mlplatform.engine.platform_plan import ContainerOptions
from mlplatform.engine.ports import Executor, Exit, Interpreter, Launch, Running
from mlplatform.launcher.identity import boot_id, is_alive, pid_start
from mlplatform.planning.render import RenderedContainer

_PLAN: Final = "container.json"
_ERROR: Final = "container-error.json"
#: Between the end of a container's grace and that of its process tree, seconds: time to remove it.
_MARGIN: Final = 3.0


def container_spec(
    rendered: RenderedContainer,
    engine: str,
    env_names: Iterable[str],
    options: ContainerOptions | None = None,
    binds: Iterable[str] = (),
) -> dict[str, Any]:
    """The part ``container`` of an attempt's spec.

    Args:
        engine: docker, podman, or "" for whichever is there.
        env_names: variables of the spec's ``env`` that the container gets; all others are the submitter's own.
        binds: further folders the container may write to at their own paths (the run's workspace).
    """
    options = options or ContainerOptions()
    return {
        "engine": engine,
        "image": rendered.image,
        "command": list(rendered.command),
        "args": list(rendered.args),
        "env": sorted(set(env_names)),
        "cpus": rendered.resources.cpu_limit,
        "memory": rendered.resources.memory_limit,
        "pull": options.pull,
        "shared_memory": options.shared_memory,
        "labels": dict(options.labels),
        "binds": sorted(binds),
    }


class ContainerExecutor:
    """``engine.ports.Executor`` for containers.

    Args:
        processes: runs the launcher (``ProcessExecutor``).
        engine: docker or podman where a launch does not say; "" for whichever is there.
    """

    def __init__(self, processes: Executor, engine: str = "", environ: Mapping[str, str] | None = None) -> None:
        self._processes = processes
        self._engine = engine
        self._environ = dict(os.environ if environ is None else environ)
        self._engines = Engines(self._environ)
        self._threads = ThreadPoolExecutor(4, thread_name_prefix="containers")
        self._swept: set[str] = set()

    async def start(self, launch: Launch) -> Running:
        """Raises EnvironmentFailed if there is no engine, or the launcher could not be started."""
        path = launch.directory / "spec.json"
        spec: dict[str, Any] = json.loads(path.read_bytes())
        engine = await self.find(spec["container"]["engine"])
        plan = shim_plan(spec, engine, launch.directory, launch.grace, self._environ)
        place = Path(spec["scratch"]) / _PLAN  # gone with the scratch folder, should nobody come to read it
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(place, plan)
        if plan["note"]:
            with open(launch.directory / "task.log", "a", encoding="utf-8") as log:
                log.write(f"mlplatform: note: {plan['note']}\n")
        own = launcher_spec(spec, place, plan["client_env"])
        write_private(path, own)
        base = Interpreter(sys.executable, "", platform.python_version())
        inner = replace(launch, kind="command", spec=own, interpreter=base)
        running = await self._processes.start(inner)
        return _RunningContainer(running, self, engine, launch.directory, plan["name"])

    def adopt(self, pid: int, pid_start: str, directory: Path) -> Running | None:
        """An attempt in a container is a launcher's process like any other: cancelling it stops the container."""
        return self._processes.adopt(pid, pid_start, directory)

    async def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def find(self, engine: str = "") -> Engine:
        """The engine of this name, or whichever is there; what it left behind is removed. Raises EnvironmentFailed."""
        found = await self._in_thread(self._engines.find, engine or self._engine)
        if found.name not in self._swept:
            self._swept.add(found.name)
            await self._in_thread(self._sweep, found)
        return found

    @property
    def environ(self) -> Mapping[str, str]:
        """The service's own variables, by which clients find their engine."""
        return self._environ

    async def image_digest(self, image: str, engine: str = "", pull: str = "") -> str:
        """``sha256:...`` of what ``image`` is now; pulls it where it is not here yet.

        Raises:
            EnvironmentFailed: there is no engine, or no such image; with the engine's own words.
        """
        found = await self._in_thread(self._engines.find, engine or self._engine)
        return await self._in_thread(self._engines.digest, found, image, pull)

    async def sweep(self) -> int:
        """Remove containers of ours that nobody looks after any more; how many there were."""
        engine = await self._in_thread(self._engines.find, self._engine)
        return await self._in_thread(self._sweep, engine)

    async def remove(self, engine: Engine, name: str) -> None:
        await self._in_thread(self._engines.remove, engine, [name])

    # ------------------------------------------------------------------ helpers
    async def _in_thread(self, function: Any, *args: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._threads, lambda: function(*args))

    def _sweep(self, engine: Engine) -> int:
        listed = self._engines.containers(engine, LABEL_ATTEMPT)
        gone = [name for name, labels in listed if not _looked_after(labels.get(LABEL_OWNER, ""))]
        self._engines.remove(engine, gone)
        return len(gone)


class _RunningContainer:
    """A started attempt. What its shim wrote down about a failure goes into the result."""

    def __init__(
        self, running: Running, executor: ContainerExecutor, engine: Engine, directory: Path, name: str
    ) -> None:
        self._running = running
        self._executor = executor
        self._engine = engine
        self._directory = directory
        self._name = name

    @property
    def pid(self) -> int | None:
        return self._running.pid

    @property
    def pid_start(self) -> str:
        return self._running.pid_start

    async def wait(self) -> Exit:
        exit_ = await self._running.wait()
        if not complete_result(self._directory):  # the shim did not live to clean up
            await self._executor.remove(self._engine, self._name)
        return exit_

    async def cancel(self, grace: float) -> None:
        await self._running.cancel(grace)


# ------------------------------------------------------------------ what is handed on
def shim_plan(
    spec: Mapping[str, Any], engine: Engine, directory: Path, grace: float, environ: Mapping[str, str]
) -> dict[str, Any]:
    """Everything the shim has to know. Raises EnvironmentFailed for an environment no client can hand over."""
    asked: Mapping[str, Any] = spec["container"]
    env = {name: str(spec["env"][name]) for name in asked["env"] if name in spec["env"]}
    secret: set[str] = set(spec.get("secrets") or [])
    for name, value in env.items():
        if is_client_variable(name) and value in secret:
            raise EnvironmentFailed(
                f"a secret cannot be put into the variable {name}, which {engine.name} itself reads"
            )
    mounts: list[Mapping[str, Any]] = list(spec.get("mounts") or ())
    network, note = choose_network(engine, spec["env"])
    run = ContainerRun(
        name=container_name(spec["cookie"]),
        image=asked["image"],
        command=asked["command"],
        args=asked["args"],
        env=env,
        binds=[*task_binds(spec, asked["binds"]), *_volumes(mounts, spec["scratch"])],
        memory_mounts=[(mount["target"], mount.get("size")) for mount in mounts if mount.get("memory")],
        labels={**asked["labels"], LABEL_ATTEMPT: spec["cookie"]},
        cpus=asked["cpus"],
        memory=asked["memory"],
        shared_memory=asked["shared_memory"],
        gpus=spec.get("gpus"),
        pull=asked["pull"],
        network=network,
        interactive=bool(asked.get("interactive")),
    )
    options, rest = run_arguments(run, engine, f"{os.getuid()}:{os.getgid()}")
    return {
        "engine": engine.path,
        "name": run.name,
        "image": run.image,
        "command": run.command[0] if run.command else "",
        "memory": run.memory,
        "options": options,
        "rest": rest,
        "remove": remove_words(engine),
        "client_env": {**client_environment(environ), **_client_settings(spec["env"])},
        "env": {name: value for name, value in env.items() if not is_client_variable(name)},
        "files": [dict(mount) for mount in mounts if "files" in mount],
        "owner_label": LABEL_OWNER,
        "note": note,
        "interactive": run.interactive,
        "boot": boot_id(),
        "grace": max(1, int(grace - _MARGIN)),
        "log": spec["log"],
        "error": str(directory / _ERROR),
    }


def _client_settings(env: Mapping[str, str]) -> dict[str, str]:
    """Where the submitter's own shell says the engine is, that counts."""
    return {name: str(env[name]) for name in env if name.startswith(("DOCKER_", "CONTAINER", "PODMAN_"))}


def _volumes(mounts: Iterable[Mapping[str, Any]], scratch: str) -> list[Bind]:
    binds: list[Bind] = []
    for mount in mounts:
        if mount.get("source") is not None:
            binds.append(Bind(mount["source"], mount["target"], bool(mount.get("read_only"))))
        elif "volume" in mount and not mount.get("memory"):
            folder = Path(scratch) / "volumes" / str(mount["volume"]).replace("/", "_")
            folder.mkdir(parents=True, exist_ok=True)
            binds.append(Bind(str(folder), mount["target"], bool(mount.get("read_only"))))
    return binds


def launcher_spec(spec: Mapping[str, Any], plan: Path, client_env: Mapping[str, str]) -> dict[str, Any]:
    """The attempt's spec for the launcher: the shim is its command, nothing of it is traced or limited twice."""
    own = {name: value for name, value in spec.items() if name != "container"}
    command = [sys.executable, "-I", "-S", container_shim.__file__, str(plan)]
    env = {**client_env, "TMPDIR": spec["scratch"]}
    kept = {"kind": "command", "command": command, "env": env, "mounts": [], "hooks": [], "trace": None}
    return {**own, **kept, "cpus": None, "gpus": None}


def complete_result(directory: Path) -> bool:
    """Put what the shim found out into result.json; False if there is no result yet.

    A container reads what is mounted and nothing else of this machine: its result need not be traced to be reused.
    """
    path = directory / "result.json"
    try:
        result: dict[str, Any] = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return False
    error = directory / _ERROR
    if result.get("state") == "SUCCEEDED":
        result |= {"reads": [], "untraced": "", "env_read": {}}
    elif error.exists():
        told: dict[str, str] = json.loads(error.read_bytes())
        result["error"] = {"type": "", "traceback": "", **(result.get("error") or {}), **told}
        error.unlink()
    else:
        return True
    write_atomically(path, json.dumps(result))
    return True


def _looked_after(owner: str) -> bool:
    """Whether the shim that owns a container lives."""
    pid, _, boot = owner.partition(" ")
    if not pid.isdigit() or boot != boot_id():
        return False
    start = pid_start(int(pid))
    return bool(start) and is_alive(int(pid), start) and "container_shim" in _command_line(int(pid))


def _command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return "container_shim"  # no such file on macOS: believe the number


def write_private(path: Path, data: Mapping[str, Any]) -> None:
    """Replace a file that may hold secrets, readable by the user alone."""
    temporary = path.with_name(f".{path.name}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8", errors="surrogatepass") as file:
        json.dump(data, file)
    temporary.replace(path)
