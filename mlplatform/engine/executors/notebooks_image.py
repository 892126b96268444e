"""Sessions of notebooks inside an image: the launcher in a container, with what a session must see at its own paths."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

from mlplatform.core.errors import EnvironmentFailed
from mlplatform.core.values import child
from mlplatform.engine.executors import container_shim
from mlplatform.engine.executors.container_engine import Engine
from mlplatform.engine.executors.containers import shim_plan, write_private
from mlplatform.engine.files import read_json
from mlplatform.engine.ports import Launch
from mlplatform.launcher import preload

_PLAN, _ERROR = "session-container.json", "container-error.json"


class Containers(Protocol):
    """``ContainerExecutor``, as far as sessions need it."""

    async def find(self, engine: str = "") -> Engine: ...
    @property
    def environ(self) -> Mapping[str, str]: ...


def image_of(launch: Launch) -> str:
    """The digest of the image that a task's cells run in, "" for the notebook's own Python."""
    return str(child(launch.spec["notebook"], "image").get("digest") or "")


def shown(cwd: str, folders: list[str]) -> list[str]:
    """What a session in a container can write to, at its own paths: the project that the notebook is in (its git
    repository, else its folder), the folder for temporary files, and ``folders``."""
    own = Path(cwd)
    above = next((folder for folder in (own, *own.parents) if (folder / ".git").exists()), own)
    project = own if above == Path(above.anchor) else above
    return sorted({str(project), tempfile.gettempdir(), *folders})


def hide(directory: Path) -> dict[str, Any]:
    """Leave only the variables in an attempt's spec.json that containers get; returns what it was."""
    path = directory / "spec.json"
    spec: dict[str, Any] = json.loads(path.read_bytes())
    names = set(spec["container"]["env"])
    write_private(path, {**spec, "env": {name: value for name, value in spec["env"].items() if name in names}})
    return spec


@dataclass(frozen=True, slots=True)
class Guest:
    """How to start the session of a launch in its image."""

    launch: Launch
    spec: Mapping[str, Any]
    engine: Engine
    environ: Mapping[str, str]

    @staticmethod
    async def of(launch: Launch, containers: Containers) -> Guest:
        """Raises EnvironmentFailed: there is no engine."""
        engine = await containers.find(launch.spec["container"]["engine"])
        return Guest(launch, await asyncio.to_thread(hide, launch.directory), engine, containers.environ)

    def start(
        self, environment: Mapping[str, str], library: Path | None, said: IO[bytes]
    ) -> tuple[subprocess.Popen[bytes], socket.socket]:
        """Start the container with the launcher in it; our end of the socket to it. Raises EnvironmentFailed."""
        given, folder = self.spec, self.launch.directory
        seen = [os.path.dirname(preload.DOOR), *given["hooks"], *([str(library)] if library else [])]
        asked = {
            **given["container"],
            "command": ["python3", preload.DOOR, "--notebook-guest", str(library or "")],
            "args": [],
            "interactive": True,
            "env": [*given["container"]["env"], *environment],
        }
        spec = {
            **given,
            "container": asked,
            "env": {**given["env"], **environment},
            "mounts": [*given["mounts"], *({"source": p, "target": p, "read_only": True} for p in seen)],
            "log": said.name,
        }
        plan = shim_plan(spec, self.engine, folder, self.launch.grace, self.environ)
        write_private(folder / _PLAN, plan)
        ours, theirs = socket.socketpair()
        end = theirs.fileno()
        words = [sys.executable, "-I", "-S", container_shim.__file__, str(folder / _PLAN)]
        env = {**plan["client_env"], "MLPLATFORM_ATTEMPT": environment["MLPLATFORM_ATTEMPT"]}
        try:
            process = subprocess.Popen(
                words, stdin=end, stdout=end, stderr=said, cwd="/", env=env, start_new_session=True
            )
        except OSError as error:
            ours.close()
            raise EnvironmentFailed(f"{words[0]} cannot be started: {error.strerror}") from error
        finally:
            theirs.close()
        ours.setblocking(False)
        return process, ours

    def problem(self) -> EnvironmentFailed | None:
        """What the container's engine said about its end, if it was no good one."""
        told = read_json(self.launch.directory / _ERROR)
        return EnvironmentFailed(str(told["message"]), hint=str(told.get("hint") or "")) if told else None
