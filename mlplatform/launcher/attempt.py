"""One attempt from its spec to its result, in this very process."""

from __future__ import annotations

import atexit
import faulthandler
import json
import os
import resource
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from types import CodeType
from typing import Any, Optional

from . import peers, remote, surroundings, tree
from .command import run_command
from .component import run_component, source_file
from .failures import AttemptFailed, describe, error
from .fields import section
from .identity import boot_id, pid_start
from .masking import MARKER, masked
from .outputs import collect, prepare_folders
from .result import write_result
from .trace import Tracer

SUCCEEDED = 0
FAILED = 1
#: The same, and the next attempt would fail as well.
HOPELESS = 2
#: The attempt had been claimed by somebody else: it is not run, there is no result.
EXIT_CLAIMED = 75
#: The attempt ended, and its result could not be written (disk full).
EXIT_NO_RESULT = 74
#: The attempt could not be set up (log, folders, spec).
EXIT_NO_START = 73

_RUNNERS: Mapping[str, Callable[[Mapping[str, Any]], None]] = {"python": run_component, "command": run_command}


def read_spec(path: str) -> dict[str, Any]:
    """Load spec.json. Raises OSError, ValueError."""
    with open(path, "rb") as file:
        spec = json.loads(file.read())
    if spec.get("version") != 1:
        raise ValueError("spec version %r is not known to this launcher" % (spec.get("version"),))
    return spec


def forget_secrets(path: str, spec: Mapping[str, Any]) -> None:
    """A spec that holds secrets is deleted before user code runs."""
    if spec.get("secrets"):
        os.unlink(path)


def claim(path: Optional[str], cookie: str) -> bool:
    """Take the attempt for this process. False: somebody has taken it before."""
    if not path:
        return True
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return False
    pid = os.getpid()
    told = {"pid": pid, "pid_start": pid_start(pid), "boot": boot_id(), "cookie": cookie}
    os.write(descriptor, json.dumps(told).encode("ascii"))
    os.close(descriptor)
    return True


def run_attempt(spec: Mapping[str, Any]) -> int:
    """Run the attempt and write its result; returns the exit status of the process (the result is the truth)."""
    if not claim(spec.get("claim"), str(spec["cookie"])):
        return EXIT_CLAIMED
    started = time.time()
    try:
        _set_up(spec)
    except OSError as problem:
        told = error("SYSTEM", "the attempt could not be set up: %s" % problem, hint=getattr(problem, "hint", ""))
        return _give_up(spec, started, told)
    tracer = _tracer(spec)
    failure = _run(spec, tracer)
    _finish_python()
    tree.end_children()
    if tracer is not None:
        tracer.stop()
    if spec.get("peers"):
        peers.stop()
    try:
        result = _result(spec, started, failure)
        if tracer is not None and failure is None:
            result.update(tracer.findings())
        if spec.get("peers"):
            result["peers"] = peers.heard(spec)
        write_result(spec["result"], result, spec.get("secrets") or ())
    except OSError as problem:
        _say("mlplatform: the result could not be written: %s" % problem)
        return EXIT_NO_RESULT
    if result["state"] == "SUCCEEDED":
        return SUCCEEDED
    return _own_exit(failure) if spec.get("own_exit") else FAILED


def _own_exit(failure: Optional[BaseException]) -> int:
    """What a rank ends with: what its code left with; 2 where running it again would not help."""
    if isinstance(failure, SystemExit) and isinstance(failure.code, int):
        return failure.code & 0xFF or FAILED
    return HOPELESS if failure is None or isinstance(failure, AttemptFailed) else FAILED


# ------------------------------------------------------------------ before
def _set_up(spec: Mapping[str, Any]) -> None:
    surroundings.own_session()
    log = surroundings.open_log(spec["log"])
    if spec.get("secrets"):
        marker = os.path.join(os.path.dirname(spec["result"]), MARKER)
        log = masked(log, spec["secrets"], marker)
    surroundings.redirect(log)
    os.close(log)
    faulthandler.enable(2)
    surroundings.adopt_orphans()
    surroundings.backstop(spec.get("timeout"))
    surroundings.set_environment(surroundings.environment(spec))
    if spec.get("scratch"):
        os.makedirs(spec["scratch"], mode=0o700, exist_ok=True)
    if spec.get("mounts"):
        from . import mounts

        mounts.apply(spec["mounts"])
    os.chdir(spec.get("cwd") or spec["scratch"])
    surroundings.set_import_path(import_front(spec))
    surroundings.anonymous_main()
    prepare_folders(spec)


def import_front(spec: Mapping[str, Any]) -> list[str]:
    """Entries before the interpreter's own: kfp's runtime, the submission's path, the working folder."""
    return [
        section(spec, "python").get("kfp_path") or "",
        *(spec.get("sys_path") or ()),
        spec.get("cwd") or spec["scratch"],
    ]


def _give_up(spec: Mapping[str, Any], started: float, told: Mapping[str, str]) -> int:
    _say("mlplatform: " + told["message"])
    try:
        write_result(spec["result"], _outline("FAILED", started, told), spec.get("secrets") or ())
    except OSError as problem:
        _say("mlplatform: the result could not be written: %s" % problem)
        return EXIT_NO_START
    return FAILED


# ------------------------------------------------------------------ the user's code
def _tracer(spec: Mapping[str, Any]) -> Optional[Tracer]:
    return Tracer(spec) if spec.get("trace") else None


def _run(spec: Mapping[str, Any], tracer: Optional[Tracer]) -> Optional[BaseException]:
    for hook in spec.get("hooks") or ():
        _load_hook(hook)
    try:
        if tracer is not None:
            tracer.start()
        if spec.get("peers"):
            peers.start(spec["peers"])
        _RUNNERS[spec["kind"]](spec)
    except SystemExit as leaving:
        return None if leaving.code in (None, 0) else leaving
    except BaseException as failure:  # noqa: BLE001 - whatever user code raises is the task's failure, told in its result
        return failure
    return None


_hooks: dict[str, tuple[tuple[int, int], CodeType]] = {}


def hook_code(path: str) -> CodeType:
    """A hook, compiled once a process: a template calls this before it forks, so that its children need not (it costs
    more than the rest of a trivial task). Raises OSError, SyntaxError."""
    status = os.stat(path)
    stamp = (status.st_mtime_ns, status.st_size)
    known = _hooks.get(path)
    if known is None or known[0] != stamp:
        with open(path, "rb") as file:
            source = file.read()
        known = _hooks[path] = (stamp, compile(source, path, "exec", dont_inherit=True))
    return known[1]


def _load_hook(path: str) -> None:
    """Hooks serve tracking: one that fails is told in the log and fails no task."""
    try:
        exec(hook_code(path), {"__name__": "mlplatform_hook", "__file__": path})  # noqa: S102
    except Exception:  # noqa: BLE001 - tracking must never fail a task
        _say("mlplatform: the hook %s failed\n%s" % (path, traceback.format_exc()))


def _finish_python() -> None:
    """What a Python process does at its end: wait for threads, call exit functions, flush."""
    for step in (threading._shutdown, atexit._run_exitfuncs):  # type: ignore[attr-defined]  # pyright: ignore
        try:
            step()
        except Exception:  # noqa: BLE001 - an exit function of the user's; a real exit prints it and goes on
            traceback.print_exc()
    _flush()


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):
            continue


def _say(text: str) -> None:
    try:
        os.write(2, (text.rstrip("\n") + "\n").encode("utf-8", "backslashreplace"))
    except OSError:
        return


# ------------------------------------------------------------------ after
def _result(spec: Mapping[str, Any], started: float, failure: Optional[BaseException]) -> dict[str, Any]:
    parameters: dict[str, Any] = {}
    artifacts: dict[str, Any] = {}
    if failure is None:
        try:
            parameters, artifacts = collect(spec)
        except AttemptFailed as problem:
            failure = problem
        except OSError as problem:
            failure = AttemptFailed("SYSTEM", "an output could not be read: %s" % problem)
    if failure is None:
        result = _outline("SUCCEEDED", started, None)
        result.update(parameters=parameters, artifacts=artifacts)
        return result
    told = describe(failure, _kfp_folders(), source_file(spec) if spec["kind"] == "python" else "")
    if spec.get("own_exit") and isinstance(failure, SystemExit):
        told["traceback"] = ""  # it left of its own accord: "saved, run me again", mostly
    if missing := remote.failures():
        told["hint"] = "%s %s" % (missing, told["hint"]) if told["hint"] else missing
    _say("mlplatform: " + told["message"] if not told["traceback"] else told["traceback"])
    return _outline("FAILED", started, told)


def _outline(state: str, started: float, problem: Optional[Mapping[str, str]]) -> dict[str, Any]:
    return {
        "version": 1,
        "state": state,
        "error": problem,
        "parameters": {},
        "artifacts": {},
        "reads": None,
        "writes": [],
        "sockets": [],
        "env_read": {},
        "untraced": "",
        "random_state": surroundings.random_used(),
        "started_at": started,
        "finished_at": time.time(),
        "exit_code": SUCCEEDED if state == "SUCCEEDED" else FAILED,
        "max_rss": _max_rss(),
    }


def _max_rss() -> int:
    """Bytes (Linux counts in KiB, macOS in bytes)."""
    unit = 1 if sys.platform == "darwin" else 1024
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return max(own, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss) * unit


def _kfp_folders() -> Sequence[str]:
    kfp = sys.modules.get("kfp")
    return [os.path.abspath(folder) for folder in getattr(kfp, "__path__", ())]
