# pyright: basic
"""Into an image: the session where it can run, else its refusal of the first task, in words that a user can act on."""

from __future__ import annotations

import os
import select
import time

from .. import surroundings
from ..attempt import claim, forget_secrets, read_spec
from ..channel import Pipes
from ..result import write_result
from . import guest


def main(library: str) -> None:
    """The process; does not return. ``library``: the tracing interposer, "" for none."""
    guest.watched(library)
    source, target = os.dup(0), os.dup(1)
    for descriptor in (source, target):
        os.set_inheritable(descriptor, False)
    empty = os.open(os.devnull, os.O_RDONLY)
    os.dup2(empty, 0)
    os.dup2(2, 1)
    pipes = Pipes(source, target)
    pipes.send({"event": "ready", "pid": os.getpid()})
    while not pipes.closed:
        select.select([pipes], [], [])
        for message in pipes.receive():
            if message["op"] == "run" and not _refused(pipes, message):
                from . import session

                session.serve(pipes, message)
            os._exit(0)
    os._exit(0)


def _refused(pipes: Pipes, message: dict) -> bool:
    spec = read_spec(message["spec"])
    try:
        guest.check(spec["notebook"]["image"])
    except guest.Unfit as problem:
        words, hint = problem.args
    else:
        return False
    forget_secrets(message["spec"], spec)
    if claim(spec.get("claim"), str(spec["cookie"])):
        pipes.send({"event": "claimed", "id": message["id"]})
        log = surroundings.open_log(spec["log"])
        os.write(log, (words + "\n").encode("utf-8", "backslashreplace"))
        told = {"code": "ENVIRONMENT", "message": words, "type": "", "traceback": "", "hint": hint}
        now = time.time()
        result = {"version": 1, "state": "FAILED", "error": told, "started_at": now, "finished_at": now}
        write_result(spec["result"], {**result, "parameters": {}, "artifacts": {}}, spec.get("secrets") or ())
    pipes.send({"event": "done", "id": message["id"]})
    return True
