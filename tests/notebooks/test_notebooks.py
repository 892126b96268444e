"""``notebooks/`` under nbval, and what keeps nbval honest (each rule has a notebook here that breaks it)."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
HONEST = ROOT / "mlplatform" / "notebook" / "honest.py"
#: What needs a cluster beside this machine: test_to_the_cluster.py.
ON_CLUSTER = {"06-to-the-cluster"}
NOTEBOOKS = sorted(file for file in (ROOT / "notebooks").glob("*.ipynb") if file.stem not in ON_CLUSTER)


def nbval(folder: Path, tmp_path: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run nbval over the notebooks of a folder, in kernels that hide nothing."""
    startup = tmp_path / "ipython" / "profile_default" / "startup"
    startup.mkdir(parents=True, exist_ok=True)
    shutil.copy(HONEST, startup / "00-honest.py")
    env = {**os.environ, "IPYTHONDIR": str(tmp_path / "ipython"), "MLPLATFORM_HOME": str(tmp_path / "home")}
    env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{env['PATH']}"
    env["MPLBACKEND"] = "module://matplotlib_inline.backend_inline"
    command = [sys.executable, "-m", "pytest", *(options or ("--nbval",)), "--nbval-sanitize-with"]
    command += [str(HERE / "sanitize.cfg"), "-q", "-p", "no:cacheprovider", "-c", os.devnull, "--rootdir", str(folder)]
    command += ["--nbval-cell-timeout", "300", "--nbval-kernel-name", "python3", str(folder)]
    return subprocess.run(command, env=env, cwd=folder, capture_output=True, text=True, check=False)


def findings(notebook: dict[str, Any]) -> list[str]:
    """What can be seen without running: cells out of order or not run, errors kept as if they were results."""
    found: list[str] = []
    counts: list[int | None] = []
    for number, cell in enumerate(notebook["cells"]):
        tags = set(cell["metadata"].get("tags", ()))
        if tags & {"nbval-skip", "raises-exception"}:
            found.append(f"cell {number}: is left out of the check by the tags {sorted(tags)}")
        if cell["cell_type"] != "code" or not "".join(cell["source"]).strip():
            continue
        source = "".join(cell["source"])
        if "NBVAL_SKIP" in source or "NBVAL_RAISES_EXCEPTION" in source:
            found.append(f"cell {number}: is left out of the check by a comment")
        if ("NBVAL_IGNORE_OUTPUT" in source or "nbval-ignore-output" in tags) and not cell["outputs"]:
            found.append(f"cell {number}: its output is ignored, and there is none")
        counts.append(cell["execution_count"])
        for output in cell["outputs"]:
            text = "".join(output.get("text", ()))
            if output["output_type"] == "error":
                found.append(f"cell {number}: holds an error as its output: {output['ename']}")
            elif output.get("name") == "stderr":
                found.append(f"cell {number}: holds standard error as its output: {text[:80]!r}")
    if counts != list(range(1, len(counts) + 1)):
        found.append(f"was not run once from top to bottom: {counts}")
    return found


@pytest.mark.slow
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_does_what_it_shows(notebook: Path, tmp_path: Path) -> None:
    assert findings(json.loads(notebook.read_text(encoding="utf-8"))) == []
    folder = tmp_path / "notebooks"
    folder.mkdir()
    shutil.copy(notebook, folder)
    done = nbval(folder, tmp_path)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]


def test_there_are_notebooks() -> None:
    assert "01-first-pipeline" in [notebook.stem for notebook in NOTEBOOKS]


def write(folder: Path, source: str, outputs: list[Any] | None = None) -> Path:
    notebook = nbformat.v4.new_notebook()
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    cell = nbformat.v4.new_code_cell(source, execution_count=1, outputs=outputs or [])
    notebook.cells.append(cell)
    folder.mkdir()
    nbformat.write(notebook, folder / "case.ipynb")
    return folder


LIES = {
    "an unknown magic": "%no_such_magic 1",
    "an unknown cell magic": "%%no_such_magic\nx",
    "an unknown magic in an expression": "x = %no_such_magic",
    "a failing command": "!exit 3",
    "a failing command whose output is kept": "x = !exit 3",
    "an error": "1 / 0",
}


@pytest.mark.slow
@pytest.mark.parametrize("source", LIES.values(), ids=list(LIES))
def test_nothing_hides_behind_an_ignored_output(source: str, tmp_path: Path) -> None:
    done = nbval(write(tmp_path / "nb", source), tmp_path, "--nbval-lax")
    assert done.returncode == 1, done.stdout
    assert "1 failed" in done.stdout


@pytest.mark.slow
def test_an_honest_notebook_passes(tmp_path: Path) -> None:
    source = "%time x = 1\nwhere = %pwd\n!true\nlines = !echo a b\nprint(lines, x)"
    folder = write(tmp_path / "nb", source)
    done = nbval(folder, tmp_path, "--nbval-lax")
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
def test_a_missing_output_is_found(tmp_path: Path) -> None:
    done = nbval(write(tmp_path / "nb", "print('hello')"), tmp_path)
    assert done.returncode == 1, done.stdout


def test_kept_errors_are_found() -> None:
    def cell(outputs: list[Any], source: str = "x", count: int = 1, **metadata: Any) -> dict[str, Any]:
        return {
            "cell_type": "code",
            "source": source,
            "outputs": outputs,
            "execution_count": count,
            "metadata": metadata,
        }

    error = {"output_type": "error", "ename": "ValueError", "evalue": "", "traceback": []}
    usage = {"output_type": "stream", "name": "stderr", "text": "UsageError: Line magic function `%x` not found."}
    assert findings({"cells": [cell([])]}) == []
    assert "holds an error" in findings({"cells": [cell([error])]})[0]
    assert "standard error" in findings({"cells": [cell([usage])]})[0]
    assert "top to bottom" in findings({"cells": [cell([], count=2)]})[0]
    assert "by a comment" in findings({"cells": [cell([], "# NBVAL_SKIP")]})[0]
    assert "there is none" in findings({"cells": [cell([], "# NBVAL_IGNORE_OUTPUT")]})[0]
    assert "by the tags" in findings({"cells": [cell([], tags=["raises-exception"])]})[0]
