"""The conformance set with the planner alone (see ``simulator``): semantics without an engine.

Left out are cases about what an engine adds: the cache, logs, platform fields, packages, the run's environment.
``MLPLATFORM_CONFORMANCE`` names the folder that holds ``kfp/check.py``; else ``shared/conformance`` beside the
checkout.
"""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from mlplatform.core.errors import InvalidPipeline
from mlplatform.core.model import Artifact
from mlplatform.ir.arguments import check_arguments
from mlplatform.ir.load import load_file
from mlplatform.ir.validate import validate
from mlplatform.planning.cel import check
from tests.unit.planning.simulator import Simulation, workers

SUITE = (
    Path(os.environ.get("MLPLATFORM_CONFORMANCE") or Path(__file__).resolve().parents[4] / "shared" / "conformance")
    / "kfp"
)
ENGINE_FEATURES = {"cache", "env", "pip", "gpu", "workspace", "pvc", "package", "names-on-disk"}
ENGINE_NEEDS = {"pip", "platform", "mount"}


def _cases() -> list[dict[str, Any]]:
    path = SUITE / "cases.json"
    cases = json.loads(path.read_text(encoding="utf-8"))["cases"] if path.is_file() else []
    return [
        case
        for case in cases
        if not ENGINE_FEATURES & set(case["features"])
        and not ENGINE_NEEDS & set(case.get("needs") or [])
        and not (case.get("setup") or {}).get("env")
        and not (case.get("setup") or {}).get("bin")
        and not any(feature.startswith("platform") for feature in case["features"])
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


@pytest.fixture(scope="module")
def pool() -> Iterator[ProcessPoolExecutor]:
    with workers(3) as found:
        yield found


def _run(
    case: dict[str, Any], parameters: dict[str, Any], tmp: Path, home: Path, pool: ProcessPoolExecutor
) -> dict[str, Any]:
    run = {"json": None, "stdout_rest": "", "stderr": "", "rc": 1, "home": str(home), "seconds": 0, "timed_out": False}
    inputs = {name: Artifact(name, a["uri"], metadata=a.get("metadata") or {}) for name, a in case["_inputs"].items()}
    try:
        pipeline = load_file(SUITE / "ir" / case["file"])
        findings = validate(pipeline, check)
        resolved, more = check_arguments(pipeline, parameters, inputs)
    except InvalidPipeline as error:
        return {**run, "stderr": str(error), "json": {"error": str(error)}}
    if findings or more:
        return {**run, "json": {"error": "; ".join(str(finding) for finding in (*findings, *more))}}
    result = Simulation(pipeline, home, tmp, pool).run(resolved, inputs)
    return {**run, "json": result, "rc": 0 if result["state"] == "SUCCEEDED" else 1}


@pytest.mark.cannot_run_here("the suite is kept beside this repository, not in it")
def test_the_suite_is_here() -> None:
    if not CASES:
        pytest.skip(f"no conformance suite at {SUITE}; MLPLATFORM_CONFORMANCE may name another folder")
    assert len(CASES) >= 100


@pytest.mark.cannot_run_here("the suite is kept beside this repository, not in it")
@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_case(case: dict[str, Any], checker: ModuleType, pool: ProcessPoolExecutor, tmp_path: Path) -> None:
    tmp = str(tmp_path)
    for name, content in ((case.get("setup") or {}).get("files") or {}).items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(checker.subst(content, tmp), encoding="utf-8")
    steps = [{"params": case.get("params") or {}, "expect": case["expect"]}, *(case.get("then") or [])]
    found: list[str] = []
    case = {**case, "_inputs": checker.subst(case.get("inputs") or {}, tmp)}
    for number, step in enumerate(steps):
        parameters = checker.subst(step.get("params", case.get("params") or {}), tmp)
        home = tmp_path / f"home{number}"
        home.mkdir()
        run = _run(case, parameters, tmp_path, home, pool)
        expect = {key: value for key, value in step["expect"].items() if not key.startswith("logs_")}
        found += checker.check_run(checker.subst(expect, tmp), run, tmp)
    assert found == [], json.dumps(run["json"], indent=1, default=str)[-3000:]
