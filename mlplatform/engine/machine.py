"""What this machine offers to tasks: usable cores, memory, GPUs, and which machine it is.

"Usable" is what the kernel will really give: the smallest of the processors there are, the affinity of this process
and the quota of every control group around it; likewise for memory. Parsing is pure and tested with recorded texts;
the readers are thin. Formats: ``cgroups(7)``, the kernel's ``cgroup-v2.rst``, ``proc(5)``, ``nvidia-smi(1)``.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mlplatform.launcher.identity import boot_id

_NETWORK: Final = (
    "nfs nfs4 cifs smb2 smb3 smbfs afs afpfs webdav ncpfs 9p virtiofs lustre gpfs beegfs ceph glusterfs orangefs pvfs2 "
    "gfs2 ocfs2 panfs wekafs davfs fuse.sshfs fuse.s3fs fuse.glusterfs fuse.ceph fuse.gcsfuse fuse.juicefs "
    "fuse.rclone fuse.davfs2 fuse.curlftpfs fuse.goofys fuse.mount-s3 fuse.blobfuse"
)
_NETWORK_TYPES: Final = frozenset(_NETWORK.split())
#: Version 1 control groups say "no limit" by a number near the largest one.
_NO_LIMIT: Final = 1 << 60
_OCTAL: Final = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU by its number in PCI bus order; ``memory`` in bytes (0: not known)."""

    index: int
    name: str = ""
    uuid: str = ""
    memory: int = 0


@dataclass(frozen=True, slots=True)
class MountPoint:
    """One line of a mount table. ``root`` is the folder of the file system that is mounted, ``options`` those of the
    file system itself."""

    path: str
    type: str
    root: str = "/"
    options: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Machine:
    """``cores`` may be a fraction (a quota), ``memory`` is in bytes. ``limits`` says in words what narrowed them."""

    hostname: str
    boot: str
    system: str
    cores: float
    memory: int
    gpus: tuple[Gpu, ...] = ()
    limits: tuple[str, ...] = ()

    @property
    def gpu_ids(self) -> tuple[int, ...]:
        return tuple(gpu.index for gpu in self.gpus)

    @staticmethod
    def read() -> Machine:
        """This machine as this process may use it. Takes about a millisecond, more where a GPU driver is asked."""
        groups = control_group_folders()
        cores, core_limits = usable_cores(groups)
        memory, memory_limits = usable_memory(groups)
        return Machine(
            hostname=platform.node(),
            boot=boot_id(),
            system=f"{platform.system()} {platform.release()} {platform.machine()}",
            cores=cores,
            memory=memory,
            gpus=find_gpus(),
            limits=(*core_limits, *memory_limits),
        )


# ------------------------------------------------------------------ control groups
@dataclass(frozen=True, slots=True)
class ControlGroups:
    """Folders of the groups around this process, innermost first. ``unified``: version 2 holds all controllers there;
    ``cpu`` and ``memory``: version 1."""

    unified: tuple[Path, ...] = ()
    cpu: tuple[Path, ...] = ()
    memory: tuple[Path, ...] = ()


def parse_cgroups(text: str) -> dict[str, str]:
    """``/proc/self/cgroup`` as controller -> path; the unified hierarchy has the name ``""``."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        number, _, rest = line.partition(":")
        names, _, path = rest.partition(":")
        if number and path:
            for name in names.split(","):
                found[name] = path
    return found


def parse_mountinfo(text: str) -> list[MountPoint]:
    """``/proc/self/mountinfo`` in order; a later line at the same path covers an earlier one."""
    points: list[MountPoint] = []
    for line in text.splitlines():
        before, dash, after = line.partition(" - ")
        fields, tail = before.split(), after.split()
        if dash and len(fields) >= 6 and tail:
            options = frozenset(tail[2].split(",")) if len(tail) > 2 else frozenset[str]()
            points.append(MountPoint(_unescape(fields[4]), tail[0], _unescape(fields[3]), options))
    return points


def group_chain(mount: Path, root: str, path: str) -> tuple[Path, ...]:
    """Folders from a process's own group up to the mount point, innermost first.

    In a container without a namespace of its own ``path`` is the host's; what lies below ``root``, or else the mount
    point itself, is then all that can be seen.
    """
    inside = path[len(root) :] if root != "/" and path.startswith(root) else path
    parts = [part for part in inside.split("/") if part and part != ".."]
    chain = [mount.joinpath(*parts[:count]) for count in range(len(parts), -1, -1)]
    return tuple(folder for folder in chain if folder.is_dir()) or (mount,)


def control_group_folders(proc: Path = Path("/proc/self")) -> ControlGroups:
    """Where the limits of this process stand; empty outside Linux."""
    paths = parse_cgroups(_text(proc / "cgroup"))
    found: dict[str, tuple[Path, ...]] = {}
    for point in parse_mountinfo(_text(proc / "mountinfo")):
        if point.type == "cgroup2" and "" in paths:
            found["unified"] = group_chain(Path(point.path), point.root, paths[""])
        elif point.type == "cgroup":
            for name in ("cpu", "memory"):
                if name in point.options and name in paths:
                    found[name] = group_chain(Path(point.path), point.root, paths[name])
    return ControlGroups(**found)


def parse_cpu_max(text: str) -> float | None:
    """Cores allowed by version 2's ``cpu.max`` (``200000 100000`` is 2), None for no limit."""
    words = text.split()
    if not words or words[0] == "max":
        return None
    return _ratio(words[0], words[1] if len(words) > 1 else "100000")


def parse_cfs(quota: str, period: str) -> float | None:
    """Cores allowed by version 1's ``cpu.cfs_quota_us`` and ``cpu.cfs_period_us``, None for no limit."""
    return _ratio(quota.strip(), period.strip())


def parse_memory_limit(text: str) -> int | None:
    """Bytes of ``memory.max`` or ``memory.limit_in_bytes``, None for no limit."""
    word = text.strip()
    if not word.isdigit() or int(word) >= _NO_LIMIT:
        return None
    return int(word)


def parse_meminfo(text: str) -> int:
    """Bytes of ``MemTotal`` in ``/proc/meminfo``, 0 if it is not there."""
    match = re.search(r"^MemTotal:\s+(\d+) kB", text, re.MULTILINE)
    return int(match.group(1)) * 1024 if match else 0


def _ratio(quota: str, period: str) -> float | None:
    try:
        allowed, every = int(quota), int(period)
    except ValueError:
        return None
    return allowed / every if allowed > 0 and every > 0 else None


# ------------------------------------------------------------------ cores and memory
def usable_cores(groups: ControlGroups) -> tuple[float, tuple[str, ...]]:
    """(cores, what narrowed them in words)."""
    limits: list[str] = []
    total = os.cpu_count() or 1
    cores = float(total)
    if hasattr(os, "sched_getaffinity"):
        allowed = len(os.sched_getaffinity(0))
        if allowed < total:
            limits.append(f"cores: {allowed} of {total} by CPU affinity")
            cores = float(allowed)
    quotas = [parse_cpu_max(_text(folder / "cpu.max")) for folder in groups.unified]
    quotas += [
        parse_cfs(_text(folder / "cpu.cfs_quota_us"), _text(folder / "cpu.cfs_period_us")) for folder in groups.cpu
    ]
    quota = min((value for value in quotas if value is not None), default=None)
    if quota is not None and quota < cores:
        limits.append(f"cores: {quota:g} of {total} by the quota of the control group")
        cores = quota
    return cores, tuple(limits)


def usable_memory(groups: ControlGroups) -> tuple[int, tuple[str, ...]]:
    """(bytes, what narrowed them in words); 0 bytes where the system does not tell."""
    total = parse_meminfo(_text(Path("/proc/meminfo"))) or _physical_memory()
    texts = [_text(folder / "memory.max") for folder in groups.unified]
    texts += [_text(folder / "memory.limit_in_bytes") for folder in groups.memory]
    limit = min((value for value in map(parse_memory_limit, texts) if value is not None), default=None)
    if limit is not None and (limit < total or not total):
        return limit, (f"memory: {limit >> 20} of {total >> 20} MiB by the limit of the control group",)
    return total, ()


def _physical_memory() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return 0


# ------------------------------------------------------------------ GPUs
def parse_nvidia_smi(text: str) -> list[Gpu]:
    """Lines of ``--query-gpu=index,uuid,name,memory.total --format=csv,noheader,nounits`` (memory in MiB)."""
    gpus: list[Gpu] = []
    for line in text.splitlines():
        words = [word.strip() for word in line.split(",")]
        if len(words) >= 4 and words[0].isdigit():
            memory = int(words[-1]) << 20 if words[-1].isdigit() else 0
            gpus.append(Gpu(int(words[0]), ", ".join(words[2:-1]), words[1], memory))
    return gpus


def parse_driver_information(index: int, text: str) -> Gpu:
    """One ``/proc/driver/nvidia/gpus/*/information``: the driver's own words, without the memory."""
    entries = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in text.splitlines())}
    return Gpu(index, entries.get("Model", ""), entries.get("GPU UUID", ""))


def visible_gpus(gpus: Iterable[Gpu], visible: str | None) -> tuple[Gpu, ...]:
    """Those that ``CUDA_VISIBLE_DEVICES`` leaves, in its order; None: all of them.

    As CUDA reads it: numbers or (shortened) UUIDs, and nothing counts after the first word that names no device.
    """
    known = list(gpus)
    if visible is None:
        return tuple(known)
    chosen: list[Gpu] = []
    for word in visible.split(","):
        name = word.strip()
        match = [gpu for gpu in known if str(gpu.index) == name or (name[:4] == "GPU-" and gpu.uuid.startswith(name))]
        if len(match) != 1:
            break
        chosen += match
    return tuple(dict.fromkeys(chosen))


def find_gpus(environ: Mapping[str, str] = os.environ) -> tuple[Gpu, ...]:
    """NVIDIA GPUs that tasks may use."""
    information = sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))
    if not information and not Path("/dev/nvidiactl").exists() and not Path("/dev/dxg").exists():
        return ()
    query = ["nvidia-smi", "--query-gpu=index,uuid,name,memory.total", "--format=csv,noheader,nounits"]
    try:
        told = subprocess.run(query, capture_output=True, text=True, timeout=20, check=False).stdout
    except (OSError, subprocess.SubprocessError):
        told = ""
    gpus = parse_nvidia_smi(told)
    if not gpus:
        gpus = [parse_driver_information(index, _text(path)) for index, path in enumerate(information)]
    return visible_gpus(gpus, environ.get("CUDA_VISIBLE_DEVICES"))


# ------------------------------------------------------------------ file systems
def parse_mount_command(text: str) -> list[MountPoint]:
    """What ``mount`` prints on macOS: ``source on /path (type, option, ...)``."""
    points: list[MountPoint] = []
    for line in text.splitlines():
        match = re.match(r".* on (/.*) \(([^,)]+)[^)]*\)$", line)
        if match:
            points.append(MountPoint(match.group(1), match.group(2)))
    return points


def file_system_type(path: str, points: Iterable[MountPoint]) -> str:
    """Type of the file system that holds the absolute ``path``; empty if no mount point does."""
    found, length = "", -1
    for point in points:
        prefix = point.path.rstrip("/") + "/"
        if (path + "/").startswith(prefix) and len(prefix) >= length:
            found, length = point.type, len(prefix)
    return found


def is_network_file_system(path: Path) -> bool:
    """Whether ``path`` (or the nearest folder above it that exists) lies on a file system shared with other machines:
    locks and memory maps cannot be trusted there."""
    if sys.platform == "darwin":
        try:
            told = subprocess.run(["/sbin/mount"], capture_output=True, text=True, timeout=20, check=False).stdout
        except (OSError, subprocess.SubprocessError):
            return False
        points = parse_mount_command(told)
    else:
        points = parse_mountinfo(_text(Path("/proc/self/mountinfo")))
    return file_system_type(str(path.resolve()), points) in _NETWORK_TYPES


def _unescape(text: str) -> str:
    """The kernel writes blanks, tabs, newlines and backslashes of a path as octal numbers."""
    return _OCTAL.sub(lambda match: chr(int(match.group(1), 8)), text)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return ""
