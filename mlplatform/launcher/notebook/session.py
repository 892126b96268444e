# pyright: basic
"""The session's process: takes tasks from its engine one at a time and runs them in the one shell.

Protocol (JSON lines on an inherited Unix socket). In: ``{"op": "run", "id", "spec": path}``, ``{"op": "close"}``. Out:
``{"event": "ready"}``, ``{"event": "claimed", "id"}`` and ``{"event": "done", "id"}`` (result.json is there). When the
socket closes, the task that runs is finished and the process ends: another service starts another session.
"""

from __future__ import annotations

import faulthandler
import json
import os
import select
import sys
import time
import traceback
from collections.abc import Mapping
from typing import Any, Optional

from .. import surroundings, tree
from ..attempt import claim, forget_secrets, read_spec
from ..channel import Channel
from ..result import write_result
from .collect import Outputs
from .shell import Failed, Runner, kernel_environment, make_shell
from .streams import Log, Streams


class Session:
    """One shell and the tasks it has run."""

    def __init__(self, channel: Channel, log: Log) -> None:
        self._channel = channel
        self._log = log
        self._outputs = Outputs()
        self._streams = Streams(self._outputs, log)
        self._runner: Optional[Runner] = None

    def serve(self) -> None:
        """Until the engine says so or is gone."""
        self._channel.send({"event": "ready", "pid": os.getpid()})
        while not self._channel.closed:
            select.select([self._channel], [], [])
            for message in self._channel.receive():
                if message["op"] == "close":
                    return
                self._run(message["id"], message["spec"])

    def _run(self, identifier: str, path: str) -> None:
        spec = read_spec(path)
        forget_secrets(path, spec)
        if claim(spec.get("claim"), str(spec["cookie"])):
            self._channel.send({"event": "claimed", "id": identifier})
            self._attempt(spec)
        self._channel.send({"event": "done", "id": identifier})

    def _attempt(self, spec: Mapping[str, Any]) -> None:
        started = time.time()
        self._log.open(surroundings.open_log(spec["log"]))
        try:
            if self._runner is None:
                self._runner = self._begin(spec)
            result = self._task(spec, self._runner)
        except Exception as problem:  # noqa: BLE001 - ours or the environment's: the task must end with a reason
            self._log.write(traceback.format_exc().encode("utf-8", "backslashreplace"))
            result = _failure("SYSTEM", "the notebook's session could not run this task: %r" % (problem,))
        finally:
            self._log.close()
        result.update(version=1, started_at=started, finished_at=time.time(), parameters={}, artifacts={})
        write_result(spec["result"], result, spec.get("secrets") or ())

    def _begin(self, spec: Mapping[str, Any]) -> Runner:
        """The first task of this process: everything that a kernel does when it starts."""
        surroundings.set_environment(surroundings.environment(spec))
        kernel_environment()
        os.chdir(spec["cwd"])
        surroundings.set_import_path([])
        sys.argv[:] = [""]
        shell = make_shell(self._outputs)
        self._streams.install()
        return Runner(shell, self._outputs, self._streams)

    def _task(self, spec: Mapping[str, Any], runner: Runner) -> dict[str, Any]:
        task = spec["notebook"]
        cells: list[dict[str, Any]] = []
        told: dict[str, Any] = {"task": task["name"], "position": task["position"], "cells": cells, "updates": []}
        self._outputs.begin_task()
        failure: Optional[dict[str, Any]] = None
        runner.shell.execution_count = int(task["execution_count"])
        for cell in task["cells"]:
            if not cell["source"].strip():
                continue
            count = runner.shell.execution_count
            outputs, failed = runner.run(cell["source"])
            cells.append({"index": cell["index"], "execution_count": count, "outputs": outputs})
            if failed is not None and not cell.get("may_fail"):
                failure = _cell_failure(failed, cell["index"], task.get("notebook") or "")
                break
        if failure is None:
            runner.shell.user_ns.update(task.get("values") or {})
        told["updates"] = self._outputs.updates
        _write_json(task["outputs"], told)
        return failure or {"state": "SUCCEEDED", "error": None}


def _cell_failure(failed: Failed, index: int, notebook: str) -> dict[str, Any]:
    message = "%s: %s" % (failed.ename, failed.evalue) if failed.evalue else failed.ename
    where = "cell %d%s" % (index, " of %s" % notebook if notebook else "")
    return _failure("TASK_FAILED", message, "%s\n%s" % (where, failed.text), failed.ename)


def _failure(code: str, message: str, text: str = "", kind: str = "") -> dict[str, Any]:
    told = {"code": code, "message": message, "type": kind, "traceback": text, "hint": ""}
    return {"state": "FAILED", "error": told}


def _write_json(path: str, value: Any) -> None:
    temporary = "%s.%d" % (path, os.getpid())
    with open(temporary, "w", encoding="utf-8", errors="surrogatepass") as file:
        json.dump(value, file, ensure_ascii=True, separators=(",", ":"))
    os.replace(temporary, path)


def main(descriptor: int) -> None:
    """The process; does not return."""
    surroundings.own_session()
    surroundings.adopt_orphans()
    own = os.dup(2)
    os.set_inheritable(own, False)
    faulthandler.enable(own)
    channel = Channel(descriptor)
    status = 1
    try:
        Session(channel, Log(own)).serve()
        status = 0
    except BaseException:  # noqa: BLE001 - the last words of a process
        os.write(own, traceback.format_exc().encode("utf-8", "backslashreplace"))
    finally:
        channel.close()
        tree.end_children()
        os._exit(status)
