"""``ml.notebook``: a notebook in Python's hands."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import mlplatform as ml
from mlplatform.core.errors import InvalidInput, InvalidParameters, Unsupported
from mlplatform.engine.home import open_home
from mlplatform.sdk import notebook_submit, submit
from mlplatform.sdk.notebook import NotebookPipeline, notebook
from tests.support.books import code, document, md


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "work" / "train.ipynb"
    made.parent.mkdir()
    cells = (code("lr = 0.1", "parameters"), md("## Load"), code("a = [lr]"), md("## Train"), code("b = sum(a)"))
    made.write_text(json.dumps(document(*cells)), encoding="utf-8")
    return made


@pytest.mark.parametrize("before", ["", "import mlplatform.notebook.read; "])
def test_the_name_works_whatever_was_imported(before: str, file: Path) -> None:
    code_ = f"{before}import mlplatform as ml; print(len(ml.notebook({str(file)!r}).plan.tasks))"
    done = subprocess.run([sys.executable, "-c", code_], capture_output=True, text=True, check=True)
    assert done.stdout == "3\n"


def test_it_shows_its_tasks(file: Path) -> None:
    shown = repr(notebook(file))
    assert "3 tasks (sections)" in shown
    assert "lr = 0.1" in shown
    assert [line.split()[1] for line in shown.splitlines()[1:4]] == ["parameters", "load", "train"]


def test_what_is_no_notebook_says_so(tmp_path: Path) -> None:
    assert "cannot be read" in repr(notebook(tmp_path / "none.ipynb")) or "no file" in repr(
        notebook(tmp_path / "none.ipynb")
    )
    (tmp_path / "broken.ipynb").write_text("{", encoding="utf-8")
    assert "JSON is broken" in repr(notebook(tmp_path / "broken.ipynb"))


def test_options_leave_the_original_alone(file: Path, tmp_path: Path) -> None:
    plain = NotebookPipeline(file, tmp_path / "home")
    named = plain.options(name="n", cache=False).options(experiment="e")
    assert (named._options.name, named._options.cache, named._options.experiment) == ("n", False, "e")
    assert (plain._options.name, plain._options.cache, plain._options.experiment) == ("", True, "")


def test_wrong_parameters_are_told_before_anything_runs(file: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidParameters) as caught:
        NotebookPipeline(file, tmp_path / "home").run(lr="much", epochs=3)
    assert sorted(finding.path for finding in caught.value.findings) == ["parameters.epochs", "parameters.lr"]
    assert not (tmp_path / "home" / "store.db").exists()


def test_a_pipeline_file_is_no_notebook(tmp_path: Path) -> None:
    compiled = tmp_path / "p.yaml"
    compiled.write_text(
        "pipelineInfo: {name: p}\nschemaVersion: 2.1.0\nsdkVersion: x\n"
        "root: {dag: {tasks: {a: {componentRef: {name: c},"
        " taskInfo: {name: a}}}}}\ncomponents: {c: {executorLabel: e}}\n"
        "deploymentSpec: {executors: {e: {container: {image: i, command: [a]}}}}\n",
        encoding="utf-8",
    )
    with pytest.raises(InvalidInput, match="is not a notebook"):
        notebook(compiled).run()


def test_a_submission_says_where_it_runs_and_whose_it_is(file: Path, tmp_path: Path) -> None:
    home = open_home(tmp_path / "home")
    source = submit.read_source(str(file))
    made = submit.build(source, {"lr": 0.5}, submit.Options(), home)
    assert made["cwd"] == str(file.parent)
    assert made["experiment"] == "work/train"
    assert made["tags"] == {"mlplatform.notebook": str(file)}
    assert submit.build(source, {}, submit.Options(experiment="mine"), home)["experiment"] == "mine"


def test_two_projects_do_not_share_an_experiment(file: Path, tmp_path: Path) -> None:
    home = open_home(tmp_path / "home")
    other = tmp_path / "other" / "work" / "train.ipynb"
    other.parent.mkdir(parents=True)
    other.write_bytes(file.read_bytes())
    names = [
        submit.build(submit.read_source(str(each)), {}, submit.Options(), home)["experiment"] for each in (file, other)
    ]
    assert names == ["work/train", "other/work/train"]


def test_kales_experiment_counts(tmp_path: Path) -> None:
    book = tmp_path / "k.ipynb"
    kale = {"experiment_name": "titanic"}
    book.write_text(json.dumps(document(code("a = 1", "step:a"), kubeflow_notebook=kale)), encoding="utf-8")
    source = submit.read_source(str(book))
    assert submit.build(source, {}, submit.Options(), open_home(tmp_path / "h"))["experiment"] == "titanic"


def test_without_ipython_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notebook_submit.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(Unsupported, match=r"pip install 'mlplatform\[notebook\]'"):
        notebook_submit.require_shell()


def test_the_name_is_offered() -> None:
    assert "notebook" in dir(ml)


@pytest.mark.parametrize(
    ("typed", "value"), [("slow", "slow"), ('"slow"', "slow"), ('"', '"'), ('"a" "b"', '"a" "b"'), ("3", "3"), ("", "")]
)
def test_texts_may_be_quoted(typed: str, value: str, tmp_path: Path) -> None:
    book = tmp_path / "q.ipynb"
    book.write_text(json.dumps(document(code("mode = 'fast'", "parameters"))), encoding="utf-8")
    pipeline = submit.read_source(str(book)).pipeline
    assert submit.read_parameters(pipeline, [f"mode={typed}"], quoted=True) == {"mode": value}
    assert submit.read_parameters(pipeline, [f"mode={typed}"]) == {"mode": typed}
