"""A thousand tasks, and a log of a hundred megabytes."""

from __future__ import annotations

import re

from playwright.sync_api import expect

from tests.support.pages import Watched
from tests.ui.conftest import Site

MEGABYTES = 100
#: The tenth line in sight has a number in between.
NUMBERED = """([low, high]) => {
  const number = Number(/([0-9]{8}) INFO/.exec(document.querySelectorAll('.line')[10]?.textContent ?? '')?.[1]);
  return number > low && number < high;
}"""


def test_a_page_of_a_thousand_tasks(site: Site, tab: Watched) -> None:
    sizes: list[int] = []
    tab.page.on("response", lambda answer: sizes.append(int(answer.headers.get("content-length") or 0)))
    page = tab.open(site.run("wide"))
    expect(page.locator("[data-node=start]")).to_have_attribute("data-state", "SUCCEEDED")
    expect(page.get_by_role("button", name=re.compile("succeeded"))).to_contain_text("1000")
    assert page.locator("[data-node]").count() < 250, "nodes out of sight are in the document"
    assert page.locator(".minimap").is_visible()
    assert len([url for url in tab.requests if url.startswith("http")]) <= 12
    assert sum(sizes) < 400_000
    page.get_by_role("button", name="Fit").click()
    expect(page.locator(".graph > svg .patch")).to_have_count(1)  # one path, whatever the number of nodes
    page.get_by_role("searchbox", name="Find a task").fill("t998")
    page.keyboard.press("Enter")
    expect(page.get_by_role("complementary", name="Task t998")).to_be_visible()
    page.get_by_role("button", name="Table").click()
    page.get_by_role("searchbox", name="Find a task").fill("")
    expect(page.get_by_role("table", name="Tasks")).to_have_attribute("aria-rowcount", "1001")
    assert page.locator("[data-row]").count() < 100


def test_a_log_of_a_hundred_megabytes(site: Site, tab: Watched) -> None:
    (log,) = (site.served.home.root / "runs" / site.runs["failed"]).glob("load-*/1/task.log")
    kept = log.read_bytes()
    line = b"\x1b[2m%08d\x1b[0m \x1b[36mINFO\x1b[0m the quick brown fox jumps over the lazy dog, again and again\n"
    count = MEGABYTES * 1_000_000 // len(line % 0)
    with log.open("wb") as file:
        for begin in range(0, count, 10_000):
            file.write(b"".join(line % number for number in range(begin, min(count, begin + 10_000))))
        file.write("der Schluß: \x1b[31mneedle\x1b[0m\n".encode())
    try:
        page = tab.open(site.run("failed", "task=load&tab=logs"))
        # it opens at its end, having read no more than that
        expect(page.locator(".line").last).to_contain_text("der Schluß: needle")
        expect(page.locator(".line .f1")).to_have_text("needle")
        assert len([url for url in tab.requests if "log-files" in url]) < 8
        assert page.locator(".line").count() < 120
        lines = page.locator(".log .lines")
        lines.evaluate("element => { element.scrollTop = 0 }")
        expect(page.locator(".line").first).to_contain_text("00000000 INFO")
        expect(page.locator(".line .at").first).to_have_text("1")
        lines.evaluate("element => { element.scrollTop = element.scrollHeight / 2 }")
        page.wait_for_function(NUMBERED, arg=[0.4 * count, 0.6 * count])  # until then the lines of before are shown
        box = page.get_by_role("searchbox", name="Search the log")
        box.fill("needle")
        expect(page.locator(".line.now")).to_contain_text("der Schluß: needle")
        expect(page.locator(".log [role=status]")).to_have_text("1/1")
    finally:
        log.write_bytes(kept)
