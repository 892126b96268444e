"""What ``mlplatform doctor`` looks at: each check says what it found, and what to do where something is missing."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from mlplatform import __version__
from mlplatform.cli.style import size
from mlplatform.core.errors import MlPlatformError
from mlplatform.engine.home import Home, cache_folder

OK, LIMITED, PROBLEM = "ok", "limited", "problem"
#: Bytes free below which a disk is told.
_LITTLE_SPACE: Final = 2 << 30
#: Seconds a container engine may take to say its version.
_ENGINE_LIMIT: Final = 20.0


@dataclass(frozen=True, slots=True)
class Check:
    """``state``: ok, limited (something cannot be done, or not as well) or problem (runs are in danger)."""

    name: str
    state: str
    found: str
    advice: str = ""

    def to_json(self) -> dict[str, str]:
        return asdict(self)


def all_checks(home: Home) -> list[Callable[[], Check]]:
    """Every check, in the order in which they are told. Each takes at most some seconds and raises nothing."""
    posix: list[Callable[[], Check]] = [check_cores, check_memory, check_gpus, check_containers, check_tracing]
    return [
        check_python,
        check_system,
        *(posix if os.name == "posix" else []),
        check_uv,
        check_kfp,
        check_mlflow,
        lambda: check_home(home),
        lambda: check_space("disk", home.root),
        lambda: check_space("temporary disk", Path(tempfile.gettempdir())),
        lambda: check_file_system(home),
        lambda: check_service(home),
    ]


# ------------------------------------------------------------------ the machine
def check_python() -> Check:
    found = f"{platform.python_version()} ({sys.executable}), mlplatform {__version__}"
    if not (3, 11) <= sys.version_info[:2] <= (3, 14):
        return Check("python", PROBLEM, found, "mlplatform is tested with Python 3.11 to 3.14.")
    return Check("python", OK, found)


def check_system() -> Check:
    found = f"{platform.system()} {platform.release()} {platform.machine()}"
    if sys.platform.startswith("linux"):
        return Check("system", OK, found)
    if sys.platform == "darwin":
        advice = "Tasks start in fresh interpreters here (slower than forks), and reading is watched by Python only."
        return Check("system", OK, found, advice)
    return Check(
        "system",
        PROBLEM,
        found,
        "Pipelines run on Linux and macOS; here, validate and compile work. Use WSL to run them.",
    )


def check_cores() -> Check:
    from mlplatform.engine.machine import control_group_folders, usable_cores

    cores, limits = usable_cores(control_group_folders())
    return Check("cores", OK, "; ".join([f"{cores:g} usable", *(limit.removeprefix("cores: ") for limit in limits)]))


def check_memory() -> Check:
    from mlplatform.engine.machine import control_group_folders, usable_memory

    memory, limits = usable_memory(control_group_folders())
    if not memory:
        return Check("memory", LIMITED, "not known", "Tasks that ask for memory start without a check.")
    words = [f"{size(memory)} usable", *(limit.removeprefix("memory: ") for limit in limits)]
    if memory < 1 << 30:
        return Check("memory", PROBLEM, "; ".join(words), "Less than 1 GiB: tasks may be killed. Raise the limit.")
    return Check("memory", OK, "; ".join(words))


def check_gpus() -> Check:
    from mlplatform.engine.machine import find_gpus

    gpus = find_gpus()
    if gpus:
        return Check("gpu", OK, ", ".join(f"{gpu.index}: {gpu.name}" for gpu in gpus))
    if os.environ.get("CUDA_VISIBLE_DEVICES") is not None:
        return Check("gpu", LIMITED, "none", "CUDA_VISIBLE_DEVICES leaves none: unset it to use those there are.")
    return Check("gpu", LIMITED, "none", "Tasks that ask for one run without. NVIDIA's driver would show one.")


# ------------------------------------------------------------------ tools
def check_containers() -> Check:
    """Docker and Podman, and whether they answer."""
    found: list[str] = []
    broken: list[str] = []
    for engine in ("docker", "podman"):
        if shutil.which(engine) is None:
            continue
        told = _run([engine, "version", "--format", "{{.Server.Version}}" if engine == "docker" else "{{.Version}}"])
        if told is not None and told.returncode == 0 and told.stdout.strip():
            found.append(f"{engine} {told.stdout.strip().splitlines()[-1]}")
        else:
            words = told.stderr.strip() if told is not None else ""
            broken.append(f"{engine}: {words.splitlines()[-1] if words else 'it does not answer'}")
    if found:
        return Check("containers", OK, ", ".join(found))
    if broken:
        advice = "Is its service running, and may you use it? Or run commands directly: --containers subprocess."
        return Check("containers", LIMITED, "; ".join(broken), advice)
    advice = "Install Docker or Podman for container tasks, or run their commands directly: --containers subprocess."
    return Check("containers", LIMITED, "neither docker nor podman", advice)


def check_tracing() -> Check:
    """The library that sees which files a task reads."""
    from mlplatform.launcher.native.build import library

    if not sys.platform.startswith("linux"):
        return Check("tracing", LIMITED, "by Python only", "Results of tasks with native readers are not reused here.")
    made = library(cache_folder())
    if made is not None:
        return Check("tracing", OK, f"files read by native code are seen ({made.name})")
    compiler = next((name for name in ("cc", "gcc", "clang") if shutil.which(name)), None)
    advice = (
        f"{compiler} could not build it: are the C headers installed?" if compiler else "Install a C compiler (gcc)."
    )
    return Check("tracing", LIMITED, "by Python only: results of tasks with native readers are not reused", advice)


def check_uv() -> Check:
    from mlplatform.bootstrap import BootstrapError, find_uv

    try:
        uv = find_uv(cache_folder(), offline=True)
    except BootstrapError:
        advice = "It is fetched when a component first asks for packages, or: pip install uv."
        return Check("uv", LIMITED, "not on this machine yet", advice)
    told = _run([str(uv), "--version"])
    return Check("uv", OK, f"{told.stdout.strip() if told else 'uv'} ({uv})")


def check_kfp() -> Check:
    version = _version("kfp")
    if version:
        return Check("kfp", OK, f"{version}: .py pipelines can be run and compiled")
    return Check("kfp", LIMITED, "not installed", "For .py pipelines: pip install 'mlplatform[kfp]'.")


def check_mlflow() -> Check:
    """Where MLflow's server would come from."""
    if os.environ.get("MLPLATFORM_TRACKING", "").strip().lower() == "off":
        return Check("mlflow", LIMITED, "switched off (MLPLATFORM_TRACKING=off)", "Unset it to record runs.")
    uri = os.environ.get("MLFLOW_TRACKING_URI")
    if uri:
        return Check("mlflow", OK, f"runs are recorded at {_without_password(uri)} (MLFLOW_TRACKING_URI)")
    version = _version("mlflow")
    if version:
        return Check("mlflow", OK, f"{version} of this environment")
    ready = list((cache_folder() / "mlflow-server").glob("py*/complete"))
    if ready:
        return Check("mlflow", OK, f"an environment of its own ({ready[0].parent})")
    advice = (
        "An environment is made for it when it is first needed (about 170 MB), or: pip install 'mlplatform[mlflow]'."
    )
    return Check("mlflow", LIMITED, "not on this machine yet", advice)


# ------------------------------------------------------------------ the home folder
def check_home(home: Home) -> Check:
    place = _existing(home.root)
    if home.root.exists() and not home.root.is_dir():
        return Check("home", PROBLEM, f"{home.root} is not a folder", "Name another one: --home or MLPLATFORM_HOME.")
    if not os.access(place, os.W_OK | os.X_OK):
        return Check("home", PROBLEM, f"{home.root} cannot be written", "Name another one: --home or MLPLATFORM_HOME.")
    return Check("home", OK, str(home.root) if home.root.exists() else f"{home.root} (made by the first run)")


def check_space(name: str, path: Path) -> Check:
    try:
        free = shutil.disk_usage(_existing(path)).free
    except OSError as error:
        return Check(name, PROBLEM, f"{path}: {error.strerror}", "Can the folder be read?")
    found = f"{size(free)} free at {path}"
    if free < _LITTLE_SPACE:
        advice = (
            "Make room: `mlplatform gc --older-than 30` deletes old runs." if name == "disk" else "TMPDIR moves it."
        )
        return Check(name, PROBLEM, found, advice)
    return Check(name, OK, found)


def check_file_system(home: Home) -> Check:
    from mlplatform.engine.machine import is_network_file_system

    if is_network_file_system(_existing(home.root)):
        advice = (
            "It works, slower; one machine at a time. Better: a local folder, and MLPLATFORM_STORE=postgresql://..."
        )
        return Check("file system", LIMITED, "the home is on a network file system", advice)
    return Check("file system", OK, "local")


def check_service(home: Home) -> Check:
    from mlplatform.sdk.client import LocalClient

    if os.name != "posix":
        return Check("service", LIMITED, "none on this system")
    try:
        told = LocalClient(home).status()
    except MlPlatformError as error:
        return Check("service", PROBLEM, error.message, error.hint)
    if not told:
        return Check("service", OK, "none runs now; the next run starts one")
    found = f"version {told['version']}, process {told['pid']}, {told.get('active', 0)} unfinished runs"
    if told.get("trouble"):
        return Check("service", PROBLEM, f"{found}: {told['trouble']}", f"Look into {home.service_log}.")
    if told["version"] != __version__:
        return Check("service", OK, found, "It is of another version; it is replaced when it is idle.")
    return Check("service", OK, found)


# ------------------------------------------------------------------ helpers
def _existing(path: Path) -> Path:
    """The path, or the nearest folder above it that exists."""
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


def _version(package: str) -> str:
    if importlib.util.find_spec(package) is None:
        return ""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _run(command: Sequence[str]) -> subprocess.CompletedProcess[str] | None:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=_ENGINE_LIMIT, check=False)
    except (OSError, subprocess.SubprocessError):
        return None


def _without_password(uri: str) -> str:
    head, at, tail = uri.rpartition("@")
    return f"{head.partition('://')[0]}://...@{tail}" if at else uri
