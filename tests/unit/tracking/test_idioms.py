"""Every way people use MLflow lands in the run of their task: real processes, the real hook, a real server."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from mlplatform.core.model import TaskKey
from mlplatform.tracking.client import MlflowTracker
from mlplatform.tracking.door import ask
from tests.unit.tracking.conftest import Mlflow, run_record, task_record


@dataclass(frozen=True)
class Idiom:
    """What its task's run must hold. ``children``: names of runs below it (None: any name)."""

    metrics: dict[str, float] = field(default_factory=dict)
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    children: tuple[str | None, ...] = ()
    name: str = ""
    history: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    more: Callable[[Mlflow, dict[str, Any], Any], None] | None = None


def _autologged(server: Mlflow, run: dict[str, Any], result: Any) -> None:
    assert run["params"]["C"] == "0.5"
    assert run["metrics"]["training_score"] > 0.5
    assert run["inputs"], "autolog names the training data"
    assert len(run["outputs"]) == 1, "autolog logs the model"
    assert result == run["id"]


def _two_fits(server: Mlflow, run: dict[str, Any], result: Any) -> None:
    assert run["params"]["C"] == "0.5"
    child = next(r for r in server.runs("exp") if r["parent"] == run["id"])
    assert child["params"]["C"] == "0.25"
    assert child["status"] == "FINISHED"


def _model_logged(server: Mlflow, run: dict[str, Any], result: Any) -> None:
    assert len(run["outputs"]) == 1
    model = server.call(f"logged-models/{run['outputs'][0]['model_id']}")["model"]["info"]
    assert model["status"] == "LOGGED_MODEL_READY"
    assert model["source_run_id"] == run["id"]
    assert result["prediction"] == [1.0]
    assert result["model_id"] == model["model_id"], "on the home's server ids are what the task saw"


def _registered(server: Mlflow, run: dict[str, Any], result: Any) -> None:
    version = server.call("registered-models/alias", name="idiom-model", alias="champion")["model_version"]
    assert version["run_id"] == run["id"]
    assert str(version["version"]) == str(result) == "1"


def _nested(server: Mlflow, run: dict[str, Any], result: Any) -> None:
    by_name = {r["name"]: r for r in server.runs("exp")}
    assert by_name["inner-a"]["parent"] == run["id"]
    assert by_name["inner-a"]["metrics"] == {"deep": 2.0}
    assert by_name["innermost"]["parent"] == by_name["inner-b"]["id"]
    assert by_name["inner-b"]["status"] == "FAILED"


def _direct(server: Mlflow, run: dict[str, Any], result: Any) -> None:
    assert result["same"] is True
    child = next(r for r in server.runs("exp") if r["id"] == result["second"])
    assert child["parent"] == run["id"]
    assert child["status"] == "KILLED"


def _searched(server: Mlflow, run: dict[str, Any], result: Any) -> None:
    assert result == {"found": [run["id"]], "history": [1.0, 2.0], "get": {"searched": "yes"}}


def _traced(server: Mlflow, run: dict[str, Any], result: Any) -> None:
    body = {
        "locations": [
            {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": server.experiments()["exp"]}}
        ]
    }
    url = f"{server.url}/api/3.0/mlflow/traces/search"
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    traces = json.load(urllib.request.urlopen(request))["traces"]
    assert [t["trace_id"] for t in traces] == [result]


IDIOMS: dict[str, Idiom] = {
    "log_metric": Idiom({"m": 1.5}),
    "log_param": Idiom(params={"p": "3", "q": "x"}),
    "metrics with steps": Idiom(
        {"loss": 1 / 3, "acc": 1.0},
        history={"loss": [(0, 1.0), (1, 0.5), (2, 1 / 3)]},
    ),
    "set_tag": Idiom(tags={"team": "a", "k": "v"}),
    "nan and infinity": Idiom(
        {"n": math.nan, "i": 1.7976931348623157e308},
    ),
    "start_run block": Idiom(
        {"m": 1.0},
    ),
    "named block with tags": Idiom(
        params={"p": "1"},
        tags={"a": "b", "mlflow.note.content": "why"},
        name="my name",
    ),
    "metrics before and after a block": Idiom(
        {"before": 1.0, "inside": 2.0, "after": 3.0},
    ),
    "two blocks": Idiom(
        {"one": 1.0, "after": 3.0},
        children=("second",),
    ),
    "nested runs": Idiom(
        children=("inner-a", "inner-b"),
        more=_nested,
    ),
    "end_run": Idiom(
        {"a": 1.0, "b": 2.0},
    ),
    "start_run without with": Idiom(
        {"a": 1.0, "b": 2.0},
    ),
    "set_experiment": Idiom(
        {"a": 1.0, "b": 2.0},
    ),
    "log_artifact": Idiom(
        files={"f.txt": "hello", "sub/x%20y.txt": "t", "all/f.txt": "hello"},
    ),
    "autolog": Idiom(more=_autologged),
    "autolog twice": Idiom(
        children=(None,),
        more=_two_fits,
    ),
    "autolog in a block": Idiom(
        params={"C": "0.5"},
    ),
    "log_model": Idiom(
        more=_model_logged,
    ),
    "register": Idiom(
        more=_registered,
    ),
    "client used directly": Idiom(
        {"m": 1.0},
        children=(None,),
        more=_direct,
    ),
    "asynchronous": Idiom({"m": 4.0}),
    "threads": Idiom(
        {"m0": 0.0, "m1": 1.0, "m2": 2.0, "m3": 3.0},
    ),
    "reading back": Idiom(
        {"m": 2.0},
        more=_searched,
    ),
    "tracing": Idiom(
        {"m": 1.0},
        more=_traced,
    ),
    "log_input": Idiom(
        more=lambda server, run, result: _only([d["dataset"]["name"] for d in run["inputs"]], ["frame"]),
    ),
}


def code_of(name: str) -> str:
    """The user's code: a file of its own in ``idioms/``."""
    return (Path(__file__).with_name("idioms") / f"{name.replace(' ', '_')}.py").read_text()


#: Once more where mlflow is imported only after the hook, in a fresh interpreter.
FRESH = ("metrics before and after a block", "set_experiment")


def _only(found: list[Any], wanted: list[Any]) -> None:
    assert found == wanted


@dataclass(frozen=True)
class Seen:
    server: Mlflow
    runs: dict[str, str]
    answers: dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def seen(home: tuple[MlflowTracker, Path], tmp_path_factory: pytest.TempPathFactory) -> Seen:
    """All idioms, run and delivered."""
    tracker, folder = home
    out = tmp_path_factory.mktemp("idioms")
    run = run_record("idioms")
    tracker.run_started(run)
    jobs: dict[str, dict[str, Any]] = {}
    for number, (name, _idiom) in enumerate([*IDIOMS.items(), *[(f"fresh {n}", IDIOMS[n]) for n in FRESH]]):
        environment = tracker.task_environment(run, TaskKey((name,)), 1)
        jobs[name] = {
            "env": {**environment.env, "PYTHONWARNINGS": "ignore"},
            "hook": str(environment.hook),
            "code": code_of(name.removeprefix("fresh ")),
            "out": str(out / f"{number}.json"),
        }
    fresh = [jobs[name] for name in jobs if name.startswith("fresh ")]
    _run_jobs(out, [jobs[name] for name in IDIOMS], ["mlflow", "mlflow.sklearn", "sklearn.linear_model", "pandas"])
    for job in fresh:
        _run_jobs(out, [job], [])
    runs = {name: tracker.task_finished(run, task_record(name)) for name in jobs}
    answers = {name: json.loads(Path(job["out"]).read_text()) for name, job in jobs.items()}
    assert tracker.flush(120.0)
    return Seen(Mlflow(ask(folder, "ui", 60.0)["url"]), runs, answers)


def _run_jobs(folder: Path, jobs: list[dict[str, Any]], before: list[str]) -> None:
    plan = folder / "plan.json"
    plan.write_text(json.dumps({"jobs": jobs, "before": before}))
    process = Path(__file__).with_name("task_process.py")
    subprocess.run([sys.executable, str(process), str(plan)], check=True, timeout=300)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", [*IDIOMS, *[f"fresh {name}" for name in FRESH]])
def test_idiom_lands_in_the_tasks_own_run(seen: Seen, name: str) -> None:
    idiom = IDIOMS[name.removeprefix("fresh ")]
    answer = seen.answers[name]
    assert answer["error"] == ""
    run = seen.server.run(seen.runs[name])
    assert run["status"] == "FINISHED"
    assert run["parent"] == next(r["id"] for r in seen.server.runs("exp") if r["name"] == "run idioms")
    assert {k: v for k, v in run["metrics"].items() if k in idiom.metrics} == pytest.approx(idiom.metrics, nan_ok=True)
    if idiom.metrics:
        assert set(run["metrics"]) == {*idiom.metrics, "duration_seconds"}
    assert {k: v for k, v in run["params"].items() if k in idiom.params} == idiom.params
    assert {k: v for k, v in run["tags"].items() if k in idiom.tags} == idiom.tags
    assert run["name"] == (idiom.name or name)
    for key, history in idiom.history.items():
        assert seen.server.history(run["id"], key) == history
    for path, content in idiom.files.items():
        assert seen.server.artifact(run, path).decode() == content
    children = [r["name"] for r in seen.server.runs("exp") if r["parent"] == run["id"]]
    assert len(children) == len(idiom.children)
    assert all(wanted is None or wanted in children for wanted in idiom.children)
    if idiom.more is not None:
        idiom.more(seen.server, run, answer["result"])


def test_nothing_strays(seen: Seen) -> None:
    """No experiment but the pipeline's, no run without a parent but the run itself, nothing left open."""
    assert set(seen.server.experiments()) == {"Default", "exp"}
    assert seen.server.runs("Default") == []
    assert [r["name"] for r in seen.server.runs("exp") if not r["parent"]] == ["run idioms"]
    assert {r["status"] for r in seen.server.runs("exp") if r["parent"]} <= {"FINISHED", "FAILED", "KILLED"}


def test_an_explicit_tracking_uri_wins(
    make_tracker: Callable[..., MlflowTracker], users_server: Mlflow, tmp_path: Path
) -> None:
    tracker = make_tracker()
    run = run_record("explicit")
    tracker.run_started(run)
    environment = tracker.task_environment(run, TaskKey(("t",)), 1)
    code = (
        f"import mlflow, os\nmlflow.set_tracking_uri({users_server.url!r})\nmlflow.set_experiment('mine alone')\n"
        "with mlflow.start_run(run_name='mine'):\n    mlflow.log_metric('m', 1)\n"
        "result = [os.environ.get('MLFLOW_TRACKING_TOKEN'), os.environ.get('MLFLOW_TRACKING_PASSWORD')]"
    )
    job = {"env": dict(environment.env), "hook": str(environment.hook), "code": code, "out": str(tmp_path / "out.json")}
    _run_jobs(tmp_path, [job], [])
    assert json.loads((tmp_path / "out.json").read_text()) == {"error": "", "result": [None, None]}
    assert [(r["name"], r["metrics"], r["status"]) for r in users_server.runs("mine alone")] == [
        ("mine", {"m": 1.0}, "FINISHED")
    ]
    assert tracker.task_finished(run, task_record("t")) == "", "the task's own run stayed unused"
