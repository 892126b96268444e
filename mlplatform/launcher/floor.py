"""The trace where no interposer is loaded: audit events of Python itself, and what is known to go past them.

Audit hooks cannot be removed, so that there is one for the process, which a flag turns off.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable
from typing import Any

from .records import Record

#: Packages whose native code opens files that Python does not see.
NATIVE_READERS = (
    "pandas", "pyarrow", "polars", "h5py", "netCDF4", "tables", "torch", "tensorflow", "cv2", "rasterio", "fiona",
    "sqlite3", "_sqlite3", "duckdb", "xgboost", "lightgbm", "sklearn", "scipy", "soundfile", "onnxruntime", "lxml",
)  # fmt: skip
_CHILDREN = ("subprocess.Popen", "os.exec", "os.posix_spawn", "os.system", "os.fork", "os.forkpty", "pty.spawn")
_records: list[Record] = []
_children: list[str] = []
_on = False
_paused = False
_hooked = False


def pause(on: bool) -> None:
    """What happens meanwhile is not recorded."""
    global _paused
    _paused = on


class Floor:
    """Collects records like the interposer's, in memory."""

    def start(self) -> None:
        global _on, _hooked
        _records.clear()
        _children.clear()
        if not _hooked:
            sys.addaudithook(_hear)
            _wrap_looks()
            _hooked = True
        _on = True

    def stop(self) -> None:
        global _on
        _on = False

    def records(self) -> list[Record]:
        return list(_records)

    def doubt(self) -> str:
        """Why this may not be all; empty if it is."""
        if _children:
            return "it started another process, and nothing watches those here"
        loaded = [name for name in NATIVE_READERS if name in sys.modules]
        if loaded:
            return "%s can read files in native code, which nothing watches here" % loaded[0]
        return ""


def _hear(event: str, arguments: tuple[Any, ...]) -> None:
    if not _on or _paused:
        return
    if event == "open":
        _opened(arguments)
    elif event in ("os.listdir", "os.scandir"):
        _note("L", arguments[0] if arguments[0] is not None else ".")
    elif event in ("os.remove", "os.rmdir"):
        _note("X", arguments[0])
    elif event == "os.mkdir":
        _note("D", arguments[0])
    elif event == "os.rename":
        _note("X", arguments[0])
        _note("W", arguments[1])
    elif event in ("os.symlink", "os.link"):
        _note("W", arguments[1])
    elif event == "os.truncate":
        _note("W", arguments[0])
    elif event == "socket.connect" or event == "socket.sendto":
        _connected(arguments[1])
    elif event in _CHILDREN:
        _children.append(event)


def _opened(arguments: tuple[Any, ...]) -> None:
    path, _, flags = arguments
    if isinstance(path, int) or not isinstance(flags, int):
        return
    writing = (flags & os.O_ACCMODE) != os.O_RDONLY or flags & (os.O_CREAT | os.O_TRUNC)
    if not writing:
        _note("R", path)
    elif (flags & os.O_ACCMODE) == os.O_RDWR and not flags & os.O_TRUNC:
        _note("B", path)
    else:
        _note("W", path)


def _connected(address: Any) -> None:
    if isinstance(address, tuple) and len(address) >= 2:  # pyright: ignore[reportUnknownArgumentType]
        text = "inet %s %s" % (address[0], address[1])
    elif isinstance(address, (str, bytes)):
        text = "unix " + os.fsdecode(address)
    else:
        return
    _records.append(Record("C", 0, os.getpid(), 0, 0, 0, text))


def _note(op: str, path: Any) -> None:
    if not isinstance(path, (str, bytes, os.PathLike)):
        return
    full = os.path.join(os.getcwd(), os.fsdecode(path))  # pyright: ignore[reportUnknownArgumentType]
    pause(True)
    try:
        found = _stat(full)
    except (OSError, ValueError):
        found = None
    finally:
        pause(False)
    if found is None:
        _records.append(Record("M" if op in "RSL" else op, 0, os.getpid(), 0, 0, 0, full))
        return
    kind = 1 if stat.S_ISREG(found.st_mode) else 2 if stat.S_ISDIR(found.st_mode) else 4
    _records.append(Record(op, kind, os.getpid(), found.st_size, found.st_mtime_ns, found.st_ino, full))


_stat: Callable[..., os.stat_result] = os.stat


def _wrap_looks() -> None:
    """``os.stat`` and its kin raise no audit event."""

    def watched(original: Callable[..., Any]) -> Callable[..., Any]:
        def look(path: Any, *arguments: Any, **named: Any) -> Any:
            if _on and not _paused and named.get("dir_fd") is None:
                _note("S", path)
            return original(path, *arguments, **named)

        look.__name__ = original.__name__
        look.__doc__ = original.__doc__
        return look

    for name in ("stat", "lstat", "access", "readlink"):
        setattr(os, name, watched(getattr(os, name)))
