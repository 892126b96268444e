"""``pipelines/``: the compiled documents follow from their sources, and every pipeline runs and says what it should."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PIPELINES = ROOT / "pipelines"
COMMAND = str(Path(sys.executable).with_name("mlplatform"))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


def run(home: Path, name: str, *options: str, expect: int = 0) -> dict[str, Any]:
    command = [COMMAND, "run", str(PIPELINES / f"{name}.yaml"), "--home", str(home), "--output", "json", *options]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    assert done.returncode == expect, done.stdout[-3000:] + done.stderr[-3000:]
    return json.loads(done.stdout)


def task(result: dict[str, Any], name: str) -> dict[str, Any]:
    found = [task for task in result["tasks"] if task["name"].rsplit("/", 1)[-1] == name]
    assert len(found) == 1, [task["name"] for task in result["tasks"]]
    return found[0]


def content(artifact: dict[str, Any]) -> str:
    return Path(artifact["uri"].removeprefix("file://")).read_text(encoding="utf-8")


def test_compiled_documents_follow_from_their_sources() -> None:
    command = [sys.executable, str(ROOT / ".ci" / "compile_pipelines.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr + "\nrun: python .ci/compile_pipelines.py"


def test_every_source_has_a_document_and_a_line_in_the_readme() -> None:
    readme = (PIPELINES / "README.md").read_text(encoding="utf-8")
    names = {source.stem for source in PIPELINES.glob("*.py")}
    assert len(names) >= 6
    assert {file.stem for file in PIPELINES.glob("*.yaml")} == names - {"demo"}
    assert [name for name in names if f"| `{name}` |" not in readme] == []


@pytest.mark.slow
def test_model_selection_registers_the_winner(home: Path) -> None:
    result = run(home, "cancer_model_selection")
    assert result["outputs"]["kind"] == "logistic"
    assert 0.93 < result["outputs"]["accuracy"] <= 1
    registered = task(result, "register")["outputs"]["registered"]
    assert registered["type"] == "system.Model"
    assert registered["metadata"]["registered_model_name"] == "breast-cancer"
    assert registered["metadata"]["kind"] == "logistic"


@pytest.mark.slow
def test_the_sweep_compares_every_setting(home: Path) -> None:
    result = run(home, "diabetes_sweep", "-p", "alphas=[0.1, 10.0]", "-p", "degrees=[1, 2]")
    fits = [task for task in result["tasks"] if task["name"].endswith("/fit")]
    settings = [(t["outputs"]["Output"]["alpha"], t["outputs"]["Output"]["degree"]) for t in fits]
    assert sorted(settings) == [(0.1, 1), (0.1, 2), (10, 1), (10, 2)]
    errors = [t["outputs"]["Output"]["rmse"] for t in fits]
    assert result["outputs"]["best"]["rmse"] == min(errors)
    assert 50 < min(errors) < 60
    assert content(result["outputs"]["chart"]).count("<rect") == 4


@pytest.mark.slow
def test_the_gate_opens(home: Path) -> None:
    result = run(home, "digits_quality_gate")
    assert task(result, "register")["state"] == "SUCCEEDED"
    assert "registered as digits with accuracy 0.9" in content(task(result, "announce")["outputs"]["note"])
    assert "**SUCCEEDED**" in content(task(result, "report")["outputs"]["page"])


@pytest.mark.slow
def test_the_gate_stays_closed(home: Path) -> None:
    result = run(home, "digits_quality_gate", "-p", "threshold=0.999")
    assert [t["state"] for t in result["tasks"] if t["name"].endswith("/register")] in ([], ["SKIPPED"])
    assert "was not registered: accuracy 0.9" in content(task(result, "announce")["outputs"]["note"])


@pytest.mark.slow
def test_the_exit_handler_reports_a_failure(home: Path) -> None:
    result = run(home, "digits_quality_gate", "-p", "training_images=5", expect=1)
    assert result["state"] == "FAILED"
    page = content(task(result, "report")["outputs"]["page"])
    assert "**FAILED**" in page


@pytest.mark.slow
def test_features_become_tables_and_pictures(home: Path) -> None:
    result = run(home, "wine_features")
    assert (result["outputs"]["kept"], result["outputs"]["dropped"]) == (169, 9)
    table = content(result["outputs"]["table"])
    assert "| measurement | class_0 | class_1 | class_2 |" in table
    assert "| alcohol | 13.756 | 12.308 | 13.129 |" in table
    assert 'src="data:image/png;base64,iVBOR' in content(result["outputs"]["page"])
    explained = task(result, "derive")["outputs"]["features"]["metadata"]["explained"]
    assert next(iter(sorted(explained, key=explained.get, reverse=True))) == "flavanoids"


@pytest.mark.slow
def test_container_commands_run_on_the_users_word(home: Path) -> None:
    result = run(home, "iris_container", "--containers", "subprocess", "-p", "count=3")
    assert result["outputs"] == {"Output": "setosa 1.462, versicolor 4.260, virginica 5.552"}
    top = content(task(result, "longest")["outputs"]["top"]).splitlines()
    assert top == ["virginica\t6.9", "virginica\t6.7", "virginica\t6.7"]


@pytest.mark.slow
def test_container_commands_run_in_real_containers(home: Path, tmp_path: Path) -> None:
    """By Podman, in an image of busybox made on this machine (.ci/podman), since no registry may be asked."""
    image = os.environ.get("MLPLATFORM_TEST_IMAGE")
    if not image:
        pytest.skip('no image to run: eval "$(.ci/podman)"')
    document = tmp_path / "iris_container.yaml"
    document.write_text((PIPELINES / "iris_container.yaml").read_text().replace("alpine:3.20", image))
    result = run(home, str(document.with_suffix("")), "--containers", "podman", "--no-cache")
    assert result["outputs"] == {"Output": "setosa 1.462, versicolor 4.260, virginica 5.552"}


@pytest.mark.slow
def test_the_demo_runs_twice_and_reuses_everything(tmp_path: Path) -> None:
    env = {**os.environ, "MLPLATFORM_HOME": str(tmp_path / "home")}
    command = [COMMAND, "demo"]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False, env=env)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "The support vector machine won: it reads 99.1% of the unseen digits correctly." in done.stdout
    assert "2 read as 2" in done.stdout
    assert ": 5 results were reused" in done.stdout


@pytest.mark.slow
def test_the_sdk_fits_models_side_by_side(home: Path) -> None:
    result = run(home, "wine_sdk", "-p", "strengths=[0.001, 1.0]")
    assert result["outputs"]["chosen"]["strength"] == 1.0
    assert result["outputs"]["accuracy"] == result["outputs"]["chosen"]["accuracy"] > 0.9
    assert result["outputs"]["verdict"] == "good enough to taste"
    again = run(home, "wine_sdk", "-p", "strengths=[0.001, 1.0]")
    assert {item["state"] for item in again["tasks"] if item["name"] == "split"} == {"CACHED"}


@pytest.mark.slow
def test_two_ranks_train_what_is_judged_and_registered(home: Path) -> None:
    result = run(home, "digits_distributed")
    assert 0.92 < result["outputs"]["Output"] <= 1
    registered = task(result, "register")["outputs"]["model"]
    assert registered["metadata"]["registered_model_name"] == "digits-distributed"
    assert registered["metadata"]["accuracy"] == result["outputs"]["Output"]
    again = run(home, "digits_distributed", "-p", "threshold=0.999")
    assert task(again, "train")["state"] == "CACHED"
