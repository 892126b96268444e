"""The conformance set through the PipelineRun controller: same states and outputs as on one machine.

The API server is the verified fake, pods are processes (tests/support/kube/node.py), the launcher is the one that real
pods have. Left out is what only a container or a package index can show. ``MLPLATFORM_CONFORMANCE_ALL=1`` runs every
case; by default there is one for each thing that the controller decides, since each pod takes two interpreters.
"""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from mlplatform.apis.pipelinerun import ArtifactRef
from mlplatform.core.errors import MlPlatformError
from mlplatform.ir.package import read_file
from tests.support.kube.pipelines import Cluster, spec_of

SUITE = (
    Path(os.environ.get("MLPLATFORM_CONFORMANCE") or Path(__file__).resolve().parents[3] / "shared" / "conformance")
    / "kfp"
)
#: What the processes of this machine cannot show: packages are fetched, volumes appear at absolute paths.
_NEEDS = {"pip", "mount"}
#: A workspace and claims lie at absolute paths.
_FEATURES = {"pip", "workspace", "pvc", "names-on-disk"}
_CHOSEN = {
    "own-caching",
    "own-condition-with-type-error",
    "own-deep-mixed-control-flow",
    "own-declared-output-never-written",
    "own-directory-artifact",
    "own-empty-loop-from-upstream-nested",
    "own-exit-handler-over-loop-and-condition",
    "own-exit-status-names",
    "own-failing-branch-other-branch-finishes",
    "own-ignore-upstream-failure-defaults",
    "own-importer-local-file",
    "own-large-string-parameter",
    "own-metrics-and-classification-metrics",
    "own-nested-collected-params",
    "own-oneof-artifacts-nested",
    "own-oneof-none-executed",
    "own-retry",
    "bad-own-unknown-output-key",
    "own-config-map-and-optional-secret",
}


def _cases() -> list[dict[str, Any]]:
    path = SUITE / "cases.json"
    cases = json.loads(path.read_text(encoding="utf-8"))["cases"] if path.is_file() else []
    everything = os.environ.get("MLPLATFORM_CONFORMANCE_ALL") == "1"
    return [
        case
        for case in cases
        if not _NEEDS & set(case.get("needs") or [])
        and not _FEATURES & set(case["features"])
        and (everything or case["name"] in _CHOSEN or any(case["name"].startswith(f"{name}-") for name in _CHOSEN))
    ]


CASES = _cases()


@pytest.fixture(scope="module")
def checker() -> ModuleType:
    spec = importlib.util.spec_from_file_location("conformance_check", SUITE / "check.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.cannot_run_here("the suite is kept beside this repository, not in it")
def test_the_suite_is_here() -> None:
    if not CASES:
        pytest.skip(f"no conformance suite at {SUITE}; MLPLATFORM_CONFORMANCE may name another folder")
    assert len(CASES) >= 12


@contextmanager
def _cluster(case: dict[str, Any], tmp: Path, home: Path, checker: ModuleType) -> Generator[Cluster]:
    """One for all runs of a case: what a run leaves in the cache is there for the next."""
    setup = checker.subst(case.get("setup") or {}, str(tmp))
    cluster = Cluster(
        home,
        secrets=setup.get("secrets") or {},
        config_maps=setup.get("config_maps") or {},
        env=_environment(setup, tmp),
        workdir=tmp,
    )
    try:
        yield cluster
    finally:
        cluster.node.close()


def _run(
    case: dict[str, Any], parameters: dict[str, Any], cluster: Cluster, tmp: Path, number: int, checker: ModuleType
) -> dict[str, Any]:
    home = cluster.node.folder
    run = {"json": None, "stdout_rest": "", "stderr": "", "rc": 1, "home": str(home), "seconds": 0, "timed_out": False}
    try:
        document = read_file(SUITE / "ir" / case["file"]).data.decode("utf-8", "replace")
    except MlPlatformError as error:
        return {**run, "stderr": str(error), "json": {"error": str(error)}}
    inputs = {
        name: ArtifactRef(item["uri"], metadata=item.get("metadata") or {})
        for name, item in checker.subst(case.get("inputs") or {}, str(tmp)).items()
    }
    key = cluster.submit(spec_of(document, parameters, artifacts=inputs), f"run-{number}")
    body = cluster.run(key, case.get("timeout") or 300)
    report = cluster.report(key)
    if body["status"].get("findings"):
        report = {"error": report["error"]["message"]}
    for log in home.glob("*/pod.log"):
        run["stdout_rest"] += log.read_text(encoding="utf-8", errors="replace")
    text = json.dumps(report).replace("pvc://artifacts/", str(home / "claims" / "artifacts") + "/")
    return {**run, "json": json.loads(text), "rc": 0 if report.get("state") == "SUCCEEDED" else 1}


def _environment(setup: dict[str, Any], tmp: Path) -> dict[str, str]:
    env = dict(setup.get("env") or {})
    for name, text in (setup.get("bin") or {}).items():
        script = tmp / "bin" / name
        script.parent.mkdir(exist_ok=True)
        script.write_text(text, encoding="utf-8")
        script.chmod(0o755)
        env["EXTRA_PATH"] = str(script.parent)
    return env


@pytest.mark.cannot_run_here("the suite is kept beside this repository, not in it")
@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_case(case: dict[str, Any], checker: ModuleType, tmp_path: Path) -> None:
    tmp = str(tmp_path)
    for name, content in ((case.get("setup") or {}).get("files") or {}).items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(checker.subst(content, tmp), encoding="utf-8")
    steps = [{"params": case.get("params") or {}, "expect": case["expect"]}, *(case.get("then") or [])]
    home = tmp_path / "home"
    home.mkdir()
    with _cluster(case, tmp_path, home, checker) as cluster:
        for number, step in enumerate(steps):
            parameters = checker.subst(step.get("params", case.get("params") or {}), tmp)
            run = _run(case, parameters, cluster, tmp_path, number, checker)
            found = checker.check_run(checker.subst(step["expect"], tmp), run, tmp)
            assert found == [], json.dumps(run["json"], indent=1, default=str)[-3000:] + run["stdout_rest"][-2000:]
