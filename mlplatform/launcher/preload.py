"""What a template imports ahead of its children, and what it must never import.

Tried by importing each, forking, and using it in the child: the import of these packages leaves no lock held and no
thread that a child would miss. A probe repeats the test for the versions that are installed.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import select
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Optional, cast

from . import ignored, surroundings, trace
from .component import load_executor
from .failures import AttemptFailed
from .identity import boot_id

#: The launcher as a file, for a fresh interpreter.
DOOR = os.path.join(os.path.dirname(os.path.abspath(__file__)), "__main__.py")
#: Threads that imports start and that nobody misses in a forked child: jemalloc (pyarrow, polars) begins anew after a
#: fork by handlers of its own; the other is Polars' cleaner of spilled files, asleep until something was spilled.
FORK_SAFE_THREADS = frozenset(("jemalloc_bg_thd", "polars-ooc-clea"))
#: Packages whose import reads the working folder or the environment (matplotlib: matplotlibrc) are not here.
DEFAULT = ("numpy", "pandas", "scipy", "sklearn", "pyarrow", "polars", "torch", "joblib", "h5py", "PIL", "requests")
#: Private modules worth importing ahead: ``torch.optim`` imports this one, for seconds, at the first optimiser.
LATE = ("torch._dynamo",)
_before: frozenset[str] = frozenset()
#: Top-level names of what was imported beyond the essentials.
_packages: set[str] = set()


def essentials() -> None:
    """What every attempt needs: kfp's runtime where this interpreter has it, and the standard library it uses."""
    global _before
    os.environ["_KFP_RUNTIME"] = "true"
    extend_path()
    for name in (
        "ctypes",
        "inspect",
        "linecache",
        "subprocess",
        "random",
        "typing",
        "faulthandler",
        "importlib.metadata",
    ):
        importlib.import_module(name)
    with contextlib.suppress(AttemptFailed):
        load_executor()
    ignored.fixed(os.path.expanduser("~"))
    boot_id()
    surroundings.prctl()
    if trace.native() is not None:
        trace.library_path()
    _before = frozenset(sys.modules)


def extend_path() -> None:
    """kfp's runtime in front, the submission's own package folders behind: variables of the interpreter's start."""
    kfp_path = os.environ.get("MLPLATFORM_KFP_PATH")
    if kfp_path and kfp_path not in sys.path:
        sys.path.insert(0, kfp_path)
    for entry in os.environ.get("MLPLATFORM_EXTRA_PATH", "").split(os.pathsep):
        if entry and entry not in sys.path:
            sys.path.append(entry)


def threads() -> list[str]:
    """Names of threads besides the main one that a fork must not leave behind, those Python does not know included."""
    me = str(os.getpid())
    found: list[str] = []
    try:
        for task in os.listdir("/proc/self/task"):
            if task != me:
                with open("/proc/self/task/%s/comm" % task, encoding="utf-8", errors="replace") as file:
                    found.append(file.read().strip())
    except OSError:
        return ["unknown"] * (len(sys._current_frames()) - 1)  # pyright: ignore[reportPrivateUsage]
    return [name for name in found if name not in FORK_SAFE_THREADS]


def shadowed(spec: Mapping[str, Any]) -> bool:
    """Whether an entry in front of the path holds another module of a name that is loaded here already."""
    if not _packages:
        return False
    front = [*(spec.get("sys_path") or ()), spec.get("cwd") or ""]
    for entry in front:
        if not entry or entry in sys.path:
            continue
        for name in _packages:
            place = os.path.join(entry, name)
            if os.path.exists(place + ".py") or os.path.isdir(place):
                return True
    return False


def set_threads(spec: Mapping[str, Any]) -> None:
    """Give thread pools of libraries that were loaded before the fork the size this task may have."""
    if _unsearched:  # forked between two imports of the template
        find_thread_setters()
    if not _thread_setters:
        return
    import math

    wanted = spec["env"].get("OMP_NUM_THREADS") or ""
    if spec.get("cpus"):
        count = max(1, math.ceil(float(spec["cpus"])))
    elif hasattr(os, "sched_getaffinity"):
        count = len(os.sched_getaffinity(0))
    else:
        count = os.cpu_count() or 1
    if wanted.isdigit() and int(wanted) > 0:
        count = int(wanted)
    for setter in _thread_setters:
        setter(count)
    if "torch" in sys.modules:
        # Its static MKL has read the template's environment by then, where there is one thread.
        sys.modules["torch"].set_num_threads(count)


_thread_setters: list[Any] = []
#: Modules that were imported since the libraries were last looked through.
_unsearched: list[str] = []
#: How pools that are loaded already are told their size (OpenBLAS as numpy and scipy ship it, OpenMP, MKL).
_SETTERS = (
    ("openblas", ("scipy_openblas_set_num_threads64_", "scipy_openblas_set_num_threads", "openblas_set_num_threads64_",
                  "openblas_set_num_threads")),
    ("libgomp", ("omp_set_num_threads",)),
    ("libomp", ("omp_set_num_threads",)),
    ("libiomp", ("omp_set_num_threads",)),
    ("libmkl_rt", ("MKL_Set_Num_Threads",)),
)  # fmt: skip


def find_thread_setters() -> None:
    """Look through the libraries that are mapped by now."""
    import ctypes

    try:
        with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as file:
            libraries = {line.split(None, 5)[5].strip() for line in file if line.count("/") and ".so" in line}
    except OSError:
        return
    _thread_setters.clear()
    _unsearched.clear()
    for path in sorted(libraries):
        for word, names in _SETTERS:
            if word not in os.path.basename(path):
                continue
            with contextlib.suppress(OSError):
                library = ctypes.CDLL(path)
                for name in names:
                    if hasattr(library, name):
                        _thread_setters.append(getattr(library, name))
                        break


class Report:
    """A child's word to its template on what it had to import."""

    def __init__(self, descriptor: int, allowed: Iterable[str]) -> None:
        self._descriptor = descriptor
        self._allowed = frozenset(allowed)

    def send(self) -> None:
        """Name the modules of allowed packages that this process imported beyond what it was forked with."""
        new = [name for name in sys.modules if name not in _before and name.partition(".")[0] in self._allowed]
        plain = [name for name in new if name in LATE or (name.count(".") <= 1 and "._" not in name)]
        wanted: list[str] = []
        size = 4
        for name in sorted(plain, key=lambda name: name.count(".") - (name in LATE)):
            size += len(name) + 4
            if size > select.PIPE_BUF:
                break
            wanted.append(name)
        if wanted:
            with contextlib.suppress(OSError):
                os.write(self._descriptor, json.dumps(wanted).encode("ascii") + b"\n")


class Preloader:
    """Learns from the children what is worth importing, tries it in a probe, imports it when there is nothing to do."""

    def __init__(self, allowed: Sequence[str]) -> None:
        self._allowed = tuple(allowed)
        self._wanted: list[str] = []
        self._refused: set[str] = set()
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        self._buffer = b""
        self._probe: Optional[tuple[int, list[str]]] = None
        self._proven: list[str] = []
        self._messages: list[dict[str, Any]] = []

    def descriptors(self) -> list[int]:
        return [self._read]

    def patience(self, busy: bool) -> Optional[float]:
        """Seconds to wait for something to do before the next import (None: nothing to import)."""
        return 0.0 if self._proven or (self._wanted and self._probe is None) else None

    def in_child(self) -> Report:
        os.close(self._read)
        return Report(self._write, self._allowed)

    def step(self) -> list[dict[str, Any]]:
        """Read reports; start a probe or import one module. Returns what to tell the engine."""
        self._listen()
        if self._proven:
            self._import(self._proven.pop(0))
        elif self._wanted and self._probe is None:
            self._start_probe()
        told, self._messages = self._messages, []
        return told

    def ended(self, pid: int, status: int) -> None:
        """A child that is no attempt ended: the probe, or an orphan."""
        if self._probe is None or self._probe[0] != pid:
            return
        modules, self._probe = self._probe[1], None
        if status == 0:
            self._proven += modules
            return
        reason = "its import starts threads" if status == 0x100 else "its import fails in a fork (status %d)" % status
        if len(modules) > 1:
            # One of several is to blame: try them one by one.
            self._wanted = modules[1:] + self._wanted
            self._start_probe([modules[0]])
            return
        self._refused.add(modules[0])
        self._messages.append({"event": "refused", "module": modules[0], "reason": reason})

    def _listen(self) -> None:
        try:
            self._buffer += os.read(self._read, 1 << 16)
        except BlockingIOError:
            return
        *lines, self._buffer = self._buffer.split(b"\n")
        for line in lines:
            with contextlib.suppress(ValueError):
                for name in cast("list[str]", json.loads(line)):
                    known = name in sys.modules or name in self._refused or name in self._wanted
                    pending = name in self._proven or (self._probe is not None and name in self._probe[1])
                    if not known and not pending and name.partition(".")[0] in self._allowed:
                        self._wanted.append(name)

    def _start_probe(self, modules: Optional[list[str]] = None) -> None:
        """Fork, import there, see whether threads appear."""
        if modules is None:
            modules, self._wanted = self._wanted, []
        pid = os.fork()
        if pid:
            self._probe = (pid, modules)
            return
        status = 2
        try:
            quiet = os.open(os.devnull, os.O_WRONLY)
            os.dup2(quiet, 1)
            os.dup2(quiet, 2)
            _single_threaded()
            for name in modules:
                importlib.import_module(name)
            status = 1 if threads() else 0
        finally:
            os._exit(status)

    def _import(self, name: str) -> None:
        started = time.monotonic()
        _single_threaded()
        try:
            importlib.import_module(name)
        except Exception as problem:  # noqa: BLE001 - a package's import may raise anything; the template goes on without it
            self._refused.add(name)
            self._messages.append({"event": "refused", "module": name, "reason": repr(problem)})
            return
        seconds = time.monotonic() - started
        _unsearched.append(name)
        _packages.update(other.partition(".")[0] for other in set(sys.modules) - _before)
        if not self._proven:
            find_thread_setters()
            gc.collect()
            gc.freeze()
        self._messages.append({"event": "preloaded", "module": name, "seconds": seconds})


def _single_threaded() -> None:
    """Libraries that make their threads while they are loaded make none here; children set them up."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS"):
        os.environ[name] = "1"
