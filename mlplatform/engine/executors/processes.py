"""Attempts of kinds ``python`` and ``command`` as processes of this machine.

Two ways, with the same results: ``fork`` (Linux) forks each attempt from a warm interpreter of its environment;
``spawn`` (macOS, or ``MLPLATFORM_EXECUTION=spawn``) hands it to a spare interpreter that was started ahead of time.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from mlplatform.core.errors import EnvironmentFailed, Unsupported
from mlplatform.engine.executors.process_reason import OomWatch
from mlplatform.engine.executors.process_running import RunningProcess, Who, adopted_status
from mlplatform.engine.executors.process_templates import Key, Spare, Started, Template, startup_environment
from mlplatform.engine.files import read_json
from mlplatform.engine.home import cache_folder
from mlplatform.engine.ports import Launch, Running
from mlplatform.launcher import preload
from mlplatform.launcher.fields import section
from mlplatform.launcher.identity import is_alive
from mlplatform.launcher.native import build

_IDLE_SECONDS = 300.0
_IDLE_MAX = 4


#: Last names of folders on a submission's path that hold installed packages.
_PACKAGE_FOLDERS = ("site-packages", "dist-packages")


def execution_mode() -> str:
    """``fork`` or ``spawn``: ``MLPLATFORM_EXECUTION``, else what suits the system.

    Raises:
        Unsupported: the variable holds another word, or the system knows no processes of this kind (Windows).
    """
    if os.name != "posix":
        raise Unsupported("tasks run on Linux and macOS only; on Windows use WSL, or a cluster")
    word = os.environ.get("MLPLATFORM_EXECUTION") or ("fork" if sys.platform.startswith("linux") else "spawn")
    if word not in ("fork", "spawn"):
        raise Unsupported(f"MLPLATFORM_EXECUTION is {word!r}; it can be 'fork' or 'spawn'")
    return word


class ProcessExecutor:
    """``engine.ports.Executor`` for processes."""

    def __init__(self, mode: str = "", preload_modules: Sequence[str] = preload.DEFAULT) -> None:
        """``mode``: fork or spawn (default: :func:`execution_mode`). ``preload_modules``: packages a template may
        import ahead of its children once one of them has."""
        self.mode = mode or execution_mode()
        self._modules = tuple(preload_modules)
        names = "|".join(re.escape(name) for name in self._modules)
        self._large = re.compile(rf"\b(?:{names})\b" if names else "(?!)")
        self._templates: dict[Key, Template] = {}
        self._spares: dict[Key, list[Spare]] = {}
        self._background: set[asyncio.Task[None]] = set()
        self._oom = OomWatch()
        self._sweeper: asyncio.TimerHandle | None = None
        self._library: Path | None = None
        self._library_known = asyncio.Lock()
        self._looked = False

    async def start(self, launch: Launch) -> Running:
        if not self._looked:
            await self._find_library()
        key = self._key(launch)
        spec = str(launch.directory / "spec.json")
        hooks = launch.spec.get("hooks") or ()
        started = await (self._fork(key, spec, hooks) if self.mode == "fork" else self._spawn(key, spec))
        who = Who(
            started.pid,
            started.pid_start,
            str(launch.spec["cookie"]),
            launch.directory,
            launch.spec.get("timeout"),
            launch.grace,
        )
        return RunningProcess(who, started.status, self._oom)

    def adopt(self, pid: int, pid_start: str, directory: Path) -> Running | None:
        if not pid_start or not is_alive(pid, pid_start):
            return None
        claim = read_json(directory / "claim")
        if claim.get("pid") != pid:
            return None
        timeout = None
        if limit := read_json(directory / "spec.json").get("timeout"):
            timeout = max(1.0, limit - (time.time() - (directory / "claim").stat().st_mtime))
        who = Who(pid, pid_start, str(claim.get("cookie", "")), directory, timeout)
        return RunningProcess(who, adopted_status(who), self._oom)

    async def close(self) -> None:
        """Let warm interpreters go. Attempts that still run go on; another service can adopt them."""
        if self._sweeper is not None:
            self._sweeper.cancel()
        for task in list(self._background):
            task.cancel()
        for template in list(self._templates.values()):
            await template.close()
        self._templates.clear()
        for spares in self._spares.values():
            for spare in spares:
                spare.discard()
        self._spares.clear()

    # ------------------------------------------------------------------ the two ways
    async def _find_library(self) -> None:
        """The tracing interposer; where the wheel had no compiler it is made once, in the user's cache."""
        async with self._library_known:
            if not self._looked:
                self._library = await asyncio.to_thread(build.library, cache_folder())
                self._looked = True

    def _key(self, launch: Launch) -> Key:
        interpreter = launch.interpreter
        executable = (interpreter.executable if interpreter else "") or sys.executable
        python = section(launch.spec, "python")
        digest = interpreter.digest if interpreter else ""
        extra = tuple(p for p in (interpreter.sys_path if interpreter else ()) if p.endswith(_PACKAGE_FOLDERS))
        light = not python or not (launch.spec.get("sys_path") or self._large.search(python["source"]))
        env = startup_environment(launch.spec["env"])
        return Key(executable, digest, python.get("kfp_path") or "", env, extra, light)

    def _modules_for(self, key: Key) -> tuple[str, ...]:
        return () if key.light else self._modules

    async def _fork(self, key: Key, spec: str, hooks: Sequence[str]) -> Started:
        template = self._templates.get(key)
        if template is None or template.dead:
            template = self._templates[key] = Template(key, self._modules_for(key), self._library)
            self._sweep()
        try:
            return await template.start(spec, hooks)
        except EnvironmentFailed:
            if not template.dead or self._templates.get(key) is not template:
                raise
            # It died between two attempts (killed from outside): a fresh one, once.
            template = self._templates[key] = Template(key, self._modules_for(key), self._library)
            return await template.start(spec, hooks)

    async def _spawn(self, key: Key, spec: str) -> Started:
        spares = self._spares.setdefault(key, [])
        spare = spares.pop(0) if spares else Spare(key, self._modules_for(key), self._library)
        try:
            started = await spare.start(spec)
        except EnvironmentFailed:
            started = await Spare(key, self._modules_for(key), self._library).start(spec)
        self._later(self._replenish(key))
        return started

    async def _replenish(self, key: Key) -> None:
        """Have spares for as many attempts as run at once, for the environments used last."""
        wanted = max(2, min(8, os.cpu_count() or 2))
        for other in list(self._spares):
            if other != key and len(self._spares) > _IDLE_MAX:
                for spare in self._spares.pop(other):
                    spare.discard()
        spares = self._spares.setdefault(key, [])
        with contextlib.suppress(EnvironmentFailed):
            while len(spares) < wanted:
                spares.append(Spare(key, self._modules_for(key), self._library))
                await asyncio.sleep(0)

    def _later(self, work: asyncio._CoroutineLike[None]) -> None:  # pyright: ignore
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    def _sweep(self) -> None:
        """Let templates go that nobody used for a while, and the oldest of too many."""
        now = time.monotonic()
        idle = sorted((t for t in self._templates.values() if not t.busy), key=lambda t: t.used_at, reverse=True)
        for index, template in enumerate(idle):
            if template.dead or index >= _IDLE_MAX or now - template.used_at > _IDLE_SECONDS:
                self._templates.pop(template.key, None)
                self._later(template.close())
        if self._sweeper is not None:
            self._sweeper.cancel()
        self._sweeper = asyncio.get_running_loop().call_later(_IDLE_SECONDS / 5, self._sweep)
