"""The packages of the current environment, as they can be had for the machine of an image; all findings if not all can.

Each installed package is taken in exactly its version, as a wheel from the package index (or the file it was installed
from), so that the image holds what the author has. What only lies on this machine is refused by name.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from mlplatform.core.errors import Finding, InvalidInput
from mlplatform.images.model import Platform
from mlplatform.images.packages import try_uv

#: In every image: components may install packages when they start.
SEED: Final = ("pip",)
#: Never carried: what the platform brings itself, and what only serves to build.
_LEFT_OUT: Final = frozenset({"mlplatform", "uv", "distribute", "pkg-resources"})
_PLATFORMS: Final = {
    ("amd64", False): "x86_64-manylinux_2_28",
    ("arm64", False): "aarch64-manylinux_2_28",
    ("amd64", True): "x86_64-unknown-linux-musl",
    ("arm64", True): "aarch64-unknown-linux-musl",
}
_AT_ONCE: Final = 4


@dataclass(frozen=True, slots=True)
class Installed:
    """One package of the environment. ``source``: where it was installed from, if not from an index."""

    name: str
    version: str
    requirement: str
    source: str = ""
    conda: bool = False


def normal(name: str) -> str:
    """A package's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def uv_platform(platform: Platform, musl: bool) -> str:
    """uv's word for where packages are to run. Raises InvalidInput."""
    found = _PLATFORMS.get((platform.architecture, musl)) if platform.os == "linux" else None
    if found is None:
        raise InvalidInput(f"Images for {platform} cannot be built.", hint="There is linux/amd64 and linux/arm64.")
    return found


def read_environment(
    exclude: Collection[str] = (), folders: Sequence[str] | None = None
) -> tuple[list[Installed], list[Finding]]:
    """Every package that Python finds, and what cannot travel.

    Args:
        exclude: names to leave out.
        folders: where to look instead of ``sys.path``.
    """
    left_out = _LEFT_OUT | {normal(name) for name in exclude}
    found: dict[str, Installed] = {}
    findings: list[Finding] = []
    for each in metadata.distributions(path=list(folders if folders is not None else sys.path)):
        name = normal(each.metadata["Name"] or "")
        if not name or name in found or name in left_out:
            continue
        told = _installed(name, each)
        if isinstance(told, Finding):
            findings.append(told)
            left_out |= {name}
        else:
            found[name] = told
    return sorted(found.values(), key=lambda each: each.name), findings


def _installed(name: str, found: metadata.Distribution) -> Installed | Finding:
    conda = (found.read_text("INSTALLER") or "").strip() == "conda"
    exact = f"{name}=={found.version}"
    told = found.read_text("direct_url.json")
    if not told:
        return Installed(name, found.version, exact, conda=conda)
    try:
        said: dict[str, Any] = json.loads(told)
        url = str(said["url"])
    except (ValueError, KeyError, TypeError):
        return Installed(name, found.version, exact, conda=conda)
    path = unquote(urlsplit(url).path)
    folder: dict[str, Any] = said.get("dir_info") or {}
    if folder.get("editable"):
        return _refused(name, f"is installed editable from {path}", "editable", f"build a wheel of it: uv build {path}")
    if url.startswith("file:") and path.endswith(".whl") and Path(path).is_file():
        return Installed(name, found.version, f"{name} @ {url}", path)
    if url.startswith("file:"):
        if conda or "feedstock" in path or "/conda" in path:
            return Installed(name, found.version, exact, conda=True)  # conda's own builds say where they were built
        return _refused(name, f"is installed from {path}, which is on this machine only", "local-path", _WHEEL)
    if "vcs_info" in said:
        return _refused(name, f"is installed from the repository {_without_password(url)}", "unbuilt", _WHEEL)
    if path.endswith(".whl"):
        return Installed(name, found.version, f"{name} @ {url}", _without_password(url))
    return _refused(name, f"is installed from {_without_password(url)}, which has to be built", "unbuilt", _WHEEL)


_WHEEL: Final = "build a wheel of it (uv build) and install that, or publish it on your index"


def _refused(name: str, message: str, code: str, hint: str) -> Finding:
    return Finding(f"packages.{name}", message, code, f"{hint}; or leave it out: --exclude {name}")


def _without_password(url: str) -> str:
    return re.sub(r"//[^/@\s]+@", "//", url)


def resolve(
    packages: Sequence[Installed], version: str, platform: Platform, musl: bool
) -> tuple[list[str], list[Finding]]:
    """Exact requirements for an image, and a finding for each package that is not there as a wheel for it.

    Args:
        version: of the image's Python (``3.11``).

    Raises:
        EnvironmentFailed: uv cannot be run.
    """
    target = ["--python-version", version, "--python-platform", uv_platform(platform, musl)]
    same = sys.platform == "linux" and not musl
    names = {each.name for each in packages}
    wanted = [each.requirement for each in packages] + [name for name in SEED if name not in names]
    # On another system other packages may be needed (on Linux, torch needs NVIDIA's libraries); here, none.
    status, told = _compile(wanted, target, dependencies=not same)
    if not status:
        return [line for line in told.splitlines() if line and not line.startswith(("#", " "))], []
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        asked = [threads.submit(_compile, [each.requirement], target, dependencies=False) for each in packages]
        answers = [each.result() for each in asked]
    findings = [_missing(each, platform, answer) for each, (bad, answer) in zip(packages, answers, strict=True) if bad]
    return [], findings or [Finding("packages", f"cannot be had together for {platform}: {told}", "unresolvable")]


def _compile(wanted: Iterable[str], target: Sequence[str], *, dependencies: bool) -> tuple[int, str]:
    with tempfile.NamedTemporaryFile("w", suffix=".in", prefix="mlplatform-", encoding="utf-8") as file:
        file.write("\n".join(wanted) + "\n")
        file.flush()
        options = ["--quiet", "--no-header", "--no-annotate", "--only-binary", ":all:", *target]
        if not dependencies:
            options.append("--no-deps")
        return try_uv(["pip", "compile", *options, file.name])


def _missing(package: Installed, platform: Platform, told: str) -> Finding:
    exact = f"{package.name}=={package.version}"
    if package.conda:
        return _refused(
            package.name, f"{exact} comes from conda, and is not on the package index as a wheel for {platform}",
            "conda-only", "take a base image that holds it",
        )  # fmt: skip
    if (
        "no wheels" in told
        or "no usable wheels" in told
        or "matching platform" in told
        or "building from source" in told
    ):
        return _refused(package.name, f"{exact} has no wheel for {platform}", "no-wheel", "take another version")
    why = "is not on the package index, or not in this version"
    return _refused(package.name, f"{exact} {why} (wheels for {platform})", "not-found", "check the index settings")
