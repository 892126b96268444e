"""The KFP conformance suite on a real cluster: one pod a task, every case in a namespace of its own.

    python -m tests.conformance.cluster_cases [--only REGEX] [--jobs N] [--table FILE]

With ``--table`` the same cases run on this machine too, and a table of both is written.

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
    report = folder / "results.json"
    words = [sys.executable, str(SUITE / "check.py"), "--jobs", str(jobs), "--json", str(report), "--timeout", "1200"]
    words += ["--only", only] if only else []
    words += ["--keep", str(folder / "failed")]
    log = folder / "check.log"
    with open(log, "wb") as output:
        subprocess.run(words, env=env, stdout=output, stderr=output, stdin=subprocess.DEVNULL, check=False)
    with contextlib.suppress(OSError):
        scratch.rmdir()
    assert report.is_file(), log.read_text(errors="replace")[-4000:]
    return {result["name"]: result for result in json.loads(report.read_text(encoding="utf-8"))["results"]}


def run_here(folder: Path, only: str = "") -> dict[str, dict[str, Any]]:
    """The same cases on this machine, without a cluster."""
    report = folder / "results-here.json"
    words = [sys.executable, str(SUITE / "check.py"), "--jobs", "2", "--json", str(report)]
    words += ["--only", only] if only else []
    env = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    subprocess.run(words, env=env, stdout=sys.stderr, stdin=subprocess.DEVNULL, check=False)
    return {result["name"]: result for result in json.loads(report.read_text(encoding="utf-8"))["results"]}


def table(here: dict[str, dict[str, Any]], there: dict[str, dict[str, Any]]) -> str:
    """Both columns, in markdown: as expected, or what differed."""

    def told(result: dict[str, Any]) -> str:
        differences = result["differences"]
        return "; ".join(differences).replace("|", "\\|")[:300] if differences else "as expected"

    lines = ["| case | one machine | cluster |", "|---|---|---|"]
    lines += [f"| {name} | {told(here[name])} | {told(there[name])} |" for name in sorted(here) if name in there]
    return "\n".join(lines) + "\n"


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
    arguments = parser.parse_args()
    running = os.environ.get("MLPLATFORM_TEST_CLUSTER")
    cluster = Cluster.find(Path(running).resolve()) if running else Cluster.start(node=True)
    folder = Path(tempfile.mkdtemp(prefix="mlplatform-conformance-"))
    print(f"logs, and what failed: {folder}", file=sys.stderr)
    try:
        with prepared(cluster, folder) as installed:
            results = run_cases(installed, folder, arguments.only, arguments.jobs)
    finally:
        if not running:
            cluster.stop()
    for name, result in sorted(results.items()):
        for difference in result["differences"]:
            print(f"{name}: {difference}")
    if arguments.table:
        arguments.table.write_text(table(run_here(folder, arguments.only), results), encoding="utf-8")
    print(f"{sum(not r['differences'] for r in results.values())}/{len(results)}")


if __name__ == "__main__":
    main()
