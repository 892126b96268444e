"""A notebook on its way to a cluster, and back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mlplatform.apis.objects import pipeline_run
from mlplatform.core.errors import InvalidInput, Unsupported
from mlplatform.engine.home import Home
from mlplatform.ir.load import loads
from mlplatform.planning.accepting import Accepted, accept
from mlplatform.planning.notebook_component import CELLS, STATE, tasks_of
from mlplatform.sdk.kubernetes import notebooks
from mlplatform.sdk.kubernetes.images import imported
from mlplatform.sdk.notebook_submit import compile_notebook


def notebook(folder: Path) -> str:
    """Compiled: two tasks, and files beside it."""
    cells: list[Any] = [
        {"cell_type": "markdown", "metadata": {}, "source": "## Load", "id": "a"},
        {"cell_type": "code", "metadata": {}, "source": "import numpy as np\nx = np.ones(3)", "id": "b",
         "outputs": [], "execution_count": None},
        {"cell_type": "markdown", "metadata": {}, "source": "## Sum", "id": "c"},
        {"cell_type": "code", "metadata": {}, "source": "from helpers import add\ny = add(x)", "id": "d",
         "outputs": [], "execution_count": None},
    ]  # fmt: skip
    file = folder / "study.ipynb"
    file.write_text(json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))
    (folder / "helpers.py").write_text("def add(x):\n    return x.sum()\n")
    (folder / "data").mkdir()
    (folder / "data" / "rows.csv").write_text("1\n2\n")
    return compile_notebook(str(file))[2]


def test_each_task_begins_from_what_the_one_before_it_left(tmp_path: Path) -> None:
    text = notebook(tmp_path)
    split = notebooks.for_pods(text)
    assert split is not None
    assert loads(notebooks.for_pods(split) or "") == loads(split)
    pipeline = loads(split)
    first, second = tasks_of(pipeline)
    assert pipeline.root.dag is not None
    tasks = pipeline.root.dag.tasks
    assert tasks[first.name].artifacts[STATE].component_input == notebooks.FOLDER
    source = tasks[second.name].artifacts[STATE]
    assert (source.producer_task, source.output_artifact) == (first.name, STATE)
    assert set(pipeline.components[tasks[first.name].component].outputs.artifacts) == {STATE, CELLS}
    assert (imported(first), imported(second)) == ({"numpy"}, set())
    assert notebooks.for_pods(_plain()) is None


def _plain() -> str:
    from tests.support.pipelines import chain

    return chain(1).text()


def test_one_that_was_compiled_for_one_machine_is_refused(tmp_path: Path) -> None:
    text = notebook(tmp_path)
    run = pipeline_run({"metadata": {"name": "a", "namespace": "team", "uid": "u"}, "spec": {"document": text}})
    found = accept(run, loads(text))
    assert not isinstance(found, Accepted)
    assert "mlplatform run NOTEBOOK.ipynb --backend kubernetes" in str(found)


def test_the_folder_goes_along_by_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "project"
    folder.mkdir()
    notebook(folder)
    (folder / ".hidden").write_text("secret")
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "helpers.pyc").write_text("x")
    home = Home(tmp_path / "home")
    kept = notebooks.kept_folder(home, folder)
    told = json.loads(Path(kept["uri"], "state.json").read_bytes())
    assert set(told["files"]) == {"helpers.py", "data/rows.csv"}
    assert Path(kept["uri"], "files", told["files"]["data/rows.csv"]).read_text() == "1\n2\n"
    (folder / "study.ipynb").write_text("{}")
    assert notebooks.kept_folder(home, folder) == kept
    (folder / "helpers.py").write_text("def add(x):\n    return 0\n")
    assert notebooks.kept_folder(home, folder)["digest"] != kept["digest"]
    monkeypatch.setattr(notebooks, "MOST", 10)
    with pytest.raises(InvalidInput, match="files: they go to the cluster"):
        notebooks.kept_folder(home, folder)
    with pytest.raises(Unsupported, match=r"on a claim \(shared\)"):
        notebooks.require_store({"claimName": "shared"})
    with pytest.raises(Unsupported, match="pass its variables on by the artifact store, and none is set"):
        notebooks.require_store({})
    notebooks.require_store({"uri": "s3://bucket/prefix"})
