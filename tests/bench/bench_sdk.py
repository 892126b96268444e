"""The SDK: ``python -m tests.bench.bench_sdk``.

Prints one JSON object: [least, median] in seconds, ratios of medians, and how busy the machine was.

- (i) a new interpreter imports mlplatform, decorates three functions and a pipeline, and submits a run to a running
  service; beside it an interpreter that does nothing;
- (j) a 200 MB array crosses a task boundary: stored, digested and loaded again; beside it writing and reading the same
  bytes as a plain file;
- (k) compiling: a pipeline of 100 tasks, captured and written as a document.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import mlplatform as ml
from mlplatform.launcher.digest import digest_path
from mlplatform.sdk.testing import LocalPlatform
from mlplatform.sdk.travel import formats

SCRIPT = """
import mlplatform as ml

RATE = 2

def helper(x):
    return x * RATE

@ml.component
def one(x: int) -> int:
    return helper(x)

@ml.component
def two(x: int, y: int = 1) -> float:
    return x + y / 2

@ml.component
def three(x: float) -> str:
    return str(x)

@ml.pipeline
def pipeline(x: int = 1) -> str:
    return three(two(one(x)))

pipeline.run(x=3)
"""


def seconds(work: Callable[[], Any], times: int = 5) -> list[float]:
    found: list[float] = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        found.append(time.perf_counter() - began)
    return [round(min(found), 4), round(statistics.median(found), 4)]


def submission(folder: Path) -> dict[str, Any]:
    platform = LocalPlatform(folder / "home")
    env = {**os.environ, **platform.environment}
    (folder / "script.py").write_text(SCRIPT)

    def run(*words: str) -> Callable[[], Any]:
        return lambda: subprocess.run([sys.executable, *words], env=env, check=True, cwd=folder)

    try:
        run("script.py")()  # the service starts
        submitted, empty = seconds(run("script.py")), seconds(run("-c", "pass"))
    finally:
        platform.close()
    return {"submit_s": submitted, "empty_interpreter_s": empty, "above_it_s": round(submitted[1] - empty[1], 4)}


def crossing(folder: Path) -> dict[str, Any]:
    array = np.random.default_rng(0).normal(size=25_000_000)
    place = str(folder / "array")

    def cross() -> None:
        _, metadata = formats.save(array, place)
        digest_path(place)
        assert formats.load(place, metadata)[-1] == array[-1]

    def plain() -> None:
        with open(place, "wb") as file:
            file.write(array.data)
        Path(place).read_bytes()

    crossed, written = seconds(cross), seconds(plain)
    return {"array_200MB_s": crossed, "plain_file_s": written, "ratio": round(crossed[1] / written[1], 2)}


@ml.component
def add(a: int, b: int) -> int:
    return a + b


@ml.pipeline
def chain(a: int = 1) -> int:
    for _ in range(100):
        a = add(a, 1)
    return a


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        found = {**submission(Path(folder)), **crossing(Path(folder)), "compile_100_s": seconds(chain.submission, 3)}
    print(json.dumps({**found, "load": os.getloadavg()[0]}, indent=1))


if __name__ == "__main__":
    main()
