"""Everybody can use it: axe finds nothing in either theme, and the keyboard reaches everything."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.support.pages import Watched, broken_rules
from tests.ui.conftest import Site

PAGES: dict[str, Callable[[Site], str]] = {
    "runs": lambda site: "#/runs",
    "nothing found": lambda site: "#/runs?q=no+such+run",
    "graph": lambda site: site.run("experiment", "task=training/train"),
    "failure": lambda site: site.run("failed"),
    "iterations": lambda site: site.run("loop", "task=for-loop-1"),
    "log": lambda site: site.run("experiment", "task=training/train&tab=logs"),
    "values": lambda site: site.run("experiment", "task=report&tab=io"),
    "code": lambda site: site.run("experiment", "task=training/train&tab=code"),
    "about": lambda site: site.run("experiment", "panel=run"),
    "timeline": lambda site: site.run("loop", "view=timeline"),
    "table": lambda site: site.run("loop", "view=table"),
    "pipelines": lambda site: "#/pipelines",
    "recurring runs": lambda site: "#/recurringruns",
    "artifacts": lambda site: "#/artifacts",
    "compare": lambda site: f"#/compare?run={site.runs['experiment']}&run={site.runs['second']}",
}


def settled(page: Page) -> None:
    expect(page.locator("h1, .empty h2").first).to_be_visible()
    expect(page.locator(".skeletons")).to_have_count(0)
    page.wait_for_load_state("load")


@pytest.mark.parametrize("name", PAGES)
def test_axe_finds_nothing_in_both_themes(site: Site, tab: Watched, name: str) -> None:
    """All rules in the light theme; in the dark one those that see colours: nothing else differs."""
    tab.page.emulate_media(color_scheme="light")
    page = tab.open(PAGES[name](site))
    settled(page)
    found = [f"light: {one}" for one in broken_rules(page)]
    page.emulate_media(color_scheme="dark")
    found += [f"dark: {one}" for one in broken_rules(page, ("color-contrast", "link-in-text-block"))]
    assert not found, "\n".join(found)


def test_the_theme_can_be_switched_and_is_kept(site: Site, tab: Watched) -> None:
    page = tab.open("#/runs")
    ground = "() => getComputedStyle(document.body).backgroundColor"
    page.emulate_media(color_scheme="light")
    assert page.evaluate(ground) == "rgb(255, 255, 255)"
    page.emulate_media(color_scheme="dark")
    assert page.evaluate(ground) != "rgb(255, 255, 255)"
    page.get_by_role("button", name="Theme: as the system").click()
    expect(page.get_by_role("button", name="Theme: light")).to_be_visible()
    assert page.evaluate(ground) == "rgb(255, 255, 255)"
    page.reload()
    expect(page.get_by_role("button", name="Theme: light")).to_be_visible()
    page.evaluate("() => localStorage.clear()")


def test_the_keyboard_is_enough(site: Site, tab: Watched) -> None:
    page = tab.open("#/pipelines")
    expect(page.get_by_role("heading", name="Pipelines", exact=True)).to_be_visible()
    page.keyboard.press("g")
    page.keyboard.press("r")
    expect(page.locator("[role=table] [data-row]").first).to_be_visible()
    page.keyboard.press("/")
    expect(page.get_by_role("searchbox", name="Search runs")).to_be_focused()
    page.keyboard.type("sweep")
    expect(page.locator("[role=table] [data-row]")).to_have_count(1)
    page.keyboard.press("Escape")
    expect(page.get_by_role("searchbox", name="Search runs")).not_to_be_focused()
    page.keyboard.press("j")
    expect(page.locator("[role=table] .cursor")).to_have_attribute("data-row", site.runs["loop"])
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(site.runs["loop"]))
    expect(page.locator("[data-node]").first).to_be_visible()
    page.keyboard.press("j")
    panel = page.get_by_role("complementary", name="Task for-loop-1", exact=True)
    expect(panel).to_be_visible()
    page.keyboard.press("j")
    expect(page.get_by_role("complementary", name="Task for-loop-1/add-one", exact=True)).to_be_visible()
    page.keyboard.press("k")
    expect(panel).to_be_visible()
    page.keyboard.press("o")
    expect(page.locator("[data-node='for-loop-1/add-one']")).to_have_count(0)
    page.keyboard.press("o")
    expect(page.locator("[data-node='for-loop-1/add-one']")).to_be_visible()
    page.keyboard.press("3")
    expect(page.get_by_role("table", name="Tasks")).to_be_visible()
    page.keyboard.press("j")
    expect(page.get_by_role("complementary", name="Task for-loop-1/add-one[0]", exact=True)).to_be_visible()
    page.keyboard.press("l")
    expect(page.get_by_role("tab", name="Logs")).to_have_attribute("aria-selected", "true")
    page.keyboard.press("Escape")
    expect(page.get_by_role("complementary")).to_have_count(0)
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Shortcuts")).to_be_visible()
    expect(page.get_by_role("dialog", name="Shortcuts")).to_contain_text("Logs of the task")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)


#: Keys one after the other with no frame between them, as a browser delivers them that had no time to paint.
AT_ONCE = """
async keys => {
  for (const key of keys) {
    document.body.dispatchEvent(new KeyboardEvent("keydown", {key, bubbles: true, cancelable: true}));
    for (let n = 0; n < 20; n++) await null;
  }
}
"""
#: A text into the field that has the focus, likewise.
LETTERS = """
async text => {
  const field = document.activeElement;
  for (const letter of text) {
    field.value += letter;
    field.dispatchEvent(new InputEvent("input", {bubbles: true}));
    for (let n = 0; n < 20; n++) await null;
  }
}
"""


def test_no_key_is_lost_on_a_fast_typist(site: Site, tab: Watched) -> None:
    """What is on the page answers the next key, painted or not."""
    page = tab.open(site.run("loop"))
    expect(page.locator("[data-node='for-loop-1/add-one']")).to_be_visible()
    page.evaluate(AT_ONCE, ["j", "3", "j", "j", "l"])
    expect(page.get_by_role("complementary", name="Task for-loop-1/add-one[1]", exact=True)).to_be_visible()
    expect(page.get_by_role("tab", name="Logs")).to_have_attribute("aria-selected", "true")
    expect(page.get_by_role("table", name="Tasks")).to_be_visible()
    page.evaluate(AT_ONCE, ["Escape", "1", "j", "3", "2"])
    expect(page.get_by_role("button", name="Timeline")).to_have_attribute("aria-pressed", "true")
    expect(page.get_by_role("complementary", name="Task for-loop-1", exact=True)).to_be_visible()
    page.go_back()
    expect(page.get_by_role("table", name="Tasks")).to_be_visible()
    expect(page.get_by_role("complementary", name="Task for-loop-1", exact=True)).to_be_visible()
    # A link, and a key before the browser has told of the new address.
    page.evaluate("() => document.querySelector('nav a[href=\"#/pipelines\"]').click()")
    page.evaluate(AT_ONCE, ["g", "r"])
    expect(page.get_by_role("heading", name="Runs", exact=True)).to_be_visible()
    page.evaluate(AT_ONCE, ["/"])
    page.evaluate(LETTERS, "sweep")
    expect(page).to_have_url(re.compile("q=sweep$"))
    expect(page.get_by_role("searchbox", name="Search runs")).to_have_value("sweep")
    expect(page.locator("[role=table] [data-row]")).to_have_count(1)
    page.get_by_role("searchbox", name="Search runs").blur()
    page.evaluate(AT_ONCE, ["j", "Enter"])
    expect(page.locator("[data-node='for-loop-1/add-one']")).to_be_visible()
    page.evaluate(AT_ONCE, ["3", "/"])
    page.evaluate(LETTERS, "one[11]")
    expect(page.locator("[role=table] [data-row]")).to_have_count(1)
    expect(page.get_by_role("searchbox", name="Find a task")).to_have_value("one[11]")


def test_a_key_that_is_held_down_is_followed(site: Site, tab: Watched) -> None:
    """Browsers refuse to change the address too often; the page goes on all the same, and the address comes after."""
    page = tab.open(site.run("wide", "view=table"))
    expect(page.locator("[role=table] [data-row]").first).to_be_visible()
    page.evaluate(AT_ONCE, ["j"] * 300)
    expect(page.locator("[role=table] .cursor")).to_have_attribute("aria-rowindex", "301")
    expect(page).to_have_url(re.compile("task=t298"))


def test_the_graph_gets_the_focus_and_stays_where_it_is(site: Site, tab: Watched) -> None:
    page = tab.open(site.run("wide"))
    expect(page.locator("[data-node=start]")).to_be_visible()
    before = page.locator("[data-node=start]").bounding_box()
    page.get_by_role("button", name="About the run").focus()
    page.keyboard.press("Tab")
    expect(page.locator(".graph > svg")).to_be_focused()
    assert page.evaluate("() => getComputedStyle(document.querySelector('.graph')).outlineStyle") == "solid"
    assert page.locator("[data-node=start]").bounding_box() == before
    page.locator("[data-node=start]").evaluate("node => node.scrollIntoView({block: 'end', inline: 'end'})")
    assert page.locator("[data-node=start]").bounding_box() == before


def test_every_control_is_reached_by_tab(site: Site, tab: Watched) -> None:
    page = tab.open(site.run("failed"))
    expect(page.locator(".trace")).to_be_visible()
    wanted = page.evaluate(
        "() => [...document.querySelectorAll('a[href], button:not(:disabled), input, [role=tab][tabindex=\"0\"]')]"
        ".filter(e => e.tabIndex >= 0 && e.getClientRects().length).length"
    )
    reached: set[str] = set()
    for _ in range(wanted + 20):
        page.keyboard.press("Tab")
        reached.add(
            page.evaluate(
                "() => { const e = document.activeElement; return e.matches('a, button, input') ?"
                " [...document.querySelectorAll('a, button, input')].indexOf(e) + '' : 'other' }"
            )
        )
    assert len(reached - {"other"}) >= wanted
