"""``notebooks/`` as pipelines: each gives what its file shows; the plain one also keeps what an edit does not touch."""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mlplatform.notebook.read import read_notebook
from mlplatform.notebook.verdict import output_differences

ROOT = Path(__file__).resolve().parents[2]
#: What needs a cluster runs in test_to_the_cluster.py.
NOTEBOOKS = sorted(file for file in (ROOT / "notebooks").glob("*.ipynb") if file.stem != "06-to-the-cluster")
PLAIN = ROOT / "notebooks" / "05-plain-notebook.ipynb"


class Place:
    """A folder with one notebook, and a home."""

    def __init__(self, folder: Path, notebook: Path) -> None:
        self.file = Path(shutil.copy(notebook, folder))
        self.home = folder / "home"

    def command(self, *words: str, status: int = 0) -> str:
        env = {**os.environ, "MLPLATFORM_HOME": str(self.home)}
        env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{env['PATH']}"
        done = subprocess.run(
            [sys.executable, "-P", "-m", "mlplatform.cli.main", *words],
            cwd=self.file.parent,
            env=env,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == status, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout

    def run(self, *words: str) -> dict[str, Any]:
        return json.loads(self.command("run", self.file.name, "--output", "json", *words))


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path, request.param)
    try:
        yield made
    finally:
        made.command("service", "stop")


@pytest.mark.slow
@pytest.mark.parametrize("place", NOTEBOOKS, ids=lambda path: path.stem, indirect=True)
def test_a_notebook_gives_as_a_pipeline_what_its_file_shows(place: Place) -> None:
    before = place.file.read_bytes()
    run = place.run()
    assert run["state"] == "SUCCEEDED", run["error"]
    executed = json.loads(Path(run["notebook"]).read_text(encoding="utf-8"))
    notebook = read_notebook(str(place.file))
    assert output_differences(notebook, notebook.document, executed) == {}
    counts = [cell["execution_count"] for cell in executed["cells"] if cell["cell_type"] == "code"]
    assert counts == list(range(1, len(counts) + 1))
    assert place.file.read_bytes() == before, "the file is never changed"


@pytest.mark.slow
@pytest.mark.parametrize("place", [PLAIN], ids=["05"], indirect=True)
def test_what_an_edit_does_not_reach_is_not_run_again(place: Place) -> None:
    def ran() -> list[str]:
        return [task["name"] for task in run["tasks"] if not task["cached"]]

    run = place.run()
    everything = ["setup", "parameters", "load-the-data", "look-at-it", "train", "compare", "as-a-pipeline"]
    assert ran() == everything
    run = place.run()
    assert ran() == []
    text = place.file.read_text(encoding="utf-8")
    place.file.write_text(text.replace("correlation.head(5)", "correlation.head(3)"), encoding="utf-8")
    run = place.run()
    # The last section reads the notebook's own file to show it.
    assert set(ran()) <= {"look-at-it", "as-a-pipeline"}
    assert "look-at-it" in ran()
    run = place.run("-p", "folds=3")
    assert not {"setup", "load-the-data", "look-at-it"} & set(ran())
    assert {"train", "compare"} <= set(ran())
    place.command("runs", "values", run["run_id"], "folds", "best", "scores", "--to", "values.pkl")
    values = {
        name: pickle.loads(data) for name, data in pickle.loads((place.file.parent / "values.pkl").read_bytes()).items()
    }
    assert values["folds"] == 3
    assert values["best"] == "logistic regression"
    assert {name: len(found) for name, found in values["scores"].items()} == {
        "logistic regression": 3,
        "random forest": 3,
    }


@pytest.mark.slow
@pytest.mark.parametrize("place", [PLAIN], ids=["05"], indirect=True)
def test_a_failed_notebook_is_kept_up_to_its_failure(place: Place) -> None:
    text = place.file.read_text(encoding="utf-8").replace("correlation.head(5)", "correlation.heads(5)")
    place.file.write_text(text, encoding="utf-8")
    run = json.loads(place.command("run", place.file.name, "--output", "json", status=1))
    assert run["state"] == "FAILED"
    executed = json.loads(Path(run["notebook"]).read_text(encoding="utf-8"))
    errors = {
        i: o for i, c in enumerate(executed["cells"]) for o in c.get("outputs", ()) if o["output_type"] == "error"
    }
    assert list(errors) == [6]
    assert errors[6]["ename"] == "AttributeError"
    traceback = re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(errors[6]["traceback"]))
    assert "correlation.heads(5)" in traceback
    assert "mlplatform/launcher" not in traceback
    assert executed["cells"][4]["outputs"], "what ran before has its outputs"
    assert not executed["cells"][9]["outputs"]
    failed = next(task for task in run["tasks"] if task["name"] == "look-at-it")
    assert "AttributeError" in failed["error"]["message"]
    assert "correlation.heads(5)" in failed["error"]["traceback"]
