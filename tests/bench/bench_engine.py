"""The engine against ``kfp.local`` in the same run: ``python -m tests.bench.bench_engine``.

Prints one JSON object: [least, median] in seconds (milliseconds where a name says ``ms``), ratios of medians, memory,
and how busy the machine was. Figures go to docs/benchmarks.md by hand, with the date.

- (a) a chain of 20 trivial tasks and a 200-way fan-out in a running service, a task; ``kfp.local`` beside it;
- (a') the same with one metric logged by each task, and the seconds after the end of the run until MLflow's REST has
  all of them (the home's own server, running);
- (b) a 1,000-way fan-out: seconds in all, resident memory of the service;
- (c) a cold run of three trivial tasks, no service running: from YAML, and from a .py with ``kfp.dsl``;
- (d) a fully cached rerun of 100 tasks;
- (e) ``import mlplatform``.

Words on the command line choose parts: ``hot`` (a), ``tracked`` (a'), ``wide`` (b, d), ``cold`` (c, e).
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
import urllib.request
from collections.abc import Callable, Iterable
from pathlib import Path

from mlplatform.bootstrap import find_uv
from mlplatform.engine.home import cache_folder
from tests.support import pipelines

LOCAL = """
import sys, time, warnings
warnings.filterwarnings('ignore')
from kfp import dsl, local
local.init(runner=local.SubprocessRunner(use_venv=False), pipeline_root=sys.argv[2], raise_on_error=True)

@dsl.component(install_kfp_package=sys.argv[3] == 'checked')
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


SCRIPT = """
from kfp import dsl

@dsl.component
def add_one(x: int) -> int:
    return x + 1

@dsl.pipeline
def three():
    add_one(x=add_one(x=add_one(x=0).output).output)
"""

MEASURED = """
def add_one(x: int, seen: Output[Metrics]) -> int:
    seen.log_metric('x', x)
    return x + 1
"""


def measured(builder: pipelines.Builder) -> pipelines.Builder:
    """The same pipeline with a component that logs a metric."""
    builder.component(
        "add-one",
        MEASURED,
        inputs={"x": "NUMBER_INTEGER"},
        outputs={"Output": "NUMBER_INTEGER"},
        artifacts_out={"seen": "system.Metrics"},
    )
    return builder


def spread(values: Iterable[float], unit: float = 1.0) -> list[float]:
    """[least, median]."""
    found = [value * unit for value in values]
    return [round(min(found), 4), round(statistics.median(found), 4)]


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

    def result(self, path: str, *words: str, home: Path | None = None) -> dict:
        result = self.cli("run", path, *words, home=home)
        assert result["state"] == "SUCCEEDED", result["error"]
        return result

    def run(self, path: str, *words: str, home: Path | None = None) -> float:
        """Seconds from start to end as the service saw them (submission to durable end)."""
        result = self.result(path, *words, home=home)
        return float(result["finished_at"]) - float(result["created_at"])

    def service_memory(self) -> float:
        """Resident MiB of the service."""
        pid = json.loads((self.home / "service.json").read_text())["pid"]
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS"):
                return int(line.split()[1]) / 1024
        return float("nan")

    # ------------------------------------------------------------------ MLflow
    def metrics(self, url: str, experiment: str) -> int:
        """How many runs of this experiment MLflow shows with their metric ``x``."""

        def ask(path: str, body: dict) -> dict:
            request = urllib.request.Request(
                f"{url}/api/2.0/mlflow/{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}
            )
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer)

        known = {
            item["name"]: item["experiment_id"]
            for item in ask("experiments/search", {"max_results": 1000})["experiments"]
        }
        if experiment not in known:
            return 0
        found = ask("runs/search", {"experiment_ids": [known[experiment]], "max_results": 5000}).get("runs", [])
        return sum(any(m["key"] == "x" for m in run["data"].get("metrics", [])) for run in found)

    def tracked(self, path: str, tasks: int, experiment: str, url: str) -> tuple[float, float]:
        """(seconds of the run, seconds from its end until MLflow has every task's metric)."""
        result = self.result(path, "--experiment", experiment)
        while self.metrics(url, experiment) < tasks:
            time.sleep(0.02)
        return result["finished_at"] - result["created_at"], time.time() - result["finished_at"]


def hot(bench: Bench) -> dict[str, object]:
    """(a), and kfp.local beside it."""
    figures: dict[str, object] = {}
    chain, fan = bench.write(pipelines.chain(20)), bench.write(pipelines.fan_out(200))
    bench.run(chain)
    chains = [bench.run(chain) / 20 for _ in range(15)]
    figures["a_chain_ms_per_task"] = spread(chains, 1000)
    figures["a_fan_out_ms_per_task"] = spread([bench.run(fan) / 200 for _ in range(5)], 1000)
    local = kfp_local(bench.folder, "checked")
    figures["kfp_local_chain_ms_per_task"] = round(local * 1000, 1)
    figures["kfp_local_unchecked_chain_ms_per_task"] = round(kfp_local(bench.folder, "unchecked") * 1000, 1)
    figures["a_ratio_to_kfp_local"] = round(local / statistics.median(chains), 1)
    return figures


def tracked(bench: Bench) -> dict[str, object]:
    """(a')."""
    figures: dict[str, object] = {}
    url = bench.cli("mlflow", "--no-browser")["url"]
    mchain = bench.write(measured(pipelines.chain(20, name="measured-chain")))
    mfan = bench.write(measured(pipelines.fan_out(200, name="measured-fan-out")))
    bench.tracked(mchain, 20, "warm", url)
    told = [bench.tracked(mchain, 20, f"chain {index}", url) for index in range(5)]
    figures["a2_metric_chain_ms_per_task"] = spread([run / 20 for run, _ in told], 1000)
    figures["a2_metric_chain_in_mlflow_s"] = spread([after for _, after in told])
    told = [bench.tracked(mfan, 200, f"fan-out {index}", url) for index in range(2)]
    figures["a2_metric_fan_out_ms_per_task"] = spread([run / 200 for run, _ in told], 1000)
    figures["a2_metric_fan_out_in_mlflow_s"] = spread([after for _, after in told])
    return figures


def kfp_local(folder: Path, mode: str) -> float:
    """Seconds a task of the same chain by kfp itself (SubprocessRunner, no virtual environments).

    ``mode``: ``checked`` as kfp does by default: each task has pip see to kfp's runtime, which is there already (pip is
    put there for that; environments made by uv have none); ``unchecked`` with ``install_kfp_package=False``.
    """
    script = folder / "local.py"
    script.write_text(LOCAL)
    env = dict(os.environ)
    if mode == "checked" and importlib.util.find_spec("pip") is None:
        pip = folder / "pip"
        uv = find_uv(cache_folder())
        command = [str(uv), "pip", "install", "--quiet", "--python", sys.executable, "--target", str(pip), "pip"]
        subprocess.run(command, check=True)
        env["PYTHONPATH"] = str(pip)
        env["PATH"] = f"{pip / 'bin'}{os.pathsep}{env['PATH']}"
    env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{env['PATH']}"
    command = [sys.executable, str(script), "20", str(folder / "root"), mode]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=env)
    line = next(line for line in done.stdout.splitlines() if line.startswith("SECONDS"))
    return float(line.split()[1]) / 20


def wide_and_cached(bench: Bench) -> dict[str, object]:
    """(b) and (d)."""
    figures: dict[str, object] = {}
    wide = bench.write(pipelines.fan_out(1000, name="wide"))
    bench.run(bench.write(pipelines.chain(3, name="warm")))
    before = bench.service_memory()
    figures["b_1000_s"] = spread([bench.run(wide) for _ in range(2)])
    figures["b_service_mib"] = [round(before, 1), round(bench.service_memory(), 1)]
    hundred = bench.write(pipelines.chain(100, cache=True, name="hundred"))
    bench.run(hundred)
    figures["d_cached_100_wall_s"] = spread([seconds(lambda: bench.run(hundred)) for _ in range(7)])
    return figures


def cold(bench: Bench) -> dict[str, object]:
    """(c) and (e)."""
    figures: dict[str, object] = {}
    three = bench.write(pipelines.chain(3, name="three"))
    script = bench.folder / "three.py"
    script.write_text(SCRIPT)
    for name, path in (("c_cold_three_wall_s", three), ("c_cold_three_py_wall_s", str(script))):
        walls: list[float] = []
        for index in range(5):
            home = bench.folder / f"{name}{index}"
            walls.append(seconds(lambda home=home, path=path: bench.run(path, home=home)))
            bench.cli("service", "stop", home=home)
        figures[name] = spread(walls)
    imports = [
        seconds(lambda: subprocess.run([sys.executable, "-c", "import mlplatform"], check=True)) for _ in range(9)
    ]
    bare = [seconds(lambda: subprocess.run([sys.executable, "-c", "pass"], check=True)) for _ in range(9)]
    figures["e_import_s"] = round(min(imports) - min(bare), 4)
    return figures


PARTS: dict[str, Callable[[Bench], dict[str, object]]] = {
    "hot": hot,
    "tracked": tracked,
    "wide": wide_and_cached,
    "cold": cold,
}


def main() -> None:
    os.environ["MLPLATFORM_IDLE_SECONDS"] = "900"
    figures: dict[str, object] = {"load_before": os.getloadavg()[0]}
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder))
        try:
            for name, part in PARTS.items():
                if name in (sys.argv[1:] or PARTS):
                    found = part(bench)
                    print(json.dumps(found), file=sys.stderr, flush=True)
                    figures |= found
        finally:
            bench.cli("service", "stop")
    figures["load_after"] = os.getloadavg()[0]
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
