"""Calling ``uv``, the one installer, with the user's own settings, and telling its failures in its own words."""

from __future__ import annotations

import re
import subprocess
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mlplatform.bootstrap import BootstrapError, find_uv, uv_environment
from mlplatform.core.errors import EnvironmentFailed

#: The end of an installer's output that is worth repeating.
_LAST_LINES: Final = 15
_PASSWORD: Final = re.compile(r"//[^/@\s]+@")
_TIMEOUT: Final = 3600.0

#: pip's options with a value, and uv's word for each.
_WITH_VALUE: Final = {
    "--index-url": "--default-index",
    "-i": "--default-index",
    "--extra-index-url": "--index",
    "--find-links": "--find-links",
    "-f": "--find-links",
    "--trusted-host": "--allow-insecure-host",
    "--constraint": "--constraints",
    "-c": "--constraints",
    "--no-binary": "--no-binary",
    "--only-binary": "--only-binary",
}
#: pip's options without a value; empty: nothing of it matters in a fresh environment.
_FLAGS: Final = {
    "--pre": "--prerelease=allow",
    "--no-deps": "--no-deps",
    "--no-index": "--no-index",
    "--no-build-isolation": "--no-build-isolation",
    "--upgrade": "",
    "-U": "",
    "--user": "",
    "--quiet": "",
    "-q": "",
    "--no-cache-dir": "",
    "--no-warn-script-location": "",
    "--disable-pip-version-check": "",
    "--force-reinstall": "",
    "--ignore-installed": "",
    "--break-system-packages": "",
    "--prefer-binary": "",
    "--no-warn-conflicts": "",
    "--use-pep517": "",
}


def uv_options(pip_options: Sequence[str]) -> list[str]:
    """pip's command line options in uv's words.

    pip takes the best version of all its indexes, uv the first index that has the package: where there is an extra
    index uv is told to do as pip does.

    Raises:
        EnvironmentFailed: an option that is not understood; it is named.
    """
    words = list(pip_options)
    found: list[str] = []
    while words:
        word = words.pop(0)
        name, equals, value = word.partition("=")
        if name in _WITH_VALUE:
            if not equals:
                if not words:
                    raise EnvironmentFailed(f"the pip option {name} has no value")
                value = words.pop(0)
            found += [_WITH_VALUE[name], value]
            if name == "--extra-index-url":
                found.append("--index-strategy=unsafe-best-match")
        elif word in _FLAGS:
            found += [_FLAGS[word]] if _FLAGS[word] else []
        else:
            raise EnvironmentFailed(
                f"the pip option {word} is not understood",
                hint="Set it for all of pip in its configuration file or by a PIP_... variable instead.",
            )
    return found


@dataclass(frozen=True, slots=True)
class Told:
    """What a command printed, and how it ended."""

    status: int
    text: str

    def last_words(self) -> str:
        lines = [line.rstrip() for line in self.text.splitlines() if line.strip()]
        return without_passwords("\n".join(lines[-_LAST_LINES:])) or f"exit status {self.status}"


def without_passwords(text: str) -> str:
    """``text`` with the user part of every URL in it left out."""
    return _PASSWORD.sub("//", text)


class Uv:
    """Runs uv. ``cache`` is where it is put if it has to be fetched."""

    def __init__(self, cache: Path, *, offline: bool) -> None:
        self._cache = cache
        self.offline = offline
        self._lock = threading.Lock()
        self._path: Path | None = None

    def path(self, environ: Mapping[str, str]) -> Path:
        """Where uv is; found or fetched once. Raises EnvironmentFailed."""
        with self._lock:
            if self._path is None or not self._path.exists():
                try:
                    self._path = find_uv(self._cache, self.offline, environ)
                except BootstrapError as error:
                    raise EnvironmentFailed(error.message, hint=error.hint) from None
            return self._path

    def run(self, arguments: Sequence[str], environ: Mapping[str, str]) -> Told:
        """Run uv to its end with the settings of pip and uv in ``environ``. Raises EnvironmentFailed if it cannot."""
        env = {**uv_environment(environ), "UV_NO_PROGRESS": "1", "UV_PYTHON_DOWNLOADS": "never", "NO_COLOR": "1"}
        for name in ("CONDA_PREFIX", "PYTHONHOME", "PYTHONPATH", "UV_PROJECT", "UV_SYSTEM_PYTHON", "UV_TARGET"):
            env.pop(name, None)
        if self.offline:
            env["UV_OFFLINE"] = "1"
        command = [str(self.path(environ)), *arguments]
        if env.pop("UV_NO_INDEX", ""):  # pip's no-index, for which uv knows an option and no variable
            verb = 1 if arguments[0] == "venv" else 2
            command[1 + verb : 1 + verb] = ["--no-index"]
        self._cache.mkdir(parents=True, exist_ok=True)
        try:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                timeout=_TIMEOUT,
                check=False,
                env=env,
                cwd=self._cache,  # nobody's project: no pyproject.toml of the user is meant
            )
        except subprocess.TimeoutExpired as error:
            raise EnvironmentFailed(f"the installer did not end within {error.timeout:g} s") from None
        except OSError as error:
            raise EnvironmentFailed(f"uv cannot be started: {error}") from None
        return Told(done.returncode, done.stdout)
