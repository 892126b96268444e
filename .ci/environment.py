"""Make the project's own environments from the lock, before anything is installed (standard library only).

    python3 -I .ci/environment.py dev  --into .venv         everything that tests, checks and docs need
    python3 -I .ci/environment.py demo --into .cache/demo   the package alone, as a user has it
    python3 -I .ci/environment.py uv                        print the path of the uv that is used

An environment that is already right is left alone (a stamp in it holds the digest of what it was made from);
one that somebody else made is used as it is and never changed.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "mlplatform"))

import bootstrap  # noqa: E402  (by path: the package and its dependencies are not installed yet)

LOCK = ROOT / ".ci" / "lock.txt"
PYPROJECT = ROOT / "pyproject.toml"
STAMP = "made-by-mlplatform"
OLDEST_PYTHON, NEWEST_PYTHON = (3, 11), (3, 14)

#: Folders of the pages that hold no sources.
GENERATED = {"node_modules", "static", "__pycache__"}

#: What a first run downloads, for the message (megabytes, measured; see docs/development.md).
DOWNLOADS = {
    "dev": "about {dev} MB of packages (tests, checks, kfp, MLflow, pandas, scikit-learn ...)",
    "demo": "about {demo} MB of packages (the platform itself; it tells what the demonstration adds)",
}
MEGABYTES = {"dev": 600, "demo": 20}


def cache_folder() -> Path:
    """The same rule as ``mlplatform.engine.home.cache_folder``."""
    if os.environ.get("MLPLATFORM_CACHE"):
        return Path(os.environ["MLPLATFORM_CACHE"]).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "mlplatform"


def wanted(kind: str, python: str) -> str:
    """Digest of everything an environment is made from."""
    digest = hashlib.sha256(f"{kind} {python} {ROOT}\n".encode())
    package = ROOT / "mlplatform"
    built = (package / "hatch_build.py", *sorted((package / "launcher/native").glob("*.[chp]*")))
    for file in (PYPROJECT, LOCK, Path(__file__), *built):
        digest.update(file.read_bytes())
    pages = package / "ui"
    for file in sorted(path for path in pages.rglob("*") if not GENERATED & set(path.relative_to(pages).parts)):
        if file.is_file() and file.suffix != ".pyc":
            digest.update(file.read_bytes())
    return digest.hexdigest()


def python_of(environment: Path) -> Path:
    return environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def choose_python() -> str:
    """The interpreter that runs this, if the platform supports it. Raises BootstrapError."""
    if not OLDEST_PYTHON <= sys.version_info[:2] <= NEWEST_PYTHON:
        for minor in range(NEWEST_PYTHON[1], OLDEST_PYTHON[1] - 1, -1):
            other = shutil.which(f"python3.{minor}")
            if other and subprocess.run([other, "-c", ""], capture_output=True, check=False).returncode == 0:
                return other
        raise bootstrap.BootstrapError(
            f"This is Python {sys.version_info[0]}.{sys.version_info[1]}; mlplatform needs 3.11 to 3.14.",
            "Name another one: make PYTHON=python3.12 ...",
        )
    return sys.executable


def run_uv(uv: Path, *arguments: str, offline: bool) -> None:
    """Run one uv command with pip's settings said in uv's words. Raises BootstrapError."""
    command = [str(uv), *arguments, *(["--offline"] if offline else [])]
    if os.environ.get("CI"):
        command.insert(1, "--no-progress")
    env = bootstrap.uv_environment(os.environ)
    env.setdefault("UV_HTTP_TIMEOUT", "180")
    done = subprocess.run(command, env=env, cwd=str(ROOT), check=False)
    if done.returncode:
        words = " ".join(word for word in arguments[:2] if not word.startswith("-"))
        raise bootstrap.BootstrapError(
            f"uv {words} ended with exit status {done.returncode}; its own words are above.",
            "No network? Packages that are cached already install with: make OFFLINE=1 ..."
            if not offline
            else "Something is not cached yet: run once without OFFLINE=1.",
        )


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def prepare_uv(offline: bool) -> Path:
    """uv; where it must be fetched, that is said first. Raises BootstrapError."""
    try:
        return bootstrap.find_uv(cache_folder(), offline=True)
    except bootstrap.BootstrapError:
        if not offline:
            size = f"about {bootstrap.UV_MEGABYTES} MB"
            say(f"uv is not on this machine: it is downloaded into {cache_folder()} ({size}).")
        return bootstrap.find_uv(cache_folder(), offline)


def make(kind: str, into: Path, offline: bool) -> None:
    """Bring the environment ``into`` up to date. Raises BootstrapError."""
    python = choose_python()
    stamp, digest = into / STAMP, wanted(kind, python)
    made = stamp.read_text().splitlines() if stamp.is_file() else []
    if made == [digest, python]:
        return
    if python_of(into).exists() and not made:
        say(f"Using {into} as it is: it was not made by make (remove it to have it rebuilt).")
        return
    uv = prepare_uv(offline)
    source = "from the local caches only (offline)"
    if not offline:
        source = f"what is not cached yet is downloaded: {DOWNLOADS[kind].format(**MEGABYTES)}"
    say(f"Making {into} with {python}; {source}.")
    if made and made[1:] != [python]:
        shutil.rmtree(into, ignore_errors=True)  # ours, for another interpreter
    into.mkdir(parents=True, exist_ok=True)
    stamp.write_text(f"unfinished\n{python}\n")  # first of all: an interrupted one is ours, and is finished next time
    run_uv(uv, "venv", "--quiet", "--no-project", "--allow-existing", "--python", python, str(into), offline=offline)
    # Compiled now, once: where PYTHONDONTWRITEBYTECODE is set, every process would compile all it imports.
    target = ["--quiet", "--compile-bytecode", "--python", str(python_of(into))]
    build = ["--build-constraints", str(LOCK)]
    if kind == "dev":
        run_uv(uv, "pip", "sync", *target, "--require-hashes", str(LOCK), offline=offline)
        run_uv(uv, "pip", "install", *target, *build, "--no-deps", "--editable", str(ROOT), offline=offline)
    else:
        constraints = ["--constraints", str(LOCK)]
        run_uv(uv, "pip", "install", *target, *build, *constraints, "--editable", str(ROOT), offline=offline)
    stamp.write_text(f"{digest}\n{python}\n")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=[*DOWNLOADS, "uv"])
    parser.add_argument("--into", type=Path, default=ROOT / ".venv")
    parser.add_argument("--offline", action="store_true", default=os.environ.get("OFFLINE", "") not in ("", "0"))
    chosen = parser.parse_args()
    try:
        if chosen.kind == "uv":
            print(prepare_uv(chosen.offline))
        else:
            make(chosen.kind, chosen.into.absolute(), chosen.offline)
    except bootstrap.BootstrapError as error:
        say(f"error: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
