"""A CPython of this machine as files to pack: its binary, standard library, extension modules and shared libraries."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mlplatform.core.errors import EnvironmentFailed, Unsupported
from mlplatform.images import elf

_ASK: Final = """
import json, os, sys, sysconfig
print(json.dumps({
    "executable": os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable),
    "version": sys.version, "number": list(sys.version_info[:3]), "cache_tag": sys.implementation.cache_tag,
    "standard_library": sysconfig.get_path("stdlib"), "extensions": sysconfig.get_config_var("DESTSHARED"),
    "libraries": sysconfig.get_config_var("LIBDIR"),
    "implementation": sys.implementation.name, "platform": sys.platform,
}))
"""
#: Of the standard library, what nothing that runs in a container imports: tests, windows, terminals' line editors, and
#: what installs or documents Python itself.
_UNWANTED: Final = re.compile(
    r"(test|tests|idlelib|turtledemo|tkinter|ensurepip|lib2to3|pydoc_data|site-packages|dist-packages|venv|msilib"
    r"|turtle\.py|config-.*|(.*/)?(tests?|idle_test))(/.*)?"
)
_UNWANTED_EXTENSIONS: Final = re.compile(
    r"(_tkinter|readline|_curses|_curses_panel|_gdbm|_dbm|nis|ossaudiodev|_test.*|xx.*|_xx.*|_ctypes_test)\..*"
)
#: What the C library opens by itself, without being linked to it.
_OPENED: Final = ("libgcc_s.so.1", "libnss_dns.so.2", "libnss_files.so.2", "libresolv.so.2")
_LISTED: Final = re.compile(r"^\s*(\S+) => (.+?)(?: \(0x[0-9a-f]+\))?$")


@dataclass(frozen=True, slots=True)
class Interpreter:
    """What an interpreter says of itself. ``version``: the whole text, ``number``: ``(3, 11, 7)``."""

    executable: str
    version: str
    number: tuple[int, int, int]
    cache_tag: str
    standard_library: Path
    extensions: Path
    libraries: Path

    @property
    def short(self) -> str:
        """``3.11``."""
        return f"{self.number[0]}.{self.number[1]}"

    @classmethod
    def of(cls, python: str) -> Interpreter:
        """Ask ``python``; a virtual environment's stands for the one it was made from.

        Raises:
            EnvironmentFailed: it does not run.
            Unsupported: it is no CPython on Linux.
        """
        command = [python, "-I", "-S", "-c", _ASK]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
            told = json.loads(done.stdout)
        except (OSError, subprocess.SubprocessError, ValueError) as error:
            raise EnvironmentFailed(f"The interpreter {python} cannot be asked: {error}") from None
        if told["platform"] != "linux" or told["implementation"] != "cpython":
            raise Unsupported(
                f"{python} is {told['implementation']} on {told['platform']}: only a CPython of Linux can be packed.",
                hint="Build on Linux (in a container or CI), and push the image from there.",
            )
        return cls(
            told["executable"],
            told["version"],
            tuple(told["number"]),
            told["cache_tag"],
            Path(told["standard_library"]),
            Path(told["extensions"] or Path(told["standard_library"]) / "lib-dynload"),
            Path(told["libraries"] or "/usr/lib"),
        )

    def architecture(self) -> str:
        """``amd64`` or ``arm64``. Raises Unsupported."""
        found = elf.read(Path(self.executable))
        if found is None or not found.interpreter or found.architecture == "unknown":
            raise Unsupported(f"{self.executable} is no dynamically linked 64-bit program: it cannot be packed.")
        return found.architecture

    def loader(self) -> Path:
        """The program that loads its shared libraries. Raises Unsupported."""
        self.architecture()
        found = elf.read(Path(self.executable))
        return Path(found.interpreter if found else "")

    def wants(self, path: str) -> bool:
        """Whether a path below the standard library belongs into an image."""
        return _UNWANTED.fullmatch(path) is None and not path.endswith((".pyc", ".a", ".exe"))

    def extension_files(self) -> list[Path]:
        """Extension modules that belong into an image."""
        found = sorted(self.extensions.glob("*.so"))
        return [file for file in found if _UNWANTED_EXTENSIONS.fullmatch(file.name) is None]


def libraries_of(python: Interpreter, files: Iterable[Path], inside: Path | None = None) -> dict[str, Path]:
    """The shared libraries that ``files`` and the interpreter need, by name, the C library's own included.

    Args:
        inside: libraries that lie below this folder travel with it and are not told.

    Raises:
        EnvironmentFailed: one is missing on this machine.
    """
    loader = python.loader()
    found: dict[str, Path] = {}
    missing: dict[str, str] = {}
    for file in (Path(python.executable), *files):
        known = elf.read(file)
        if known is None or not known.needed:
            continue
        for name, place in _listed(loader, file, python).items():
            if not place:
                missing[name] = file.name
            elif inside is None or not _is_below(place, inside):
                found.setdefault(name, Path(place))
    travelling = {file.name for file in inside.rglob("*.so*")} if missing and inside is not None else set[str]()
    missing = {name: file for name, file in missing.items() if name not in found and name not in travelling}
    if missing:
        told = ", ".join(f"{name} (needed by {file})" for name, file in sorted(missing.items()))
        raise EnvironmentFailed(f"Shared libraries are missing on this machine: {told}.")
    libc = next((place for name, place in found.items() if name.startswith("libc.")), None)
    for folder in (libc.parent, Path(os.path.realpath(libc)).parent) if libc else ():
        for name in _OPENED:
            if (folder / name).exists():
                found.setdefault(name, folder / name)
    return dict(sorted(found.items()))


def _listed(loader: Path, file: Path, python: Interpreter) -> Mapping[str, str]:
    """What the loader would load for ``file``; "" for what it does not find."""
    env = {name: value for name, value in os.environ.items() if name not in ("LD_PRELOAD", "LD_AUDIT")}
    env["LD_LIBRARY_PATH"] = ":".join(filter(None, (env.get("LD_LIBRARY_PATH"), str(python.libraries))))
    done = subprocess.run([str(loader), "--list", str(file)], capture_output=True, text=True, check=False, env=env)
    found: dict[str, str] = {}
    for line in done.stdout.splitlines():
        match = _LISTED.match(line)
        if match and not match[1].startswith("/"):
            found[match[1]] = match[2] if match[2].startswith("/") else ""
    return found


def _is_below(place: str, folder: Path) -> bool:
    return os.path.realpath(place).startswith(os.path.realpath(folder) + "/")
