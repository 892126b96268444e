"""``import mlplatform`` is light, so that a notebook or a command pays only for what it uses."""

from __future__ import annotations

import statistics
import subprocess
import sys

HEAVY = {"kfp", "mlflow", "kubernetes", "pandas", "numpy", "ray", "nbclient", "jupyter_server", "google", "asyncio"}


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_nothing_heavy_is_loaded() -> None:
    loaded = set(run("import mlplatform, sys; print(' '.join({m.split('.')[0] for m in sys.modules}))").split())
    assert "mlplatform" in loaded
    assert loaded & HEAVY == set()


def test_it_takes_less_than_a_fifth_of_a_second() -> None:
    clock = "import time; t = time.perf_counter(); import mlplatform; print(time.perf_counter() - t)"
    assert statistics.median(float(run(clock)) for _ in range(5)) < 0.2
