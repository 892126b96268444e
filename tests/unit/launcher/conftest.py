"""A bench on which attempts are made: specs like the engine's, run by the real executor or the bare launcher."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Awaitable, Callable, Mapping
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from mlplatform.core.model import TaskKey
from mlplatform.engine.executors.processes import ProcessExecutor
from mlplatform.engine.home import cache_folder
from mlplatform.engine.ports import Exit, Interpreter, Launch
from mlplatform.launcher import preload
from mlplatform.launcher.native import build

HEADER = "import kfp\nfrom kfp import dsl\nfrom kfp.dsl import *\nfrom typing import *\n\n"


class Done(dict[str, Any]):
    """result.json of an attempt (empty if there is none), with its exit and its log."""

    exit: Exit
    log: str
    directory: Path

    @property
    def value(self) -> Any:
        return self["parameters"].get("Output")


class Bench:
    """Makes specs below ``root``; ``project`` is a folder outside all scratch folders."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.project = root / "project"
        self.project.mkdir()
        self._count = count()

    def spec(self, **changes: Any) -> dict[str, Any]:
        folder = self.root / f"attempt-{next(self._count)}"
        folder.mkdir()
        env = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "USER", "LANG")}
        base: dict[str, Any] = {
            "version": 1,
            "kind": "python",
            "run_id": "run",
            "task": "task",
            "iteration": [],
            "attempt": 1,
            "cookie": f"{folder}",
            "executor_input": {
                "inputs": {},
                "outputs": {"outputFile": str(folder / "outputs" / "executor_output.json")},
            },
            "cwd": str(folder / "scratch"),
            "env": env,
            "sys_path": [],
            "scratch": str(folder / "scratch"),
            "outputs": {"parameters": {}, "artifacts": {}},
            "claim": str(folder / "claim"),
            "result": str(folder / "result.json"),
            "log": str(folder / "task.log"),
            "trace": None,
            "hooks": [],
            "timeout": None,
            "secrets": [],
            "mounts": [],
            "cpus": None,
            "gpus": None,
        }
        base["env"].update(changes.pop("env", {}))
        base.update(changes)
        if base["trace"]:
            base["trace"] = str(folder / "trace.bin")
        return base

    def component(
        self,
        source: str,
        *,
        function: str = "task",
        returns: str = "",
        parameters: Mapping[str, Any] | None = None,
        inputs: Mapping[str, Any] | None = None,
        out_parameters: Mapping[str, str] | None = None,
        out_artifacts: Mapping[str, str] | None = None,
        **changes: Any,
    ) -> dict[str, Any]:
        """The spec of a lightweight Python component. ``returns``: KFP type of its return value."""
        spec = self.spec(**changes)
        folder = Path(spec["result"]).parent
        spec["python"] = {
            "source": HEADER + textwrap.dedent(source),
            "function": function,
            "kfp_path": None,
            "filename": "user_code.py",
        }
        spec["executor_input"]["inputs"] = {
            "parameterValues": dict(parameters or {}),
            "artifacts": {
                name: {"artifacts": value if isinstance(value, list) else [value]}
                for name, value in (inputs or {}).items()
            },
        }
        outputs = spec["executor_input"]["outputs"]
        declared = dict(out_parameters or {})
        if returns:
            declared["Output"] = returns
        for name, type_ in declared.items():
            path = str(folder / "outputs" / name)
            spec["outputs"]["parameters"][name] = {"path": path, "type": type_}
            outputs.setdefault("parameters", {})[name] = {"outputFile": path}
        for name, type_ in (out_artifacts or {}).items():
            path = str(folder / "artifacts" / name)
            spec["outputs"]["artifacts"][name] = {
                "path": path,
                "uri": path,
                "type": type_,
                "metadata": {},
                "list": False,
            }
            artifact = {"name": name, "uri": path, "type": {"schemaTitle": type_}, "metadata": {}}
            outputs.setdefault("artifacts", {})[name] = {"artifacts": [artifact]}
        return spec

    def command(self, *argv: str, out_parameters: Mapping[str, str] | None = None, **changes: Any) -> dict[str, Any]:
        spec = self.spec(kind="command", command=list(argv), **changes)
        for name, type_ in (out_parameters or {}).items():
            path = str(Path(spec["result"]).parent / "outputs" / name)
            spec["outputs"]["parameters"][name] = {"path": path, "type": type_}
        return spec

    def launch(self, spec: Mapping[str, Any], executable: str = sys.executable) -> Launch:
        folder = Path(spec["result"]).parent
        (folder / "spec.json").write_text(json.dumps(spec), encoding="utf-8", errors="surrogatepass")
        (folder / "spec.json").chmod(0o600)
        interpreter = Interpreter(executable, "digest", "3.11")
        return Launch("run", TaskKey(("task",)), 1, spec["kind"], folder, spec, interpreter, grace=2.0)

    def done(self, spec: Mapping[str, Any], exit_: Exit) -> Done:
        folder = Path(spec["result"]).parent
        result = folder / "result.json"
        done = Done(json.loads(result.read_text()) if result.exists() else {})
        done.exit = exit_
        log = folder / "task.log"
        done.log = log.read_text("utf-8", "replace") if log.exists() else ""
        done.directory = folder
        return done

    def bare(self, spec: Mapping[str, Any], executable: str = sys.executable, traced: bool = False) -> Done:
        """Run it as ``python launcher/__main__.py spec.json``."""
        launch = self.launch(spec, executable)
        env = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"]}
        if traced:
            library = build.library(cache_folder())
            assert library is not None
            env["LD_PRELOAD"] = str(library)
        done = subprocess.run([executable, preload.DOOR, str(launch.directory / "spec.json")], env=env, check=False)
        code = done.returncode
        return self.done(spec, Exit(code if code >= 0 else None, -code if code < 0 else None))


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.fixture(params=["fork", "spawn"])
def mode(request: pytest.FixtureRequest) -> str:
    return request.param


Run = Callable[[Mapping[str, Any]], Done]


class Runner:
    """An event loop with an executor on it, for tests that are not asynchronous themselves."""

    def __init__(self, bench: Bench, mode: str) -> None:
        self.loop = asyncio.new_event_loop()
        self.executor = self(self._make(mode))
        self._bench = bench

    async def _make(self, mode: str) -> ProcessExecutor:
        return ProcessExecutor(mode)

    def __call__(self, work: Awaitable[Any]) -> Any:
        return self.loop.run_until_complete(work)

    def run(self, spec: Mapping[str, Any]) -> Done:
        async def go() -> Exit:
            running = await self.executor.start(self._bench.launch(spec))
            return await running.wait()

        return self._bench.done(spec, self(go()))

    def close(self) -> None:
        self(self.executor.close())
        self.loop.close()


@pytest.fixture
def runner(bench: Bench, mode: str):
    runner = Runner(bench, mode)
    yield runner
    runner.close()


@pytest.fixture
def forking(bench: Bench):
    runner = Runner(bench, "fork")
    yield runner
    runner.close()
