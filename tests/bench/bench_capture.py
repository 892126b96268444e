"""Capture of a function in a notebook of 300 cells: the first time, and again (as every run and plan does it)."""

from __future__ import annotations

import gc
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from mlplatform.capture import capture
from tests.support.kernel import Kernel


def notebook(cells: int) -> Kernel:
    kernel = Kernel()
    kernel.run("import math, json\nimport numpy as np\nimport pandas as pd\nimport sklearn.linear_model")
    kernel.run("class Config:\n    rate = 1\n    names = ['a', 'b']")
    for number in range(cells - 4):
        lines = "\n".join(f"value_{number}_{k} = {{'a': {k}, 'b': [1, 2, 3], 'c': 'text'}}" for k in range(8))
        kernel.run(f"def helper_{number}(x):\n    return x + value_{number}_0['a']\n{lines}")
    calls = " + ".join(f"helper_{number}(x)" for number in range(0, cells - 4, max(1, (cells - 4) // 20)))
    kernel.run(f"def f(x):\n    return {calls} + Config.rate + np.sqrt(x) + len(pd.DataFrame()) + math.pi")
    return kernel


def timed(kernel: Kernel) -> float:
    gc.collect()  # what building the notebook left is not the capture's to sweep
    started = time.perf_counter()
    captured = capture(kernel["f"])
    assert len(captured.parts) > 20
    return (time.perf_counter() - started) * 1000


def main() -> None:
    warm = notebook(20)
    print(f"first capture of the process, 20 cells: {timed(warm):6.1f} ms")
    for cells in (20, 300, 1000):
        kernel = notebook(cells)
        first = timed(kernel)
        again = min(timed(kernel) for _ in range(5))
        print(f"{cells:5} cells: first {first:6.1f} ms, again {again:6.1f} ms")


if __name__ == "__main__":
    main()
