"""The panel, the magics and the pages in a real JupyterLab 4, in a real browser."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest

from tests.support.lab import PATIENCE, Lab, browser, chromium, running_lab

pytestmark = pytest.mark.timeout(600)
WAIT = PATIENCE * 1000
#: Screenshots go there, for people to look at.
SHOTS = os.environ.get("MLPLATFORM_SHOTS", "")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    chromium()
    with running_lab(tmp_path_factory.mktemp("lab")) as lab:
        yield lab


@pytest.fixture(scope="module")
def opened() -> Iterator[Any]:
    with browser() as found:
        yield found


@pytest.fixture
def page(opened: Any) -> Iterator[Any]:
    found = opened.new_page(viewport={"width": 1500, "height": 1000})
    problems: list[str] = []
    found.on("pageerror", lambda error: problems.append(str(error)))
    found.set_default_timeout(WAIT)
    yield found
    found.close()
    assert not problems


#: On a loaded machine JupyterLab may wait forever for a kernel's first answer; its own remedy is to connect again.
KERNEL_ANSWERS = """async () => {
  const context = window.jupyterapp.shell.currentWidget.sessionContext;
  await context.ready;
  for (let attempt = 0; attempt < 6; attempt++) {
    const kernel = context.session.kernel;
    const pause = new Promise((resolve) => setTimeout(() => resolve(null), 20000));
    if (await Promise.race([kernel.info, pause])) return;
    kernel.reconnect();
  }
  throw new Error("the kernel does not answer");
}"""


def show(page: Any, lab: Lab, notebook: str) -> None:
    """Open a notebook with the panel beside it, and wait for its kernel."""
    page.goto(lab.url(f"lab/workspaces/w{time.monotonic_ns()}/tree/{notebook}?token={lab.token}"))
    page.wait_for_selector(".jp-NotebookPanel")
    # Before the layout is restored, a tab that is clicked may be closed again.
    page.evaluate("() => window.jupyterapp.restored.then(() => true)")
    page.wait_for_selector("li[data-id='mlplatform-panel']")
    page.evaluate("() => window.jupyterapp.shell.activateById('mlplatform-panel')")
    page.wait_for_selector(".mlp-graph")
    page.wait_for_selector(".jp-Notebook-ExecutionIndicator[data-status='idle']")
    page.evaluate(KERNEL_ANSWERS)


def text_of_run(page: Any) -> str:
    return page.inner_text("section.mlp-run")


def wait_for_run(page: Any, state: str) -> None:
    head = page.locator("section.mlp-run h3")
    until(lambda: head.count() and head.inner_text().lower().startswith(state))


def run_all(page: Any) -> None:
    """Run All; again with a new connection if the kernel was given nothing (seen on a loaded machine)."""
    prompts = page.locator(".jp-InputPrompt")
    for _ in range(4):
        page.evaluate("() => void window.jupyterapp.commands.execute('notebook:run-all-cells')")
        end = time.monotonic() + 30
        while time.monotonic() < end:
            if any(re.search(r"[\d*]", text) for text in prompts.all_inner_texts()):
                return
            time.sleep(0.5)
        page.evaluate("() => void window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.reconnect()")
    raise AssertionError("no cell was run")


def new_cell(page: Any, text: str) -> None:
    """A cell at the end, typed and executed."""
    page.locator(".jp-Notebook .jp-CodeCell").last.click()
    page.keyboard.press("Escape")
    page.keyboard.press("b")
    page.keyboard.press("Enter")
    page.wait_for_selector(".jp-Notebook.jp-mod-editMode")
    page.keyboard.insert_text(text)
    page.keyboard.press("Shift+Enter")


def outputs(page: Any) -> str:
    return "\n".join(page.locator(".jp-OutputArea-output").all_inner_texts())


def until(check: Callable[[], Any]) -> Any:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        found = check()
        if found:
            return found
        time.sleep(0.2)
    raise AssertionError("it did not come to that")


def shot(page: Any, name: str) -> None:
    if SHOTS:
        page.screenshot(path=str(Path(SHOTS) / f"{name}.png"))


def runs(lab: Lab, name: str) -> list[dict[str, Any]]:
    status, told = lab.ask(f"mlplatform/api/runs?path={name}")
    assert status == 200
    return told["runs"]


# ------------------------------------------------------------------ the server extension
def test_addresses_need_the_token_and_stay_below_the_root(lab: Lab) -> None:
    lab.write("small.ipynb", "## One", "a = 1", "## Two", "b = a + 1")
    assert lab.ask("mlplatform/api/runs?path=small.ipynb", known=False)[0] == 403
    assert lab.ask("mlplatform/api/runs", {"path": "small.ipynb"}, known=False)[0] == 403
    assert lab.ask("mlplatform/ui/", known=False)[0] in (200, 403)  # a login page or a refusal, never the pages
    status, told = lab.ask("mlplatform/api/plan", {"path": "../../../etc/passwd"})
    assert status == 400
    assert "not below" in told["message"]
    status, told = lab.ask("mlplatform/api/plan", {"path": "small.ipynb"})
    assert status == 200
    assert [(task["name"], task["cells"], task["depends_on"]) for task in told["tasks"]] == [
        ("one", [1], []),
        ("two", [3], ["one"]),
    ]
    assert set(told["layout"]["nodes"]) == {"one", "two"}


def test_the_plan_is_that_of_the_editor(lab: Lab) -> None:
    path = lab.write("edited.ipynb", "## One", "a = 1")
    document = json.loads(path.read_text())
    document["cells"].append({"cell_type": "markdown", "id": "x", "metadata": {}, "source": "## Unsaved"})
    document["cells"].append(
        {"cell_type": "code", "id": "y", "metadata": {}, "source": "c = a", "outputs": [], "execution_count": None}
    )
    _, told = lab.ask("mlplatform/api/plan", {"path": "edited.ipynb", "document": document})
    assert [task["name"] for task in told["tasks"]] == ["one", "unsaved"]


def test_errors_say_what_to_do(lab: Lab) -> None:
    (lab.folder / "broken.ipynb").write_text("{")
    status, told = lab.ask("mlplatform/api/plan", {"path": "broken.ipynb"})
    assert status == 400
    assert told["error"]["code"] == "INVALID_PIPELINE"
    status, told = lab.ask("mlplatform/api/runs/doesnotexist")
    assert status == 404
    status, told = lab.ask("mlplatform/api/runs", {"path": "small.ipynb", "parameters": {"nope": "1"}})
    assert status == 400
    assert "nope" in told["message"]


# ------------------------------------------------------------------ the panel
IRIS = (
    "# Iris",
    ("scale = 3", {"tags": ["parameters"]}),
    "## Load data",
    "from sklearn.datasets import load_iris\nX, y = load_iris(return_X_y=True)",
    "## Features",
    "Z = (X - X.mean(0)) / X.std(0) * scale",
    "## Train",
    "from sklearn.linear_model import LogisticRegression\nmodel = LogisticRegression().fit(Z, y)",
    "## Evaluate",
    "score = model.score(Z, y)\nprint('scale', scale)",
)


def test_panel_shows_the_plan_and_runs_it(lab: Lab, page: Any) -> None:
    path = lab.write("iris.ipynb", *IRIS)
    show(page, lab, "iris.ipynb")
    tasks = ["iris", "load-data", "features", "train", "evaluate"]
    assert page.locator(".mlp-node").evaluate_all("nodes => nodes.map(n => n.dataset.task)") == tasks
    cells = page.locator(".jp-Cell[data-mlp-label]")
    # A cell is drawn when it comes into view.
    until(lambda: cells.evaluate_all("cells => cells.map(c => c.dataset.mlpLabel)") == tasks)
    assert len(set(cells.evaluate_all("cells => cells.map(c => c.style.cssText)"))) == 5

    page.fill(".mlp-parameters input[name=scale]", "7")
    # Typed into the last cell and not saved: the button saves first.
    page.locator(".jp-Notebook .jp-CodeCell .cm-content").last.click()
    page.keyboard.press("Control+End")
    page.keyboard.insert_text("\nlate = 'typed'")
    page.click("[data-action=run]")
    wait_for_run(page, "succeeded")
    shot(page, "panel")
    assert "late = 'typed'" in path.read_text()
    (run,) = runs(lab, "iris.ipynb")
    assert run["state"] == "SUCCEEDED"
    _, told = lab.ask(f"mlplatform/api/runs/{run['run_id']}")
    assert told["parameters"]["scale"] == 7
    executed = nbformat.read(told["notebook"], 4)
    assert "late = 'typed'" in executed.cells[-1].source
    assert "scale 7" in executed.cells[-1].outputs[0].text
    page.wait_for_selector(".jp-Cell[data-mlp-label='● evaluate']")
    assert page.locator("section.mlp-run li").count() == 5


def test_plan_follows_what_is_typed(lab: Lab, page: Any) -> None:
    lab.write("typing.ipynb", "## One", "a = 1")
    show(page, lab, "typing.ipynb")
    assert page.locator(".mlp-node").count() == 1
    page.locator(".jp-Notebook .jp-CodeCell").last.click()
    page.keyboard.press("Escape")
    for key in ("b", "m", "Enter"):
        page.keyboard.press(key)
    page.keyboard.insert_text("## Two")
    page.keyboard.press("Escape")
    for key in ("b", "y", "Enter"):
        page.keyboard.press(key)
    page.keyboard.insert_text("b = a")
    page.wait_for_selector(".mlp-node[data-task=two]")


def test_magic_runs_the_open_notebook_live(lab: Lab, page: Any) -> None:
    """The kernel knows neither its notebook nor what is unsaved: the server tells the one, a save settles the other."""
    path = lab.write("magic.ipynb", "## Wait", "import time\ntime.sleep(2)\nx = 1", "## Then", "print('x is', x)")
    show(page, lab, "magic.ipynb")
    new_cell(page, "%load_ext mlplatform\n%mlplatform run --name live")
    page.wait_for_function(
        "() => /live running|live succeeded/.test(document.querySelector('.jp-OutputArea-output')?.textContent || '')"
    )
    page.wait_for_selector("section.mlp-run h3")
    shot(page, "live-run")
    until(lambda: "live succeeded" in outputs(page))
    assert "%mlplatform run --name live" in path.read_text(), "it was saved first"
    assert "then" in outputs(page)
    wait_for_run(page, "succeeded")
    assert [run["name"] for run in runs(lab, "magic.ipynb")] == ["live"]


def test_renamed_notebook_is_known(lab: Lab, page: Any) -> None:
    lab.write("before.ipynb", "## One", "a = 1")
    show(page, lab, "before.ipynb")
    (session,) = until(lambda: [s for s in lab.ask("api/sessions")[1] if s["path"] == "before.ipynb"])
    os.rename(lab.folder / "before.ipynb", lab.folder / "after.ipynb")
    request = json.dumps({"path": "after.ipynb"}).encode()
    import urllib.request

    patch = urllib.request.Request(
        lab.url(f"api/sessions/{session['id']}"), request, {"Authorization": f"token {lab.token}"}, method="PATCH"
    )
    urllib.request.urlopen(patch).close()
    page.locator(".jp-Notebook .jp-CodeCell .cm-content").first.click()
    page.keyboard.press("Control+A")
    page.keyboard.insert_text(
        "from mlplatform.jupyter.whereabouts import open_notebook\nprint('it is', open_notebook({}).name)"
    )
    page.keyboard.press("Control+Enter")
    until(lambda: "it is after.ipynb" in outputs(page))


FAILING = (
    "# Fix and continue",
    "import mlplatform as ml\nimport pandas as pd",
    "@ml.component\ndef load(rows: int) -> pd.DataFrame:\n    import numpy as np\n"
    "    return pd.DataFrame({'x': np.arange(rows), 'y': np.arange(rows) % 4})",
    "def share(part, whole):\n    return part / whole\n\n@ml.component\ndef rate(table: pd.DataFrame) -> float:\n"
    "    return sum(share(x, y) for x, y in zip(table.x.tolist(), table.y.tolist()))",
    "@ml.pipeline\ndef shares(rows: int = 8) -> float:\n    return rate(load(rows))",
    "run = shares.run(rows=8)\nrun",
)


def test_failing_task_is_told_and_replayed(lab: Lab, page: Any) -> None:
    path = lab.write("failing.ipynb", *FAILING)
    show(page, lab, "failing.ipynb")
    run_all(page)
    wait_for_run(page, "failed")
    told = text_of_run(page)
    assert 'File "Cell In[3]", line 2, in share' in told
    assert "ZeroDivisionError" in told
    page.click("text=Replay in a cell")
    page.wait_for_selector(".jp-Notebook.jp-mod-editMode")
    page.keyboard.press("Shift+Enter")
    until(lambda: re.search(r"table", outputs(page)) and "replay" in page.locator(".jp-Notebook").inner_text())
    until(lambda: page.locator(".jp-Notebook-ExecutionIndicator[data-status='idle']").count())
    shot(page, "failing-task")
    page.keyboard.press("Control+s")
    until(lambda: "replay()" in path.read_text())
    made = [cell for cell in nbformat.read(path, 4).cells if "replay()" in cell.source]
    assert [cell.metadata.get("tags") for cell in made] == [["skip"]]
    assert [run["state"] for run in runs(lab, "failing.ipynb")] == ["FAILED"]


def test_saved_output_reads_well_in_an_untrusted_notebook(lab: Lab, page: Any) -> None:
    """Somebody else's machine: the outputs are there, nothing of the notebook is trusted."""
    source = nbformat.read(lab.folder / "failing.ipynb", 4)
    for cell in source.cells:
        cell.metadata.pop("trusted", None)
        if cell.cell_type == "code" and "shares.run" in cell.source:
            cell.source += "  # another notebook: its signature is unknown"
    nbformat.write(source, lab.folder / "foreign.ipynb")
    show(page, lab, "foreign.ipynb")
    page.wait_for_selector(".jp-OutputArea-output img")
    shot(page, "untrusted")
    assert "shares" in outputs(page)
    assert "ZeroDivisionError" in outputs(page)


def test_pages_of_the_home_through_jupyter(lab: Lab, page: Any) -> None:
    show(page, lab, "failing.ipynb")
    wait_for_run(page, "failed")
    with page.context.expect_page() as opening:
        page.click("[data-action=open]")
    pages = opening.value
    pages.set_default_timeout(WAIT)
    pages.wait_for_function("() => /ZeroDivisionError/.test(document.body.textContent)")
    assert f"127.0.0.1:{lab.port}/mlplatform/ui/" in pages.url
    pages.close()
    status, _ = lab.ask("mlplatform/ui/api/v1/runs?limit=1")
    assert status == 200
    cookies = "; ".join(f"{c['name']}={c['value']}" for c in page.context.cookies())
    run = runs(lab, "failing.ipynb")[0]["run_id"]
    address = f"mlplatform/ui/api/v1/runs/{run}/cancel"
    status, _ = lab.ask(address, {}, {"Cookie": cookies, "Origin": "http://evil.example"}, known=False)
    assert status == 403, "another site may not change anything with the browser's cookies"
    status, _ = lab.ask(address, {}, {"Cookie": cookies, "Origin": lab.url("")[:-1]}, known=False)
    assert status not in (200, 403), "from here it reaches the server, which says that the run has ended"
