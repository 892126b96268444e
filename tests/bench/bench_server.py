"""The server over a full store: ``python -m tests.bench.bench_server [POSTGRESQL_URL]``.

Fills a store with 100,000 runs and one run of 5,000 tasks, serves it by a process of its own, and prints one JSON
object: what lists of runs take over HTTP (median, p95 and the server's processor time, in milliseconds, of several
kinds of lists) with the SQL statements of one, what the pages of the large run take and weigh, and the server's start
and memory.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from mlplatform.core.model import RunRecord, TaskKey, TaskRecord
from mlplatform.core.queries import RunQuery
from mlplatform.core.records import Batch
from mlplatform.core.states import RunState, TaskState
from mlplatform.store import open_store, rows
from mlplatform.store.codec import to_key
from mlplatform.store.writes import document_digest
from tests.support.pipelines import chain

RUNS, TASKS = 100_000, 5_000
LISTS: dict[str, dict[str, Any]] = {
    "newest": {},
    "failed": {"state": "FAILED"},
    "failed or running": {"state": ["FAILED", "RUNNING"]},
    "one experiment": {"experiment": "e7"},
    "one experiment, failed": {"experiment": "e7", "state": "FAILED"},
    "one tag": {"tag": "team=t17"},
    "search": {"q": "run 04217"},
    "search without a hit": {"q": "no such thing"},
    "longest": {"sort": "-duration"},
    "by name": {"sort": "name"},
    "deep in the list": {"cursor": True},
}


def run_id(number: int) -> str:
    return f"1m8{number:015d}"


def made(number: int, document: str) -> RunRecord:
    state = RunState.RUNNING if number >= RUNS - 20 else RunState.FAILED if number % 10 == 0 else RunState.SUCCEEDED
    return RunRecord(
        run_id(number),
        f"run {number:05d}",
        f"p{number % 30}",
        state,
        document,
        experiment=f"e{number % 20}",
        parameters={"rate": 0.1, "epochs": number % 7, "data": "s3://bucket/some/where"},
        created_at=1.7e9 + number,
        started_at=1.7e9 + number + 1,
        finished_at=1.7e9 + number + 1 + number % 977 if state.finished else None,
        tags={"team": f"t{number % 100}"},
    )


def fill(target: str) -> str:
    """Returns the id of the large run."""
    store = open_store(target)
    document = chain(3).text().encode()
    digest = document_digest(document)
    big = made(RUNS, digest)
    store.create_run(big, document)
    records = [made(number, digest) for number in range(RUNS)]
    database: Any = store._database
    with database.transaction() as to:
        to.many(rows.INSERT_RUN, ((*rows.run_row(one), rows.searched(one)) for one in records))
        tags = "INSERT INTO mlp_run_tags (tag, value, run_id) VALUES (?, ?, ?)"
        to.many(tags, ((to_key(k), to_key(v), one.run_id) for one in records for k, v in one.tags.items()))
    names = [f"for-loop-1/train-{number % 5}" for number in range(TASKS)]
    tasks = [
        TaskRecord(
            TaskKey(tuple(name.split("/")), (number // 5,)),
            TaskState.SUCCEEDED,
            f"comp-{name[-7:]}",
            attempt=1,
            created_at=1.7e9 + number,
            started_at=1.7e9 + number + 0.5,
            finished_at=1.7e9 + number + 9,
            cache_note="no earlier result of this task is kept",
        )
        for number, name in enumerate(names)
    ]
    store.apply(Batch(big.run_id, tasks=tasks))
    for number in range(RUNS - 200, RUNS):
        store.apply(Batch(run_id(number), tasks=tasks[:10]))
    with database.transaction() as to:
        to.run("ANALYZE")
    store.close()
    return big.run_id


def statements(target: str) -> int:
    """How many SQL statements a page of runs with its counts takes."""
    store = open_store(target)
    database: Any = store._database
    asked: list[str] = []
    real = database.rows
    database.rows = lambda sql, parameters=(): (asked.append(sql), real(sql, parameters))[1]
    query = RunQuery(limit=51)
    store.run_page(query)
    store.run_counts(query)
    store.close()
    return len(asked)


class Server:
    def __init__(self, home: Path, target: str) -> None:
        self.socket = socket.socket()
        self.socket.bind(("127.0.0.1", 0))
        self.socket.listen(64)
        self.port = self.socket.getsockname()[1]
        command = [sys.executable, "-m", "mlplatform.server", "--home", str(home), "--listener"]
        command += [str(self.socket.fileno()), "--store", target]
        begun = time.perf_counter()
        self.process = subprocess.Popen(command, pass_fds=(self.socket.fileno(),))
        self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        self.get("/healthz")
        self.started = time.perf_counter() - begun

    def get(self, path: str, query: dict[str, Any] | None = None) -> tuple[float, int, bytes]:
        """(seconds, bytes on the wire, body)"""
        address = path + ("?" + urlencode(query, doseq=True) if query else "")
        begun = time.perf_counter()
        self.connection.request("GET", address, headers={"Accept-Encoding": "gzip"})
        answer = self.connection.getresponse()
        body = answer.read()
        took = time.perf_counter() - begun
        assert answer.status == 200, (address, answer.status, body[:300])
        if answer.headers.get("content-encoding") == "gzip":
            import gzip

            return took, len(body), gzip.decompress(body)
        return took, len(body), body

    def cpu(self) -> float:
        """Seconds of processor time by now: what a loaded machine does not change."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(") ")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory(self) -> float:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.findall(r"VmRSS:\s+(\d+)", status)[0]) / 1024

    def stop(self) -> None:
        self.connection.close()
        self.process.terminate()
        self.process.wait(20)


def lists(server: Server) -> dict[str, Any]:
    random.seed(1)
    found: dict[str, Any] = {}
    everything: list[float] = []
    for name, query in LISTS.items():
        times: list[float] = []
        before = server.cpu()
        for _ in range(40):
            asked = dict(query)
            if asked.get("cursor"):
                from mlplatform.server.words import to_cursor

                place = run_id(random.randrange(RUNS))
                asked["cursor"] = to_cursor((place, place))
            times.append(server.get("/api/v1/runs", asked)[0] * 1000)
        everything += times
        cpu = round((server.cpu() - before) / len(times) * 1000, 1)
        found[name] = {"median_ms": round(statistics.median(times), 1), "p95_ms": p95(times), "cpu_ms": cpu}
    found["all"] = {"median_ms": round(statistics.median(everything), 1), "p95_ms": p95(everything)}
    return found


def p95(times: list[float]) -> float:
    return round(sorted(times)[int(len(times) * 0.95) - 1], 1)


def large(server: Server, run: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, path in (("run", ""), ("tasks", "/tasks"), ("graph", "/graph")):
        before = server.cpu()
        answers = [server.get(f"/api/v1/runs/{run}{path}") for _ in range(10)]
        found[name] = {
            "cpu_ms": round((server.cpu() - before) / len(answers) * 1000, 1),
            "median_ms": round(statistics.median(one[0] for one in answers) * 1000, 1),
            "wire_kb": round(answers[0][1] / 1024, 1),
            "json_kb": round(len(answers[0][2]) / 1024, 1),
        }
    return found


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        home.mkdir()
        target = sys.argv[1] if len(sys.argv) > 1 else str(home / "store.db")
        os.environ["MLPLATFORM_HOME"] = str(home)
        run = fill(target)
        server = Server(home, target)
        try:
            result = {
                "store": "postgresql" if "://" in target else "sqlite",
                "runs": RUNS,
                "sql_statements": statements(target),
                "lists": lists(server),
                "run_of_5000_tasks": large(server, run),
                "start_s": round(server.started, 2),
                "memory_mib": round(server.memory()),
            }
        finally:
            server.stop()
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
