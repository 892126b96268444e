"""How long an attempt takes from the engine's call to its durable result: ``python tests/bench/bench_launcher.py``.

Prints medians in milliseconds for a trivial Python component, one after another and several at once, with and without
the trace, by fork and by spawn, and from a template that has large packages imported.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from mlplatform.core.model import TaskKey
from mlplatform.engine.executors.processes import ProcessExecutor
from mlplatform.engine.ports import Interpreter, Launch

SOURCE = """import kfp
from kfp import dsl
from kfp.dsl import *
from typing import *

def add(a: int, b: int) -> int:
    return a + b
"""


def make(base: Path, name: str, *, trace: bool, source: str = SOURCE) -> Launch:
    folder = base / name
    folder.mkdir(parents=True)
    out = str(folder / "outputs" / "Output")
    spec: dict[str, Any] = {
        "version": 1,
        "kind": "python",
        "run_id": "bench",
        "task": "add",
        "iteration": [],
        "attempt": 1,
        "cookie": name,
        "python": {"source": source, "function": "add", "kfp_path": None, "filename": "add.py"},
        "executor_input": {
            "inputs": {"parameterValues": {"a": 1, "b": 2}},
            "outputs": {
                "parameters": {"Output": {"outputFile": out}},
                "outputFile": str(folder / "outputs" / "executor_output.json"),
            },
        },
        "cwd": str(folder / "scratch"),
        "env": dict(os.environ),
        "sys_path": [],
        "scratch": str(folder / "scratch"),
        "outputs": {"parameters": {"Output": {"path": out, "type": "NUMBER_INTEGER"}}, "artifacts": {}},
        "claim": str(folder / "claim"),
        "result": str(folder / "result.json"),
        "log": str(folder / "task.log"),
        "trace": str(folder / "trace.bin") if trace else None,
        "hooks": [],
        "timeout": None,
        "secrets": [],
        "mounts": [],
        "cpus": None,
        "gpus": None,
    }
    (folder / "spec.json").write_text(json.dumps(spec))
    return Launch("bench", TaskKey(("add",)), 1, "python", folder, spec, Interpreter(sys.executable, "bench", ""))


async def one(executor: ProcessExecutor, launch: Launch) -> float:
    started = time.perf_counter()
    running = await executor.start(launch)
    await running.wait()
    took = time.perf_counter() - started
    assert json.loads((launch.directory / "result.json").read_text())["parameters"] == {"Output": 3}
    return took * 1000


def line(name: str, times: list[float]) -> None:
    ordered = sorted(times)
    middle, late = statistics.median(ordered), ordered[len(ordered) * 9 // 10]
    print(f"{name:<58} median {middle:7.2f} ms   best {ordered[0]:7.2f}   p90 {late:7.2f}")


async def limited(executor: ProcessExecutor, launch: Launch, limit: asyncio.Semaphore) -> None:
    async with limit:
        await one(executor, launch)


async def bench(mode: str, base: Path, count: int) -> None:
    for trace in (False, True):
        executor = ProcessExecutor(mode)
        label = f"{mode}, {'traced' if trace else 'untraced'}"
        first = await one(executor, make(base, f"{mode}{trace}first", trace=trace))
        times = [await one(executor, make(base, f"{mode}{trace}{n}", trace=trace)) for n in range(count)]
        line(f"{label}, one after another", times)
        print(f"{label + ', the first':<58}        {first:7.2f} ms")
        launches = [make(base, f"{mode}{trace}many{n}", trace=trace) for n in range(count)]
        started = time.perf_counter()
        limit = asyncio.Semaphore(2 * (os.cpu_count() or 1))
        await asyncio.gather(*(limited(executor, launch, limit) for launch in launches))
        print(
            f"{label + ', several at once, each':<58}        {(time.perf_counter() - started) * 1000 / count:7.2f} ms"
        )
        await executor.close()


async def bench_large(base: Path, count: int) -> None:
    """A task that imports pandas and scikit-learn, before and after its template has learnt to."""
    body = SOURCE.replace("    return", "    import pandas, sklearn.linear_model\n    return")
    executor = ProcessExecutor("fork")
    first = await one(executor, make(base, "large-first", trace=True, source=body))
    template = next(iter(executor._templates.values()))  # pyright: ignore[reportPrivateUsage]
    while "sklearn.linear_model" not in template.preloaded:
        await asyncio.sleep(0.05)
    times = [await one(executor, make(base, f"large{n}", trace=True, source=body)) for n in range(count)]
    print(f"{'fork, traced, imports pandas and scikit-learn, the first':<58}        {first:7.2f} ms")
    line("fork, traced, imports pandas and scikit-learn, later", times)
    await executor.close()


async def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 60
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        await bench("fork", base, count)
        await bench("spawn", base, max(10, count // 4))
        await bench_large(base, max(10, count // 4))


if __name__ == "__main__":
    asyncio.run(main())
