"""The operator as a process whose requests, bytes, time and memory are known."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.cluster.cluster import Cluster
from tests.cluster.components import free_port

_SAMPLE = re.compile(r"^mlplatform_operator_(\w+?)(?:\{(.*)\})? (\S+)$", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="([^"]*)"')
WRITES = ("create", "update", "patch", "delete")


class Operator:
    """``mlplatform operator --only NAME`` for one namespace. What it did is there after :meth:`look`."""

    def __init__(self, cluster: Cluster, namespace: str, only: str, workers: int = 4) -> None:
        self.port = free_port("127.0.0.1")
        self.flags = ["--only", only, "--namespace", namespace, "--workers", str(workers)]
        self.command = [sys.executable, "-m", "mlplatform", "operator", "--kubeconfig", str(cluster.kubeconfig)]
        self.command += [
            *self.flags,
            "--host",
            "127.0.0.1",
            "--port",
            str(self.port),
            "--progress-port",
            "-1",
            "--log-level",
            "warning",
        ]
        self.requests: Counter[tuple[str, str]] = Counter()
        self.sent: Counter[tuple[str, str]] = Counter()
        self.buckets: dict[float, float] = {}
        self.peak = self.memory = self.processor = 0.0
        self.ready_after = 0.0

    def __enter__(self) -> Self:
        self.folder = tempfile.TemporaryDirectory()
        began = time.perf_counter()
        with open(Path(self.folder.name) / "log", "wb") as log:
            self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        while not self._ready():
            assert self.process.poll() is None, self.log()
            assert time.perf_counter() - began < 120, self.log()
            time.sleep(0.02)
        self.ready_after = time.perf_counter() - began
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if kind is not None:
            print(self.log()[-3000:], file=sys.stderr)
        self.process.terminate()
        self.process.wait(60)
        self.folder.cleanup()

    def log(self) -> str:
        return (Path(self.folder.name) / "log").read_text(errors="replace")

    def look(self) -> None:
        """Read what it has done so far."""
        self.requests.clear()
        self.sent.clear()
        for name, labels, number in self._samples():
            if name == "api_requests_total":
                self.requests[labels["verb"], labels["resource"]] += int(number)
            elif name == "api_sent_bytes_total":
                self.sent[labels["verb"], labels["resource"]] += int(number)
            elif name == "reconcile_seconds_bucket":
                self.buckets[float(labels["le"].replace("+Inf", "inf"))] = number
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        self.peak, self.memory = (
            int(next(line.split()[1] for line in status.splitlines() if line.startswith(word))) / 1024
            for word in ("VmHWM", "VmRSS")
        )
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        self.processor = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def resident(self) -> float:
        """Its memory now (MiB)."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS"))) / 1024

    def reconciled(self) -> int:
        """How often it has looked at something."""
        return int(sum(number for name, _, number in self._samples() if name == "reconciles_total"))

    def made(self, count: int) -> bool:
        """Whether it has made that many pods."""
        self.look()
        return self.requests["create", "pods"] >= count

    def released(self, count: int) -> bool:
        """Whether it has let go of that many pods."""
        self.look()
        return self.requests["patch", "pods"] >= count

    @property
    def writes(self) -> int:
        return sum(times for (verb, _), times in self.requests.items() if verb in WRITES)

    def at_most(self, part: float) -> float:
        """Seconds within which that part of its looks took place: the bound of the histogram's bucket."""
        whole = max(self.buckets.values(), default=0)
        return min((bound for bound, number in self.buckets.items() if number >= part * whole), default=float("nan"))

    def words(self) -> str:
        """What it came to, in a line."""
        return (
            f"{sum(self.requests.values())} requests ({self.writes} writes), {sum(self.sent.values()):,} bytes sent, "
            f"{self.processor:.1f} s of processor time, {self.memory:.0f} MiB ({self.peak:.0f} at most), a look "
            f"p50 <= {self.at_most(0.5)} s, p99 <= {self.at_most(0.99)} s; flags {' '.join(self.flags)}"
        )

    def _ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=5) as answer:
                return answer.status == 200
        except OSError:
            return False

    def _samples(self) -> list[tuple[str, dict[str, str], float]]:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=30) as answer:
            text = answer.read().decode()
        return [(name, dict(_LABEL.findall(labels)), float(number)) for name, labels, number in _SAMPLE.findall(text)]
