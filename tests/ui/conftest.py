"""One server with a few runs for all tests of the pages; each test gets a fresh tab that must stay without errors."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, expect

from mlplatform.ui import static_folder
from tests.support.pages import PATIENCE, Watched, chromium, entered, experiment, failing, recorded, submit, wide
from tests.support.pipelines import fan_out
from tests.support.server import Served, served_in

# Playwright's own five seconds are few for a machine that does something else besides.
expect.set_options(timeout=PATIENCE)


@dataclass(frozen=True)
class Site:
    """A server, and the ids of the runs in it by what they are."""

    served: Served
    runs: dict[str, str]

    def run(self, name: str, query: str = "") -> str:
        return f"#/runs/details/{self.runs[name]}" + (f"?{query}" if query else "")


# No longer than a module: an open Playwright keeps an event loop running in this thread, in which no other can run.
@pytest.fixture(scope="module")
def browser() -> Generator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Generator[Site]:
    if static_folder() is None:
        pytest.skip("the pages are not built: make build")
    with served_in(tmp_path_factory.mktemp("site")) as served:
        runs = {
            "experiment": submit(served, experiment(), parameters={"rows": 3}, name="first try"),
            "second": submit(served, experiment(), parameters={"rows": 3, "rate": 0.75}, name="second try"),
            "failed": submit(served, failing()),
            "loop": submit(served, fan_out(12, name="sweep")),
            "wide": recorded(served, wide(1000), "a thousand tasks"),
        }
        yield Site(served, runs)


@pytest.fixture(scope="module")
def context(browser: Browser, site: Site) -> Generator[BrowserContext]:
    made = entered(browser, site.served)
    yield made
    made.close()


@pytest.fixture
def tab(context: BrowserContext, site: Site) -> Generator[Watched]:
    """A tab. Errors in it fail the test at its end."""
    page = context.new_page()
    watched = Watched(page, site.served.url)
    yield watched
    page.close()
    assert not watched.wrong, "\n".join(watched.wrong)


@pytest.fixture
def document(tmp_path: Path) -> Path:
    """A pipeline's file, to be uploaded."""
    path = tmp_path / "experiment.json"
    path.write_text(experiment("uploaded").text())
    return path
