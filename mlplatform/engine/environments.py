"""Interpreters for tasks: the submitter's own, or a cached virtual environment of what a component asked for.

Below the cache folder::

    envs/<key>/            a virtual environment; ready.json in it is written last
    envs/<key>.lock        held while it is made or removed
    runtimes/kfp-<ver>/    kfp alone, to put on sys.path; made aside and renamed
    interpreters/          what is known of interpreters (engine.env_interpreters)

An environment stands for the component's container image with its packages: nothing of the submitter's own packages
is in it. It is keyed by the Python (version, implementation, platform), the set of requirements and the options, so
all runs and services share it. One that was left half made is made again.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar, cast

from mlplatform.core.errors import EnvironmentFailed
from mlplatform.core.values import digest_json
from mlplatform.engine.env_interpreters import Described, Interpreters, describe_copy, write_atomically
from mlplatform.engine.env_kfp import KfpRuntimes
from mlplatform.engine.env_locks import locked, mark_used
from mlplatform.engine.env_uv import Uv, uv_options, without_passwords
from mlplatform.engine.ports import Interpreter

T = TypeVar("T")
_PACKAGE_FOLDERS: Final = frozenset({"site-packages", "dist-packages"})


@dataclass(frozen=True, slots=True)
class Pruned:
    """What :meth:`CachedEnvironments.prune` removed."""

    environments: tuple[str, ...]
    bytes: int


class CachedEnvironments:
    """``engine.ports.Environments`` on one machine.

    Args:
        cache: ``engine.home.cache_folder()``.
        offline: never touch the network (default: ``MLPLATFORM_OFFLINE`` is set to something else than 0).
        environ: settings of pip, uv, proxies and certificates; those of a submission (``options["env"]``) win.
    """

    def __init__(self, cache: Path, *, offline: bool | None = None, environ: Mapping[str, str] | None = None) -> None:
        self._environ = dict(os.environ if environ is None else environ)
        told_offline = self._environ.get("MLPLATFORM_OFFLINE", "") not in ("", "0")
        self._envs = cache / "envs"
        self._uv = Uv(cache, offline=told_offline if offline is None else offline)
        self._interpreters = Interpreters(cache / "interpreters")
        self._kfp = KfpRuntimes(cache / "runtimes", self._uv, self._environ)
        self._threads = ThreadPoolExecutor(4, thread_name_prefix="environments")
        self._making: dict[str, asyncio.Future[Any]] = {}

    # ------------------------------------------------------------------ the port
    async def interpreter(
        self, base: Interpreter, requirements: Sequence[str], options: Mapping[str, Any]
    ) -> Interpreter:
        """``base`` with its digest if nothing is asked, else a cached environment holding ``requirements``.

        ``options``: ``pip_options`` (pip's command line options), ``env`` (the submitter's environment).

        Raises:
            EnvironmentFailed: with the installer's own last words.
        """
        described = await self._described(base)
        if not requirements:
            return described.interpreter(base.sys_path)
        pip_options = _words(options.get("pip_options"))
        env = {**self._environ, **cast("Mapping[str, str]", options.get("env") or {})}
        key, folder = self._key(described, requirements, pip_options, env)
        found = self._ready(folder)
        if found is None:

            async def make() -> Described:
                return await self._in_thread(self._make, folder, described, list(requirements), pip_options, env)

            found = await self._once(key, make)
        return found.interpreter()

    async def kfp_runtime(self, base: Interpreter, version: str) -> str:
        """A folder to put on sys.path so that ``import kfp`` gives this version's runtime; "" if it does already.

        Raises:
            EnvironmentFailed: there is no kfp at all, and none could be fetched.
        """
        described = await self._described(base)
        found = self._kfp.known(described.distributions, version)
        if found is not None:
            return found

        async def make() -> str:
            return await self._in_thread(self._kfp.provide, described.distributions, described.folders, version)

        return await self._once(f"kfp {version} {described.digest}", make)

    # ------------------------------------------------------------------ for others
    def describe(self, executable: str, sys_path: Sequence[str] = ()) -> Interpreter:
        """An interpreter with the digest of what is installed in it. Starts it only when something changed.

        Raises:
            EnvironmentFailed: it does not start, or is older than Python 3.9.
        """
        return self._interpreters.describe(executable, _extra(sys_path)).interpreter(tuple(sys_path))

    def warnings(self) -> list[str]:
        """What the user should know: kfp versions that stand in for others."""
        return self._kfp.warnings()

    def prune(self, older_than: float) -> Pruned:
        """Remove environments and runtimes not used since ``older_than`` (seconds since the epoch), unless they are
        being made at this moment."""
        removed: list[str] = []
        size = 0
        for folder in (*_children(self._envs), *_children(self._kfp.folder)):
            mark = folder / "ready.json"
            used = (mark if mark.exists() else folder).stat().st_mtime
            if used >= older_than:
                continue
            with locked(folder.with_name(folder.name + ".lock"), wait=False) as free:
                if free:
                    size += _size(folder)
                    mark.unlink(missing_ok=True)  # from here on nobody takes it for ready
                    shutil.rmtree(folder, ignore_errors=True)
                    self._interpreters.forget(folder)
                    removed.append(folder.name)
        return Pruned(tuple(removed), size)

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    # ------------------------------------------------------------------ helpers
    async def _described(self, base: Interpreter) -> Described:
        extra = _extra(base.sys_path)
        found = self._interpreters.known(base.executable, extra)
        if found is not None:
            return found

        async def look() -> Described:
            return await self._in_thread(self._interpreters.describe, base.executable, extra)

        return await self._once(f"describe {base.executable} {extra}", look)

    async def _in_thread(self, function: Callable[..., T], *args: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, lambda: function(*args))

    async def _once(self, key: str, make: Callable[[], Awaitable[T]]) -> T:
        """Let the first of several callers make it; a caller that is cancelled does not stop it for the others."""
        future = self._making.get(key)
        if future is None:
            future = asyncio.ensure_future(make())
            self._making[key] = future
            future.add_done_callback(lambda _: self._making.pop(key, None))
        return await asyncio.shield(future)

    # ------------------------------------------------------------------ environments
    def _key(
        self, base: Described, requirements: Sequence[str], pip_options: tuple[str, ...], env: Mapping[str, str]
    ) -> tuple[str, Path]:
        local = [_local_content(word) for word in requirements]
        index = {name: env[name] for name in _INDEX_VARIABLES if env.get(name)}
        python = [base.version, base.implementation, base.platform, base.abi]
        key = digest_json([python, sorted(set(requirements)), sorted(local), list(pip_options), index])[7:31]
        return key, self._envs / key

    def _ready(self, folder: Path) -> Described | None:
        """The environment if it is complete and its base Python is still there."""
        python = folder / "bin" / "python"
        if not mark_used(folder / "ready.json"):
            return None
        found = self._interpreters.known(str(python))
        return found if found is not None or not python.exists() else self._interpreters.describe(str(python))

    def _make(
        self, folder: Path, base: Described, requirements: list[str], pip_options: tuple[str, ...], env: dict[str, str]
    ) -> Described:
        options = uv_options(pip_options)
        with locked(folder.with_name(folder.name + ".lock")):
            found = self._ready(folder)
            if found is not None:
                return found  # somebody else made it meanwhile
            shutil.rmtree(folder, ignore_errors=True)
            try:
                described = self._install(folder, base, requirements, options, env)
            except (EnvironmentFailed, OSError) as error:
                shutil.rmtree(folder, ignore_errors=True)
                if isinstance(error, OSError):
                    raise EnvironmentFailed(f"an environment could not be made: {error}") from None
                raise
            about = {"requirements": requirements, "python": base.version, "options": list(pip_options)}
            write_atomically(folder / "ready.json", without_passwords(json.dumps(about)))
            return described

    def _install(
        self, folder: Path, base: Described, requirements: list[str], options: list[str], env: dict[str, str]
    ) -> Described:
        asked = ", ".join(requirements)
        create = ["venv", "--quiet", "--no-project", "--python", base.base]
        told = self._uv.run([*create, "--seed", str(folder)], env)
        if told.status:  # the images these stand for have pip, but few components call it
            shutil.rmtree(folder, ignore_errors=True)
            told = self._uv.run([*create, str(folder)], env)
        if told.status:
            raise EnvironmentFailed(f"no environment could be made for {asked}:\n{told.last_words()}")
        python = folder / "bin" / "python"
        # Compiled once, here: every task is a process of its own and would compile its imports anew (scikit-learn: 2 s
        # of 3 s), or write into this shared folder while it runs.
        install = ["pip", "install", "--quiet", "--compile-bytecode", "--python", str(python), *options, "--"]
        install += requirements
        told = self._uv.run(install, env)
        if told.status:
            hint = "Check the package names and versions, the index, proxy and CA settings of pip or uv."
            if self._uv.offline:
                hint = "This is offline mode: run once with the network, or put wheels where PIP_FIND_LINKS says."
            raise EnvironmentFailed(f"the packages {asked} could not be installed:\n{told.last_words()}", hint=hint)
        packages = next(folder.glob("lib/python*/site-packages"))
        return self._interpreters.remember(describe_copy(base, str(python), folder, packages))


#: Settings that decide where packages come from: they are part of an environment's key.
_INDEX_VARIABLES: Final = (
    "PIP_INDEX_URL",
    "PIP_EXTRA_INDEX_URL",
    "PIP_FIND_LINKS",
    "PIP_NO_INDEX",
    "PIP_CONSTRAINT",
    "UV_DEFAULT_INDEX",
    "UV_INDEX",
    "UV_INDEX_URL",
    "UV_EXTRA_INDEX_URL",
    "UV_FIND_LINKS",
    "UV_CONSTRAINT",
    "UV_PRERELEASE",
    "UV_EXCLUDE_NEWER",
)


def _words(value: Any) -> tuple[str, ...]:
    return tuple(str(word) for word in value or ())


def _extra(sys_path: Sequence[str]) -> tuple[str, ...]:
    """Package folders among a submission's sys.path entries."""
    return tuple(path for path in sys_path if path.rstrip("/").rpartition("/")[2] in _PACKAGE_FOLDERS)


def _local_content(requirement: str) -> list[Any]:
    """What a requirement on this machine holds, as far as times and sizes tell: it may change under the same name."""
    text = requirement.partition(";")[0].split("@")[-1].strip()
    path = Path(text.removeprefix("file://").partition("#")[0])
    if not (text.startswith(("file:", "/", ".", "~")) or path.suffix in (".whl", ".gz", ".zip")):
        return []
    files = [path] if path.is_file() else sorted(path.rglob("*.py")) + sorted(path.glob("*.toml"))
    return [[str(file), file.stat().st_mtime_ns, file.stat().st_size] for file in files if file.is_file()]


def _children(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []


def _size(folder: Path) -> int:
    """Bytes that removing a tree gives back (files that have another link do not count)."""
    total = 0
    for path in folder.rglob("*"):
        status = path.lstat()
        total += status.st_size if status.st_nlink == 1 else 0
    return total
