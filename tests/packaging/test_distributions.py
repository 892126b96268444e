"""The wheel and the source distribution, built here and installed into clean environments of every Python at hand."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from mlplatform import bootstrap
from mlplatform.engine.home import cache_folder

ROOT = Path(__file__).resolve().parents[2]
VERSIONS = ("3.11", "3.12", "3.13", "3.14")

pytestmark = pytest.mark.slow


def uv(*arguments: str) -> str:
    command = [str(bootstrap.find_uv(cache_folder())), *arguments]
    env = bootstrap.uv_environment(os.environ)
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    return done.stdout


def interpreters() -> dict[str, str]:
    """Minor version -> an interpreter of this machine (PATH, pyenv, uv's own); at least the one that runs the tests."""
    found = {f"{sys.version_info[0]}.{sys.version_info[1]}": sys.executable}
    homes = [Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"]
    homes.append(Path(os.environ.get("UV_PYTHON_INSTALL_DIR") or Path.home() / ".local/share/uv/python"))
    for minor in VERSIONS:
        candidates = [Path(folder) / f"python{minor}" for folder in os.environ["PATH"].split(os.pathsep)]
        candidates += [path for home in homes for path in sorted(home.glob(f"*{minor}*/bin/python{minor}"))]
        for candidate in candidates:
            if candidate.is_file() and "shims" not in candidate.parts and minor not in found:
                found[minor] = str(candidate)
    return dict(sorted(found.items()))


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    (file,) = built.glob("*.whl")
    return file


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0].split("-")[0] for name in names} == {"mlplatform"}
    assert {"mlplatform/demo/pipeline.yaml", "mlplatform/demo/digits.csv.gz", "mlplatform/py.typed"} <= set(names)
    assert [name for name in names if "__pycache__" in name or name.endswith((".pyc", ".db"))] == []
    modules = {f"mlplatform/{path.relative_to(ROOT / 'mlplatform')}" for path in (ROOT / "mlplatform").rglob("*.py")}
    assert modules - set(names) == set()
    assert wheel.stat().st_size < 2_000_000


LIBRARY = "mlplatform/launcher/native/libmlptrace.so"


def test_a_wheel_with_the_tracing_library_is_tagged_for_its_platform(wheel: Path) -> None:
    """Where a C compiler is, the library is in; CI has one."""
    compiler = any(shutil.which(name) for name in ("cc", "gcc", "clang")) and sys.platform == "linux"
    assert (LIBRARY in zipfile.ZipFile(wheel).namelist()) is compiler
    assert wheel.name.endswith("-py3-none-any.whl") is not compiler
    if compiler:
        assert re.search(r"-py3-none-linux_\w+\.whl$", wheel.name)


def test_a_wheel_made_without_a_compiler_is_pure(tmp_path: Path) -> None:
    env = {**os.environ, "PATH": str(tmp_path), "CC": ""}
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.name.endswith("-py3-none-any.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert LIBRARY not in names
    assert "mlplatform/launcher/native/trace.c" in names


def test_the_source_distribution_holds_what_building_needs(built: Path) -> None:
    (file,) = built.glob("*.tar.gz")
    with tarfile.open(file) as archive:
        names = {name.split("/", 1)[1] for name in archive.getnames() if "/" in name}
    assert {
        "pyproject.toml",
        "README.md",
        "LICENSE",
        "mlplatform/bootstrap.py",
        "mlplatform/demo/digits.csv.gz",
    } <= names
    assert [name for name in names if name.split("/")[0] in ("tests", "docs", "notebooks", ".ci")] == []


@pytest.fixture(scope="module", params=list(interpreters().items()), ids=lambda item: f"python{item[0]}")
def installed(request: pytest.FixtureRequest, wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clean environment that holds the wheel and what it requires."""
    version, python = request.param
    folder = tmp_path_factory.mktemp(f"python{version}") / "env"
    uv("venv", "--quiet", "--no-project", "--python", python, str(folder))
    lock = str(ROOT / ".ci" / "lock.txt")
    uv("pip", "install", "--quiet", "--python", str(folder / "bin/python"), "--constraints", lock, str(wheel))
    return folder


def run(environment: Path, *arguments: str) -> str:
    env = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    command = [str(environment / "bin" / arguments[0]), *arguments[1:]]
    done = subprocess.run(command, env=env, cwd="/", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_base_install_is_small(installed: Path) -> None:
    packages = next((installed / "lib").glob("python3*/site-packages"))
    sizes = sum(file.stat().st_size for file in packages.rglob("*") if file.is_file() and not file.is_symlink())
    assert sizes <= 60_000_000, f"{sizes / 1e6:.1f} MB"
    names = {path.name.split("-")[0].lower() for path in packages.glob("*.dist-info")}
    assert names & {"kfp", "mlflow", "mlflow_skinny", "kubernetes", "ray", "jupyterlab", "pandas", "numpy"} == set()


def test_the_command_runs(installed: Path) -> None:
    version = run(installed, "python", "-c", "import importlib.metadata as m; print(m.version('mlplatform'))").strip()
    assert version in run(installed, "mlplatform", "version")


def test_every_module_of_the_base_install_can_be_imported_or_says_what_it_wants(installed: Path) -> None:
    code = """
import importlib, pkgutil, sys, mlplatform
optional = {"kfp", "mlflow", "psycopg", "boto3", "botocore", "google", "hatchling", "jupyter_server", "pytest",
            "kubernetes", "urllib3", "prometheus_client"}
broken = []
for module in pkgutil.walk_packages(mlplatform.__path__, "mlplatform."):
    if module.name.endswith(("__main__", ".libmlptrace")):  # a library, but not Python's
        continue
    try:
        importlib.import_module(module.name)
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in optional:
            broken.append(f"{module.name}: {error}")
print(broken)
"""
    assert run(installed, "python", "-c", code).strip() == "[]"


@pytest.mark.parametrize("words", ["operator", "uninstall", "run x.json --backend kubernetes"])
def test_what_a_cluster_needs_is_named(installed: Path, words: str) -> None:
    done = subprocess.run(
        [str(installed / "bin" / "mlplatform"), *words.split()], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2, done.stderr
    assert "pip install 'mlplatform[kubernetes]'" in done.stderr


def test_a_pipeline_is_validated_without_kfp(installed: Path) -> None:
    packages = next((installed / "lib").glob("python3*/site-packages"))
    run(installed, "mlplatform", "validate", str(packages / "mlplatform" / "demo" / "pipeline.yaml"))
