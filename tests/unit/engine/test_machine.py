"""What a machine says of itself, from recorded texts."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mlplatform.engine import machine
from mlplatform.engine.machine import ControlGroups, Gpu, Machine

MOUNTS_V2 = (
    "24 1 254:0 / / rw,relatime shared:1 - ext4 /dev/root rw\n"
    "31 24 0:27 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
    "90 24 0:45 / /home\\040of\\011us rw - nfs4 server:/export rw,vers=4.2\n"
)
MOUNTS_V1 = (
    "40 24 0:30 /docker/abc /sys/fs/cgroup/cpu,cpuacct ro - cgroup cgroup rw,cpu,cpuacct\n"
    "41 24 0:31 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n"
)


@pytest.mark.parametrize(
    ("text", "cores"), [("max 100000", None), ("250000 100000", 2.5), ("", None), ("50000", 0.5), ("0 0", None)]
)
def test_cpu_max(text: str, cores: float | None) -> None:
    assert machine.parse_cpu_max(text) == cores


@pytest.mark.parametrize(
    ("quota", "period", "cores"), [("-1", "100000", None), ("150000\n", "100000\n", 1.5), ("", "", None)]
)
def test_cfs(quota: str, period: str, cores: float | None) -> None:
    assert machine.parse_cfs(quota, period) == cores


@pytest.mark.parametrize(
    ("text", "limit"), [("max", None), ("1073741824\n", 1 << 30), ("9223372036854771712", None), ("", None)]
)
def test_memory_limit(text: str, limit: int | None) -> None:
    assert machine.parse_memory_limit(text) == limit


def test_groups_of_version_2_all_the_way_up(tmp_path: Path) -> None:
    root = tmp_path / "cg"
    (root / "user.slice" / "me").mkdir(parents=True)
    proc = tmp_path / "proc"
    proc.mkdir()
    (proc / "cgroup").write_text("0::/user.slice/me\n")
    (proc / "mountinfo").write_text(f"31 24 0:27 / {root} rw - cgroup2 cgroup2 rw\n")
    (root / "user.slice" / "cpu.max").write_text("150000 100000\n")
    (root / "user.slice" / "me" / "cpu.max").write_text("max 100000\n")
    (root / "user.slice" / "me" / "memory.max").write_text(str(300 << 20))
    groups = machine.control_group_folders(proc)
    assert groups.unified == (root / "user.slice" / "me", root / "user.slice", root)
    memory, limits = machine.usable_memory(groups)
    assert memory == 300 << 20
    assert "300 of" in limits[0]
    cores, limits = machine.usable_cores(groups)
    assert cores == min(1.5, len(os.sched_getaffinity(0)))


def test_groups_of_version_1_in_a_container_without_its_own_namespace(tmp_path: Path) -> None:
    cpu = tmp_path / "cpu"
    cpu.mkdir()
    (cpu / "cpu.cfs_quota_us").write_text("50000\n")
    (cpu / "cpu.cfs_period_us").write_text("100000\n")
    proc = tmp_path / "proc"
    proc.mkdir()
    (proc / "cgroup").write_text("2:cpu,cpuacct:/docker/abc\n1:memory:/docker/abc\n")
    (proc / "mountinfo").write_text(f"40 24 0:30 /docker/abc {cpu} ro - cgroup cgroup rw,cpu,cpuacct\n")
    groups = machine.control_group_folders(proc)
    assert groups.cpu == (cpu,)
    assert machine.usable_cores(groups)[0] == 0.5


def test_mount_tables() -> None:
    points = machine.parse_mountinfo(MOUNTS_V2)
    assert [point.type for point in points] == ["ext4", "cgroup2", "nfs4"]
    assert machine.file_system_type("/home of\tus/x", points) == "nfs4"
    assert machine.file_system_type("/home", points) == "ext4"
    v1 = machine.parse_mountinfo(MOUNTS_V1)
    assert (v1[0].root, "cpu" in v1[0].options) == ("/docker/abc", True)
    mac = machine.parse_mount_command(
        "/dev/disk3s1s1 on / (apfs, sealed, local)\n//me@nas/data on /Volumes/da ta (smbfs, nodev)\n"
    )
    assert machine.file_system_type("/Volumes/da ta/x", mac) == "smbfs"
    assert machine.file_system_type("/Users", mac) == "apfs"
    assert not machine.is_network_file_system(Path("/proc/self"))


def test_gpus() -> None:
    text = "0, GPU-aa11, NVIDIA H200, 143771\n1, GPU-bb22, NVIDIA, odd name, 81559\nFailed to initialize NVML\n"
    gpus = machine.parse_nvidia_smi(text)
    assert gpus == [
        Gpu(0, "NVIDIA H200", "GPU-aa11", 143771 << 20),
        Gpu(1, "NVIDIA, odd name", "GPU-bb22", 81559 << 20),
    ]
    assert machine.visible_gpus(gpus, None) == tuple(gpus)
    assert machine.visible_gpus(gpus, "") == ()
    assert machine.visible_gpus(gpus, "1, 0") == (gpus[1], gpus[0])
    assert machine.visible_gpus(gpus, "GPU-bb,0") == (gpus[1], gpus[0])
    assert machine.visible_gpus(gpus, "0,-1,1") == (gpus[0],)
    driver = "Model: \t\t NVIDIA H200\nIRQ:   \t\t 5\nGPU UUID: \t GPU-cc\n"
    assert machine.parse_driver_information(3, driver) == Gpu(3, "NVIDIA H200", "GPU-cc")


def test_this_machine() -> None:
    found = Machine.read()
    assert 0 < found.cores <= (os.cpu_count() or 1)
    assert found.memory > 64 << 20
    assert found.boot
    assert found.hostname
    assert found.gpu_ids == tuple(gpu.index for gpu in found.gpus)
    assert machine.usable_cores(ControlGroups())[0] >= found.cores
