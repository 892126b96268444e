"""The KFP conformance suite on a real cluster: one pod a task, every case in a namespace of its own.

    python -m tests.conformance.cluster_cases [--only REGEX] [--jobs N] [--table FILE [--done FILE]]

With ``--table`` each case runs on this machine too, right before, and a table of both is written. What has ended is
noted in ``--done``, one line of JSON a case: given again, what was as expected is not run again.

The images that pipelines name are stood in for by ours, under their names, in the cluster's registry.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.cluster.cluster import Cluster
from tests.conformance import on_cluster
from tests.support.kube.platform import BUCKET, SECRET, Platform, platform, push_stand_ins

ROOT = Path(__file__).resolve().parents[2]
SUITE = Path(os.environ.get("MLPLATFORM_CONFORMANCE") or ROOT.parent / "shared" / "conformance") / "kfp"
_IMAGE = re.compile(r"^\s*image: *['\"]?([^'\"\s{}]+)['\"]?\s*$", re.MULTILINE)


def case_names() -> list[str]:
    """Every case there is; none where the suite is not beside this checkout."""
    cases = SUITE / "cases.json"
    if not cases.is_file():
        return []
    return [case["name"] for case in json.loads(cases.read_text(encoding="utf-8"))["cases"]]


def image_names() -> set[str]:
    """The images that any case names."""
    return {name for file in (SUITE / "ir").glob("*.yaml") for name in _IMAGE.findall(file.read_text(encoding="utf-8"))}


@contextmanager
def prepared(cluster: Cluster, folder: Path) -> Generator[Platform]:
    """The platform, the images and the admission policy on a cluster; namespaces of cases go as they end."""
    with platform(cluster, folder) as installed:
        push_stand_ins(cluster, image_names())
        for body in on_cluster.policy():
            plural = (
                "mutatingadmissionpolicies" if body["kind"].endswith("Policy") else "mutatingadmissionpolicybindings"
            )
            cluster.api.apply(f"/apis/admissionregistration.k8s.io/v1/{plural}/{body['metadata']['name']}", body)
        done = threading.Event()
        sweeper = threading.Thread(target=_sweep, args=(cluster, done), daemon=True)
        sweeper.start()
        try:
            yield installed
        finally:
            done.set()
            sweeper.join(30)


def run_cases(installed: Platform, folder: Path, only: str = "", jobs: int = 4) -> dict[str, dict[str, Any]]:
    """Case name -> its result, as ``check.py`` writes it."""
    assert installed.cluster.folder is not None
    scratch = Path(tempfile.mkdtemp(prefix="mlpconf-", dir="/tmp"))  # pods get folders of it at the same path
    scratch.chmod(0o755)
    s3 = installed.s3
    store = {"uri": f"s3://{BUCKET}", "endpoint": s3.endpoint, "region": s3.region, "secretName": SECRET}
    told = {"cluster": str(installed.cluster.folder), "store": store, "bucket": str(s3.folder / BUCKET)}
    command = (
        f"{sys.executable} -m tests.conformance.on_cluster {{file}} --params {{params}} --home {{home}} --output json"
    )
    env = {
        **os.environ,
        **s3.environment(),
        "PYTHONUNBUFFERED": "1",
        on_cluster.VARIABLE: json.dumps(told),
        "KFP_CONFORMANCE_CMD": command,
        "PYTHONPATH": str(ROOT),
        "TMPDIR": str(scratch),
    }
    try:
        return _check(folder, env, only, "--jobs", str(jobs), "--timeout", "1200")
    finally:
        with contextlib.suppress(OSError):
            scratch.rmdir()


def run_here(folder: Path, only: str = "") -> dict[str, dict[str, Any]]:
    """The same cases on this machine, without a cluster."""
    env = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    return _check(folder, env, only)


def run_both(installed: Platform, folder: Path, names: list[str], jobs: int, done: Path) -> None:
    """Each case on this machine, then on the cluster; a line of JSON for each goes to ``done`` as it ends."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True).stdout
    lock = threading.Lock()

    def one(name: str) -> None:
        only = f"^{re.escape(name)}$"
        place = folder / name
        both = {
            "here": run_here(place / "here", only)[name],
            "there": run_cases(installed, place / "there", only)[name],
        }
        with lock, open(done, "a", encoding="utf-8") as file:
            file.write(json.dumps({"name": name, "commit": commit.strip(), **both}) + "\n")
        print(f"{name}: {_told(both['here'])}, {_told(both['there'])}", flush=True)

    with ThreadPoolExecutor(jobs) as workers:
        list(workers.map(one, names))


def ended(done: Path) -> dict[str, dict[str, Any]]:
    """Case name -> the last line about it. A line cut off by a crash counts for nothing."""
    found: dict[str, dict[str, Any]] = {}
    for line in done.read_text(encoding="utf-8").splitlines() if done.is_file() else ():
        with contextlib.suppress(ValueError):
            both = json.loads(line)
            found[both["name"]] = both
    return found


def table(found: dict[str, dict[str, Any]]) -> str:
    """Both columns, in markdown: as expected, or what differed; and the seconds of each."""
    lines = ["| case | one machine | cluster | seconds | seconds on the cluster |", "|---|---|---|---:|---:|"]
    for name, both in sorted(found.items()):
        here, there = both["here"], both["there"]
        times = f"{here['seconds']:.0f} | {there['seconds']:.0f}"
        lines.append(f"| {name} | {_told(here)} | {_told(there)} | {times} |")
    return "\n".join(lines) + "\n"


def _check(folder: Path, env: dict[str, str], only: str, *words: str) -> dict[str, dict[str, Any]]:
    """Run the suite's own harness; its log, and the output of cases that failed, stay in ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    report, log = folder / "results.json", folder / "check.log"
    command = [sys.executable, str(SUITE / "check.py"), "--json", str(report), "--keep", str(folder / "failed"), *words]
    command += ["--only", only] if only else []
    with open(log, "wb") as output:
        subprocess.run(command, env=env, stdout=output, stderr=output, stdin=subprocess.DEVNULL, check=False)
    assert report.is_file(), log.read_text(errors="replace")[-4000:]
    return {result["name"]: result for result in json.loads(report.read_text(encoding="utf-8"))["results"]}


def _told(result: dict[str, Any]) -> str:
    differences = result["differences"]
    return "; ".join(differences).replace("|", "\\|")[:300] if differences else "as expected"


def _sweep(cluster: Cluster, done: threading.Event) -> None:
    """Delete namespaces whose case has ended (its folder is gone)."""
    while True:
        last = done.wait(5)
        with contextlib.suppress(OSError):
            for item in cluster.api.get(f"/api/v1/namespaces?labelSelector={on_cluster.LABEL}")["items"]:
                metadata = item["metadata"]
                folder = metadata.get("annotations", {}).get(on_cluster.FOLDER, "")
                if not Path(folder).exists() and "deletionTimestamp" not in metadata:
                    cluster.api.delete(f"/api/v1/namespaces/{metadata['name']}")
        if last:
            return


def main() -> None:
    """Run, and print one line a case that differs."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", default="")
    parser.add_argument("--jobs", type=int, default=4)
    parser.add_argument("--table", type=Path)
    parser.add_argument("--done", type=Path)
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="mlplatform-conformance-"))
    print(f"logs, and what failed: {folder}", file=sys.stderr)
    done = arguments.done or folder / "done.jsonl"
    before = [
        name for name, both in ended(done).items() if not any(both[side]["differences"] for side in ("here", "there"))
    ]
    names = [name for name in case_names() if re.search(arguments.only, name)]
    with _cluster() as cluster, prepared(cluster, folder) as installed:
        if arguments.table is None:
            results = run_cases(installed, folder, arguments.only, arguments.jobs)
        else:
            run_both(installed, folder, [name for name in names if name not in before], arguments.jobs, done)
            found = {name: both for name, both in ended(done).items() if name in names}
            arguments.table.write_text(table(found), encoding="utf-8")
            results = {name: both["there"] for name, both in found.items()}
    for name, result in sorted(results.items()):
        for difference in result["differences"]:
            print(f"{name}: {difference}")
    print(f"{sum(not r['differences'] for r in results.values())}/{len(results)}")


@contextmanager
def _cluster() -> Generator[Cluster]:
    """The one that is up for tests, or one of our own."""
    running = os.environ.get("MLPLATFORM_TEST_CLUSTER")
    cluster = Cluster.find(Path(running).resolve()) if running else Cluster.start(node=True)
    try:
        yield cluster
    finally:
        if not running:
            cluster.stop()


if __name__ == "__main__":
    main()
