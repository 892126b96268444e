"""What a run's display says, in every form, and that every viewer keeps it."""

from __future__ import annotations

import base64
import re
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from typing import Any

import pytest

from mlplatform.core.model import Artifact, RunRecord, TaskError, TaskKey, TaskRecord, Values
from mlplatform.core.states import RunState, TaskState
from mlplatform.ir.load import loads
from mlplatform.sdk import picture
from mlplatform.sdk.display import bundle
from mlplatform.sdk.report import run_report
from mlplatform.sdk.snapshot import Snapshot, graph_of, last_lines, metrics_of
from tests.support.pipelines import Builder, fan_out
from tests.unit.sdk.run_cases import failing

NOW = 1_790_000_000.0
#: What JupyterLab's sanitiser and GitHub's both keep.
TAGS = {"a", "b", "code", "details", "div", "img", "pre", "span", "summary", "table", "tbody", "td", "th", "tr"}
TRACE = 'Traceback (most recent call last):\n  File "train.py", line 3, in train\n    1 / 0\n'
TRACE += "ZeroDivisionError: <b>by zero</b>"


def snapshot(
    tasks: list[TaskRecord], state: RunState = RunState.RUNNING, builder: Builder | None = None, **more: Any
) -> Snapshot:
    run = RunRecord(
        "1m8cjsenx3bmkzk52r", "wine & co", "wine", state, "sha256:0", started_at=NOW - 75, created_at=NOW - 80,
        finished_at=NOW if state.finished else None, parameters=more.pop("parameters", {}),
        outputs=more.pop("outputs", Values()), error=more.pop("error", None),
    )  # fmt: skip
    graph = graph_of(loads((builder or failing()).text()), tasks, NOW)
    links = {"open": "http://127.0.0.1:21000/#/runs/1m8cjsenx3bmkzk52r"}
    return Snapshot(run_report(run, tasks), graph, more.pop("logs", {}), metrics_of(tasks), links, NOW)


def task(name: str, state: TaskState, *iteration: int, **more: Any) -> TaskRecord:
    times = {"started_at": NOW - 60.0, "finished_at": NOW - 50.0 if state.finished else None}
    return TaskRecord(TaskKey(tuple(name.split("/")), iteration), state, "c", attempt=1, **{**times, **more})


class Tags(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.sources: list[str] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(text)
        assert self.open == [], "every element is closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.sources += [str(value) for name, value in attrs if name == "src"]
        if tag != "img":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


FAILED = [
    task("load", TaskState.CACHED, cached_from="r0:load", cache_note="nothing it depends on changed since run r0"),
    task("side", TaskState.SUCCEEDED, cache_note="parameter 'n' changed: 1 -> 2"),
    task("prepare", TaskState.RUNNING),
    task("divide", TaskState.FAILED, error=TaskError("TASK_FAILED", "by zero", TRACE, hint="Do not.")),
]


def test_a_failure_comes_first_and_what_runs_next() -> None:
    found = bundle(snapshot(FAILED, logs={"prepare": "epoch 1\nepoch \x1b[31m2\x1b[0m"}))
    for text in (Tags(found["text/html"]).text, found["text/plain"]):
        marks = ["wine & co", "running for 1m 15s", "ZeroDivisionError: <b>by zero</b>", "Do not.", "epoch 2"]
        marks += ["run.task('divide').replay()", "nothing it depends on changed", "as of 2026-09-21 14:13:20 UTC"]
        places = [text.index(mark) for mark in marks]
        assert places == sorted(places), list(zip(marks, places, strict=True))
        assert "ran because parameter 'n' changed: 1 -> 2" in text
        assert "1 failed, 1 running, 1 succeeded, 1 cached" in text


def test_only_what_sanitisers_keep() -> None:
    found = Tags(bundle(snapshot(FAILED, logs={"prepare": "x"}, parameters={"lr": 0.1}))["text/html"])
    assert found.tags <= TAGS
    assert found.attributes <= {"style", "href", "target", "src", "alt", "width"}
    assert [source[:26] for source in found.sources] == ["data:image/svg+xml;base64,"]


def test_the_picture_stands_alone() -> None:
    drawn, width, height = picture.draw(snapshot(FAILED).graph)
    root = ElementTree.fromstring(drawn)
    tags = {element.tag.rpartition("}")[2] for element in root.iter()}
    assert tags <= {"svg", "style", "g", "title", "rect", "text", "path", "circle"}
    assert (root.get("width"), root.get("height")) == (str(width), str(height))
    assert "http" not in drawn.replace("http://www.w3.org/2000/svg", "")
    titles = [element.text for element in root.iter("{http://www.w3.org/2000/svg}title")]
    assert titles == [
        "load: cached",
        "side: succeeded · 10s",
        "prepare: running · 1m 0s",
        "divide: failed · 10s",
    ]
    assert picture.color_of("FAILED") in drawn
    assert base64.b64decode(picture.data_uri(drawn).partition(",")[2]).decode() == drawn


def test_results_keep_their_precision() -> None:
    metrics = Artifact("m", "/m", "system.Metrics", {"accuracy": 0.9400000000000001, "note": "x", "flag": True})
    tasks = [task("prepare", TaskState.SUCCEEDED, outputs=Values(artifacts={"m": metrics}))]
    outputs = Values({"score": 0.1 + 0.2}, {"model": Artifact("model", "file:///a/model", "system.Model")})
    found = bundle(snapshot(tasks, RunState.SUCCEEDED, outputs=outputs, parameters={"lr": 1e-3, "text": "a\nb"}))
    for text in (Tags(found["text/html"]).text, found["text/plain"]):
        assert "0.9400000000000001" in text
        assert "0.30000000000000004" in text
        assert "Model /a/model" in text
        assert "succeeded in 1m 15s" in text
        assert "flag" not in text
    assert "0.001" in found["text/html"]


def test_a_failure_without_a_failed_task() -> None:
    error = TaskError("DEADLINE", "the run's own deadline has passed")
    found = bundle(snapshot([], RunState.FAILED, error=error))
    assert "the run's own deadline has passed" in found["text/plain"]
    assert "own deadline has passed" in Tags(found["text/html"]).text
    assert "run.resume()" in found["text/plain"]


def many(count: int) -> list[TaskRecord]:
    tasks = [task("for-loop-1", TaskState.RUNNING, is_group=True)]
    for index in range(count):
        state = TaskState.FAILED if index % 100 == 99 else TaskState.SUCCEEDED
        error = TaskError("TASK_FAILED", "x" * 3000, "y\n" * 5000) if state is TaskState.FAILED else None
        tasks.append(task("for-loop-1", state, index, is_group=True))
        tasks.append(task("for-loop-1/add-one", state, index, error=error, cache_note="z" * 300))
    return tasks


def test_a_thousand_iterations_fit() -> None:
    found = bundle(snapshot(many(1000), builder=fan_out(1000)))
    assert len(found["text/html"].encode()) + len(found["text/plain"].encode()) <= 50_000
    html = Tags(found["text/html"])
    assert "details" in html.tags, "folded from 50 tasks on"
    assert "for-loop-1/add-one × 996" in html.text
    assert "for-loop-1/add-one[99]" in html.text
    assert "and 7 more failed" in html.text
    assert "add-one: failed · 1000/1000" in base64.b64decode(html.sources[0].partition(",")[2]).decode()


def wide(count: int) -> tuple[Builder, list[TaskRecord]]:
    builder = Builder("wide")
    source = "def one(x: int) -> int:\n    return x\n"
    builder.component("one", source, inputs={"x": "NUMBER_INTEGER"}, outputs={"Output": "NUMBER_INTEGER"})
    tasks: list[TaskRecord] = []
    for index in range(count):
        builder.task(f"a-task-with-a-rather-long-name-{index}", "one", constants={"x": index})
        name = f"a-task-with-a-rather-long-name-{index}"
        tasks.append(task(name, TaskState.SUCCEEDED, cache_note=f"parameter 'x' changed to {index} " + "w" * 200))
    return builder, tasks


@pytest.mark.parametrize(("count", "drawn"), [(40, True), (50, True), (51, False), (3000, False)])
def test_wide_pipelines_fit(count: int, drawn: bool) -> None:
    builder, tasks = wide(count)
    found = bundle(snapshot(tasks, RunState.SUCCEEDED, builder))
    assert len(found["text/html"].encode()) + len(found["text/plain"].encode()) <= 50_000
    html = Tags(found["text/html"])
    assert bool(html.sources) is drawn
    assert ("details" in html.tags) is (count > 50)


def test_groups_close_where_the_picture_would_be_too_large() -> None:
    builder = Builder("groups")
    one = "def one(item: int) -> int:\n    return item\n"
    builder.component("one", one, inputs={"item": "NUMBER_INTEGER"}, outputs={"Output": "NUMBER_INTEGER"})
    for loop in range(10):
        inner: dict[str, Any] = {}
        for index in range(10):
            builder.task(f"t{index}", "one", from_inputs={"item": "item"}, into=inner)
        builder.loop(f"loop-{loop}", [1], inner)
    graph = graph_of(loads(builder.text()), [], NOW)
    assert len(graph.nodes) == 110
    drawn, _, _ = picture.draw(graph)
    shown = len(re.findall("<title>", drawn))
    assert 10 <= shown <= picture.MOST_NODES


def test_the_end_of_a_long_log(tmp_path: Any) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"x" * 100_000 + b"\n\nstep 1\rstep 2\rstep 3\n\n  done \xff\n")
    assert last_lines(log, 3).splitlines()[1:] == ["step 3", "  done \ufffd"]
    assert last_lines(tmp_path / "none", 3) == ""
