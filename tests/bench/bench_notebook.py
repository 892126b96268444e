"""What a plain notebook costs as a pipeline: beside nbclient in the same run, unchanged, and with a large array.

``python -m tests.bench.bench_notebook`` prints medians and ratios.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

from tests.support.home import TestHome, home_in

_WORK = """
import time
import numpy as np
rng = np.random.default_rng({seed})
table_{seed} = rng.normal(size=(400, 400))
end = time.perf_counter() + 2.0
while time.perf_counter() < end:
    last_{seed} = np.linalg.svd(table_{seed}, compute_uv=False)
"""
_LARGE = (
    "import numpy as np",
    "big = np.arange(25_000_000, dtype='f8')",
    "s = float(big[-1])",
    "t = s + float(big[0])",
)


def document(*sources: str) -> nbformat.NotebookNode:
    """A notebook of one section a cell."""
    book = nbformat.v4.new_notebook()
    for index, source in enumerate(sources):
        book.cells.append(nbformat.v4.new_markdown_cell(f"## Part {index}"))
        book.cells.append(nbformat.v4.new_code_cell(source))
    return book


def seconds(job: Callable[[], Any]) -> float:
    start = time.perf_counter()
    job()
    return time.perf_counter() - start


def run(home: TestHome, path: Path) -> dict[str, Any]:
    result = home.json("run", str(path), timeout=600)
    assert result["state"] == "SUCCEEDED", result["error"]
    return result


def linear(book: nbformat.NotebookNode, folder: Path) -> None:
    NotebookClient(book.copy(), timeout=600, resources={"metadata": {"path": str(folder)}}).execute()


def first_runs(home: TestHome, times: int) -> tuple[float, float, float]:
    """(pipeline, nbclient, unchanged rerun) of a notebook of 12 seconds, medians."""
    ours, theirs, again = [], [], []
    for index in range(times):
        book = document(*(_WORK.format(seed=10 * index + part) for part in range(6)))
        path = home.folder / f"book{index}.ipynb"
        nbformat.write(book, path)
        theirs.append(seconds(lambda book=book: linear(book, home.folder)))
        ours.append(seconds(lambda path=path: run(home, path)))
        again.append(seconds(lambda path=path: run(home, path)))
    return statistics.median(ours), statistics.median(theirs), statistics.median(again)


def large_array(home: TestHome) -> float:
    """Seconds that a 200 MB array adds to a task boundary: the task that makes it against the same in a process that,
    like the task's, has not had that memory before."""
    path = home.folder / "large.ipynb"
    nbformat.write(document(*_LARGE), path)
    result = run(home, path)
    _, made, used, last = (task["finished_at"] - task["started_at"] for task in result["tasks"])
    code = (
        "import numpy as np, time; begun = time.perf_counter(); " + _LARGE[1] + "; print(time.perf_counter() - begun)"
    )
    plain = float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
    return max(made - plain, used, last)


def main(times: int = 3) -> None:
    with tempfile.TemporaryDirectory() as folder, home_in(Path(folder)) as home:
        nbformat.write(document("x = 1"), home.folder / "warm.ipynb")
        run(home, home.folder / "warm.ipynb")
        ours, theirs, again = first_runs(home, times)
        told = {
            "first run": f"{ours:.2f} s, nbclient {theirs:.2f} s: {ours / theirs:.2f} times",
            "unchanged": f"{again:.2f} s",
            "200 MB": f"{large_array(home):.2f} s at its boundary",
        }
    print(json.dumps(told, indent=2))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
