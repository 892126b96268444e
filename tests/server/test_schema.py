"""The API by its own document: schemathesis asks every operation of the real app with a real store for what it says."""

from __future__ import annotations

import math
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from mlplatform.core.catalog import PipelineVersion, RecurringRun, RegisteredPipeline, Trigger
from mlplatform.core.model import Artifact, AttemptRecord, RunRecord, TaskError, TaskKey, TaskRecord, Values
from mlplatform.core.records import Batch
from mlplatform.core.states import RunState, TaskState
from mlplatform.engine.files import write_json
from mlplatform.engine.home import Home
from mlplatform.engine.training.places import JobPlace
from mlplatform.planning.training.facts import RankKey
from mlplatform.server.app import create_app
from mlplatform.server.settings import Settings
from mlplatform.store import open_store
from mlplatform.store.writes import document_digest
from tests.support.home import TestHome
from tests.support.pipelines import chain
from tests.support.postgres_server import PostgresServer

CHECKS = [
    schemathesis.checks.not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
JOB = "digits-0a1b2"
TOKEN = "the-token-of-these-tests-0123456789abcdefghi"
AUTH = {"Authorization": f"Bearer {TOKEN}"}
RUN, NASTY = "1m8ck7xgd7adfes99j", "1m8ck7xgd7adfes99k"


def fill(target: str, folder: Path) -> None:
    """A run of every kind of thing the API tells about."""
    store = open_store(target)
    document = chain(3).text().encode()
    digest = document_digest(document)
    run = RunRecord(RUN, "known", "chain", RunState.PENDING, digest, created_at=1000.0, tags={"team": "a"})
    store.create_run(run, document)
    (folder / "task.log").write_text("a line\n" * 100)
    (folder / "table").write_text("a,b\n1,2\n3,4\n")
    key = TaskKey(("t0",))
    made = Artifact("table", str(folder / "table"), "system.Dataset", {"rows": 2}, "sha256:" + "0" * 64, 12)
    error = TaskError("TASK_FAILED", "no", "Traceback", "try again")
    tasks = [
        TaskRecord(
            key, TaskState.SUCCEEDED, "comp-t0", attempt=1, outputs=Values({"x": 1}, {"table": made}),
            created_at=1000.5, started_at=1001.0, finished_at=1002.0,
        ),
        TaskRecord(TaskKey(("t1",)), TaskState.FAILED, "comp-t1", attempt=1, error=error, created_at=1003.0),
    ]  # fmt: skip
    attempt = AttemptRecord(key, 1, TaskState.SUCCEEDED, str(folder), started_at=1001.0, finished_at=1002.0)
    for state in (RunState.RUNNING, RunState.FAILED):
        run = replace(run, state=state, error=error if state.finished else None, finished_at=1004.0)
        store.apply(Batch(RUN, run, tasks, [attempt], events=[(1004.0, "run", {"state": str(state)})]))
    odd = "a\udce4b"  # a file name that is no UTF-8
    nasty = RunRecord(
        NASTY,
        odd,
        odd,
        RunState.PENDING,
        digest,
        created_at=1001.0,
        parameters={"x": math.nan, "big": 10**30, odd: odd},
    )
    store.create_run(nasty, document)
    loss = Artifact("loss", f"/no/{odd}", "system.Metrics", {"loss": math.inf})
    task = TaskRecord(key, TaskState.FAILED, odd, outputs=Values({"y": -math.inf}, {"loss": loss}), error=error)
    store.apply(Batch(NASTY, tasks=[replace(task, error=TaskError("X", odd), cache_note=odd)]))
    catalog = store.catalog
    catalog.upload(
        RegisteredPipeline("p1", "known", 1000.0), PipelineVersion("v1", "p1", "first", 1000.0, digest), document
    )
    catalog.put_recurring(
        RecurringRun(
            "rr1", "nightly", Trigger(cron="0 3 * * *"), 1000.0, 1000.0, 1000.0, enabled=False, pipeline_id="p1"
        )
    )
    store.close()


def train(home: Home) -> None:
    """A training job that ended after a restart."""
    place = JobPlace(home, JOB)
    claim = {"accessModes": ["ReadWriteOnce"]}
    template = {"spec": {"containers": [{"name": "main", "command": ["true"]}]}}
    body = {
        "metadata": {"name": JOB, "uid": "5f1", "creationTimestamp": "2026-01-01T00:00:00Z", "generation": 1},
        "spec": {
            "framework": "torch",
            "groups": [{"name": "worker", "replicas": 1, "template": template}],
            "checkpoint": {"scope": "Rank", "claimSpec": claim},
        },
    }
    rank = place.rank(RankKey("worker", 0, 2))
    rank.root.mkdir(parents=True)
    write_json(place.object, body)
    attempt = {"number": 1, "reason": "ExitCode1", "group": "worker", "rank": 0, "exitCode": 1, "message": "no"}
    status = {
        "phase": "Complete",
        "attempt": 2,
        "restartsCounted": 1,
        "groups": [{"name": "worker", "desired": 1, "succeeded": 1, "attempt": 2}],
        "progress": {"step": 9, "totalSteps": 10, "metrics": [{"name": "loss", "value": "nan"}]},
        "checkpoint": {"step": 9, "uri": str(home.claims / "x")},
        "goodput": {"percent": 90, "wallSeconds": 10, "productiveSeconds": 9, "lostSeconds": 1},
        "attempts": [attempt, {"number": 2, "reason": "Completed", "resumedFromStep": 5}],
    }
    write_json(place.status, status)
    write_json(rank.start, {"at": 1000.0, "gpus": [1]})
    write_json(rank.exit, {"code": 0, "at": 1002.0})
    rank.log.write_text("step 9\n" * 30)


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def api(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Generator[Any]:
    folder = tmp_path_factory.mktemp("api")
    test_home = TestHome(folder)
    home = Home(test_home.root)
    home.prepare()
    target = str(home.database)
    patch = pytest.MonkeyPatch()
    patch.setenv("MLPLATFORM_IDLE_SECONDS", "60")
    if request.param == "postgresql":
        server: PostgresServer = request.getfixturevalue("postgres")
        target = server.url(server.new_schema())
        patch.setenv("MLPLATFORM_STORE", target)
    fill(target, folder)
    train(home)
    app = create_app(Settings(home, target, TOKEN))
    try:
        yield schemathesis.openapi.from_asgi("/api/v1/openapi.json", app, headers=AUTH)
    finally:
        app.state.context.close()
        patch.undo()
        test_home.stop()


#: Streams do not end, and MLflow takes a minute to start: they have tests of their own.
_LEFT_OUT = ("/api/v1/events", "/api/v1/runs/{run_id}/log-streams/{name}", "/api/v1/mlflow")
OPERATIONS = [
    (path, method.upper())
    for path, methods in create_app(Settings(Home(Path("/nowhere")), "", "")).openapi()["paths"].items()
    for method in methods
    if path not in _LEFT_OUT
]


@pytest.mark.parametrize(("path", "method"), OPERATIONS, ids=lambda value: str(value).removeprefix("/api/v1"))
def test_every_operation_keeps_its_word(api: Any, path: str, method: str) -> None:
    """No failure of ours, and nothing but what the document says, whatever is asked."""

    @settings(
        max_examples=10,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=api[path][method].as_strategy())
    def ask(case: schemathesis.Case) -> None:
        case.call_and_validate(headers=AUTH, checks=CHECKS)

    ask()


J = {"name": JOB}
R, P, V = {"run_id": RUN}, {"pipeline_id": "p1"}, {"pipeline_id": "p1", "version_id": "v1"}
KNOWN: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("/runs", {}, {"q": "known", "tag": ["team=a"], "state": ["FAILED"], "sort": "-duration"}),
    ("/runs/{run_id}", R, {}),
    ("/runs/{run_id}/tasks", R, {}),
    ("/runs/{run_id}/tasks/{name}", {**R, "name": "t0"}, {}),
    ("/runs/{run_id}/tasks/{name}", {**R, "name": "t1"}, {}),
    ("/runs/{run_id}", {"run_id": NASTY}, {}),
    ("/runs/{run_id}/tasks", {"run_id": NASTY}, {}),
    ("/runs/{run_id}/tasks/{name}", {"run_id": NASTY, "name": "t0"}, {}),
    ("/runs/{run_id}/graph", R, {"direction": "right"}),
    ("/runs/{run_id}/document", R, {}),
    ("/runs/{run_id}/logs/{name}", {**R, "name": "t0"}, {"offset": 7, "limit": 14}),
    ("/runs/{run_id}/log-files/{name}", {**R, "name": "t0"}, {}),
    ("/runs/{run_id}/why/{task}", {**R, "task": "t1"}, {}),
    ("/pipelines", {}, {"q": "known"}),
    ("/pipelines/{pipeline_id}", P, {}),
    ("/pipelines/{pipeline_id}/versions", P, {}),
    ("/pipelines/{pipeline_id}/versions/{version_id}", V, {}),
    ("/pipelines/{pipeline_id}/versions/{version_id}/graph", V, {}),
    ("/experiments", {}, {}),
    ("/recurring-runs", {}, {}),
    ("/recurring-runs/{recurring_id}", {"recurring_id": "rr1"}, {}),
    ("/artifacts", {}, {"q": "table", "type": "system.Dataset"}),
    ("/machine", {}, {}),
    ("/surroundings", {}, {}),
    ("/training-jobs", {}, {"q": "digits", "phase": ["Complete"]}),
    ("/training-jobs/{name}", J, {}),
    ("/training-jobs/{name}/log", J, {"group": "worker", "rank": 0, "offset": 7, "limit": 14}),
    ("/search", {}, {"q": "known"}),
]


@pytest.mark.parametrize(("path", "places", "query"), KNOWN, ids=lambda value: value if isinstance(value, str) else "")
def test_what_is_there_is_told_as_the_document_says(
    api: Any, path: str, places: dict[str, Any], query: dict[str, Any]
) -> None:
    """Fuzzing rarely hits an id that exists: these do."""
    case = api[f"/api/v1{path}"]["GET"].Case(path_parameters=places, query=query)
    answer = case.call_and_validate(headers=AUTH, checks=CHECKS)
    assert answer.status_code == 200, answer.text


def test_a_document_of_today_is_openapi_3_1(api: Any) -> None:
    assert api.raw_schema["openapi"].startswith("3.1")
    assert len(api.raw_schema["paths"]) >= 30
