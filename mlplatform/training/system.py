"""What a rank's machine is doing, under MLflow's names for such figures: ``system/<node>/cpu_utilization_percentage``.

Read from the kernel and from nvidia-smi: no package is needed. What cannot be read is left out.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping

_MEGA = 1_000_000.0
_QUERY = "--query-gpu=utilization.gpu,memory.used,memory.total"


def interval(environ: Mapping[str, str]) -> float:
    """Seconds between two samples; 0: none are wanted."""
    if environ.get("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", "true").lower() in ("false", "0"):
        return 0.0
    try:
        return max(0.0, float(environ.get("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL") or 10.0))
    except ValueError:
        return 10.0


class System:
    """Samples of one machine."""

    def __init__(self, node: str) -> None:
        self._node = node
        self._cpu = _cpu()
        self._smi = shutil.which("nvidia-smi") if os.environ.get("CUDA_VISIBLE_DEVICES") != "" else None

    def sample(self) -> dict[str, float]:
        """Figures by name, of the time since the last one was taken."""
        found = {**self._busy(), **_memory(), **self._gpus()}
        return {f"system/{self._node}/{name}": value for name, value in found.items()}

    def _busy(self) -> dict[str, float]:
        before, self._cpu = self._cpu, _cpu()
        if before is None or self._cpu is None or self._cpu[1] <= before[1]:
            return {}
        idle = (self._cpu[0] - before[0]) / (self._cpu[1] - before[1])
        return {"cpu_utilization_percentage": round(100 * (1 - idle), 2)}

    def _gpus(self) -> dict[str, float]:
        if self._smi is None:
            return {}
        try:
            command = [self._smi, _QUERY, "--format=csv,noheader,nounits"]
            told = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True).stdout
            rows = [[float(word) for word in line.split(",")] for line in told.splitlines() if line.strip()]
        except (OSError, ValueError, subprocess.SubprocessError):
            self._smi = None  # asked once too often
            return {}
        found: dict[str, float] = {}
        for number, (busy, used, total) in enumerate(rows):
            found[f"gpu_{number}_utilization_percentage"] = busy
            found[f"gpu_{number}_memory_usage_megabytes"] = used
            found[f"gpu_{number}_memory_usage_percentage"] = round(100 * used / total, 2) if total else 0.0
        return found


def _cpu() -> tuple[float, float] | None:
    """(idle, all) ticks since the machine started."""
    try:
        with open("/proc/stat", encoding="ascii") as file:
            ticks = [float(word) for word in file.readline().split()[1:9]]
    except (OSError, ValueError):
        return None
    return ticks[3] + ticks[4], sum(ticks)


def _memory() -> dict[str, float]:
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            table = {line.split(":")[0]: float(line.split()[1]) * 1024 for line in file}
        used = table["MemTotal"] - table["MemAvailable"]
    except (OSError, ValueError, KeyError, IndexError):
        return {}
    return {
        "system_memory_usage_megabytes": round(used / _MEGA, 1),
        "system_memory_usage_percentage": round(100 * used / table["MemTotal"], 2),
    }
