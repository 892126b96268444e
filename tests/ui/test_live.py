"""A run watched while it runs; the server killed meanwhile."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import expect

from tests.support.pages import PATIENCE, Watched, gated, submit
from tests.ui.conftest import Site

LIVE = "[data-node={}]"


def let(gate: Path, number: int) -> None:
    Path(f"{gate}{number}").touch()


def test_a_run_from_its_start_to_its_end(site: Site, tab: Watched, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    run = submit(site.served, gated(gate), wait=False)
    page = tab.open(f"#/runs/details/{run}?task=t0&tab=logs")
    node = [page.locator(LIVE.format(f"t{number}")) for number in range(3)]
    expect(node[0]).to_have_attribute("data-state", "RUNNING", timeout=PATIENCE)
    expect(node[1]).to_have_attribute("data-state", "PENDING")
    expect(page.locator(".line")).to_contain_text("waiting at the gate", timeout=PATIENCE)
    let(gate, 0)
    expect(page.locator(".line").last).to_contain_text("let through", timeout=PATIENCE)  # followed
    expect(node[0]).to_have_attribute("data-state", "SUCCEEDED", timeout=PATIENCE)
    expect(node[1]).to_have_attribute("data-state", "RUNNING", timeout=PATIENCE)
    let(gate, 1)
    let(gate, 2)
    expect(node[2]).to_have_attribute("data-state", "SUCCEEDED", timeout=PATIENCE)
    expect(page.locator("header [data-state=SUCCEEDED]")).to_be_visible(timeout=PATIENCE)
    assert len([url for url in tab.requests if "/events" in url]) == 1  # one stream a tab, never torn


def test_the_server_is_killed_and_nothing_is_missed(site: Site, tab: Watched, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    tab.may_fail = True
    run = submit(site.served, gated(gate), wait=False)
    page = tab.open(f"#/runs/details/{run}")
    node = [page.locator(LIVE.format(f"t{number}")) for number in range(3)]
    expect(node[0]).to_have_attribute("data-state", "RUNNING", timeout=PATIENCE)
    page.evaluate("() => { window.stayed = true }")
    before = len([url for url in tab.requests if "/tasks" in url])
    site.served.kill()
    try:
        expect(page.get_by_role("status").filter(has_text="Reconnecting")).to_be_visible(timeout=PATIENCE)
        let(gate, 0)  # the run goes on without the server
        let(gate, 1)
    finally:
        site.served.start()
    expect(page.get_by_role("status").filter(has_text="Live")).to_be_visible(timeout=PATIENCE)
    for number in range(2):
        expect(node[number]).to_have_attribute("data-state", "SUCCEEDED", timeout=PATIENCE)
    expect(node[2]).to_have_attribute("data-state", "RUNNING", timeout=PATIENCE)
    let(gate, 2)
    expect(page.locator("header [data-state=SUCCEEDED]")).to_be_visible(timeout=PATIENCE)
    assert page.evaluate("() => window.stayed"), "the page was loaded anew"
    assert len([url for url in tab.requests if "/tasks" in url]) == before, "events were missed: all was read again"


def test_a_run_is_cancelled_from_the_page(site: Site, tab: Watched, tmp_path: Path) -> None:
    run = submit(site.served, gated(tmp_path / "gate"), wait=False)
    page = tab.open(f"#/runs/details/{run}")
    expect(page.locator(LIVE.format("t0"))).to_have_attribute("data-state", "RUNNING", timeout=PATIENCE)
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("header [data-state=CANCELLED]")).to_be_visible(timeout=PATIENCE)
    expect(page.get_by_role("button", name="Resume", exact=True)).to_be_visible(timeout=PATIENCE)
