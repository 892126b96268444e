"""The process a task finds itself in: its log, folder, variables, import path, number of threads."""

from __future__ import annotations

import contextlib
import io
import math
import os
import signal
import sys
import tempfile
import time
import types
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Optional

#: Every library that opens a pool of threads has its own name for how many.
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "POLARS_MAX_THREADS",
)
_PR_SET_CHILD_SUBREAPER = 36
_BACKSTOP_DELAY = 15.0


def own_session() -> None:
    """Make this process the leader of a session of its own, if it is not yet."""
    with contextlib.suppress(PermissionError):
        os.setsid()


def adopt_orphans() -> None:
    """Processes whose parent dies below this one become its children, so that it can tell whether any are left."""
    call = prctl()
    if call is not None:
        call(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


@lru_cache(maxsize=1)
def prctl() -> Any:
    """The system call of this name, or None where there is none. Looked up once, before the fork."""
    if not sys.platform.startswith("linux"):
        return None
    import ctypes

    try:
        return ctypes.CDLL(None).prctl
    except (OSError, AttributeError):
        return None


def default_signals() -> None:
    """Signals as a fresh interpreter has them."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)


def backstop(timeout: Optional[float]) -> None:
    """The engine ends a task at its time limit. Should there be no engine, the alarm does, a little later: nobody
    handles SIGALRM, so it ends the process."""
    if timeout:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, float(timeout) + _BACKSTOP_DELAY)


def open_log(path: str) -> int:
    """A descriptor that appends to the log. Raises OSError."""
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)


def redirect(descriptor: int) -> None:
    """Standard output and error go to ``descriptor``, line by line; standard input is empty."""
    empty = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((empty, 0), (descriptor, 1), (descriptor, 2)):
        os.dup2(source, target)
    if empty > 2:
        os.close(empty)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(line_buffering=True)


def environment(spec: Mapping[str, Any]) -> dict[str, str]:
    """The whole environment of the task."""
    env = {str(name): str(value) for name, value in spec["env"].items()}
    env["MLPLATFORM_ATTEMPT"] = str(spec["cookie"])
    if spec.get("scratch"):
        env["TMPDIR"] = spec["scratch"]
    if spec.get("cpus"):
        threads = str(max(1, math.ceil(float(spec["cpus"]))))
        for name in THREAD_VARIABLES:
            env.setdefault(name, threads)
    if spec.get("gpus") is not None:
        env["CUDA_VISIBLE_DEVICES"] = ",".join(str(device) for device in spec["gpus"])
        env.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    if spec["kind"] == "python":
        env["_KFP_RUNTIME"] = "true"
    return env


def set_environment(env: Mapping[str, str]) -> None:
    """Replace this process's variables, and what the standard library remembers of the old ones."""
    for name in [name for name in os.environ if name not in env]:
        del os.environ[name]
    for name, value in env.items():
        if os.environ.get(name) != value:
            os.environ[name] = value
    tempfile.tempdir = None
    if hasattr(time, "tzset"):
        time.tzset()


def set_import_path(front: Sequence[str]) -> None:
    """Put ``front`` before what the interpreter has, without doubles."""
    wanted = list(dict.fromkeys(entry for entry in front if entry))
    sys.path[:] = wanted + [entry for entry in sys.path if entry not in wanted]


def anonymous_main() -> None:
    """User code sees a ``__main__`` of its own: nothing of the launcher, and nothing for spawned children to rerun."""
    main = types.ModuleType("__main__")
    main.__builtins__ = __builtins__  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    sys.modules["__main__"] = main
    sys.argv[:] = [""]


def reseed() -> None:
    """After a fork: numbers drawn at random are this process's own (``random`` reseeds itself)."""
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:
        numpy_random.seed()


def random_used() -> bool:
    """Whether the global generators of ``random`` or numpy were drawn from (both begin a fresh block of 624 words)."""
    module = sys.modules.get("random")
    if module is not None and module.getstate()[1][-1] != 624:
        return True
    numpy_random = sys.modules.get("numpy.random")
    return numpy_random is not None and numpy_random.get_state()[2] != 624
