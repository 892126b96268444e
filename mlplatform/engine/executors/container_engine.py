"""Docker and Podman as they are here: which is there, how it maps users, what images it has.

Only the command line is used, in the part where both agree; nothing of a socket's API.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from mlplatform.core.errors import EnvironmentFailed, InvalidInput

NAMES: Final = ("docker", "podman")
_HINT: Final = "Install Docker or Podman, or let the command run on this machine: --containers subprocess."
_LAST_LINES: Final = 5

#: Variables of a submitter that tell the client where its engine is and how to reach registries.
CLIENT_VARIABLES: Final = (
    "PATH HOME USER LOGNAME LANG LC_ALL TMPDIR XDG_RUNTIME_DIR XDG_CONFIG_HOME XDG_DATA_HOME XDG_CACHE_HOME "
    "DBUS_SESSION_BUS_ADDRESS REGISTRY_AUTH_FILE SSL_CERT_FILE SSL_CERT_DIR SSH_AUTH_SOCK STORAGE_DRIVER STORAGE_OPTS "
    "HTTP_PROXY HTTPS_PROXY NO_PROXY ALL_PROXY http_proxy https_proxy no_proxy all_proxy BUILDAH_ISOLATION"
)
_CLIENT_PREFIXES: Final = ("DOCKER_", "CONTAINER", "PODMAN_", "_CONTAINERS_")


def client_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The part of an environment that the engine's client may see."""
    names = set(CLIENT_VARIABLES.split())
    return {name: value for name, value in environ.items() if name in names or name.startswith(_CLIENT_PREFIXES)}


@dataclass(frozen=True, slots=True)
class Engine:
    """A working engine. ``rootless``: root inside a container is the user outside. ``remote``: it runs in a virtual
    machine (macOS) which maps users by itself. ``limits``: memory and CPU limits can be set."""

    name: str
    path: str
    version: str
    rootless: bool = False
    remote: bool = False
    limits: bool = True


class Engines:
    """Finds engines and asks them about images. Blocking; safe for threads."""

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        self._env = client_environment(os.environ if environ is None else environ)
        self._found: dict[str, Engine] = {}
        self._digests: dict[tuple[str, str], tuple[float, str]] = {}
        self._locks: dict[tuple[str, str], threading.Lock] = {}
        self._lock = threading.Lock()

    def find(self, name: str = "") -> Engine:
        """The engine called ``name``, or whichever works.

        Raises:
            EnvironmentFailed: it is not installed or does not answer; the text has the client's own words.
            InvalidInput: there is no engine of this name.
        """
        if name and name not in NAMES:
            raise InvalidInput(f"containers run in docker or podman, not in {name!r}")
        problems: list[str] = []
        with self._lock:
            for candidate in (name,) if name else NAMES:
                found = self._found.get(candidate)
                if found is not None:
                    return found
                path = shutil.which(candidate, path=self._env.get("PATH"))
                if path is None:
                    problems.append(f"{candidate} is not installed")
                    continue
                try:
                    self._found[candidate] = self._ask(candidate, path)
                except EnvironmentFailed as error:
                    problems.append(error.message)
                    continue
                return self._found[candidate]
        raise EnvironmentFailed("no container can be run: " + "; ".join(problems), hint=_HINT)

    def digest(self, engine: Engine, image: str, pull: str = "") -> str:
        """``sha256:...`` of the image's configuration, which names its content; it is pulled where that is due.

        Args:
            pull: Kubernetes' words: Always, Never, IfNotPresent; "" is the last.

        Raises:
            EnvironmentFailed: the image is not here and cannot be pulled, with the engine's own last words.
        """
        key = (engine.name, image)
        asked = time.monotonic()
        with self._lock:
            lock = self._locks.setdefault(key, threading.Lock())
        with lock:
            # A tag may move at any time: only those who were already waiting when it was looked at share the answer.
            at, known = self._digests.get(key, (-1.0, ""))
            if known and at >= asked:
                return known
            at = time.monotonic()
            found = "" if pull == "Always" else self._inspect(engine, image)
            if not found:
                self._pull(engine, image, pull)
                found = self._inspect(engine, image)
            if not found:
                raise EnvironmentFailed(f"the image {image} was pulled and is not there all the same")
            self._digests[key] = (at, found)
            return found

    def containers(self, engine: Engine, label: str) -> list[tuple[str, Mapping[str, str]]]:
        """(id, labels) of all containers with a label, running or not. Empty if the engine does not answer."""
        listed = self.run(engine, ["ps", "--all", "--quiet", "--no-trunc", "--filter", f"label={label}"])
        ids = listed.stdout.split() if listed.returncode == 0 else []
        if not ids:
            return []
        told = self.run(engine, ["inspect", "--format", "{{.Id}} {{json .Config.Labels}}", *ids])
        found: list[tuple[str, Mapping[str, str]]] = []
        for line in told.stdout.splitlines():
            name, _, labels = line.partition(" ")
            found.append((name, cast("dict[str, str]", json.loads(labels) or {})))
        return found

    def remove(self, engine: Engine, names: Sequence[str]) -> None:
        """Kill and remove containers, whatever their state; those that are not there are no error."""
        if names:
            self.run(engine, [*remove_words(engine), *names])

    def run(self, engine: Engine, arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
        """Run the client. Raises EnvironmentFailed if that cannot be done."""
        return self._run(engine.path, arguments)

    # ------------------------------------------------------------------ helpers
    def _run(self, path: str, arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
        try:
            return subprocess.run(
                [path, *arguments],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
                env=self._env,
                timeout=3600,
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise EnvironmentFailed(f"{path} cannot be run: {error}", hint=_HINT) from None

    def _ask(self, name: str, path: str) -> Engine:
        told = self._run(path, ["info", "--format", "{{json .}}"])
        try:
            info: dict[str, Any] = json.loads(told.stdout)
        except ValueError:
            info = {}
        if told.returncode or not info or info.get("ServerErrors"):
            errors: Any = info.get("ServerErrors") or last_lines(told.stderr) or f"exit status {told.returncode}"
            raise EnvironmentFailed(f"{name} does not answer: {errors if isinstance(errors, str) else errors[0]}")
        return docker_engine(path, info) if "ServerVersion" in info else podman_engine(path, info)

    def _inspect(self, engine: Engine, image: str) -> str:
        told = self.run(engine, ["image", "inspect", "--format", "{{.Id}}", image])
        word = told.stdout.strip()
        return "" if told.returncode or not word else "sha256:" + word.removeprefix("sha256:")

    def _pull(self, engine: Engine, image: str, pull: str) -> None:
        if pull == "Never":
            raise EnvironmentFailed(
                f"the image {image} is not here and its pull policy is Never", hint=f"{engine.name} pull {image}"
            )
        told = self.run(engine, ["pull", "--quiet", image])
        if told.returncode:
            raise EnvironmentFailed(
                f"the image {image} could not be pulled:\n{last_lines(told.stderr)}",
                hint=f"Try `{engine.name} pull {image}`: its name, your login or the network may be the reason.",
            )


def docker_engine(path: str, info: Mapping[str, Any]) -> Engine:
    """From ``docker info`` (also Podman's command under that name answers in Podman's form, see podman_engine)."""
    security = [str(word) for word in info.get("SecurityOptions") or ()]
    return Engine(
        name="docker",
        path=path,
        version=str(info.get("ServerVersion", "")),
        rootless=any("rootless" in word for word in security),
        remote=sys.platform == "darwin" or "Docker Desktop" in str(info.get("OperatingSystem", "")),
        limits=bool(info.get("MemoryLimit", True)),
    )


def podman_engine(path: str, info: Mapping[str, Any]) -> Engine:
    """From ``podman info``."""
    host = cast("Mapping[str, Any]", info.get("host") or {})
    rootless = bool(cast("Mapping[str, Any]", host.get("security") or {}).get("rootless"))
    controllers = cast("list[str]", host.get("cgroupControllers") or [])
    version = cast("Mapping[str, Any]", info.get("version") or {}).get("Version", "")
    return Engine(
        name="podman",
        path=path,
        version=str(version),
        rootless=rootless,
        remote=bool(host.get("serviceIsRemote")),
        limits=not rootless or (host.get("cgroupVersion") == "v2" and "memory" in controllers),
    )


def remove_words(engine: Engine) -> list[str]:
    """Remove a container whatever its state. Podman would give a running one ten seconds first."""
    return ["rm", "--force", "--volumes", *(["--time", "0"] if engine.name == "podman" else [])]


def last_lines(text: str) -> str:
    """The end of what a command said, which is where the reason stands."""
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    return "\n".join(lines[-_LAST_LINES:])
