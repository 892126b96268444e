"""Real frameworks for training jobs, each in a Python environment of its own, made once a machine.

They are far too large for the lock, and pods reach them by a read-only volume (no image of the tests holds them), so
each is a folder in the cache, under a hash of what it is made of. .ci/run makes them beside the other tests, which wait
for one that is being made; elsewhere they are made on request, and tests that want one that is missing are skipped::

    python -m tests.support.frameworks [NAME ...]     make (all of them) and print the path of each Python

``MLPLATFORM_TEST_TORCH`` (``_JAX``, ``_RAY``) names somebody's own Python with the framework instead. Standard library
only: .ci/run uses it before all else.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from functools import lru_cache
from pathlib import Path

from mlplatform.bootstrap import uv_environment
from tests.support.golang import cache_folder
from tests.support.locks import taken

ROOT = Path(__file__).resolve().parents[2]
#: What the image has that pods mount the packages into.
PYTHON = (3, 11)
#: What the scripts of the tests use besides.
_COMMON = (
    "cloudpickle==3.1.3",
    "joblib==1.6.0",
    "narwhals==2.29.0",
    "numpy==2.4.6",
    "scikit-learn==1.9.1",
    "scipy==1.17.1",
    "threadpoolctl==3.8.0",
)
#: All that each environment holds: nothing is resolved. Of torch's own needs, NVIDIA's libraries (3 GB) and triton
#: (1 GB) are left out: see ``without_gpu``.
PACKAGES = {
    "jax": (*_COMMON, "jax==0.10.2", "jaxlib==0.10.2", "ml-dtypes==0.6.0", "opt-einsum==3.4.0"),
    "torch": (
        *_COMMON,
        "filelock==4.3.1",
        "fsspec==2026.9.0",
        "jinja2==3.1.6",
        "markupsafe==3.0.4",
        "mpmath==1.3.0",
        "networkx==3.6.1",
        "setuptools==84.2.1",
        "sympy==1.14.0",
        "torch==2.15.0",
        "typing-extensions==4.16.0",
    ),
    "ray": (
        *_COMMON,
        "attrs==26.1.0",
        "certifi==2026.10.19.post1",
        "charset-normalizer==3.5.3",
        "click==8.5.1",
        "filelock==4.3.1",
        "idna==3.20",
        "jsonschema==4.26.0",
        "jsonschema-specifications==2025.9.1",
        "msgpack==1.2.4",
        "packaging==26.4",
        "protobuf==7.36.2",
        "pyyaml==6.0.4",
        "ray==2.60.0",
        "referencing==0.37.0",
        "requests==2.34.2",
        "rpds-py==2026.9.1",
        "typing-extensions==4.16.0",
        "urllib3==2.8.0",
    ),
}
#: Raised when an environment is made in another way.
_VERSION = 1
#: Bytes that a disk must have left: what is downloaded, what is unpacked, and some more.
_ROOM = {"jax": 2 * 2**30, "torch": 5 * 2**30, "ray": 2 * 2**30}
#: Seconds that a test waits for an environment that is being made.
PATIENCE = 900.0


class CannotMake(RuntimeError):
    """There is none, and it cannot or may not be made here; the text says why."""


def python_with(name: str) -> Path:
    """A Python with the framework; one that is just being made is waited for. Raises CannotMake."""
    if named := os.environ.get(f"MLPLATFORM_TEST_{name.upper()}"):
        return Path(named)
    return make(name, asked=os.environ.get("CI", "").lower() in ("1", "true", "yes"))


def needed(name: str) -> Path:
    """The same for a test, which is skipped where there is none (it bears the mark ``cannot_run_here``)."""
    import pytest

    try:
        return python_with(name)
    except CannotMake as error:
        pytest.skip(str(error))


def site_packages(name: str) -> Path:
    """The folder of its packages. Raises CannotMake."""
    told = [str(python_with(name)), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    return Path(subprocess.run(told, capture_output=True, text=True, check=True).stdout.strip())


def make(name: str, *, asked: bool = True) -> Path:
    """The Python of an environment, made if it is not there; one process at a time a machine. Raises CannotMake.

    Args:
        asked: whether it may be made; else only one that is there, or that somebody is making, will do.
    """
    place = _place(name)
    python = place / "bin" / "python"
    if python.exists():
        return python
    place.parent.mkdir(parents=True, exist_ok=True)
    with open(place.parent / f"{name}.lock", "a") as lock:
        if not taken(lock, PATIENCE):
            raise CannotMake(f"a Python with {name} is still being made after {PATIENCE:g} s")
        if not python.exists():
            if not asked:
                raise CannotMake(f"no Python with {name} on this machine: python -m tests.support.frameworks {name}")
            _make(name, place)
    return python


def _place(name: str) -> Path:
    words = [str(_VERSION), platform.machine(), *sorted(PACKAGES[name])]
    return cache_folder() / "frameworks" / f"{name}-{hashlib.sha256(' '.join(words).encode()).hexdigest()[:16]}"


def _make(name: str, place: Path) -> None:
    room = shutil.disk_usage(place.parent).free
    if room < _ROOM[name]:
        raise CannotMake(f"{name} needs {_ROOM[name] / 2**30:.0f} GiB of disk, {room / 2**30:.1f} are left")
    print(f"making a Python with {name} (once a machine; a minute or so)", file=sys.stderr, flush=True)
    uv = _uv()
    with tempfile.TemporaryDirectory(dir=place.parent, prefix=f"{name}-new-") as scratch:
        made = Path(scratch) / "env"
        _run(uv, "venv", "--quiet", "--no-project", "--relocatable", "--python", _python(), str(made))
        target = ["--quiet", "--no-deps", "--python", str(made / "bin" / "python")]
        _run(uv, "pip", "install", *target, *PACKAGES[name])
        if name == "torch":
            [libraries] = made.glob("lib/python3*/site-packages/torch/lib")
            without_gpu(libraries, Path(scratch))
        _compile(made)
        os.replace(made, place)
    for old in place.parent.glob(f"{name}-*"):
        if old != place:
            shutil.rmtree(old, ignore_errors=True)


def _compile(made: Path) -> None:
    """As the tests' own environment is: nobody may write to a volume, so every process would compile all it imports."""
    nice = ["nice", "-n", "15"] if shutil.which("nice") else []
    # Some packages ship templates that are no Python: what cannot be compiled is not imported either.
    words = [str(made / "bin" / "python"), "-m", "compileall", "-q", "-j", "2", *map(str, made.glob("lib/python3*"))]
    subprocess.run([*nice, *words], stdin=subprocess.DEVNULL, capture_output=True, check=False)


def _uv() -> str:
    words = [sys.executable, "-I", str(ROOT / ".ci" / "environment.py"), "uv"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CannotMake(f"uv cannot be had: {done.stderr[-1000:]}")
    return done.stdout.strip()


@lru_cache(maxsize=1)
def _python() -> str:
    wanted = ".".join(map(str, PYTHON))
    if sys.version_info[:2] == PYTHON:
        return sys.executable
    for found in (shutil.which(f"python{wanted}"), f"/usr/bin/python{wanted}"):
        if found and subprocess.run([found, "-c", ""], capture_output=True, check=False).returncode == 0:
            return found
    raise CannotMake(f"needs Python {wanted}, which the image of the pods has")


def _run(*words: str) -> str:
    nice = ["nice", "-n", "15"] if shutil.which("nice") else []
    env = uv_environment({name: value for name, value in os.environ.items() if name != "PYTHONPATH"})
    env.setdefault("UV_HTTP_TIMEOUT", "180")
    done = subprocess.run(
        [*nice, *words], env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise CannotMake(f"{' '.join(words[:3])} failed: {done.stderr[-2000:]}")
    return done.stdout


# ------------------------------------------------------------------ torch without what a GPU needs
#: Begins the names of what NVIDIA's libraries have.
_OF_GPUS = re.compile(r"_*(cu|nccl|nv)")
_OF_THE_SYSTEM = re.compile(r"(ld-linux|libc|libdl|libgcc_s|libm|libpthread|libquadmath|librt|libstdc\+\+|libz)[-.]")
#: What every call is answered with: cudaErrorNoDevice.
_NO_DEVICE = 100


def without_gpu(folder: Path, scratch: Path) -> None:
    """Have torch's libraries in ``folder`` load without NVIDIA's.

    The registry's torch is linked to them, and they are larger than itself, but on a machine without a GPU none of
    their functions is called (but for the question whether there is one). A library of ours has all the names that
    torch looks for, in the versions that it wants, and answers that there is no GPU.
    """
    needed: set[str] = set()
    versions: dict[str, str] = {}
    for file in folder.glob("*.so*"):
        needed |= set(re.findall(r"\(NEEDED\).*\[(.*)\]", _run("readelf", "-dW", str(file))))
        for line in _run("readelf", "--dyn-syms", "-W", str(file)).splitlines():
            words = line.split()
            if len(words) >= 8 and words[6] == "UND" and words[4] == "GLOBAL" and _OF_GPUS.match(words[7]):
                symbol, _, version = words[7].partition("@")
                versions[symbol] = version.strip("@")
    source, script = scratch / "nogpu.c", scratch / "nogpu.map"
    lines = [
        f"static int number(void) {{ return {_NO_DEVICE}; }}",
        'static const char *text(void) { return "there is no GPU here"; }',
    ]
    for symbol in sorted(versions):
        answer = "text" if "String" in symbol else "number"
        lines.append(f'extern __typeof__({answer}) {symbol} __attribute__((alias("{answer}")));')
    source.write_text("\n".join(lines) + "\n")
    nodes = {version: sorted(name for name, own in versions.items() if own == version) for version in versions.values()}
    script.write_text(
        "".join(
            f"{version} {{ {' '.join(f'{name};' for name in names)} }};\n"
            for version, names in nodes.items()
            if version
        )
    )
    made = folder / "libnogpu.so"
    _run("cc", "-shared", "-fPIC", "-w", "-o", str(made), str(source), f"-Wl,--version-script,{script}")
    for name in needed:
        if not (folder / name).exists() and not _OF_THE_SYSTEM.match(name):
            (folder / name).symlink_to(made.name)


if __name__ == "__main__":
    failed = False
    for one in sys.argv[1:] or PACKAGES:
        try:
            print(one, make(one), flush=True)
        except CannotMake as error:
            print(f"{one}: {error}", file=sys.stderr)
            failed = True
    sys.exit(failed)
