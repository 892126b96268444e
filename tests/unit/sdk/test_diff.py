"""How two runs differ, from their records."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from mlplatform.core.model import Artifact, RunRecord, TaskKey, TaskRecord, Values
from mlplatform.core.states import RunState, TaskState
from mlplatform.ir.load import loads
from mlplatform.sdk.diff import RunDiff, Side, diff_of, user_source
from mlplatform.sdk.run_reading import Records
from tests.support.pipelines import Builder
from tests.unit.sdk.run_cases import failing


def task(name: str, state: TaskState = TaskState.SUCCEEDED, seconds: float = 2.0, **more: Any) -> TaskRecord:
    return TaskRecord(TaskKey((name,)), state, "c", attempt=1, started_at=10.0, finished_at=10.0 + seconds, **more)


def metrics(value: float) -> Values:
    return Values(artifacts={"m": Artifact("m", "/m", "system.Metrics", {"accuracy": value})})


def side(run_id: str, builder: Builder, tasks: list[TaskRecord], **more: Any) -> Side:
    parameters = more.pop("parameters", {})
    run = RunRecord(
        run_id,
        f"name-{run_id}",
        "p",
        RunState.SUCCEEDED,
        "sha256:0",
        parameters=parameters,
        started_at=0.0,
        finished_at=more.pop("seconds", 5.0),
        context={"interpreter": {"version": more.pop("python", "3.11.7")}},
        **more,
    )
    return Side(Records(run, tasks, []), loads(builder.text()))


def data(digest: str) -> Values:
    return Values({"by": 0}, {"data": Artifact("data", f"/data/{digest}", digest=f"sha256:{digest * 64}")})


def both() -> RunDiff:
    a = side(
        "a",
        failing(),
        [task("load", seconds=2.0), task("prepare", outputs=metrics(0.5)), task("divide", inputs=data("1"))],
        parameters={"lr": 0.1, "n": 3, "old": True},
        outputs=Values({"score": 2}),
    )
    b = side(
        "b",
        failing(factor=3, comment="# only a comment"),
        [
            task("load", TaskState.CACHED),
            task("prepare", outputs=metrics(0.75)),
            task("divide", TaskState.FAILED, inputs=data("2")),
        ],
        parameters={"lr": 0.2, "n": 3.0},
        outputs=Values({"score": 2}),
        seconds=8.0,
        python="3.12.1",
    )
    return diff_of(a, b)


def test_everything_that_differs() -> None:
    found = both()
    assert found.parameters == {"lr": (0.1, 0.2), "n": (3, 3.0), "old": (True, None)}
    assert list(found.code) == ["load"]
    assert found.code["load"].splitlines() == [
        "--- a/load",
        "+++ b/load",
        "@@ -1,2 +1,2 @@",
        " def load(n: int) -> int:",
        "-    return n * 2",
        "+    return n * 3",
    ]
    assert found.packages == {"python": ("3.11.7", "3.12.1")}
    assert found.data == {"divide.data": ("sha256:" + "1" * 64, "sha256:" + "2" * 64)}
    assert found.metrics == {"prepare.accuracy": (0.5, 0.75)}
    assert found.outputs == {"score": (2, 2)}
    assert found.states == {"divide": ("SUCCEEDED", "FAILED")}
    assert found.durations == {"": (5.0, 8.0), "load": (2.0, None), "prepare": (2.0, 2.0), "divide": (2.0, 2.0)}
    assert not found.same_inputs


def test_as_json() -> None:
    told = json.loads(json.dumps(both().to_dict()))
    assert told["a"] == {"run_id": "a", "name": "name-a"}
    assert told["parameters"]["lr"] == {"a": 0.1, "b": 0.2}
    assert told["metrics"]["prepare.accuracy"] == {"a": 0.5, "b": 0.75}
    assert told["same_inputs"] is False


def test_in_words() -> None:
    text, html = repr(both()), both()._repr_html_()
    assert text.splitlines()[:3] == [
        "a  name-a  a",
        "b  name-b  b",
        "differ in 3 parameters, 1 task's code, 1 package set, 1 input's data",
    ]
    assert "  prepare.accuracy  0.5  0.75  +0.25 (+50.0%)" in text
    assert "  load       2.0s  reused" in text
    assert "-    return n * 2" in text
    order = ["parameters", "code", "packages", "data", "metrics", "outputs", "states", "durations"]
    places = [text.index(f"\n{title}\n") for title in order]
    assert places == sorted(places)
    assert "<script" not in html
    assert '<span style="color:#cf222e">-    return n * 2</span>' in html


def test_runs_that_are_the_same() -> None:
    one = side("a", failing(), [task("load")])
    other = side("b", failing(comment="# nothing"), [task("load", TaskState.CACHED)])
    found = diff_of(one, other)
    assert found.same_inputs
    assert found.states == {}
    assert "have the same parameters, code, packages and data" in repr(found)


def test_a_task_that_only_one_has() -> None:
    builder = failing()
    builder.task("extra", "side", constants={"n": 1})
    found = diff_of(side("a", failing(), []), side("b", builder, [task("extra")]))
    assert found.code["extra"].startswith("--- a/extra\n+++ b/extra\n@@ -0,0 +1,2 @@\n+def side")
    assert found.states == {"extra": (None, "SUCCEEDED")}
    assert found.packages == {}


def test_a_document_that_is_gone() -> None:
    one = side("a", failing(), [task("load")])
    found = diff_of(one, Side(one.records, None))
    assert found.parameters == {}
    assert found.durations["load"] == (2.0, 2.0)


def test_html_stays_small() -> None:
    old, new = failing(), failing()
    body = "\n".join(f"    x = {index} * {'7' * 100}" for index in range(5000))
    new.component(
        "side",
        f"def side(n: int) -> int:\n{body}\n    return n\n",
        inputs={"n": "NUMBER_INTEGER"},
        outputs={"Output": "NUMBER_INTEGER"},
    )
    found = diff_of(side("a", old, []), side("b", new, []))
    assert len(found._repr_html_()) < 100_000
    assert "more lines" in repr(found)
    assert len(found.to_dict()["code"]["side"]) > 500_000


def test_the_users_part_of_a_source() -> None:
    header = "\nimport kfp\nfrom kfp import dsl\nfrom kfp.dsl import *\nfrom typing import *\n\n"
    assert user_source(header + "def f():\n    import kfp\n\n") == "def f():\n    import kfp"


def test_metrics_logged_in_mlflow_are_compared_and_an_artifact_s_wins() -> None:
    logged = {"prepare": {"accuracy": 9.0, "f1": 0.5}}
    a = replace(side("a", failing(), [task("prepare", outputs=metrics(0.5)), task("load")]), logged=logged)
    b = replace(side("b", failing(), [task("prepare")]), logged=logged)
    assert diff_of(a, b).metrics == {"prepare.accuracy": (0.5, 9.0), "prepare.f1": (0.5, 0.5)}
