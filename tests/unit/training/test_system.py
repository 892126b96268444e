"""What a rank tells of its machine."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from mlplatform.training.system import System, interval


def test_figures_bear_the_node_and_mlflows_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    system = System("3")
    sum(range(2_000_000))
    found = system.sample()
    assert {name.split("/")[1] for name in found} == {"3"}
    assert 0 < found["system/3/system_memory_usage_percentage"] < 100
    assert found["system/3/system_memory_usage_megabytes"] > 50
    assert 0 <= found.get("system/3/cpu_utilization_percentage", 0) <= 100


def test_gpus_are_asked_of_their_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\nprintf '37, 1000, 4000\\n90, 2000, 4000\\n'\n")
    tool.chmod(tool.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    found = System("0").sample()
    assert found["system/0/gpu_0_utilization_percentage"] == 37
    assert found["system/0/gpu_1_memory_usage_percentage"] == 50
    tool.write_text("#!/bin/sh\nexit 9\n")
    assert not [name for name in System("0").sample() if "gpu" in name], "one that fails is left out"


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({}, 10.0),
        ({"MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL": "2.5"}, 2.5),
        ({"MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL": "often"}, 10.0),
        ({"MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING": "false"}, 0.0),
    ],
)
def test_how_often(environ: dict[str, str], seconds: float) -> None:
    assert interval(environ) == seconds
