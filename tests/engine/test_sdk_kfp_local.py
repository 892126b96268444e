"""Compiled pipelines of the SDK run under kfp's own local runner as well, with the same outputs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import mlplatform as ml
from mlplatform.sdk import values

SCALE = 2


def scaled(x: float) -> float:
    return x * SCALE


@ml.component
def table(rows: int) -> pd.DataFrame:
    return pd.DataFrame({"x": np.arange(rows)}, index=[f"r{i}" for i in range(rows)])


@ml.component
def halves(frame: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    return frame.iloc[: len(frame) // 2], len(frame)


@ml.component
def total(frame: pd.DataFrame, rows: int, extra: dict = {}) -> float:  # noqa: B006
    return scaled(float(frame["x"].sum())) + rows + sum(extra.values())


@ml.component
def both(items: list[float], frame: pd.DataFrame) -> np.ndarray:
    return np.array([*items, len(frame)])


@ml.pipeline
def pipeline(rows: int = 6) -> dict[str, Any]:
    frame = table(rows)
    first, count = halves(frame)
    one, two = total(first, count), total(frame, 1, {"a": 5})
    return {"total": one, "array": both([one, two], frame)}


RUN = """
import json, sys
from kfp import local, components
local.init(runner=local.SubprocessRunner(use_venv=False), pipeline_root=sys.argv[2])
task = components.load_component_from_file(sys.argv[1])(rows=6)
found = task.outputs["array"]
told = {"total": task.outputs["total"], "path": found.path, "metadata": dict(found.metadata)}
json.dump(told, open(sys.argv[3], "w"))
"""


def test_kfp_local_gives_the_same(tmp_path: Path) -> None:
    pytest.importorskip("kfp")
    pipeline.compile(tmp_path / "p.yaml")
    # What the component installs (kfp's runtime) is here already: a pip that finds it so and asks nobody.
    (tmp_path / "pip.py").write_text("")
    (tmp_path / "bin").mkdir()
    for name in ("pip", "python3"):
        (tmp_path / "bin" / name).symlink_to(sys.executable)
    path = f"{tmp_path / 'bin'}:{os.path.dirname(sys.executable)}:{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, "PYTHONPATH": str(tmp_path)}
    words = [str(tmp_path / name) for name in ("p.yaml", "root", "told.json")]
    command = [sys.executable, "-c", RUN, *words]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads((tmp_path / "told.json").read_text())
    plain: Any = pipeline(6)
    assert told["total"] == plain["total"]
    assert told["metadata"]["format"] == "npy"
    array: Any = values.load(Path(told["path"]), told["metadata"])
    np.testing.assert_array_equal(array, plain["array"])
