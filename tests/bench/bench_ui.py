"""The pages in a real Chromium, against a real server: ``python -m tests.bench.bench_ui``.

Prints one JSON object with everything docs/benchmarks.md records of the pages. Every page is opened cold: a new
profile, nothing cached. The runs of 1,000 and 5,000 tasks are records of finished runs (what a page shows does not
depend on who wrote them); the live ones really run. Times in milliseconds, sizes in bytes; medians of five unless said
otherwise. ``main_thread_cpu`` is processor time and does not grow with what else the machine does; all others do.
"""

from __future__ import annotations

import gzip
import http.client
import json
import re
import statistics
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, BrowserContext, CDPSession, Page

from mlplatform.ui import static_folder
from tests.bench.bench_layout import chains, milliseconds
from tests.support.pages import chromium, entered, recorded, submit, wide
from tests.support.pipelines import chain, fan_out
from tests.support.server import Served, served_in

ROUNDS = 5
TABS = 50

#: Notes when the first task is drawn in its state, and every long task of the main thread.
WATCH = """
(() => {
  window.seen = {usable: 0, blocked: 0};
  new PerformanceObserver(list => {
    for (const one of list.getEntries()) window.seen.blocked += Math.max(0, one.duration - 50);
  }).observe({type: 'longtask', buffered: true});
  const look = () => {
    if (document.querySelector('.graph [data-state=SUCCEEDED], .graph .patch')) {
      window.seen.usable = performance.now();
    } else requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
})()
"""


def p95(values: list[float]) -> float:
    return sorted(values)[max(0, int(len(values) * 0.95) - 1)]


def bundles() -> dict[str, int]:
    """Compressed bytes of scripts and styles: what the first page loads, and all there is."""
    folder = static_folder()
    assert folder is not None, "the pages are not built: make build"
    index = (folder / "index.html").read_text()
    files = {
        path: len(gzip.compress(path.read_bytes(), 9)) for path in folder.rglob("*") if path.suffix in (".js", ".css")
    }
    first = {folder / name.removeprefix("./") for name in re.findall(r'(?:src|href)="([^"]+\.(?:js|css))"', index)}
    return {"first_route_gzip": sum(files[path] for path in first), "all_gzip": sum(files.values())}


def cold(browser: Browser, served: Served, address: str) -> dict[str, float]:
    """One page with nothing cached: what it weighs, when it is there."""
    context = entered(browser, served)
    page = context.new_page()
    page.add_init_script(WATCH)
    session = context.new_cdp_session(page)
    session.send("Network.enable")
    session.send("Performance.enable", {"timeDomain": "threadTicks"})
    weights: list[float] = []
    asked: list[str] = []
    session.on("Network.loadingFinished", lambda event: weights.append(event["encodedDataLength"]))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{served.url}/{address}")
    page.wait_for_function("() => window.seen.usable > 0", timeout=60_000)
    page.wait_for_timeout(1000)
    used = busy(session)
    paint = "() => performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? 0"
    found = {
        "bytes": sum(weights),
        "requests": len(asked),
        "external": len([url for url in asked if not url.startswith(served.url)]),
        "first_paint": page.evaluate(paint),
        "usable": page.evaluate("() => window.seen.usable"),
        "blocked": page.evaluate("() => window.seen.blocked"),
        "main_thread_cpu": used,
    }
    context.close()
    return found


def medians(browser: Browser, served: Served, address: str) -> dict[str, float]:
    rounds = [cold(browser, served, address) for _ in range(ROUNDS)]
    return {name: round(statistics.median(one[name] for one in rounds), 1) for name in rounds[0]}


CLICK = """
async () => {
  const all = [...document.querySelectorAll('.node[data-node]')].filter(one => {
    const box = one.getBoundingClientRect();
    return box.x > 250 && box.right < 850 && box.y > 150 && box.bottom < 850;
  });
  const node = all[Math.floor(Math.random() * all.length)];
  const id = node.dataset.node;
  const box = node.getBoundingClientRect();
  const at = {bubbles: true, clientX: box.x + 50, clientY: box.y + 10, button: 0, pointerId: 1, pointerType: 'mouse'};
  const begin = performance.now();
  node.dispatchEvent(new PointerEvent('pointerdown', at));
  node.dispatchEvent(new PointerEvent('pointerup', at));
  while (!document.querySelector(`aside[aria-label="Task ${id}"]`)) await new Promise(requestAnimationFrame);
  await new Promise(requestAnimationFrame);
  return performance.now() - begin;
}
"""
ZOOM = """
async () => {
  const graph = document.querySelector('.graph');
  const box = graph.getBoundingClientRect();
  const frames = [];
  let last = await new Promise(requestAnimationFrame);
  for (let n = 0; n < 120; n++) {
    const deltaY = Math.floor(n / 30) % 2 ? -12 : 12;
    graph.dispatchEvent(new WheelEvent('wheel', {deltaY, ctrlKey: true, bubbles: true, cancelable: true,
      clientX: box.x + box.width / 2, clientY: box.y + box.height / 2}));
    const now = await new Promise(requestAnimationFrame);
    frames.push(now - last);
    last = now;
  }
  return frames;
}
"""


def busy(session: CDPSession) -> float:
    """Processor time of the page's main thread so far."""
    metrics = session.send("Performance.getMetrics")["metrics"]
    return 1000 * next(one["value"] for one in metrics if one["name"] == "TaskDuration")


def handling(page: Page) -> dict[str, float]:
    """Click to panel, and frames while zooming through the point where names give way to patches."""
    clicks = [page.evaluate(CLICK) for _ in range(20)]
    page.keyboard.press("Escape")
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})
    before = busy(session)
    frames: list[float] = page.evaluate(ZOOM)
    return {
        "click_to_panel": round(statistics.median(clicks), 1),
        "zoom_frame_p95": round(p95(frames), 1),
        "zoom_frame_median": round(statistics.median(frames), 1),
        "zoom_cpu_a_frame": round((busy(session) - before) / len(frames), 2),
    }


PIXELS = """
() => {
  window.pixels = {};
  const note = () => {
    const now = Date.now() / 1000;
    for (const node of document.querySelectorAll('.graph [data-node][data-state=SUCCEEDED]'))
      window.pixels[node.dataset.node] ??= now;
    requestAnimationFrame(note);
  };
  note();
}
"""


def state_to_pixel(context: BrowserContext, served: Served) -> dict[str, float]:
    """From the end of a task to the frame that shows it, for each task of a chain while it runs."""
    run = submit(served, chain(40, name="live"), wait=False)
    page = context.new_page()
    page.goto(f"{served.url}/#/runs/details/{run}")
    page.evaluate(PIXELS)
    served.finished(run)
    page.wait_for_timeout(1500)
    page.keyboard.press("f")
    seen: dict[str, float] = page.evaluate("() => window.pixels")
    table = served.get(f"/api/v1/runs/{run}/tasks")
    names = [table["dictionaries"]["name"][at] for at in table["columns"]["name"]]
    ends = dict(zip(names, table["columns"]["finished"], strict=True))
    opened: float = page.evaluate("() => performance.timeOrigin / 1000 + window.seen?.usable / 1000 || 0")
    late = [
        (at - (table["base"] + ends[name] / 1000)) * 1000
        for name, at in seen.items()
        if table["base"] + ends[name] / 1000 > opened
    ]
    page.close()
    return {"tasks": len(late), "median": round(statistics.median(late), 1), "p95": round(p95(late), 1)}


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def memory(pid: int) -> int:
    return int(re.findall(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[0]) * 1024


class Tab(threading.Thread):
    """What a tab asks of the server: the run, its tasks, its graph, then its stream."""

    def __init__(self, served: Served, run: str) -> None:
        super().__init__(daemon=True)
        self.served, self.run_id = served, run
        self.events = 0
        self.done = threading.Event()

    def run(self) -> None:
        seq = self.served.get(f"/api/v1/runs/{self.run_id}")["seq"]
        for what in ("tasks", "graph"):
            self.served.ask("GET", f"/api/v1/runs/{self.run_id}/{what}", headers={"Accept-Encoding": "gzip"})
        connection = http.client.HTTPConnection("127.0.0.1", self.served.port, timeout=300)
        connection.request("GET", f"/api/v1/events?run={self.run_id}&after={seq}")
        answer = connection.getresponse()
        for line in answer:
            if line.startswith(b"data: "):
                told = json.loads(line[6:])
                self.events += len(told.get("events", ()))
                if any(one["kind"] == "run" and one["body"]["state"] == "SUCCEEDED" for one in told.get("events", ())):
                    break
        self.done.set()
        connection.close()


def fifty_tabs(served: Served) -> dict[str, Any]:
    """Fifty tabs on one live run of 1,000 tasks. The engine is a process of its own and not counted."""
    assert served.process is not None
    pid = served.process.pid
    run = submit(served, fan_out(1000, name="thousand"), wait=False)
    begin, used, before = time.monotonic(), cpu_seconds(pid), memory(pid)
    tabs = [Tab(served, run) for _ in range(TABS)]
    for tab in tabs:
        tab.start()
    most = memory(pid)
    while not all(tab.done.is_set() for tab in tabs):
        most = max(most, memory(pid))
        time.sleep(0.1)
        if time.monotonic() - begin > 300:
            break
    seconds = time.monotonic() - begin
    return {
        "tabs_that_saw_the_end": sum(tab.done.is_set() for tab in tabs),
        "events_a_tab": statistics.median(tab.events for tab in tabs),
        "run_seconds": round(seconds, 1),
        "server_cores": round((cpu_seconds(pid) - used) / seconds, 2),
        "server_bytes_before": before,
        "server_bytes": most,
    }


def main() -> None:
    report: dict[str, Any] = {"bundles": bundles()}
    small, large = milliseconds(chains(1000)), milliseconds(chains(10_000))
    report["layout"] = {"ms_1000": round(small, 1), "ms_10000": round(large, 1)}
    with (
        tempfile.TemporaryDirectory(prefix="mlp-bench-") as folder,
        served_in(Path(folder)) as served,
        chromium() as browser,
    ):
        thousand = recorded(served, wide(1000), "a thousand tasks")
        many = recorded(served, wide(5000), "five thousand tasks")
        report["page_1000"] = medians(browser, served, f"#/runs/details/{thousand}")
        report["page_5000"] = medians(browser, served, f"#/runs/details/{many}")
        context = entered(browser, served)
        page = context.new_page()
        page.goto(f"{served.url}/#/runs/details/{thousand}")
        page.wait_for_selector("[data-node][data-state=SUCCEEDED]")
        report["handling_1000"] = handling(page)
        page.close()
        report["state_to_pixel"] = state_to_pixel(context, served)
        context.close()
    with tempfile.TemporaryDirectory(prefix="mlp-bench-") as folder, served_in(Path(folder)) as served:
        report["fifty_tabs"] = fifty_tabs(served)
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
