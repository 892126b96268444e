"""The engine against ``kfp.local`` in the same run: ``python -m tests.bench.bench_engine``.

Prints one JSON object: medians in seconds, ratios, memory. Figures go to docs/benchmarks.md by hand, with the date.

- (a) a chain of 20 trivial tasks and a 200-way fan-out in a running service, seconds a task;
- (b) a 1,000-way fan-out: seconds in all, resident memory of the service;
- (c) a cold run of three trivial tasks, no service running;
- (d) a fully cached rerun of 100 tasks;
- (e) ``import mlplatform``.
"""

from __future__ import annotations

import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.support import pipelines

LOCAL = """
import importlib.util, sys, time, warnings
warnings.filterwarnings('ignore')
from kfp import dsl, local
local.init(runner=local.SubprocessRunner(use_venv=False), pipeline_root=sys.argv[2], raise_on_error=True)

@dsl.component(install_kfp_package=importlib.util.find_spec('pip') is not None)
def add_one(x: int) -> int:
    return x + 1

@dsl.pipeline
def chain():
    task = add_one(x=0)
    for _ in range(int(sys.argv[1]) - 1):
        task = add_one(x=task.output)

began = time.perf_counter()
chain()
print('SECONDS', time.perf_counter() - began)
"""


def seconds(function: Callable[[], object]) -> float:
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


class Bench:
    """One home, one folder of documents."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "home"

    def cli(self, *words: str, home: Path | None = None) -> dict:
        command = [sys.executable, "-m", "mlplatform.cli.main", *words, "--home", str(home or self.home)]
        done = subprocess.run(
            [*command, "--output", "json"], capture_output=True, text=True, cwd=self.folder, check=False
        )
        if done.returncode:
            raise SystemExit(f"{words}: {done.stdout[-2000:]}\n{done.stderr[-2000:]}")
        return json.loads(done.stdout)

    def write(self, builder: pipelines.Builder) -> str:
        path = self.folder / f"{builder.name}.json"
        path.write_text(builder.text())
        return str(path)

    def run(self, path: str, **kwargs: Path) -> float:
        """Seconds from start to end as the service saw them (submission to durable end)."""
        result = self.cli("run", path, **kwargs)
        assert result["state"] == "SUCCEEDED", result["error"]
        return float(result["finished_at"]) - float(result["created_at"])

    def service_memory(self) -> float:
        """Resident MiB of the service."""
        pid = json.loads((self.home / "service.json").read_text())["pid"]
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS"):
                return int(line.split()[1]) / 1024
        return float("nan")


def main() -> None:
    os.environ["MLPLATFORM_IDLE_SECONDS"] = "60"
    figures: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as name:
        bench = Bench(Path(name))
        chain, fan = bench.write(pipelines.chain(20)), bench.write(pipelines.fan_out(200))
        bench.run(chain)
        figures["a_chain_s_per_task"] = statistics.median(bench.run(chain) for _ in range(5)) / 20
        figures["a_fan_out_s_per_task"] = statistics.median(bench.run(fan) for _ in range(3)) / 200
        wide = bench.write(pipelines.fan_out(1000, name="wide"))
        before = bench.service_memory()
        figures["b_1000_s"] = bench.run(wide)
        figures["b_service_mib"] = [before, bench.service_memory()]
        hundred = bench.write(pipelines.chain(100, cache=True, name="hundred"))
        bench.run(hundred)
        figures["d_cached_100_wall_s"] = statistics.median(seconds(lambda: bench.run(hundred)) for _ in range(5))
        bench.cli("service", "stop")
        three = bench.write(pipelines.chain(3, name="three"))
        cold = []
        for index in range(5):
            home = bench.folder / f"cold{index}"
            cold.append(seconds(lambda home=home: bench.run(three, home=home)))
            bench.cli("service", "stop", home=home)
        figures["c_cold_three_wall_s"] = statistics.median(cold)
        imports = [
            seconds(lambda: subprocess.run([sys.executable, "-c", "import mlplatform"], check=True)) for _ in range(5)
        ]
        bare = [seconds(lambda: subprocess.run([sys.executable, "-c", "pass"], check=True)) for _ in range(5)]
        figures["e_import_s"] = statistics.median(imports) - statistics.median(bare)
        script = bench.folder / "local.py"
        script.write_text(LOCAL)
        local = [sys.executable, str(script), "20", str(bench.folder / "root")]
        done = subprocess.run(local, capture_output=True, text=True, check=True)
        line = next(line for line in done.stdout.splitlines() if line.startswith("SECONDS"))
        figures["kfp_local_checks_its_own_package"] = importlib.util.find_spec("pip") is not None
        figures["kfp_local_chain_s_per_task"] = float(line.split()[1]) / 20
        figures["a_ratio_to_kfp_local"] = figures["kfp_local_chain_s_per_task"] / figures["a_chain_s_per_task"]  # type: ignore[operator]
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
