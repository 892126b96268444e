"""What a plain notebook costs as a pipeline: beside nbclient in the same run, unchanged, and with a large array.

``python -m tests.bench.bench_notebook`` prints medians and ratios; ``... large 7`` the large array alone, seven times.
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


_PLAIN = """
import json, sys, time
import numpy as np
def timed(job):
    begun = time.perf_counter()
    found = job()
    return found, time.perf_counter() - begun
big, make = timed(lambda: np.arange({first}, 25_000_000 + {first}, dtype="f8"))
_, save = timed(lambda: np.save({path!r}, big))
_, load = timed(lambda: np.load({path!r}))
print(json.dumps([make, save, load]))
"""
_RESTORE = """
import sys, time
import mlplatform.launcher, numpy
sys.modules["_mlplatform_launcher"] = mlplatform.launcher  # its name in a session
from _mlplatform_launcher.notebook.keeping import load
begun = time.perf_counter()
found = load(sys.argv[1])["big"]
print(time.perf_counter() - begun)
assert found.nbytes == 200_000_000 and found[0] == float(sys.argv[2])
"""


def large_array(home: TestHome, times: int) -> dict[str, str]:
    """What a 200 MB array costs at a task boundary: the task that makes it against making it in a process that, like
    the task's, has not had that memory before; the tasks that only use it; and bringing it into a new process. Beside
    numpy's own file of the same array, each time anew."""
    crossing, saving, using, restoring, loading = [], [], [], [], []
    for index in range(times):
        path = home.folder / f"large{index}.ipynb"
        cells = list(_LARGE)
        cells[1] = f"big = np.arange({index}, 25_000_000 + {index}, dtype='f8')"
        nbformat.write(document(*cells), path)
        result = run(home, path)
        made, used, last = (task["finished_at"] - task["started_at"] for task in result["tasks"][1:])
        make, save, load = json.loads(_python(_PLAIN.format(first=index, path=str(home.folder / f"{index}.npy"))))
        record = _record_of(home, result["run_id"], 1)
        group = record["writes"]["big"][1]
        kept = home.root / "notebooks" / "groups" / group[:2] / group
        crossing.append(made - make)
        using.append(max(used, last))
        restoring.append(float(_python(_RESTORE, str(kept), str(index))))
        saving.append(save)
        loading.append(load)
    return {
        "200 MB at its boundary": _beside(crossing, saving, "numpy.save"),
        "200 MB at the boundaries of tasks that use it": f"{statistics.median(using):.2f} s",
        "200 MB into a new process": _beside(restoring, loading, "numpy.load"),
    }


def _python(source: str, *words: str) -> str:
    line = [sys.executable, "-c", source, *words]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _record_of(home: TestHome, run_id: str, position: int) -> dict[str, Any]:
    told = json.loads((home.root / "runs" / run_id / "notebook" / f"{position:04d}.json").read_bytes())
    return json.loads((home.root / "notebooks" / "records" / told["key"] / f"{told['token']}.json").read_bytes())


def _beside(ours: list[float], theirs: list[float], name: str) -> str:
    ratio = statistics.median(one / other for one, other in zip(ours, theirs, strict=True))
    return (
        f"[{min(ours):.2f}, {statistics.median(ours):.2f}] s, {name} [{min(theirs):.2f}, "
        f"{statistics.median(theirs):.2f}] s: {ratio:.2f} times"
    )


def main(words: list[str]) -> None:
    """``words``: how often (3), and ``large`` for the large array alone."""
    times = next((int(word) for word in words if word.isdigit()), 3)
    told: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder, home_in(Path(folder)) as home:
        nbformat.write(document("x = 1"), home.folder / "warm.ipynb")
        run(home, home.folder / "warm.ipynb")
        if "large" not in words:
            ours, theirs, again = first_runs(home, times)
            told["first run"] = f"{ours:.2f} s, nbclient {theirs:.2f} s: {ours / theirs:.2f} times"
            told["unchanged"] = f"{again:.2f} s"
        told |= large_array(home, times)
    print(json.dumps(told, indent=2))


if __name__ == "__main__":
    main(sys.argv[1:])
