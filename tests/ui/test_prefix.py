"""Behind somebody's path prefix, as jupyter-server-proxy puts things: nothing in the pages is absolute."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Generator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from playwright.sync_api import Browser, expect

from tests.support.pages import PATIENCE, Watched
from tests.ui.conftest import Site

PREFIX = "/user/ada/proxy/8787"


class Proxy(BaseHTTPRequestHandler):
    """Takes the prefix away and hands everything on as it comes; whatever lacks the prefix is an error."""

    target = 0
    strays: list[str] = []

    def do_GET(self) -> None:
        if not self.path.startswith(PREFIX + "/"):
            self.strays.append(self.path)
            self.send_error(404)
            return
        connection = http.client.HTTPConnection("127.0.0.1", self.target, timeout=60)
        headers = {name: value for name, value in self.headers.items() if name.lower() not in ("connection", "host")}
        headers["Host"] = f"127.0.0.1:{self.server.server_address[1]}"
        connection.request("GET", self.path.removeprefix(PREFIX), headers=headers)
        answer = connection.getresponse()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("transfer-encoding", "connection", "date", "server"):
                self.send_header(name, value)
        self.end_headers()
        try:
            while data := answer.read1(65536):
                self.wfile.write(data)
                self.wfile.flush()
        except OSError:  # the browser went away
            pass
        finally:
            connection.close()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def behind(site: Site) -> Generator[str]:
    Proxy.target, Proxy.strays = site.served.port, []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}{PREFIX}"
    server.shutdown()
    server.server_close()


def test_everything_works_behind_a_prefix(site: Site, browser: Browser, behind: str) -> None:
    context = browser.new_context()
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    watched = Watched(page, behind)
    page.goto(f"{behind}/?token={site.served.token}")
    expect(page.get_by_role("link", name="first try")).to_be_visible(timeout=PATIENCE)
    page.goto(f"{behind}/{site.run('experiment', 'task=training/train&tab=logs')}")
    expect(page.locator(".line")).to_contain_text("epoch 1", timeout=PATIENCE)
    expect(page.get_by_role("status").filter(has_text="Live")).to_be_visible(timeout=PATIENCE)
    page.goto(f"{behind}/#/artifacts?type=system.HTML")
    page.locator("[data-row]").first.click()
    frame = page.frame_locator("iframe[title='The artifact']")
    expect(frame.get_by_role("heading", name="Report")).to_be_visible(timeout=PATIENCE)
    context.close()
    assert [one for one in watched.wrong if "asked elsewhere" in one] == []
    assert [path for path in Proxy.strays if path != "/favicon.ico"] == []
