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
import threading
import time
import traceback
from collections.abc import Mapping
from typing import Any, Optional

from .. import surroundings, tree
from ..attempt import claim, forget_secrets, read_spec
from ..channel import Channel
from ..result import write_result
from . import guest, veil
from .guard import tried
from .streams import Log
from .tasks import LostState, Tasks, failure


class Session:
    """One shell and the tasks it has run."""

    def __init__(self, channel: Channel, log: Log, in_image: bool = False) -> None:
        """``in_image``: in a container, of use only to the engine that started it."""
        self._channel = channel
        self._log = log
        self._in_image = in_image
        self._tasks: Optional[Tasks] = None

    def serve(self, first: Optional[Mapping[str, Any]] = None) -> None:
        """Until the engine says so or is gone."""
        if first is not None:
            self._run(first["id"], first["spec"])
        else:
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
        if spec["notebook"].get("beside") or (self._in_image and self._tasks is None):
            self._leave_with_the_engine()
        self._log.open(surroundings.open_log(spec["log"]))
        result, problem = tried(self._task, spec)
        if problem is not None:
            unfit = isinstance(problem, guest.Unfit)
            text = "".join(traceback.format_exception(type(problem), problem, problem.__traceback__))
            text = problem.args[0] + "\n" if unfit else text
            self._log.write(text.encode("utf-8", "backslashreplace"))
            if isinstance(problem, LostState):
                os._exit(75)  # without a result it counts as lost; the next attempt goes on from an earlier state
            result = failure("SYSTEM", "the notebook's session could not run this task: %r" % (problem,))
            if isinstance(problem, guest.Unfit):
                result = failure("ENVIRONMENT", problem.args[0])
                result["error"]["hint"] = problem.args[1]
            elif isinstance(problem, ImportError):
                result["error"]["hint"] = "Install ipython and cloudpickle in the environment that runs the notebook."
        self._log.close()
        result.update(version=1, started_at=started, finished_at=time.time(), parameters={}, artifacts={})
        write_result(spec["result"], result, [*(spec.get("secrets") or ()), *veil.ours()])

    def _leave_with_the_engine(self) -> None:
        """What runs beside the notebook's own order is of use only to the engine that asked for it."""

        def watch() -> None:
            poll = select.poll()
            poll.register(self._channel.fileno(), select.POLLHUP | getattr(select, "POLLRDHUP", 0))
            poll.poll()
            os._exit(75)

        threading.Thread(target=watch, name="engine", daemon=True).start()

    def _task(self, spec: Mapping[str, Any]) -> dict[str, Any]:
        if self._in_image:
            spec = {**spec, "env": guest.environment(spec) if self._tasks is None else spec["env"]}
        if self._tasks is None:
            self._tasks = Tasks(spec, self._log)
        return self._tasks.run(spec)


def main(descriptor: int) -> None:
    """The process; does not return."""
    serve(Channel(descriptor))


def serve(channel: Channel, first: Optional[Mapping[str, Any]] = None) -> None:
    """Does not return. ``first``: the message with the first task, which was read already: in an image."""
    surroundings.own_session()
    surroundings.adopt_orphans()
    own = os.dup(2)
    os.set_inheritable(own, False)
    faulthandler.enable(own)
    status = 1
    try:
        _, problem = tried(Session(channel, Log(own), first is not None).serve, first)
        if problem is None:
            status = 0
        else:
            text = "".join(traceback.format_exception(type(problem), problem, problem.__traceback__))
            os.write(own, text.encode("utf-8", "backslashreplace"))
    finally:
        channel.close()
        tree.end_children()
        os._exit(status)
