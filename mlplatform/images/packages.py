"""Packages as folders to pack: resolved and unpacked by uv, for the machine of the image rather than this one."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Collection, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Final

from mlplatform.bootstrap import BootstrapError, find_uv, uv_environment
from mlplatform.core.errors import EnvironmentFailed
from mlplatform.images.cache import cache_folder
from mlplatform.images.tree import Tree

_TIMEOUT: Final = 3600.0
_LAST_LINES: Final = 15
_PASSWORD: Final = re.compile(r"//[^/@\s]+@")
#: Of boto3's description of every service of AWS (28 MB), what an artifact store talks to.
_AWS: Final = re.compile(r"(boto3|botocore)/data/(?!s3/|sts/|sso/|sso-oidc/|[^/]+$)[^/]+/.*")
#: Of a package, what no program needs: commands, and what an installer wrote about this installation.
_UNWANTED: Final = re.compile(r"bin(/.*)?|.*\.(pyc|pyi)|[^/]+\.dist-info/(REQUESTED|INSTALLER|direct_url\.json)|\.lock")
_EXTRA: Final = re.compile(r"(\s+and\s+)?extra\s*==\s*['\"]([^'\"]+)['\"]")
_SCRIPT: Final = re.compile(r"(\.\./)*bin/|.*\.pyc,|[^/]+\.dist-info/(REQUESTED|INSTALLER|direct_url\.json)")


@dataclass(frozen=True, slots=True)
class Target:
    """What packages are to run on. ``python``: an interpreter here; ``platform``: uv's word for another machine, with
    the ``version`` of its Python; "" for this machine and interpreter."""

    python: str
    platform: str = ""
    version: str = ""


def run_uv(arguments: Sequence[str], environ: Mapping[str, str] | None = None) -> str:
    """What uv writes. Raises EnvironmentFailed with its last words."""
    status, told = try_uv(arguments, environ)
    if status:
        raise EnvironmentFailed(
            f"packages could not be had:\n{told}", hint="Check the package index, proxy and CA settings of pip or uv."
        )
    return told


def try_uv(arguments: Sequence[str], environ: Mapping[str, str] | None = None) -> tuple[int, str]:
    """uv's exit status and its last words. Raises EnvironmentFailed if it cannot be run at all."""
    environ = os.environ if environ is None else environ
    offline = environ.get("MLPLATFORM_OFFLINE", "") not in ("", "0")
    try:
        uv = find_uv(cache_folder(), offline, environ)
    except BootstrapError as error:
        raise EnvironmentFailed(error.message, hint=error.hint) from None
    env = {**uv_environment(environ), "UV_NO_PROGRESS": "1", "UV_PYTHON_DOWNLOADS": "never", "NO_COLOR": "1"}
    for name in ("CONDA_PREFIX", "PYTHONHOME", "PYTHONPATH", "UV_PROJECT", "UV_SYSTEM_PYTHON", "UV_TARGET"):
        env.pop(name, None)
    more = ["--no-index"] if env.pop("UV_NO_INDEX", "") else []
    if offline:
        env["UV_OFFLINE"] = "1"
    command = [str(uv), *arguments[:2], *more, *arguments[2:]]
    with tempfile.TemporaryDirectory(prefix="mlplatform-uv-") as nowhere:  # nobody's project
        try:
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
                timeout=_TIMEOUT, check=False, env=env, cwd=nowhere,
            )  # fmt: skip
        except (OSError, subprocess.SubprocessError) as error:
            raise EnvironmentFailed(f"uv could not be run: {error}") from None
    if done.returncode:
        lines = _PASSWORD.sub("//", done.stderr).strip().splitlines()
        return done.returncode, "\n".join(lines[-_LAST_LINES:])
    return 0, done.stdout


@contextmanager
def unpacked(
    requirements: Sequence[str],
    target: Target,
    *,
    constraints: Sequence[str] = (),
    dependencies: bool = True,
) -> Generator[Path]:
    """A folder with the packages as they lie in ``site-packages``, until the context ends.

    Args:
        requirements: as pip knows them, markers included; ``constraints`` likewise.
        dependencies: False: these packages alone.

    Raises:
        EnvironmentFailed: with the installer's own last words.
    """
    with tempfile.TemporaryDirectory(prefix="mlplatform-packages-") as scratch:
        folder = Path(scratch) / "packages"
        folder.mkdir()
        if requirements:
            wanted, limits = Path(scratch) / "wanted.txt", Path(scratch) / "limits.txt"
            wanted.write_text("\n".join(requirements) + "\n", encoding="utf-8")
            limits.write_text("\n".join(constraints) + "\n", encoding="utf-8")
            options = ["--quiet", "--target", str(folder), "--python", target.python, "--only-binary", ":all:"]
            options += ["--constraints", str(limits), "--requirements", str(wanted), "--link-mode", "copy"]
            if target.platform:
                options += ["--python-platform", target.platform, "--python-version", target.version]
            if not dependencies:
                options.append("--no-deps")
            run_uv(["pip", "install", *options])
        yield folder


def packages_tree(folder: Path, under: str, *, slim: bool = False) -> Tree:
    """What :func:`unpacked` gave, without what differs from one installation to the next.

    Args:
        slim: without what only users' own code could ask for.
    """
    tree = Tree()
    tree.add(folder, under, lambda path: not (_UNWANTED.fullmatch(path) or (slim and _AWS.fullmatch(path))))
    for record in folder.glob("*.dist-info/RECORD"):
        lines = record.read_text(encoding="utf-8").splitlines()
        kept = sorted(line for line in lines if not _SCRIPT.match(line))
        tree.file(f"{under}/{record.parent.name}/RECORD", "".join(f"{line}\n" for line in kept).encode())
    return tree


def own_requirements(extra: str = "") -> list[str]:
    """What this package needs to be installed, or what one of its extras adds to that.

    Raises:
        EnvironmentFailed: the package has no metadata (it was copied, not installed).
    """
    try:
        told = metadata.requires("mlplatform") or []
    except metadata.PackageNotFoundError:
        raise EnvironmentFailed(
            "mlplatform is not installed, so what it needs is not known.", hint="Install it with pip or uv first."
        ) from None
    found: list[str] = []
    for line in told:
        requirement, _, marker = line.partition(";")
        named = _EXTRA.search(marker)
        if (named[2] if named else "") == extra and not requirement.startswith("mlplatform"):
            rest = _EXTRA.sub("", marker).strip()
            found.append(f"{requirement.strip()} ; {rest}" if rest else requirement.strip())
    return found


def installed_versions() -> list[str]:
    """Every package beside this one as ``name==version``: an image gets the versions its maker has."""
    found = {each.name: each.version for each in metadata.distributions() if each.name}
    return sorted(f"{name}=={version}" for name, version in found.items() if name != "mlplatform")


def own_package(under: str, *, pages: bool = False, rooms: Collection[str] = ()) -> Tree:
    """This package itself, from where it is imported from. ``pages``: with the built web pages; ``rooms``: of its
    folders (and files, by their paths) these alone (empty: all)."""
    package = Path(__file__).resolve().parents[1]
    tree = Tree()
    tree.add(package, f"{under}/mlplatform", lambda path: _belongs(path, pages, rooms))
    dist = _own_metadata()
    if dist is not None:
        tree.file(f"{under}/{dist.name}/METADATA", dist / "METADATA")
        for name in ("entry_points.txt",):
            if (dist / name).exists():
                tree.file(f"{under}/{dist.name}/{name}", dist / name)
    return tree


def _belongs(path: str, pages: bool, rooms: Collection[str]) -> bool:
    wanted = path.split("/")[0] in (*rooms, "__init__.py") or any(f"{room}/".startswith(f"{path}/") for room in rooms)
    if rooms and not wanted:
        return False
    if path.endswith(".pyc") or path in ("hatch_build.py",):
        return False
    parts = path.split("/")
    if parts[0] == "ui" and len(parts) > 1:
        return (parts[1] == "static" and pages) or (path.endswith(".py") and len(parts) == 2)
    return not (parts[0] == "jupyter" and "labextension" in parts)


def _own_metadata() -> Path | None:
    try:
        found = metadata.distribution("mlplatform")
    except metadata.PackageNotFoundError:
        return None
    place = getattr(found, "_path", None)
    return Path(place) if place is not None and Path(place).is_dir() else None
