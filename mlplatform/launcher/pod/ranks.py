"""A pod that is one rank of a task: its command starts the processes, each of which runs ``--task-rank``
(``launcher.taskrank``), and what the process with rank 0 over all leaves is the task's result.

The exit status is the command's own: what follows from it (start again, fail, "saved, run me again") is decided by
whoever looks after the job.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import threading
from collections.abc import Mapping, Sequence
from typing import Any, Optional

from ..bundle import guest_launcher
from ..failures import error
from . import places
from .install import library

#: Words of the command that are put in here (``render.taskjob``).
PYTHON, DOOR, FILE = "{{python}}", "{{launcher}}", "{{file}}"
#: Begins the names of variables that are set for the task under the rest of their name.
SET_FOR_TASK = "MLPLATFORM_SET_"
#: Seconds between two looks at who the other ranks are; they grow.
_LOOK, _SLOWEST = 1.0, 20.0
_IMPORTS = "import importlib.util, sys; sys.exit(importlib.util.find_spec('mlplatform.training') is None)"


def environment(env: Mapping[str, str]) -> dict[str, str]:
    """With the variables that only the platform may set in the pod of a rank."""
    found = {name: value for name, value in env.items() if not name.startswith(SET_FOR_TASK)}
    given = {name[len(SET_FOR_TASK) :]: value for name, value in env.items() if name.startswith(SET_FOR_TASK)}
    return {**found, **given}


def folder() -> str:
    """Where processes leave their results."""
    return places.work("attempt", "results")


def command(told: Mapping[str, Any], env: Mapping[str, str], python: str, path: str) -> list[str]:
    """What this rank runs. ``path``: the file that says what its processes do."""
    put: dict[str, str] = {PYTHON: python, DOOR: guest_launcher(), FILE: path}
    return [put.get(str(word), str(word)) for word in told["words"][env["MLP_GROUP"]]]


def with_library(spec: dict[str, Any], env: dict[str, str], python: str) -> None:
    """``mlplatform.training`` for an image that has none. Raises OSError."""
    done = subprocess.run([python, "-c", _IMPORTS], env=env, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if done.returncode:
        there = places.work("library")
        if not library(there):
            spec["sys_path"] = [*spec["sys_path"], there]
            env["PYTHONPATH"] = os.pathsep.join(filter(None, [env.get("PYTHONPATH"), there]))


def log_uris(request: Mapping[str, Any], env: Mapping[str, str]) -> list[str]:
    """Where the log of this rank is kept: under its own name, and that of rank 0 as the task's."""
    uri = str(request.get("log_uri") or "")
    if not uri:
        return []
    group, rank, attempt = (env.get(name, "") for name in ("MLP_GROUP", "MLP_RANK", "MLP_ATTEMPT"))
    own = f"{uri.rpartition('/')[0]}/ranks/{group}-a{attempt}-{rank}.log"
    return [own, uri] if rank == "0" and group == request["ranks"]["first"] else [own]


# ---------------------------------------------------------------------- what its processes left
def result(status: int, env: Mapping[str, str]) -> dict[str, Any]:
    """What came of it: rank 0's result, or that this rank ended (``aside``), well or not.

    Args:
        status: the command's, as subprocess gives it.
    """
    attempt = env.get("MLP_ATTEMPT") or "0"
    found = {rank: raw for rank in _ranks(attempt) if (raw := _read(attempt, rank)) is not None}
    peers = sorted({peer for raw in found.values() for peer in raw.get("peers") or ()})
    if status == 0:
        first = found.get(0)
        if first is not None and first.get("state") == "SUCCEEDED":
            return {**first, "peers": peers}
        ended = max((raw.get("finished_at") or 0.0 for raw in found.values()), default=0.0)
        return {"state": "SUCCEEDED", "aside": True, "finished_at": ended, "peers": peers}
    failed = [raw for raw in found.values() if raw.get("state") != "SUCCEEDED" and raw.get("error")]
    if failed:
        return {**min(failed, key=lambda raw: float(raw.get("finished_at") or 0.0)), "peers": peers}
    hint = "The usual cause is memory: ask for more, or process less at once." if exit_code(status) == 137 else ""
    words = f"rank {env.get('MLP_RANK')} of {env.get('MLP_GROUP')} ended with status {exit_code(status)}"
    return {"state": "FAILED", "error": error("PROCESS_DIED", words, hint=hint), "peers": peers}


def exit_code(status: int) -> int:
    """As a container has it: a signal counts as 128 and its number."""
    return status if status >= 0 else 128 - status


def _ranks(attempt: str) -> list[int]:
    try:
        names = os.listdir(folder())
    except OSError:
        return []
    begin, end = f"a{attempt}-", ".json"
    middle = [name[len(begin) : -len(end)] for name in names if name.startswith(begin) and name.endswith(end)]
    return [int(text) for text in middle if text.isdecimal()]


def _read(attempt: str, rank: int) -> Optional[dict[str, Any]]:
    try:
        with open(os.path.join(folder(), f"a{attempt}-{rank}.json"), "rb") as file:
            return json.load(file)
    except (OSError, ValueError):
        return None


# ---------------------------------------------------------------------- who the others are
class Neighbours:
    """The addresses of the other ranks, by the names that their service gives them: whom a rank talks to there says
    nothing of what it depends on. One that has ended has no name any more, so they are looked up all the time."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self._name = f"{env.get('MLP_JOB', '')}-ranks"
        self._told = [env.get("MLP_PROGRESS_URL", ""), env.get("MLPLATFORM_SERVER", "")]
        self._known: set[str] = set()
        self._done = threading.Event()
        threading.Thread(target=self._look, name="neighbours", daemon=True).start()

    def others(self, peers: Sequence[str]) -> list[str]:
        """Those of ``peers`` (``host:port``) that are no ranks of the job, and not the platform."""
        self._done.set()
        known = self._known | self._addresses(self._name)
        for url in self._told:
            host = url.partition("://")[2].partition("/")[0].rpartition(":")[0]
            known |= self._addresses(host) | {host} if host else set()
        return [peer for peer in peers if not self._is(peer.rpartition(":")[0].strip("[]"), known)]

    def _is(self, host: str, known: set[str]) -> bool:
        return host in known or f".{self._name}" in f".{host}"

    def _look(self) -> None:
        wait = _LOOK
        while not self._done.wait(wait):
            self._known |= self._addresses(self._name)
            wait = min(_SLOWEST, wait * 1.5)

    def _addresses(self, host: str) -> set[str]:
        try:
            return {str(entry[4][0]) for entry in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
        except OSError:
            return set()
