"""The kfp package that Python components import, as a folder to put on sys.path.

Compiled components install kfp themselves, without its dependencies, and set ``_KFP_RUNTIME``: then ``import kfp``
needs the standard library alone. The same is done here once a version. Where the exact version cannot be had, the
nearest one is taken and that is told: the runtime's interface to user code is the same since 2.6.
"""

from __future__ import annotations

import json
import logging
import re
import shutil
import sys
import tempfile
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Final

from mlplatform.core.errors import EnvironmentFailed
from mlplatform.engine.env_interpreters import write_atomically
from mlplatform.engine.env_locks import locked, mark_used
from mlplatform.engine.env_uv import Uv

_log = logging.getLogger(__name__)
#: Older versions import the compiler and the client even inside a component.
OLDEST_RUNTIME: Final = (2, 6, 0)
#: What is fetched where an older version is named and there is none to stand in for it.
NEWEST_KNOWN: Final = "2.17.0"
_VERSION: Final = re.compile(r"(\d+)\.(\d+)(?:\.(\d+))?")


def version_key(version: str) -> tuple[int, int, int]:
    """Numbers to compare; a pre-release counts as its release. (0, 0, 0) if it is no version."""
    match = _VERSION.match(version)
    return (int(match[1]), int(match[2]), int(match[3] or 0)) if match else (0, 0, 0)


def nearest(wanted: str, available: Iterable[str]) -> str:
    """The version that best stands in for ``wanted``: the same minor version, else the next newer, else the newest
    older one; "" if none is usable."""
    target = version_key(wanted)
    usable = sorted((v for v in available if version_key(v) >= OLDEST_RUNTIME), key=version_key)
    same = [v for v in usable if version_key(v)[:2] == target[:2]]
    newer = [v for v in usable if version_key(v) >= target]
    if target < OLDEST_RUNTIME:
        return usable[-1] if usable else ""
    return (same or newer[:1] or usable or [""])[-1]


class KfpRuntimes:
    """Runtimes below ``folder``. Safe for threads and for several services at once."""

    def __init__(self, folder: Path, uv: Uv, environ: Mapping[str, str]) -> None:
        self.folder = folder
        self._uv = uv
        self._environ = environ
        self._instead: dict[str, str] = {}
        self._warnings: list[str] = []

    def known(self, distributions: Mapping[str, str], version: str) -> str | None:
        """What :meth:`provide` gives, if that takes no work; None if it does."""
        wanted = self._wanted(distributions, version)
        if not wanted:
            return None
        if distributions.get("kfp") == wanted:
            return ""
        path = self._path(wanted)
        return str(path) if mark_used(path / "ready.json") else None

    def provide(self, distributions: Mapping[str, str], folders: Iterable[str], version: str) -> str:
        """A folder for sys.path, or "" if the interpreter's own kfp serves. Raises EnvironmentFailed."""
        wanted = self._wanted(distributions, version)
        if not wanted:
            wanted = self._newest(distributions) or NEWEST_KNOWN
            self._warn(version, wanted, "it has no runtime mode")
        found = self.known(distributions, wanted)
        if found is not None:
            return found
        try:
            return str(self._make(wanted))
        except (EnvironmentFailed, OSError) as error:
            instead = nearest(wanted, self._available(distributions))
            if not instead:
                raise _none(version, error) from None
            self._warn(version, instead, str(error).splitlines()[0])
            return "" if distributions.get("kfp") == instead else str(self._make(instead))

    def warnings(self) -> list[str]:
        """One sentence for each version that another one stands in for."""
        return list(self._warnings)

    # ------------------------------------------------------------------ helpers
    def _wanted(self, distributions: Mapping[str, str], version: str) -> str:
        """The version to look for; "" if it is too old and nothing stands in for it yet."""
        if version in self._instead:
            return self._instead[version]
        if not version:
            return distributions.get("kfp") or self._newest(distributions) or NEWEST_KNOWN
        return version if version_key(version) >= OLDEST_RUNTIME else ""

    def _newest(self, distributions: Mapping[str, str]) -> str:
        return max(
            (v for v in self._available(distributions) if version_key(v) >= OLDEST_RUNTIME), key=version_key, default=""
        )

    def _available(self, distributions: Mapping[str, str]) -> set[str]:
        """Versions that need no network: made before, in the interpreter itself, or in this service's own."""
        made = {path.name.removeprefix("kfp-") for path in self.folder.glob("kfp-*") if (path / "ready.json").exists()}
        return {v for v in (*made, distributions.get("kfp", ""), _own_version()) if v}

    def _path(self, version: str) -> Path:
        return self.folder / f"kfp-{version}"

    def _warn(self, wanted: str, instead: str, why: str) -> None:
        self._instead[wanted] = instead
        text = f"kfp {instead} stands in for kfp {wanted}: {why}"
        if text not in self._warnings:
            self._warnings.append(text)
            _log.warning("%s", text)

    def _make(self, version: str) -> Path:
        path = self._path(version)
        with locked(path.with_name(path.name + ".lock")):
            if (path / "ready.json").exists():
                return path
            with tempfile.TemporaryDirectory(prefix=".kfp-", dir=self.folder, ignore_cleanup_errors=True) as aside:
                target = Path(aside) / "kfp"
                if version == _own_version():
                    _copy_own(target)
                else:
                    self._install(version, target)
                write_atomically(target / "ready.json", json.dumps({"kfp": version}))
                shutil.rmtree(path, ignore_errors=True)
                target.rename(path)
        return path

    def _install(self, version: str, target: Path) -> None:
        arguments = ["pip", "install", "--quiet", "--no-deps", "--python", sys.executable, "--target", str(target)]
        told = self._uv.run([*arguments, f"kfp=={version}"], self._environ)
        if told.status:
            raise EnvironmentFailed(f"kfp {version} could not be installed: {told.last_words()}")


def _own_version() -> str:
    """The kfp installed beside this service, "" if none."""
    try:
        return metadata.version("kfp")
    except metadata.PackageNotFoundError:
        return ""


def _copy_own(target: Path) -> None:
    """Copy the Python files of the kfp beside this service (its compiled dependencies are not needed)."""
    for file in metadata.files("kfp") or ():
        source = Path(str(file.locate()))
        if file.parts[0] != ".." and file.suffix != ".pyc" and source.is_file():
            place = target.joinpath(*file.parts)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, place)


def _none(version: str, error: Exception) -> EnvironmentFailed:
    return EnvironmentFailed(
        f"kfp {version}, which the pipeline's components import, could not be had: {error}",
        hint="Install kfp into the environment you submit from (pip install 'mlplatform[kfp]'), or run once online.",
    )
