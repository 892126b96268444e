"""What is installed in somebody's Python, known without starting it whenever nothing changed.

The first time, an interpreter is started once and asked for its version and package folders. That answer is kept
with *stamps* (modification times) of everything that changes when packages do: the interpreter itself, its
``pyvenv.cfg``, its package folders and the ``.pth`` files in them. While the stamps are the same, so is the digest.

Installed distributions are read from their ``*.dist-info`` (PyPA's "Recording installed projects") and ``*.egg-info``
folders, as pip, uv, conda and distributions' packages leave them.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from mlplatform.core.errors import EnvironmentFailed
from mlplatform.core.values import digest_json
from mlplatform.engine.ports import Interpreter

OLDEST_PYTHON: Final = (3, 9)

#: What is asked of an interpreter. It must run on any Python 3, so that an old one can be told apart from a broken one.
_QUESTION: Final = """
import sys
if sys.version_info < (3, 9):
    print('{"version": "%d.%d.%d"}' % sys.version_info[:3]); sys.exit()
import json, site, sysconfig
folders = site.getsitepackages() if hasattr(site, "getsitepackages") else []
if site.ENABLE_USER_SITE: folders.append(site.getusersitepackages())
print(json.dumps({
    "version": "%d.%d.%d" % sys.version_info[:3],
    "implementation": sys.implementation.name,
    "platform": sysconfig.get_platform(),
    "abi": sysconfig.get_config_var("SOABI") or "",
    "prefix": sys.prefix,
    "base": getattr(sys, "_base_executable", None) or sys.executable,
    "folders": folders + [p for p in sys.path if p.rsplit("/", 1)[-1] in ("site-packages", "dist-packages")],
}))
"""
_FORMAT: Final = 1
_NAME: Final = re.compile(r"[-_.]+")


@dataclass(frozen=True, slots=True)
class Described:
    """An interpreter and what is installed in it. ``base`` is the interpreter that virtual environments of it stand
    on; ``distributions`` maps normalised names to versions, ``folders`` are its package folders."""

    executable: str
    version: str
    implementation: str
    platform: str
    abi: str
    prefix: str
    base: str
    folders: tuple[str, ...]
    distributions: Mapping[str, str] = field(default_factory=dict[str, str])
    digest: str = ""
    stamps: Mapping[str, int] = field(default_factory=dict[str, int])

    def interpreter(self, sys_path: tuple[str, ...] = ()) -> Interpreter:
        return Interpreter(self.executable, self.digest, self.version, sys_path)

    @property
    def fresh(self) -> bool:
        """Whether nothing that was looked at has changed since."""
        return all(_stamp(path) == stamp for path, stamp in self.stamps.items())


class Interpreters:
    """Descriptions, remembered in memory and in ``folder``. Safe for threads and for several services at once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[tuple[str, tuple[str, ...]], Described] = {}

    def known(self, executable: str, extra: Sequence[str] = ()) -> Described | None:
        """The description if it can be had without starting the interpreter or reading its packages, else None."""
        key = (executable, tuple(extra))
        found = self._known.get(key)
        if found is None:
            found = self._load(key)
            if found is not None:
                self._known[key] = found
        return found if found is not None and found.fresh else None

    def describe(self, executable: str, extra: Sequence[str] = ()) -> Described:
        """The description, made anew where something changed.

        Args:
            executable: absolute path of a Python 3.9 or newer: of a system, virtual, conda or pyenv environment.
            extra: further package folders its tasks will have on sys.path.

        Raises:
            EnvironmentFailed: it does not start, or is too old.
        """
        found = self.known(executable, extra)
        if found is not None:
            return found
        return self.remember(inspect(executable, extra), extra)

    def remember(self, found: Described, extra: Sequence[str] = ()) -> Described:
        """Keep a description; gives it back."""
        key = (found.executable, tuple(extra))
        self._known[key] = found
        self._save(key, found)
        return found

    def forget(self, prefix: Path) -> None:
        """Drop what is remembered of interpreters below ``prefix`` (it was removed)."""
        for key in [key for key in self._known if Path(key[0]).is_relative_to(prefix)]:
            self._known.pop(key)
            self._file(key).unlink(missing_ok=True)

    def _file(self, key: tuple[str, tuple[str, ...]]) -> Path:
        name = hashlib.sha256("\0".join((key[0], *key[1])).encode("utf-8", "surrogateescape")).hexdigest()[:24]
        return self._folder / f"{name}.json"

    def _load(self, key: tuple[str, tuple[str, ...]]) -> Described | None:
        try:
            data: Any = json.loads(self._file(key).read_bytes())
            if data.pop("format") != _FORMAT or data["executable"] != key[0]:
                return None
            data["folders"] = tuple(data["folders"])
            return Described(**data)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None  # not there, or of another version: it is made anew

    def _save(self, key: tuple[str, tuple[str, ...]], found: Described) -> None:
        data = {name: getattr(found, name) for name in Described.__dataclass_fields__}
        try:
            write_atomically(self._file(key), json.dumps({"format": _FORMAT, **data}))
        except OSError:
            return  # a cache on a full or read-only disk is no reason to fail


# ------------------------------------------------------------------ looking
def inspect(executable: str, extra: Sequence[str] = ()) -> Described:
    """Start the interpreter, ask it, and read what is installed. Raises EnvironmentFailed."""
    before = _stamp(executable)
    told = _ask(executable)
    folders = tuple(dict.fromkeys((*told["folders"], *extra)))  # also those that are not there yet
    return _described(executable, told, folders, before)


def describe_copy(like: Described, executable: str, prefix: Path, folder: Path) -> Described:
    """An environment made from ``like`` a moment ago: only its packages in ``folder`` have to be read."""
    told = {"version": like.version, "implementation": like.implementation, "platform": like.platform}
    told |= {"abi": like.abi, "base": like.base, "prefix": str(prefix)}
    return _described(executable, told, (str(folder),), _stamp(executable))


def _described(executable: str, told: Mapping[str, Any], folders: tuple[str, ...], before: int) -> Described:
    stamps = {executable: before, os.path.join(told["prefix"], "pyvenv.cfg"): 0}
    for path in [*stamps, *folders, *_pth_files(folders)]:
        stamps[path] = stamps.get(path) or _stamp(path)
    found, parts = read_distributions(folders)
    identity = {name: told[name] for name in ("version", "implementation", "platform", "abi")}
    return Described(
        executable=executable,
        version=told["version"],
        implementation=told["implementation"],
        platform=told["platform"],
        abi=told["abi"],
        prefix=told["prefix"],
        base=told["base"],
        folders=folders,
        distributions=found,
        digest=digest_json([identity, parts]),
        stamps=stamps,
    )


def _ask(executable: str) -> dict[str, Any]:
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    try:
        done = subprocess.run(
            [executable, "-c", _QUESTION], capture_output=True, text=True, timeout=60, check=False, env=env, cwd="/"
        )
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        raise EnvironmentFailed(
            f"the interpreter {executable} cannot be started: {error}",
            hint="Activate an environment that works, then submit again.",
        ) from None
    try:
        told: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
        version = tuple(int(number) for number in told["version"].split("."))
    except (ValueError, IndexError, KeyError, TypeError):
        last = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        raise EnvironmentFailed(
            f"the interpreter {executable} does not work: {last}",
            hint="Activate an environment that works, then submit again.",
        ) from None
    if version < OLDEST_PYTHON:
        raise EnvironmentFailed(f"{executable} is Python {told['version']}; tasks need Python 3.9 or newer")
    return told


def _pth_files(folders: Iterable[str]) -> list[str]:
    found: list[str] = []
    for folder in folders:
        try:
            with os.scandir(folder) as entries:
                found += [entry.path for entry in entries if entry.name.endswith((".pth", ".egg-link"))]
        except OSError:
            continue
    return sorted(found)


def _stamp(path: str) -> int:
    """Nanoseconds of the last change, 0 if there is nothing."""
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return 0


# ------------------------------------------------------------------ distributions
def read_distributions(folders: Iterable[str]) -> tuple[dict[str, str], list[list[str]]]:
    """(versions by normalised name, what the digest is made of).

    The second holds name, version and a digest of the recorded contents, so that the same version built again
    differs; of an editable install the place it points to (its files are traced like the user's own). Two
    environments with the same wheels agree whichever installer filled them.
    """
    versions: dict[str, str] = {}
    parts: list[list[str]] = []
    for folder in folders:
        for entry in sorted(_entries(folder)):
            path = os.path.join(folder, entry)
            if entry.endswith((".dist-info", ".egg-info")):
                name, version = _identity(path, entry)
                if name:
                    versions.setdefault(name, version)
                    parts.append([name, version, _contents(path)])
            elif entry.endswith((".pth", ".egg-link")):
                parts.append([entry, hashlib.sha256(_read(path)).hexdigest(), ""])
    return versions, parts


def normalise(name: str) -> str:
    """A distribution's name as indexes compare it."""
    return _NAME.sub("-", name).lower()


def _entries(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _identity(path: str, entry: str) -> tuple[str, str]:
    """Name and version: from the folder's own name where it has both, else from its metadata."""
    stem, _, kind = entry.rpartition(".")
    name, dash, version = stem.partition("-")
    if kind == "dist-info" and dash and version:
        return normalise(name), version
    file = path if os.path.isfile(path) else os.path.join(path, "PKG-INFO")
    text = _read(file).decode("utf-8", "replace") or _read(os.path.join(path, "METADATA")).decode("utf-8", "replace")
    header = dict(re.findall(r"^(Name|Version):\s*(\S+)", text.split("\n\n", 1)[0], re.MULTILINE))
    return normalise(header.get("Name", "")), header.get("Version", "")


def _contents(path: str) -> str:
    """Digest of the recorded files but those that installers write differently each time; of an editable install its
    place as well."""
    digest = hashlib.sha256()
    for line in sorted(_read(os.path.join(path, "RECORD")).splitlines()):
        file = line.split(b",", 1)[0]
        if not (line.startswith(b"../") or b".dist-info/" in file or file.endswith(b".pyc")):
            digest.update(line + b"\n")
    place = _read(os.path.join(path, "direct_url.json"))
    if b"editable" in place:
        digest.update(place)
    return digest.hexdigest()


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""


def write_atomically(path: Path, text: str) -> None:
    """Write a small file whole or not at all. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
    try:
        temporary.write_text(text, encoding="utf-8", errors="surrogateescape")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
