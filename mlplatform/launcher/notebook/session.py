# pyright: basic
"""The session's process: takes tasks from its engine one at a time and runs them in the one shell.

Protocol (JSON lines on an inherited Unix socket). In: ``{"op": "run", "id", "spec": path}``, ``{"op": "close"}``. Out:
``{"event": "ready"}``, ``{"event": "claimed", "id"}`` and ``{"event": "done", "id"}`` (result.json is there). When the
socket closes, the task that runs is finished and the process ends: another service starts another session.
"""

from __future__ import annotations

import faulthandler
import os
import select
import time
import traceback
from collections.abc import Mapping
from typing import Any, Optional

from .. import surroundings, tree
from ..attempt import claim, forget_secrets, read_spec
from ..channel import Channel
from ..result import write_result
from .streams import Log
from .tasks import LostState, Tasks, failure


class Session:
    """One shell and the tasks it has run."""

    def __init__(self, channel: Channel, log: Log) -> None:
        self._channel = channel
        self._log = log
        self._tasks: Optional[Tasks] = None

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
            if self._tasks is None:
                self._tasks = Tasks(spec, self._log)
            result = self._tasks.run(spec)
        except LostState:
            # Without a result this attempt counts as lost; the next one goes on from an earlier state.
            self._log.write(traceback.format_exc().encode("utf-8", "backslashreplace"))
            os._exit(75)
        except Exception as problem:  # noqa: BLE001 - ours or the environment's: the task must end with a reason
            self._log.write(traceback.format_exc().encode("utf-8", "backslashreplace"))
            result = failure("SYSTEM", "the notebook's session could not run this task: %r" % (problem,))
            if isinstance(problem, ImportError):
                result["error"]["hint"] = "Install ipython and cloudpickle in the environment that runs the notebook."
        finally:
            self._log.close()
        result.update(version=1, started_at=started, finished_at=time.time(), parameters={}, artifacts={})
        write_result(spec["result"], result, spec.get("secrets") or ())


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
