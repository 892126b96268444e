"""MLflow's own pages, opened from ours and through our door."""

from __future__ import annotations

import re

from playwright.sync_api import BrowserContext, Request, expect

from tests.ui.conftest import Site

#: Milliseconds: MLflow's server is started, with a fresh database, when it is first looked at.
STARTING = 240_000
#: Where MLflow shows a run.
SHOWN = r"/#/experiments/[0-9]+/runs/"


def test_a_run_opens_in_mlflow(site: Site, context: BrowserContext) -> None:
    asked: list[str] = []

    def note(request: Request) -> None:
        asked.append(request.url)

    context.on("requestfinished", note)
    page = context.new_page()
    page.goto(f"{site.served.url}/{site.run('experiment')}")
    with context.expect_page() as opened:
        page.locator("a.btn").get_by_text("MLflow", exact=True).click()
    mlflow = opened.value
    expect(mlflow.get_by_role("heading", name="first try", exact=True)).to_be_visible(timeout=STARTING)
    expect(mlflow.get_by_text("output.loss", exact=True).first).to_be_visible()
    expect(mlflow).to_have_url(re.compile(re.escape(f"{site.served.url}/mlflow") + SHOWN))
    mlflow.close()
    page.close()
    context.remove_listener("requestfinished", note)
    assert any("/mlflow/ajax-api/" in url for url in asked), "it is MLflow that asked, through our door"
    assert [url for url in asked if not url.startswith((site.served.url, "data:", "blob:"))] == []

    task = site.served.get(f"/api/v1/runs/{site.runs['experiment']}/tasks/training/train")
    answer = site.served.ask("GET", f"/{task['mlflow']}", headers={"Authorization": f"Bearer {site.served.token}"})
    assert answer.status == 303
    assert re.search(SHOWN + task["mlflow_run_id"], answer.headers["location"])
