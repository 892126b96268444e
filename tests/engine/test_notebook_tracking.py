"""Notebooks on the real engine with a real MLflow: what cells log is in the run of the task that runs them, once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.home import TestHome, home_in
from tests.support.notebooks import Book, ran, why
from tests.unit.tracking.conftest import Mlflow, eventually, stop_gateway, users_server

__all__ = ["users_server"]

CLOSED = {"FINISHED", "FAILED", "KILLED"}


@pytest.fixture
def home(tmp_path: Path, users_server: Mlflow) -> Iterator[TestHome]:
    with home_in(tmp_path, MLFLOW_TRACKING_URI=users_server.url) as made:
        yield made
    stop_gateway(made.root / "mlflow")


def tasks(server: Mlflow, run_id: str, expected: set[str]) -> dict[str, dict[str, Any]]:
    """The child runs of a run by their task's name, once these are there and closed."""

    def found() -> dict[str, dict[str, Any]]:
        runs = server.runs("nb")
        parents = [run["id"] for run in runs if run["tags"].get("mlplatform.run_id") == run_id and not run["parent"]]
        return {run["name"]: run for run in runs if run["parent"] in parents}

    def settled() -> bool:
        now = found()
        return set(now) >= expected and all(run["status"] in CLOSED for run in now.values())

    eventually(settled, 120.0)
    runs = found()
    for run in runs.values():  # the engine's own
        run["metrics"].pop("duration_seconds", None)
    return runs


def test_cells_log_into_their_own_tasks_run_and_only_when_they_run(home: TestHome, users_server: Mlflow) -> None:
    book = Book(
        home,
        load="import mlflow, os\nfrom os import environ\nmlflow.log_metric('rows', 3)\nbase = [1]",
        fit=(
            "with mlflow.start_run():\n    mlflow.log_param('depth', 4)\nmlflow.log_metric('score', 0.5)\nn = len(base)"
        ),
        quiet="idle = 1",
        fails="mlflow.start_run()\nmlflow.log_metric('before', 1.0)\nraise ValueError(n)",
    )
    failed = book.run("--experiment", "nb")
    assert failed["state"] == "FAILED"
    runs = tasks(users_server, failed["run_id"], {"load", "fit", "fails"})
    assert {name: (run["metrics"], run["status"]) for name, run in runs.items()} == {
        "load": ({"rows": 3.0}, "FINISHED"),
        "fit": ({"score": 0.5}, "FINISHED"),
        "fails": ({"before": 1.0}, "FAILED"),
    }
    assert runs["fit"]["params"] == {"depth": "4"}
    again = book.run("--experiment", "nb", fails="mlflow.log_metric('after', 2.0)\nseen = environ.get('HOME')")
    assert ran(again) == ["fails"], [why(again, name) for name in book.cells]
    assert tasks(users_server, again["run_id"], {"fails"}).keys() == {"fails"}
    assert ran(book.run("--experiment", "nb")) == []
    assert users_server.history(runs["load"]["id"], "rows") == [(0, 3.0)]
    untracked = home.json("run", str(book.path), "--experiment", "nb", env={"MLPLATFORM_TRACKING": "off"}, timeout=300)
    assert ran(untracked) == [], json.dumps(untracked["tasks"])


def test_a_run_left_open_and_autologging_go_on_in_later_tasks(home: TestHome, users_server: Mlflow) -> None:
    book = Book(
        home,
        open=(
            "import mlflow\nimport mlflow.sklearn\nfrom sklearn.linear_model import LogisticRegression\n"
            "mlflow.sklearn.autolog(log_models=False, log_datasets=False)\n"
            "run = mlflow.start_run()\nmlflow.log_metric('opened', 1.0)"
        ),
        log="mlflow.log_metric('later', 2.0)\nactive = mlflow.active_run() is not None",
        close="mlflow.log_metric('last', 3.0)\nmlflow.end_run()\nnow = mlflow.active_run()",
        fit="model = LogisticRegression(C=0.5).fit([[0.0], [1.0], [2.0], [3.0]], [0, 0, 1, 1])",
    )
    first = book.run("--experiment", "nb")
    assert first["state"] == "SUCCEEDED", first["error"]
    assert book.values(first, "active", "now") == {"active": True, "now": None}
    runs = tasks(users_server, first["run_id"], {"open", "log", "close", "fit"})
    metrics = {name: run["metrics"] for name, run in runs.items()}
    assert [metrics[name] for name in ("open", "log", "close")] == [{"opened": 1.0}, {"later": 2.0}, {"last": 3.0}]
    assert runs["fit"]["params"]["C"] == "0.5"
    edited = book.run("--experiment", "nb", fit=book.cells["fit"].replace("0.5", "0.25"))
    assert ran(edited) == ["fit"], [why(edited, name) for name in book.cells]
    assert tasks(users_server, edited["run_id"], {"fit"})["fit"]["params"]["C"] == "0.25"


def test_cells_that_run_again_for_their_state_log_nothing_twice(home: TestHome, users_server: Mlflow) -> None:
    """A lock is in no checkpoint: after the session's death the first task's cells run again."""
    book = Book(
        home,
        load=(
            "import mlflow, threading\nlock = threading.Lock()\nmlflow.log_metric('rows', 3)\nrun = mlflow.start_run()"
        ),
        dies=(
            "import os\nif not os.path.exists('flag'):\n    open('flag', 'w').close()\n    os.kill(os.getpid(), 9)\n"
            "with lock:\n    mlflow.log_metric('late', 1.0)"
        ),
    )
    failed = book.run("--experiment", "nb")
    assert failed["state"] == "FAILED"
    resumed = home.json("runs", "resume", failed["run_id"], timeout=300)
    assert resumed["state"] == "SUCCEEDED", resumed["error"]
    runs = tasks(users_server, resumed["run_id"], {"load", "dies"})
    assert {name: run["metrics"] for name, run in runs.items()} == {"load": {"rows": 3.0}, "dies": {"late": 1.0}}
    assert users_server.history(runs["load"]["id"], "rows") == [(0, 3.0)]


def test_no_token_is_in_what_is_kept(home: TestHome) -> None:
    """A cell that copies or prints its environment leaves neither the task's token nor a user's secret behind."""
    home.env["PLANTED_API_KEY"] = "planted-4711-secret-value"
    book = Book(
        home,
        copy=(
            "import os, mlflow\nenv = dict(os.environ)\ntoken = env['MLFLOW_TRACKING_TOKEN']\n"
            "url = f\"https://user:{env['PLANTED_API_KEY']}@example.org\"\nprint('token', token)\nprint(len(token))"
        ),
        use="key = (env['PLANTED_API_KEY'], url, len(token), mlflow.last_active_run() is None)",
    )
    first = book.run()
    assert first["state"] == "SUCCEEDED", first["error"]
    (length,) = [int(text) for text in _texts(first) if text.strip().isdigit()] or [0]
    kept = b"".join(path.read_bytes() for path in sorted(home.root.rglob("notebooks/**/*")) if path.is_file())
    assert b"MLFLOW_TRACKING_TOKEN" in kept
    assert b"planted-4711" not in kept
    tokens = [line.split()[1] for text in _texts(first) for line in text.splitlines() if line.startswith("token ")]
    assert tokens == ["***"]
    edited = book.run(use=book.cells["use"] + "\nmore = 1")
    assert edited["state"] == "SUCCEEDED", edited["error"]
    assert ran(edited) == ["use"]
    key = book.values(edited, "key")["key"]
    assert key[:2] == ("planted-4711-secret-value", "https://user:planted-4711-secret-value@example.org")
    assert key[2] > 8
    assert length in (0, key[2])


def _texts(result: dict[str, Any]) -> list[str]:
    cells = json.loads(Path(result["notebook"]).read_bytes())["cells"]
    return ["".join(output.get("text") or "") for cell in cells for output in cell.get("outputs", [])]
