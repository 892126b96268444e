# pyright: basic
"""Tasks in the session's shell: the state they start from, their cells, and the record of what they did."""

from __future__ import annotations

import json
import os
import sys
import traceback
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Optional

from .. import surroundings
from . import guest, veil
from .analysis import read_task
from .checkpoint import Checkpoints, group_path
from .collect import Outputs
from .flow import Flow
from .guard import tried
from .importing import import_again
from .leavings import marks, met
from .libraries import resolve_backend, settle
from .shell import Failed, Runner, kernel_environment, make_shell, set_history
from .streams import Log, Streams
from .tracing import TaskTracer
from .tracking import Tracking

#: Raised when the meaning of records changes.
FORMAT = 1


class LostState(Exception):
    """The state to go on from cannot be loaded."""


class Tasks:
    """The shell and the state of its namespace."""

    def __init__(self, spec: Mapping[str, Any], log: Log) -> None:
        """Everything that a kernel does when it starts."""
        self._log = log
        self._tracking = Tracking(lambda text: log.write(text.encode("utf-8", "backslashreplace") + b"\n"))
        self._outputs = Outputs()
        streams = Streams(self._outputs, log)
        environment = surroundings.environment({**spec, "scratch": "", "cookie": spec["notebook"]["cookie"]})
        surroundings.set_environment({**environment, "PYTHONHASHSEED": ""})
        os.environ.pop("PYTHONHASHSEED", None)
        veil.learn(environment, spec.get("secrets") or ())
        kernel_environment()
        os.chdir(spec["cwd"])
        surroundings.set_import_path([])
        sys.path.insert(0, "")
        sys.argv[:] = [""]
        shell = make_shell(self._outputs, zlib.crc32(os.fsencode(spec["cwd"])))
        settle()
        streams.install()
        self._runner = Runner(shell, self._outputs, streams)
        from . import rebuild
        from .hidden import Hidden

        rebuild.bind(shell.user_ns, shell)
        task = spec["notebook"]
        hidden = self._runner.call(lambda: Hidden(shell.user_ns, os.getcwd()))
        self._checkpoints = Checkpoints(shell.user_ns, hidden, task["library"], task["token"])
        self._checkpoints.history = bool(task.get("history"))
        self._known: set[tuple[int, str]] = set()
        self._lost: dict[str, str] = {}

    def run(self, spec: Mapping[str, Any]) -> dict[str, Any]:
        """One task. Raises LostState."""
        task = spec["notebook"]
        flow = self._flow(task)
        if task.get("beside"):
            refused = self._begin_beside(task, flow)
            if refused:
                return failure("REFUSED", refused)
        else:
            veil.learn({name: str(value) for name, value in spec["env"].items() if name.startswith("MLFLOW_")})
            self._tracking.begin(spec)
            self._begin(spec, flow)
        cells: list[dict[str, Any]] = []
        told = {"task": task["name"], "position": task["position"], "cells": cells, "updates": []}
        self._outputs.begin_task()
        tracer = TaskTracer(spec) if spec.get("trace") else None
        if tracer is None and task.get("beside"):
            return failure("REFUSED", "it is not watched")
        self._runner.shell.execution_count = int(task["execution_count"])
        before = marks() if task.get("watch") else None
        if tracer is not None:
            tracer.start()
            if task.get("beside"):
                tracer.gate(task["beside"]["gate"])
        failed = self._cells(task["cells"], cells)
        if tracer is not None:
            tracer.stop()
        left = None if before is None else met(before, marks())
        self._quietly(self._tracking.end)
        told["updates"] = list(self._outputs.updates)
        write_json(task["outputs"], told, veil.hide)
        if failed is not None:
            return _cell_failure(*failed, task.get("notebook") or "")
        self._runner.shell.user_ns.update(task.get("values") or {})
        flow.sets.update(task.get("values") or {})
        self._record(spec, flow, tracer, left)
        return {"state": "SUCCEEDED", "error": None}

    # ------------------------------------------------------------------ before
    def _begin(self, spec: Mapping[str, Any], flow: Flow) -> None:
        """Make this process's state the one that the task starts from."""
        task = spec["notebook"]
        start = task["start"]
        self._import_again(task)
        move = self._checkpoints.move_to
        if task.get("image"):
            self._lost = self._quietly(lambda: guest.bring(self._checkpoints, task, flow, self._log.write))
            problem = None
        else:
            _, problem = tried(self._quietly, lambda: move(start["names"], start["groups"]))
        if problem is not None:
            self._forget(start, task["library"])
            raise LostState("the state before this task cannot be loaded") from problem
        self._quietly(resolve_backend)
        for number, source in task.get("earlier") or ():
            self._remember(number, source)
        if task.get("history"):
            set_history(self._runner.shell, task.get("earlier") or ())
        if again := task.get("replay"):
            self._tracking.silently(spec, lambda: list(map(self._again, again)))

    def _begin_beside(self, task: Mapping[str, Any], flow: Flow) -> str:
        """Bring what the task can reach of the state it starts from; returns why it must not run beside others."""
        if flow.whole or flow.history:
            return "its cells can reach any variable"
        self._import_again(task)
        start, move = task["start"], self._checkpoints.move_to_part
        refused, problem = tried(self._quietly, lambda: move(start["names"], start["groups"], flow.reads))
        if problem is not None:
            return "what it needs cannot be loaded in a process of its own: %r" % (problem,)
        if not refused:
            self._quietly(resolve_backend)
            write_json(task["beside"]["began"], {"names": sorted(self._checkpoints.entries)})
            for number, source in task.get("earlier") or ():
                self._remember(number, source)
        return refused

    def _import_again(self, task: Mapping[str, Any]) -> None:
        """What cells imported that another process ran."""
        earlier = [(number, source) for number, source in task.get("earlier") or ()]
        unknown = [source for number, source in earlier if (number, source) not in self._known]
        if unknown:
            self._quietly(lambda: import_again(unknown, self._runner.shell.transform_cell))
        self._known.update(earlier)

    def _again(self, earlier: Mapping[str, Any]) -> None:
        """Run the cells of an earlier task only for the state they leave."""
        self._log.write(b"mlplatform: running the cells of %s again\n" % earlier["name"].encode("utf-8"))
        self._outputs.begin_task()
        self._runner.shell.execution_count = int(earlier["execution_count"])
        failed = self._cells(earlier["cells"], [])
        if failed is not None:
            raise LostState("task %s, run again, failed in cell %d" % (earlier["name"], failed[1]))
        self._runner.shell.user_ns.update(earlier.get("values") or {})
        flow = self._flow(earlier)
        self._quietly(lambda: self._checkpoints.after(flow, self._runner.loop))

    def _remember(self, number: int, source: str) -> None:
        """Tracebacks through functions of earlier cells show their source."""
        shell = self._runner.shell
        tried(lambda: shell.compile.cache(shell.transform_cell(source), number, raw_code=source))

    def _forget(self, start: Mapping[str, Any], library: str) -> None:
        """Find out which snapshot cannot be loaded, and see that nobody tries it again."""
        from .keeping import load

        for group in {told[1] for told in start["names"].values()}:
            path = group_path(library, group)
            _, problem = tried(load, path)
            if problem is not None:
                with open(path + ".bad", "w", encoding="utf-8", errors="replace") as file:
                    file.write("cannot be loaded: %r" % (problem,))

    # ------------------------------------------------------------------ the cells
    def _cells(self, cells: Sequence[Mapping[str, Any]], told: list[dict[str, Any]]) -> Optional[tuple[Failed, int]]:
        for cell in cells:
            if not cell["source"].strip():
                continue
            count = self._runner.shell.execution_count
            self._known.add((count, cell["source"]))
            outputs, failed = self._runner.run(cell["source"])
            told.append({"index": cell["index"], "execution_count": count, "outputs": outputs})
            if failed is not None and not cell.get("may_fail"):
                return failed, cell["index"]
        return None

    def _flow(self, task: Mapping[str, Any]) -> Flow:
        cells = [(cell["source"], bool(cell.get("may_fail"))) for cell in task["cells"]]
        flow = read_task(cells, self._runner.shell.transform_cell)
        flow.whole = flow.whole or bool(task.get("whole_namespace"))
        return flow

    # ------------------------------------------------------------------ after
    def _record(
        self, spec: Mapping[str, Any], flow: Flow, tracer: Optional[TaskTracer], left: Optional[list[str]]
    ) -> None:
        task = spec["notebook"]
        record: dict[str, Any] = {
            "format": FORMAT,
            "key": task["key"],
            "token": task["token"],
            "task": task["name"],
            "position": task["position"],
            "left": left,
        }
        for module in flow.stars:
            flow.sets.update(_exported(module))
        compared, problem = tried(self._quietly, lambda: self._checkpoints.after(flow, self._runner.loop))
        record.update(compared or {})
        for note in self._checkpoints.notes:
            self._log.write(("mlplatform: note: %s\n" % note).encode("utf-8", "backslashreplace"))
        if problem is not None:  # then there is no state to go on from, and that is told
            text = "".join(traceback.format_exception(type(problem), problem, problem.__traceback__))
            self._log.write(text.encode("utf-8", "backslashreplace"))
            words = "its variables could not be compared: %r" % (problem,)
            empty: dict[str, Any] = {
                "reads": {},
                "whole": None,
                "settings": {},
                "writes": {},
                "deleted": [],
                "held": {},
            }
            record.update(empty, groups={}, blocks=[words], values={}, doubt=words)
        store = os.path.join(task["library"], "files")
        before = task["start"].get("files") or {}
        found: dict[str, Any] = {"doubt": "it was not watched"}
        if tracer is not None:
            found = tracer.of_notebook(before, store)
        if task.get("image"):
            guest.left_alone(record, self._lost)
            found["env_read"] = {}  # the image's variables are in its digest, the others in the key
        record["files"] = found
        words = record.get("doubt") or found.get("doubt") or ""
        if not words and found.get("sockets"):
            words = "it talked to the network (%s)" % found["sockets"][0]
        record["doubt"] = words
        records = task.get("records") or os.path.join(task["library"], "records")
        path = os.path.join(records, task["key"], task["token"] + ".json")
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(task["outputs"], "rb") as file:
            _write(path[: -len(".json")] + ".outputs", file.read())
        write_json(path, record)
        write_json(task["pointer"], {"key": task["key"], "token": task["token"]})

    def _quietly(self, job: Any) -> Any:
        """Objects may print while they are looked at: that is no output of a cell. Libraries may be imported, and ask
        whether this is a notebook."""
        self._outputs.muted = True
        try:
            with self._runner.shell.builtin_trap:
                return self._runner.call(job)
        finally:
            self._outputs.muted = False


def _exported(module: str) -> list[str]:
    """What ``from module import *`` binds."""
    found = sys.modules.get(module)
    if found is None:
        return []
    names = getattr(found, "__all__", None)
    return list(names) if names is not None else [name for name in vars(found) if not name.startswith("_")]


def failure(code: str, message: str, text: str = "", kind: str = "") -> dict[str, Any]:
    """A result that says why."""
    told = {"code": code, "message": message, "type": kind, "traceback": text, "hint": ""}
    return {"state": "FAILED", "error": told}


def _cell_failure(failed: Failed, index: int, notebook: str) -> dict[str, Any]:
    message = "%s: %s" % (failed.ename, failed.evalue) if failed.evalue else failed.ename
    where = "cell %d%s" % (index, " of %s" % notebook if notebook else "")
    return failure("TASK_FAILED", message, "%s\n%s" % (where, failed.text), failed.ename)


def write_json(path: str, value: Any, change: Callable[[bytes], bytes] = bytes) -> None:
    """Whole or not at all."""
    _write(path, change(json.dumps(value, ensure_ascii=True, separators=(",", ":")).encode("ascii")))


def _write(path: str, data: bytes) -> None:
    temporary = "%s.%d" % (path, os.getpid())
    with open(temporary, "wb") as file:
        file.write(data)
    os.replace(temporary, path)
