"""The demonstration: a real pipeline on real data, with nothing needed but this package.

``pipeline.yaml`` is compiled from ``pipelines/demo.py``; ``digits.csv.gz`` holds 1,797 handwritten digits (see
``digits.md``). Three kinds of models learn to read them side by side, the best is kept and tried on digits that no
model has seen; then the same is run once more, to show what the cache does.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

#: Runs a pipeline file with parameters under an experiment, shows progress, and returns the result object that
#: ``mlplatform run --output json`` prints. The command line passes its own, so that a demonstration looks like a run.
Runner = Callable[[Path, Mapping[str, Any], str], Mapping[str, Any]]

EXPERIMENT = "demo"
_HERE = Path(__file__).resolve().parent


def pipeline_file() -> Path:
    """The compiled pipeline inside the package."""
    return _HERE / "pipeline.yaml"


def parameters() -> dict[str, Any]:
    """The pipeline's parameters: where the digits lie on this machine."""
    return {"digits_uri": str(_HERE / "digits.csv.gz")}


def main(run: Runner, say: Callable[[str], None], *, offline: bool = False) -> int:
    """Show the platform to somebody who sees it for the first time.

    Args:
        run: runs the pipeline; see :data:`Runner`.
        say: prints one line (or several) to the person.
        offline: only words here: the caller has told the engine not to download.

    Returns:
        Exit status: 0 if both runs succeeded.
    """
    say(_introduction(offline))
    started = time.monotonic()
    first = run(pipeline_file(), parameters(), EXPERIMENT)
    first_seconds = time.monotonic() - started
    if first["state"] != "SUCCEEDED":
        say(f"\nThe run ended {first['state']}. What happened: mlplatform runs logs {first.get('run_id', '')}")
        return 1
    say(_what_it_found(first))
    say("\nNow the same once more. Nothing has changed, so nothing has to be computed:\n")
    started = time.monotonic()
    second = run(pipeline_file(), parameters(), EXPERIMENT)
    second_seconds = time.monotonic() - started
    if second["state"] != "SUCCEEDED":
        say(f"\nThe second run ended {second['state']}: mlplatform runs logs {second.get('run_id', '')}")
        return 1
    say(_comparison(first, first_seconds, second, second_seconds))
    say(_look_closer(first))
    return 0


def _introduction(offline: bool) -> str:
    packages = (
        "Packages come from the local cache (--offline)."
        if offline
        else "The first time, it downloads what its tasks need: scikit-learn with numpy and scipy, about 70 MB."
    )
    return (
        "Three kinds of models learn to read 1,797 handwritten digits, side by side, each task in a process of its\n"
        "own. The best one is kept and tried on digits that none of them has seen.\n\n" + packages + "\n"
    )


def _tasks(result: Mapping[str, Any], name: str) -> Sequence[Mapping[str, Any]]:
    return [task for task in result.get("tasks", ()) if str(task["name"]).rsplit("/", 1)[-1] == name]


def _report(result: Mapping[str, Any]) -> Path | None:
    for task in _tasks(result, "keep-the-best"):
        outputs: Mapping[str, Any] = task.get("outputs") or {}
        artifact: Mapping[str, Any] = outputs.get("report") or {}
        uri = str(artifact.get("path") or artifact.get("uri") or "").removeprefix("file://")
        if uri and Path(uri).is_file():
            return Path(uri)
    return None


def _what_it_found(result: Mapping[str, Any]) -> str:
    """The verdict, and some digits as the model saw them (its own report)."""
    outputs = result["outputs"]
    lines = [f"\nThe {outputs['best_kind']} won: it reads {outputs['accuracy']:.1%} of the unseen digits correctly."]
    report = _report(result)
    if report is not None:
        fences = report.read_text(encoding="utf-8").split("```")
        if len(fences) > 2:
            lines.append("Four that it got right, and two that it did not:\n\n" + fences[1].strip("\n"))
    return "\n".join(lines)


def _comparison(
    first: Mapping[str, Any], first_seconds: float, second: Mapping[str, Any], second_seconds: float
) -> str:
    reused = sum(task["state"] == "CACHED" for task in second.get("tasks", ()))
    already = sum(task["state"] == "CACHED" for task in first.get("tasks", ()))
    times = f"{first_seconds:.1f} s the first time, {second_seconds:.1f} s the second"
    if already:
        return f"\n{times} (much was cached from an earlier demonstration already)."
    return (
        f"\n{times}: {reused} results were reused,\n"
        "after checking that code, packages, data and every file that was read are the same."
    )


def _command() -> str:
    """What to type to call this command: its path where PATH does not find it (``make demo``)."""
    if shutil.which("mlplatform"):
        return "mlplatform"
    called = Path(sys.argv[0])
    return os.path.relpath(called) if called.name == "mlplatform" else "mlplatform"


def _mlflow_download() -> str:
    return "" if importlib.util.find_spec("mlflow") else " (once: 170 MB of downloads)"


def _look_closer(result: Mapping[str, Any]) -> str:
    run = result["run_id"]
    report = _report(result)
    me = _command()
    rows = [
        (f"{me} runs show {run}", "tasks, times, outputs"),
        (f"{me} runs logs {run}", "what the tasks printed"),
        (f"{me} cache why {run}", "why each task ran, or did not"),
        (f"{me} mlflow", "MLflow: metrics, data, the registered model" + _mlflow_download()),
    ]
    width = max(len(command) for command, _ in rows)
    lines = ["\nLook closer:", *(f"  {command:{width}}  {text}" for command, text in rows)]
    if report is not None:
        lines.append(f"  the report: {report}")
    lines.append("Write your own: docs/getting-started.md says how, and pipelines/ has some to start from.")
    return "\n".join(lines)
