"""Who may come in, by a table; and what nobody may do."""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass, field

import pytest

from tests.support.pipelines import chain
from tests.support.server import PATIENCE, Served

BROWSER = {"User-Agent": "Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0", "Sec-Fetch-Site": "same-origin"}
RUNS = "/api/v1/runs"
EXPERIMENTS = "/api/v1/experiments"


@pytest.fixture(scope="module")
def cookie(served: Served) -> str:
    """A session, as a browser gets it by a link."""
    link = served.home.command("up", "--no-browser").stdout.strip()
    ticket = link.partition("?")[2]
    answer = served.ask("GET", f"/?{ticket}", headers=BROWSER)
    assert (answer.status, answer.headers["location"]) == (303, "./")
    given = answer.headers["set-cookie"]
    assert re.fullmatch(r"mlplatform_[0-9a-f]{12}=\S+; Path=/; HttpOnly; SameSite=Strict; Max-Age=\d+", given)
    return given.partition(";")[0]


@dataclass
class Ask:
    """``headers``: TOKEN, COOKIE, PORT stand for the real ones."""

    title: str
    status: int
    headers: dict[str, str] = field(default_factory=dict)
    method: str = "GET"
    path: str = RUNS
    body: object = None


GOOD = {"name": "made"}
TABLE = [
    Ask("a program of the same user", 200),
    Ask("the token", 200, {"Authorization": "Bearer TOKEN"}),
    Ask("the token, by any name", 200, {"Authorization": "Bearer TOKEN", "Host": "ml.example.org"}),
    Ask("a wrong token in a browser", 401, {**BROWSER, "Authorization": "Bearer nonsense"}),
    Ask("a browser that nobody let in", 401, BROWSER),
    Ask("an old browser that nobody let in", 401, {"User-Agent": "Mozilla/4.0"}),
    Ask("a page of another site, without a name", 401, {"Sec-Fetch-Site": "cross-site"}),
    Ask("a page of another site", 401, {"Origin": "https://evil.example"}),
    Ask("what a proxy passes on", 401, {"X-Forwarded-For": "10.0.0.7"}),
    Ask("what a proxy passes on in the new way", 401, {"Forwarded": "for=10.0.0.7"}),
    Ask("a program by another port's name", 401, {"Host": "127.0.0.1:1"}),
    Ask("a session", 200, {**BROWSER, "Cookie": "COOKIE"}),
    Ask("a session by localhost", 200, {**BROWSER, "Cookie": "COOKIE", "Host": "localhost:PORT"}),
    Ask("a session by a foreign name (DNS rebinding)", 421, {**BROWSER, "Cookie": "COOKIE", "Host": "evil.example"}),
    Ask("a foreign name", 421, {"Host": "evil.example:PORT"}),
    Ask("a name that only begins like ours", 421, {"Host": "127.0.0.1.evil.example"}),
    Ask("no name at all", 421, {"Host": ""}),
    Ask("a forged session", 401, {**BROWSER, "Cookie": "mlplatform_000000000000=x.y"}),
    Ask("a session changing something from our page", 201,
        {**BROWSER, "Cookie": "COOKIE", "Origin": "http://127.0.0.1:PORT"}, "POST", EXPERIMENTS, GOOD),
    Ask("... from another site", 403,
        {**BROWSER, "Cookie": "COOKIE", "Origin": "https://evil.example"}, "POST", EXPERIMENTS, GOOD),
    Ask("... from another port of this machine", 403,
        {**BROWSER, "Cookie": "COOKIE", "Origin": "http://127.0.0.1:9"}, "POST", EXPERIMENTS, GOOD),
    Ask("... from nowhere that could be told", 403,
        {"User-Agent": "Mozilla/5.0", "Cookie": "COOKIE"}, "POST", EXPERIMENTS, GOOD),
    Ask("... from a sandboxed preview", 403,
        {**BROWSER, "Cookie": "COOKIE", "Origin": "null"}, "POST", EXPERIMENTS, GOOD),
    Ask("deleting from another site", 403,
        {**BROWSER, "Cookie": "COOKIE", "Origin": "https://evil.example"}, "DELETE", f"{RUNS}/x"),
    Ask("KFP's API is behind the same door", 401, BROWSER, path="/apis/v2beta1/runs"),
    Ask("so is its document", 401, BROWSER, path="/api/v1/openapi.json"),
    Ask("so is MLflow", 401, BROWSER, path="/mlflow/"),
    Ask("the pages are open: they hold nothing", 200, BROWSER, path="/"),
    Ask("but nothing can be sent to them", 405, BROWSER, "POST", "/"),
    Ask("a ticket that is none is no entrance", 200, BROWSER, path="/?ticket=zzzzzz.aaaa"),
    Ask("an address of bytes that is not signed", 404, BROWSER, path="/api/v1/content/zzzzzz.aaaa/WyJhIiwgIiJd/a"),
    Ask("files beside the pages", 404, BROWSER, path="/../../../etc/passwd"),
    Ask("... in other words", 404, BROWSER, path="/%2e%2e/%2e%2e/%2e%2e/etc/passwd"),
    Ask("... and others", 404, BROWSER, path="/..%2f..%2f..%2fpyproject.toml"),
    Ask("... with an end", 404, BROWSER, path="/index.html%00.css"),
    Ask("a source of the pages", 404, BROWSER, path="/../build.py"),
]  # fmt: skip


@pytest.mark.parametrize("ask", TABLE, ids=lambda ask: ask.title)
def test_the_door(served: Served, cookie: str, ask: Ask) -> None:
    def real(text: str) -> str:
        return text.replace("TOKEN", served.token).replace("COOKIE", cookie).replace("PORT", str(served.port))

    headers = {name: real(value) for name, value in ask.headers.items()}
    if ask.status == 201:
        served.ask("DELETE", EXPERIMENTS, headers=headers)
    answer = served.ask(ask.method, ask.path, ask.body, headers)
    assert answer.status == ask.status, answer.body[:500]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "access-control-allow-origin" not in answer.headers
    if not ask.path.startswith("/api/v1/content"):
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'; script-src 'self'" in policy
        assert "unsafe" not in policy


def test_a_ticket_lets_in_and_is_gone_from_the_address(served: Served) -> None:
    link = served.home.json("up", "--no-browser")["url"]
    query = link.partition("?")[2]
    again = served.ask("GET", f"/?a=1&{query}&b=2", headers=BROWSER)
    assert (again.status, again.headers["location"]) == (303, "./?a=1&b=2")
    by_token = served.ask("GET", f"/?token={served.token}", headers=BROWSER)
    assert by_token.status == 303
    for foreign in ("evil.example", "127.0.0.1.evil.example"):
        assert served.ask("GET", f"/?{query}", headers={**BROWSER, "Host": foreign}).status == 421


def test_an_entrance_leads_nowhere_else(served: Served) -> None:
    for path in ("//evil.example/", "/\\evil.example", "//evil.example//x"):
        answer = served.ask("GET", f"{path}?token={served.token}", headers=BROWSER)
        assert answer.headers.get("location", "./").startswith("./")


def test_long_requests_are_refused_whatever_they_say_of_themselves(served: Served) -> None:
    told = served.ask("POST", EXPERIMENTS, b"x", {"Content-Length": str(1 << 40)})
    assert told.status == 413
    with socket.create_connection(("127.0.0.1", served.port), timeout=PATIENCE) as connection:
        head = f"POST {EXPERIMENTS} HTTP/1.1\r\nHost: 127.0.0.1:{served.port}\r\nTransfer-Encoding: chunked\r\n"
        connection.sendall((head + "Content-Type: application/json\r\n\r\n").encode())
        part = b"100000\r\n" + b" " * 0x100000 + b"\r\n"
        sent = 0
        try:
            while sent < 200:
                connection.sendall(part)
                sent += 1
        except OSError:
            pass
        try:
            answer = connection.recv(4096)
        except OSError:
            answer = b""
    assert answer.partition(b"\r\n")[0] in (
        b"",
        b"HTTP/1.1 413 Request Entity Too Large",
        b"HTTP/1.1 413 Content Too Large",
    )
    assert served.get("/healthz") == {"status": "ok"}


def test_no_secret_is_told(served: Served) -> None:
    secret = "correct-horse-battery"
    env = {"MY_PASSWORD": secret}
    report = served.home.run(chain(1), env=env)
    run = report["run_id"]
    told = [
        served.ask("GET", f"/api/v1/runs/{run}"),
        served.ask("GET", f"/api/v1/runs/{run}/tasks/t0"),
        served.ask("GET", f"/apis/v2beta1/runs/{run}"),
        served.ask("GET", "/api/v1/machine"),
    ]
    for answer in told:
        assert answer.status == 200
        assert secret.encode() not in answer.body
        assert served.token.encode() not in answer.body
    log = (served.home.root / "logs" / "server.log").read_text()
    assert served.token not in log
    assert (served.home.root / "server" / "token").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("run", ["../../x", "..", "%2e%2e", "a/../../b", "latest\0"])
def test_no_path_leads_out_of_a_run(served: Served, run: str) -> None:
    from urllib.parse import quote

    for rest in ("", "/logs/t0", "/log-files/..%2F..%2Fserver%2Ftoken", "/document"):
        answer = served.ask("GET", f"/api/v1/runs/{quote(run, safe='%')}{rest}")
        assert answer.status in (400, 404, 422), (run, rest, answer.body[:200])
        assert served.token.encode() not in answer.body
