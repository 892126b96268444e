"""Pipelines with their forms, recurring runs, artifacts, comparison."""

from __future__ import annotations

import re
from pathlib import Path

from playwright.sync_api import Route, expect

from tests.support.pages import Watched, broken_rules, experiment
from tests.ui.conftest import Site


def test_a_pipeline_from_upload_to_run(site: Site, tab: Watched, document: Path, tmp_path: Path) -> None:
    tab.may_fail = True  # a wrong cron line is refused by the server, and things are deleted meanwhile
    page = tab.open("#/pipelines")
    page.locator("input[data-upload]").set_input_files(document)
    expect(page.get_by_role("heading", name="uploaded", exact=True)).to_be_visible()
    expect(page.locator("[data-node='training/train']")).to_be_visible()
    page.locator("[data-node=report]").click()
    expect(page.get_by_role("complementary", name="Task report")).to_contain_text("comp-report")

    page.get_by_role("button", name="New run").click()
    form = page.get_by_role("dialog", name="Run uploaded")
    form.get_by_role("button", name="Start the run").click()
    expect(form.get_by_text("It has no default: a value is needed.")).to_be_visible()
    form.get_by_label("rows").fill("three")
    expect(form.get_by_text("A whole number is needed: 3")).to_be_visible()
    form.get_by_label("rows").fill("3")
    form.get_by_label("names").fill("[1,")
    expect(form.get_by_text("This is not JSON")).to_be_visible()
    form.get_by_label("names").fill('["b"]')
    assert broken_rules(page) == []
    form.get_by_role("button", name="Start the run").click()
    expect(page).to_have_url(re.compile("runs/details/"))
    run = page.url.rpartition("/")[2].partition("?")[0]
    ended = site.served.finished(run)
    assert ended["inputs"]["rows"] == 3
    assert ended["inputs"]["names"] == ["b"]
    assert ended["state"] == "SUCCEEDED"
    site.served.ask("DELETE", f"/api/v1/runs/{run}")

    # a second version, and what differs
    page = tab.open("#/pipelines")
    page.get_by_role("link", name="uploaded", exact=True).click()
    other = tmp_path / "v2.json"
    other.write_text(experiment("uploaded", rate=0.5).text().replace('"defaultValue": 0.5', '"defaultValue": 0.125'))
    page.locator("input[data-upload]").set_input_files(other)
    expect(page.get_by_text("The version is stored.")).to_be_visible()
    page.get_by_role("button", name="Versions").click()
    expect(page.locator(".code.diff .add")).to_contain_text("0.125")
    expect(page.locator(".code.diff .del")).to_contain_text("0.25")
    assert broken_rules(page) == []

    # and a recurring run of it
    page.get_by_role("button", name="Run regularly").click()
    form = page.get_by_role("dialog", name="Run uploaded regularly")
    form.get_by_role("button", name="By a cron line").click()
    form.get_by_label("Cron").fill("61 * * * *")
    expect(form.locator(".wrong").first).to_be_visible()
    form.get_by_label("Cron").fill("0 3 * * *")
    expect(form.get_by_text("Next: ")).to_be_visible()
    form.get_by_label("rows").fill("4")
    form.get_by_label("Name", exact=True).fill("at night")
    assert broken_rules(page) == []
    form.get_by_role("button", name="Make the recurring run").click()
    panel = page.get_by_role("complementary", name="Recurring run at night")
    expect(panel).to_contain_text("0 3 * * *")
    panel.get_by_role("button", name="Turn off").click()
    expect(panel.get_by_role("button", name="Turn on")).to_be_visible()
    assert broken_rules(page) == []
    panel.get_by_role("button", name="Delete").click()
    page.get_by_role("button", name="Delete for good").click()
    expect(page.get_by_role("heading", name="Nothing recurs yet")).to_be_visible()
    assert site.served.get("/api/v1/recurring-runs")["recurring_runs"] == []

    page = tab.open("#/pipelines")
    page.get_by_role("link", name="uploaded", exact=True).click()
    page.get_by_role("button", name="More").click()
    page.get_by_role("menuitem", name="Delete the pipeline").click()
    page.get_by_role("button", name="Delete for good").click()
    expect(page.get_by_role("heading", name="No pipelines stored yet")).to_be_visible()


def test_what_is_wrong_with_a_document_is_told(site: Site, tab: Watched, tmp_path: Path) -> None:
    tab.may_fail = True
    path = tmp_path / "bad.yaml"
    path.write_text("pipelineInfo: {name: bad}\nroot: {dag: {tasks: {a: {componentRef: {name: nobody}}}}}\n")
    page = tab.open("#/pipelines")
    page.locator("input[data-upload]").set_input_files(path)
    expect(page.get_by_role("alert")).to_contain_text("bad.yaml was not stored")
    expect(page.get_by_role("alert")).to_contain_text("nobody")


def test_uploads_show_how_far_they_are_and_can_be_stopped(site: Site, tab: Watched, tmp_path: Path) -> None:
    for name in ("one", "two", "three"):
        (tmp_path / f"{name}.json").write_text(experiment(f"pipe {name}").text())
    page = tab.open("#/pipelines")
    expect(page.get_by_role("button", name="Upload a pipeline")).to_be_visible()
    sent: list[Route] = []

    def hold(route: Route) -> None:
        sent.append(route)
        if len(sent) == 1:
            route.continue_()

    page.route("**/api/v1/pipelines", hold)
    page.locator("input[data-upload]").set_input_files([tmp_path / f"{name}.json" for name in ("one", "two", "three")])
    work = page.locator(".toasts").filter(has_text="Storing pipelines")
    expect(work.get_by_role("progressbar", name="Storing pipelines")).to_be_visible()
    expect(work).to_contain_text("of 3")
    expect(page.get_by_role("button", name="Storing")).to_be_disabled()
    page.wait_for_function("() => document.querySelector('.toasts progress').value >= 1")
    work.get_by_role("button", name="Stop").click()
    expect(page.get_by_text("Stopped: two.json may not be stored.")).to_be_visible()
    expect(page.get_by_text("Stopped: 1 file was left out.")).to_be_visible()
    expect(page.get_by_role("link", name="pipe one", exact=True)).to_be_visible()
    assert len(sent) == 2
    page.unroute_all(behavior="ignoreErrors")
    (stored,) = site.served.get("/api/v1/pipelines")["pipelines"]
    assert stored["name"] == "pipe one"
    site.served.ask("DELETE", f"/api/v1/pipelines/{stored['pipeline_id']}")


def test_artifacts_are_previewed_and_can_do_nothing_here(site: Site, tab: Watched) -> None:
    tab.may_fail = True  # the report's script is refused its reach, which the browser notes
    page = tab.open("#/artifacts?type=system.Dataset")
    page.locator("[data-row]", has_text="table").first.click()
    panel = page.get_by_role("complementary", name="The artifact")
    expect(panel.get_by_role("cell", name="first")).to_be_visible()
    expect(panel.get_by_role("columnheader", name="loss")).to_be_visible()
    assert broken_rules(page) == []
    page = tab.open("#/artifacts?type=system.HTML")
    page.locator("[data-row]").first.click()
    frame = page.frame_locator("iframe[title='The artifact']")
    expect(frame.get_by_role("heading", name="Report")).to_be_visible()
    assert page.locator("iframe").get_attribute("sandbox") == "allow-scripts"
    expect(page).not_to_have_title("taken over")
    page.get_by_role("complementary").get_by_role("link", name="report").first.click()
    expect(page).to_have_url(re.compile("runs/details/.*tab=io"))
    refusals = ("sandbox", "cross-origin", "Blocked a frame", "taken over")
    tab.wrong = [one for one in tab.wrong if not any(word in one for word in refusals)]


def test_runs_side_by_side(site: Site, tab: Watched) -> None:
    page = tab.open("#/runs?q=try")
    for name in ("first try", "second try"):
        page.get_by_role("checkbox", name=f"Choose {name}").check()
    page.get_by_role("link", name="Compare", exact=True).last.click()
    rate = page.get_by_role("row", name=re.compile("^rate"))
    expect(rate).to_contain_text("0.25")
    expect(rate).to_contain_text("0.75")
    expect(page.get_by_role("row").filter(has_text="training/train/loss")).to_contain_text("0.75")
    expect(page.get_by_role("row", name=re.compile("^rows"))).to_be_visible()
    page.get_by_role("checkbox", name="Only what differs").check()
    expect(page.get_by_role("row", name=re.compile("^rows"))).to_have_count(0)
    expect(page.get_by_role("img", name=re.compile("against"))).to_be_visible()
    page.get_by_role("button", name="Leave out second try").click()
    expect(page.get_by_role("link", name="second try")).to_have_count(0)
