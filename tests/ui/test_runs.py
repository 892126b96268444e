"""The list of runs, and one run in all its views."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Route, expect

from tests.support.pages import Watched, broken_rules, crowd, submit
from tests.support.pipelines import chain
from tests.ui.conftest import Site

ROWS = "[role=table] [data-row]"


def test_the_list_shows_searches_and_filters(site: Site, tab: Watched) -> None:
    page = tab.open("#/runs")
    for run in site.runs.values():
        expect(page.locator(f"[data-row='{run}']")).to_be_visible()
    page.get_by_role("searchbox", name="Search runs").fill("try")
    expect(page.locator(ROWS)).to_have_count(2)
    expect(page).to_have_url(re.compile("q=try"))
    page.get_by_role("searchbox", name="Search runs").fill("")
    page.get_by_role("button", name=re.compile("^failed")).click()
    expect(page.locator(ROWS)).to_have_count(1)
    expect(page.locator(ROWS)).to_contain_text("KeyError: 'price'")
    page.reload()
    expect(page.locator(ROWS)).to_have_count(1)  # the address is the state
    page.get_by_role("searchbox", name="Search runs").fill("nothing like it")
    expect(page.get_by_role("heading", name="No run fits")).to_be_visible()


def test_many_runs_are_archived_and_brought_back(site: Site, tab: Watched) -> None:
    for number in range(2):
        submit(site.served, chain(1, name="spare"), name=f"spare {number}")
    page = tab.open("#/runs?q=spare")
    expect(page.locator(ROWS)).to_have_count(2)
    for number in range(2):
        page.get_by_role("checkbox", name=f"Choose spare {number}").check()
    page.get_by_role("button", name="Archive", exact=True).click()
    expect(page.get_by_text("2 runs archived.")).to_be_visible()
    expect(page.get_by_role("heading", name="No run fits")).to_be_visible()
    page = tab.open("#/runs?q=spare&archived=1")
    expect(page.locator(ROWS)).to_have_count(2)
    for number in range(2):
        page.get_by_role("checkbox", name=f"Choose spare {number}").check()
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("button", name="Delete for good").click()
    expect(page.get_by_text("2 runs deleted.")).to_be_visible()
    assert site.served.get("/api/v1/runs", q="spare", archived="true")["runs"] == []


def test_deleting_very_many_shows_how_far_it_is_and_can_be_stopped(site: Site, tab: Watched) -> None:
    crowd(site.served, 70, "crowd")
    page = tab.open("#/runs?q=crowd")
    page.get_by_role("checkbox", name="Choose all that are shown").check()
    bar = page.get_by_role("group", name="Chosen runs")
    bar.get_by_role("button", name="Choose all 70").click()
    expect(bar).to_contain_text("70 runs chosen")
    expect(bar.get_by_role("link", name="Compare")).to_have_count(0)  # too many to be laid side by side
    parts: list[Route] = []

    def hold(route: Route) -> None:
        parts.append(route)
        if len(parts) == 1:
            route.continue_()

    page.route("**/runs/bulk", hold)
    bar.get_by_role("button", name="Delete").click()
    page.get_by_role("button", name="Delete for good").click()
    work = page.locator(".toasts").filter(has_text="Deleting 70 runs")
    expect(work).to_contain_text("20 of 70")
    expect(work.get_by_role("progressbar", name="Deleting 70 runs")).to_have_attribute("value", "20")
    assert broken_rules(page) == []
    work.get_by_role("button", name="Stop").click()
    expect(work.get_by_role("button", name="Stopping")).to_be_disabled()
    assert len(parts) == 2
    parts[1].continue_()  # what is under way is finished
    expect(page.get_by_text("40 runs deleted. 30 left as they were.")).to_be_visible()
    expect(bar).to_contain_text("30 runs chosen")
    expect(page.locator("[role=table]")).to_have_attribute("aria-rowcount", "31")
    page.unroute("**/runs/bulk")
    bar.get_by_role("button", name="Delete").click()
    page.get_by_role("button", name="Delete for good").click()
    expect(page.get_by_role("heading", name="No run fits")).to_be_visible()


def test_a_new_run_appears_by_itself(site: Site, tab: Watched) -> None:
    page = tab.open("#/runs?q=newcomer")
    expect(page.get_by_role("heading", name="No run fits")).to_be_visible()
    run = submit(site.served, chain(2, name="newcomer"))
    expect(page.locator(f"[data-row='{run}'] [data-state=SUCCEEDED]")).to_be_visible()
    site.served.ask("DELETE", f"/api/v1/runs/{run}")


def test_a_failed_run_opens_at_its_failure(site: Site, tab: Watched) -> None:
    page = tab.open(site.run("failed"))
    panel = page.get_by_role("complementary", name="Task average")
    expect(panel.locator(".trace")).to_contain_text("KeyError: 'price'")
    expect(panel.locator(".trace")).to_contain_text("return sum(row[column] for row in rows)")
    expect(panel.get_by_role("button", name="Resume the run")).to_be_visible()
    expect(panel.locator(f'[title*=\'ml.run("{site.runs["failed"]}").task("average").replay()\']')).to_be_visible()
    expect(panel.get_by_role("button", name="Copy: Replay in a notebook")).to_be_visible()
    expect(page.locator("[data-node=average]")).to_have_attribute("data-state", "FAILED")
    expect(page.locator("[data-node=after]")).to_have_attribute("data-state", "SKIPPED")
    expect(page).to_have_url(re.compile("task=average"))


def test_graph_panel_and_back(site: Site, tab: Watched) -> None:
    page = tab.open("#/runs")
    page.get_by_role("link", name="first try").click()
    expect(page.locator("[data-node='training/train']")).to_have_attribute("data-state", "SUCCEEDED")
    expect(page.locator("[data-node='condition-1']")).to_have_attribute("data-state", "SKIPPED")
    expect(page.locator("[data-node='condition-1/add-one']")).to_have_attribute("data-state", "SKIPPED")
    page.locator("[data-node='training/train']").click()
    panel = page.get_by_role("complementary", name="Task training/train")
    metric = panel.locator("section", has=page.get_by_role("heading", name="Metrics")).locator(".pair")
    expect(metric).to_have_text("loss0.75")
    expect(panel.get_by_role("button", name="Copy: Replay in a notebook")).to_be_visible()
    panel.get_by_role("tab", name="Inputs and outputs").click()
    expect(panel).to_contain_text("0.75")  # the loss, an output
    expect(panel.get_by_role("link", name="Model")).to_be_visible()
    panel.get_by_role("tab", name="Code").click()
    expect(panel.locator("pre.code")).to_contain_text("def train(rate: float")
    panel.get_by_role("tab", name="Logs").click()
    expect(panel.locator(".line")).to_contain_text("epoch 1 loss 0.75")
    expect(panel.locator(".line .f2")).to_have_text("epoch 1")
    page.keyboard.press("Escape")
    expect(panel).to_have_count(0)
    page.go_back()
    expect(page.get_by_role("heading", name="Runs", exact=True)).to_be_visible()


def test_groups_close_and_open(site: Site, tab: Watched) -> None:
    page = tab.open(site.run("experiment"))
    page.locator("[data-fold=training]").click()
    expect(page.locator("[data-node='training/train']")).to_have_count(0)
    expect(page.locator("[data-node=training]")).to_have_attribute("data-state", "SUCCEEDED")
    page.reload()
    expect(page.locator("[data-node=training]")).to_be_visible()
    expect(page.locator("[data-node='training/train']")).to_have_count(0)
    page.locator("[data-fold=training]").click()
    expect(page.locator("[data-node='training/train']")).to_be_visible()


def test_iterations_of_a_loop(site: Site, tab: Watched) -> None:
    page = tab.open(site.run("loop", "task=for-loop-1"))
    cells = page.get_by_role("group", name="Iterations").get_by_role("button")
    expect(cells).to_have_count(12)
    expect(page.locator("[data-node='for-loop-1/add-one']")).to_contain_text("12 times")
    cells.nth(7).click()
    expect(page).to_have_url(re.compile("i=7"))
    page.locator("[data-node='for-loop-1/add-one']").click()
    panel = page.get_by_role("complementary", name="Task for-loop-1/add-one[7]")
    panel.get_by_role("tab", name="Inputs and outputs").click()
    expect(panel.get_by_role("tabpanel")).to_contain_text("8")


@pytest.mark.parametrize("view", ["timeline", "table"])
def test_the_graph_has_twins(site: Site, tab: Watched, view: str) -> None:
    page = tab.open(site.run("loop", f"view={view}"))
    shown = page.locator(".timeline .rows .lane" if view == "timeline" else ROWS)
    expect(shown).to_have_count(12)
    page.get_by_role("searchbox", name="Find a task").fill("[3]")
    expect(shown).to_have_count(1)
    shown.first.click()
    expect(page.get_by_role("complementary", name="Task for-loop-1/add-one[3]")).to_be_visible()


def test_links_of_kfp_and_of_iterations_open(site: Site, tab: Watched) -> None:
    page = tab.open(site.run("loop", "task=for-loop-1/add-one&i=4&tab=logs"))
    expect(page.get_by_role("complementary", name="Task for-loop-1/add-one[4]")).to_be_visible()
    expect(page.get_by_role("tab", name="Logs")).to_have_attribute("aria-selected", "true")
    page = tab.open(f"#/experiments/details/{site.runs['loop']}")
    expect(page.get_by_role("heading", name="Runs", exact=True)).to_be_visible()


def test_a_run_that_is_not_there(site: Site, tab: Watched) -> None:
    tab.may_fail = True
    page = tab.open("#/runs/details/nothing")
    expect(page.get_by_role("alert")).to_contain_text("NOT_FOUND")
    page = tab.open("#/nowhere")
    expect(page.get_by_role("heading", name="There is no such page")).to_be_visible()


def test_metrics_of_the_whole_run(site: Site, tab: Watched) -> None:
    page = tab.open(site.run("experiment", "panel=run"))
    about = page.get_by_role("complementary", name="About the run")
    metrics = about.locator("section", has=page.get_by_role("heading", name="Metrics")).locator(".pair")
    expect(metrics.filter(has_text="training/train/loss")).to_have_text("training/train/loss0.75")


def test_run_again_and_about(site: Site, tab: Watched) -> None:
    tab.may_fail = True  # the run it goes to is deleted at the end
    page = tab.open(site.run("loop", "panel=run"))
    about = page.get_by_role("complementary", name="About the run")
    expect(about).to_contain_text(f"mlplatform runs show {site.runs['loop']}")
    about.get_by_role("button", name="Write one").click()
    about.get_by_role("textbox", name="Note").fill("worth keeping")
    about.get_by_role("button", name="Keep").click()
    expect(about).to_contain_text("worth keeping")
    assert site.served.get(f"/api/v1/runs/{site.runs['loop']}")["note"] == "worth keeping"
    page.get_by_role("button", name="Run again").click()
    expect(page).not_to_have_url(re.compile(site.runs["loop"]))
    run = page.url.rpartition("/")[2].partition("?")[0]
    assert site.served.finished(run)["origin"]["rerun_of"] == site.runs["loop"]
    site.served.ask("DELETE", f"/api/v1/runs/{run}")
