"""Runs that the pages are tried with, and a Chromium that complains about everything."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request, sync_playwright

from mlplatform.ui import build
from tests.support.pipelines import Builder, executor
from tests.support.server import Served

#: Milliseconds: this machine may be busy.
PATIENCE = 90_000

WAIT = """
def wait(gate: str, x: int) -> int:
    import os, time
    print("waiting at the gate", flush=True)
    while not os.path.exists(gate):
        time.sleep(0.02)
    print("let through", flush=True)
    return x + 1
"""
TRAIN = """
def train(rate: float, model: Output[Model], metrics: Output[Metrics]) -> float:
    with open(model.path, "w") as f:
        f.write("weights")
    metrics.log_metric("loss", 1.0 - rate)
    print("\\x1b[32mepoch 1\\x1b[0m loss", 1.0 - rate)
    return 1.0 - rate
"""
REPORT = """
def report(page: Output[HTML], table: Output[Dataset], loss: float):
    with open(page.path, "w") as f:
        f.write("<h1>Report</h1><script>parent.document.title = 'taken over'</script>")
    with open(table.path, "w") as f:
        f.write("name,loss\\nfirst,0.5\\nsecond,0.25\\n")
"""
BREAK = """
def average(column: str) -> float:
    rows = [{"cost": 1.0}, {"cost": 2.0}]
    print("reading rows")
    return sum(row[column] for row in rows) / len(rows)
"""
ADD = "def add_one(x: int) -> int:\n    return x + 1\n"


def experiment(name: str = "experiment", rate: float = 0.25) -> Builder:
    """A nested pipeline, a report of it, and a branch that is not taken."""
    made = Builder(name)
    made.component(
        "train",
        TRAIN,
        inputs={"rate": "NUMBER_DOUBLE"},
        outputs={"Output": "NUMBER_DOUBLE"},
        artifacts_out={"model": "system.Model", "metrics": "system.Metrics"},
    )
    made.component(
        "report",
        REPORT,
        inputs={"loss": "NUMBER_DOUBLE"},
        artifacts_out={"page": "system.HTML", "table": "system.Dataset"},
    )
    made.component("add-one", ADD, inputs={"x": "NUMBER_INTEGER"}, outputs={"Output": "NUMBER_INTEGER"})
    inner: dict[str, Any] = {}
    made.task("train", from_inputs={"rate": "rate"}, into=inner)
    made.components["comp-training"] = {
        "dag": {
            "tasks": inner,
            "outputs": {
                "parameters": {
                    "Output": {"valueFromParameter": {"producerSubtask": "train", "outputParameterKey": "Output"}}
                }
            },
        },
        "inputDefinitions": {"parameters": {"rate": {"parameterType": "NUMBER_DOUBLE"}}},
        "outputDefinitions": {"parameters": {"Output": {"parameterType": "NUMBER_DOUBLE"}}},
    }
    made.root_inputs = {
        "rate": {"parameterType": "NUMBER_DOUBLE", "defaultValue": rate, "isOptional": True},
        "rows": {"parameterType": "NUMBER_INTEGER", "description": "How many to read."},
        "names": {"parameterType": "LIST", "defaultValue": ["a"], "isOptional": True},
    }
    made.task("training", from_inputs={"rate": "rate"})
    made.task("report", from_tasks={"loss": ("training", "Output")})
    branch: dict[str, Any] = {}
    made.task("add-one", constants={"x": 1}, into=branch)
    made.components["comp-condition-1"] = {
        "dag": {"tasks": branch},
        "inputDefinitions": {"parameters": {"loss": {"parameterType": "NUMBER_DOUBLE"}}},
    }
    made.task("condition-1", from_tasks={"loss": ("training", "Output")})
    made.tasks["condition-1"]["triggerPolicy"] = {"condition": "inputs.parameter_values['loss'] > 5.0"}
    made.output("loss", "training", "Output", "NUMBER_DOUBLE")
    return made


def failing() -> Builder:
    """Its second task fails by the user's mistake."""
    made = Builder("broken-report")
    made.component("add-one", ADD, inputs={"x": "NUMBER_INTEGER"}, outputs={"Output": "NUMBER_INTEGER"})
    made.component("average", BREAK, inputs={"column": "STRING"}, outputs={"Output": "NUMBER_DOUBLE"})
    made.task("load", "add-one", constants={"x": 1})
    made.task("average", constants={"column": "price"}, after=["load"])
    made.task("after", "add-one", constants={"x": 1}, after=["average"])
    return made


def gated(gate: Path, tasks: int = 3) -> Builder:
    """A chain whose tasks wait, one after the other, until their file is there: ``gate`` with the task's number."""
    made = Builder("gated")
    made.component("wait", WAIT, inputs={"gate": "STRING", "x": "NUMBER_INTEGER"}, outputs={"Output": "NUMBER_INTEGER"})
    for number in range(tasks):
        before = {"x": (f"t{number - 1}", "Output")} if number else None
        constants: dict[str, Any] = {"gate": f"{gate}{number}"} | ({} if number else {"x": 0})
        made.task(f"t{number}", "wait", constants=constants, from_tasks=before)
    return made


def wide(tasks: int) -> Builder:
    """Twenty chains side by side after one task."""
    made = Builder(f"wide-{tasks}")
    made.components["comp-add-one"] = {
        "executorLabel": "exec-add-one",
        "inputDefinitions": {"parameters": {"x": {"parameterType": "NUMBER_INTEGER"}}},
        "outputDefinitions": {"parameters": {"Output": {"parameterType": "NUMBER_INTEGER"}}},
    }
    made.executors["exec-add-one"] = executor(ADD, "add_one")
    made.task("start", "add-one", constants={"x": 0})
    for number in range(tasks - 1):
        before = f"t{number - 20}" if number >= 20 else "start"
        made.task(f"t{number}", "add-one", from_tasks={"x": (before, "Output")})
    return made


def submit(served: Served, made: Builder, wait: bool = True, **body: Any) -> str:
    """Start a run; returns its id, once it has ended unless told not to wait."""
    answer = served.post("/api/v1/runs", {"document": made.text(), **body}, status=201)
    if wait:
        served.finished(answer["run_id"])
    return answer["run_id"]


def recorded(served: Served, made: Builder, name: str) -> str:
    """A finished run that never ran: its records are written as an engine would have left them."""
    import hashlib

    from mlplatform.core.ids import new_run_id
    from mlplatform.core.model import RunRecord, TaskKey, TaskRecord, Values
    from mlplatform.core.records import Batch
    from mlplatform.core.states import RunState, TaskState
    from mlplatform.store import open_store

    text = made.text().encode()
    begin = 1_790_000_000.0
    run_id = new_run_id(begin, os.urandom(8))
    run = RunRecord(
        run_id=run_id,
        name=name,
        pipeline=made.name,
        state=RunState.SUCCEEDED,
        spec_digest="sha256:" + hashlib.sha256(text).hexdigest(),
        created_at=begin,
        started_at=begin,
        finished_at=begin + len(made.tasks),
    )
    tasks = [
        TaskRecord(
            key=TaskKey((task,)),
            state=TaskState.SUCCEEDED,
            component="comp-add-one",
            attempt=1,
            outputs=Values({"Output": at}),
            created_at=begin,
            started_at=begin + at * 0.9,
            finished_at=begin + at * 0.9 + 1,
            cache_note="no earlier result of this task is kept",
        )
        for at, task in enumerate(made.tasks)
    ]
    store = open_store(served.home.root / "store.db")
    try:
        store.create_run(run, text)
        store.apply(Batch(run_id, tasks=tasks))
    finally:
        store.close()
    return run_id


def crowd(served: Served, count: int, name: str) -> None:
    """Records of so many finished runs without tasks, all with this word in their names."""
    import hashlib

    from mlplatform.core.ids import new_run_id
    from mlplatform.core.model import RunRecord
    from mlplatform.core.states import RunState
    from mlplatform.store import open_store

    store = open_store(served.home.root / "store.db")
    try:
        for number in range(count):
            at = 1_600_000_000.0 + number
            run = RunRecord(
                run_id=new_run_id(at, os.urandom(8)),
                name=f"{name} {number}",
                pipeline=name,
                state=RunState.SUCCEEDED,
                spec_digest="sha256:" + hashlib.sha256(b"{}").hexdigest(),
                created_at=at,
                started_at=at,
                finished_at=at + 1,
            )
            store.create_run(run, b"{}")
    finally:
        store.close()


class Watched:
    """A page that notes what should not happen: errors, refused styles or scripts, requests to elsewhere."""

    def __init__(self, page: Page, base: str) -> None:
        self.page = page
        self.base = base
        self.wrong: list[str] = []
        self.requests: list[str] = []
        self.may_fail = False
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.wrong.append(f"error in the page: {error}"))
        page.on("request", self._request)

    def _console(self, message: ConsoleMessage) -> None:
        network = "Failed to load resource" in message.text or "ERR_" in message.text
        if message.type in ("error", "warning") and not (network and self.may_fail):
            self.wrong.append(f"console: {message.text}")

    def _request(self, request: Request) -> None:
        self.requests.append(request.url)
        if not request.url.startswith((self.base, "data:", "blob:", "about:")):
            self.wrong.append(f"asked elsewhere: {request.url}")

    def open(self, address: str) -> Page:
        """Load a page of the app anew, whatever was open before."""
        self.page.goto("about:blank")
        self.page.goto(f"{self.base}/{address}")
        return self.page


def axe() -> str:
    """The rules' source, from the folder the pages were built in."""
    return (build.build().parent / "axe.min.js").read_text(encoding="utf-8")


def broken_rules(page: Page, only: Sequence[str] = ()) -> list[str]:
    """What axe finds: rule, help, and the first places. ``only``: these rules."""
    if not page.evaluate("() => 'axe' in window"):
        page.evaluate(axe())  # not a script element: the page's own policy would refuse that
    options: dict[str, Any] = {"resultTypes": ["violations"]}
    if only:
        options["runOnly"] = {"type": "rule", "values": list(only)}
    found: dict[str, Any] = page.evaluate("options => axe.run(document, options)", options)
    return [
        f"{one['id']}: {one['help']}: " + json.dumps([node["html"][:200] for node in one["nodes"][:3]])
        + json.dumps([any_["message"] for node in one["nodes"][:2] for any_ in node["any"]][:3])
        for one in found["violations"]
    ]  # fmt: skip


@contextmanager
def chromium() -> Generator[Browser]:
    """Debian's Chromium; there is no other in CI."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("no Chromium on this machine: apt-get install chromium")
    with sync_playwright() as playwright:
        options = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        browser = playwright.chromium.launch(executable_path=path, args=options, timeout=180_000)
        try:
            yield browser
        finally:
            browser.close()


class Address(Protocol):
    """Where a server is, and what opens it."""

    @property
    def url(self) -> str: ...
    @property
    def token(self) -> str: ...


def entered(browser: Browser, served: Address, **options: Any) -> BrowserContext:
    """A browser profile that came in by the link with the token."""
    context = browser.new_context(viewport={"width": 1440, "height": 900}, **options)
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    page.goto(f"{served.url}/?token={served.token}")
    page.close()
    return context
