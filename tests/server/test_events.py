"""Events over a server that is killed and started again: nobody misses one, nobody hears one twice."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.pipelines import Builder, chain
from tests.support.server import Served

PATIENCE = 300.0


def messages(answer: http.client.HTTPResponse) -> Iterator[tuple[str, int, Any]]:
    """(kind, id, data) of server-sent events."""
    kind, number, data = "", 0, ""
    while line := answer.readline():
        text = line.decode().rstrip("\n")
        if not text and data:
            yield kind, number, json.loads(data)
            kind, data = "", ""
        name, _, value = text.partition(": ")
        if name == "event":
            kind = value
        elif name == "id":
            number = int(value)
        elif name == "data":
            data = value


class Tab:
    """A browser's tab: follows a run, and comes back with Last-Event-ID when the server is lost."""

    def __init__(self, served: Served, run: str, after: int | None = None) -> None:
        self.served, self.run, self.last = served, run, after
        self.events: list[dict[str, Any]] = []
        self.connections = 0
        self.stopped = False
        self.thread = threading.Thread(target=self._follow, daemon=True)
        self.thread.start()

    def _follow(self) -> None:
        while not self.stopped:
            connection = http.client.HTTPConnection("127.0.0.1", self.served.port, timeout=PATIENCE)
            try:
                headers = {} if self.last is None else {"Last-Event-ID": str(self.last)}
                connection.request("GET", f"/api/v1/events?run={self.run}", headers=headers)
                answer = connection.getresponse()
                assert answer.status == 200
                self.connections += 1
                for kind, number, data in messages(answer):
                    self.last = number
                    if kind == "events":
                        self.events += data["events"]
                    if self.stopped:
                        return
            except (OSError, http.client.HTTPException):
                time.sleep(0.05)
            finally:
                connection.close()

    def states(self, kind: str) -> dict[str, str]:
        """The last word on each."""
        return {
            event["body"].get("name", event["run_id"]): event["body"]["state"]
            for event in self.events
            if event["kind"] == kind
        }

    def until(self, what: Any) -> None:
        end = time.monotonic() + PATIENCE
        while not what():
            assert time.monotonic() < end, self.events[-3:]
            time.sleep(0.02)


def pauses(tasks: int, seconds: float) -> Builder:
    """Tasks one after the other that take their time."""
    builder = Builder("pauses")
    source = "def pause(seconds: float):\n    import time\n    time.sleep(seconds)\n"
    builder.component("pause", source, inputs={"seconds": "NUMBER_DOUBLE"})
    for number in range(tasks):
        after = [f"t{number - 1}"] if number else []
        builder.task(f"t{number}", "pause", constants={"seconds": seconds}, after=after)
    return builder


@pytest.mark.slow
def test_a_killed_server_is_come_back_to_and_nothing_is_missed(served: Served) -> None:
    run = served.post("/api/v1/runs", {"document": pauses(8, 0.5).text()}, status=201)["run_id"]
    tab = Tab(served, run, after=0)
    for kill_after in ("t1", "t4"):
        tab.until(lambda: tab.states("task").get(kill_after) == "SUCCEEDED")  # noqa: B023 - called at once
        served.kill()
        time.sleep(0.4)  # what happens now is only in the store
        served.start()
    tab.until(lambda: tab.states("run").get(run) == "SUCCEEDED")
    tab.stopped = True
    assert tab.connections >= 3
    assert tab.states("task") == {f"t{number}": "SUCCEEDED" for number in range(8)}
    seen = [event["seq"] for event in tab.events]
    assert seen == sorted(set(seen))
    assert served.get(f"/api/v1/runs/{run}")["state"] == "SUCCEEDED"


def test_who_comes_late_hears_everything_and_who_asks_for_now_hears_nothing_old(served: Served) -> None:
    run = served.home.run(chain(3))["run_id"]
    late = Tab(served, run, after=0)
    late.until(lambda: late.states("run").get(run) == "SUCCEEDED")
    assert late.states("task") == {f"t{number}": "SUCCEEDED" for number in range(3)}
    now = Tab(served, run)
    now.until(lambda: now.last is not None)
    time.sleep(0.5)
    assert now.events == []
    late.stopped = now.stopped = True


def test_all_runs_as_a_whole(served: Served) -> None:
    tab = Tab(served, "")
    tab.until(lambda: tab.connections == 1 and tab.last is not None)
    run = served.post("/api/v1/runs", {"document": chain(2).text()}, status=201)["run_id"]
    tab.until(lambda: tab.states("run").get(run) == "SUCCEEDED")
    assert tab.states("task") == {}
    tab.stopped = True


def test_a_page_and_its_stream_fit_together(served: Served) -> None:
    """What a page shows and what it hears from ``seq`` on are everything."""
    run = served.post("/api/v1/runs", {"document": pauses(3, 0.3).text()}, status=201)["run_id"]
    table = served.get(f"/api/v1/runs/{run}/tasks")
    tab = Tab(served, run, after=table["seq"])
    tab.until(lambda: tab.states("run").get(run) == "SUCCEEDED")
    tab.stopped = True
    names, states = table["dictionaries"]["name"], table["dictionaries"]["state"]
    shown = {
        names[name]: states[state]
        for name, state in zip(table["columns"]["name"], table["columns"]["state"], strict=True)
    }
    assert {**shown, **tab.states("task")} == {f"t{number}": "SUCCEEDED" for number in range(3)}


def test_a_log_is_followed_to_its_end(served: Served) -> None:
    builder = Builder("talks")
    source = """
        def talk():
            import time
            for n in range(5):
                print('línea', n, flush=True)
                time.sleep(0.2)
        """
    builder.component("talk", source)
    builder.task("talk")
    run = served.post("/api/v1/runs", {"document": builder.text()}, status=201)["run_id"]
    end = time.monotonic() + PATIENCE
    while served.ask("GET", f"/api/v1/runs/{run}/logs/talk").status != 200:
        assert time.monotonic() < end
        time.sleep(0.05)
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=PATIENCE)
    connection.request("GET", f"/api/v1/runs/{run}/log-streams/talk")
    text, ended = "", False
    for kind, number, data in messages(connection.getresponse()):
        if kind == "log":
            assert number == data["next_offset"]
            text += data["text"]
        else:
            ended = kind == "end"
            assert data["size"] == len(text.encode())
    connection.close()
    assert ended
    assert [line for line in text.splitlines() if "línea" in line] == [f"línea {n}" for n in range(5)]
    part = served.get(f"/api/v1/runs/{run}/logs/talk", offset=-8, limit=100)
    assert part["complete"]
    assert text.endswith(part["text"])
    whole = served.ask("GET", f"/api/v1/runs/{run}/log-files/talk")
    assert whole.body.decode() == text
    assert "attachment" in whole.headers["content-disposition"]
