"""The warm interpreter: one thread, no user code, a fork for every attempt.

Protocol (JSON lines on an inherited Unix socket). In: ``{"op": "run", "id", "spec": path, "hooks": [path]}`` (the
platform's own, compiled here and executed in the child), ``{"op": "close"}``.
Out: ``{"event": "ready", "pid"}``, ``started`` (``id, pid, pid_start``), ``exited`` (``id, status`` as of waitpid,
``max_rss``), ``error`` (``id, message``) where a fork failed, ``preloaded`` (``module, seconds``) and ``refused``
(``module, reason``). When the socket closes it stays until its children have ended (they write their own results).

It imports modules ahead of time only from the list it was given, only after a task has imported them itself, and only
after a forked probe has shown that their import starts no thread.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import select
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any, Optional

from . import preload, surroundings, tree
from .attempt import EXIT_NO_START, forget_secrets, hook_code, read_spec, run_attempt
from .channel import Channel
from .identity import pid_start
from .result import write_atomically


class _Child:
    def __init__(self, pid: int, identifier: str, spec: str) -> None:
        self.pid = pid
        self.identifier = identifier
        self.spec = spec
        self.start = pid_start(pid)


class Template:
    """Serves one engine over one socket."""

    def __init__(self, descriptor: int, allowed: Sequence[str]) -> None:
        self._channel = Channel(descriptor)
        self._children: dict[int, _Child] = {}
        self._wake_read, wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(wake_write, False)
        self._wake_write = wake_write
        self._preloader = preload.Preloader(allowed)

    def serve(self) -> None:
        """Until the engine is gone and every child has ended."""
        signal.signal(signal.SIGCHLD, _nothing)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        surroundings.adopt_orphans()
        preload.essentials()
        gc.collect()
        gc.freeze()
        self._channel.send({"event": "ready", "pid": os.getpid()})
        while not self._channel.closed or self._children:
            self._wait()
            for message in self._channel.receive():
                self._obey(message)
            self._reap()
            for told in self._preloader.step():
                self._channel.send(told)
        self._end_orphans()

    def _wait(self) -> None:
        watched: list[Any] = [self._wake_read, *self._preloader.descriptors()]
        if not self._channel.closed:
            watched.append(self._channel)
        ready, _, _ = select.select(watched, [], [], self._preloader.patience(bool(self._children)))
        if self._wake_read in ready:
            try:
                os.read(self._wake_read, 4096)
            except BlockingIOError:
                pass

    def _obey(self, message: dict[str, Any]) -> None:
        if message["op"] == "close":
            self._channel.close()
            return
        for hook in message.get("hooks") or ():
            # A hook that is missing or broken is told by the child, in its task's log.
            with contextlib.suppress(OSError, SyntaxError, ValueError):
                hook_code(hook)
        try:
            pid = os.fork()
        except OSError as problem:
            self._channel.send({"event": "error", "id": message["id"], "message": str(problem)})
            return
        if pid == 0:
            self._become(message["spec"])
        child = _Child(pid, message["id"], message["spec"])
        self._children[pid] = child
        self._channel.send({"event": "started", "id": child.identifier, "pid": pid, "pid_start": child.start})

    def _become(self, spec: str) -> None:
        """In the child; does not return."""

        def attempt() -> int:
            surroundings.default_signals()
            self._channel.close()
            os.close(self._wake_read)
            os.close(self._wake_write)
            return _attempt(spec, self._preloader.in_child())

        _and_leave(attempt)

    def _reap(self) -> None:
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            child = self._children.pop(pid, None)
            if child is None:
                self._preloader.ended(pid, status)
                continue
            if self._channel.closed:
                self._bury(child, status)
            rss = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
            self._channel.send({"event": "exited", "id": child.identifier, "status": status, "max_rss": rss})

    def _bury(self, child: _Child, status: int) -> None:
        """No engine is there to hear of it: leave how it ended beside its result, and nothing of it running."""
        if status:
            try:
                write_atomically(
                    os.path.join(os.path.dirname(child.spec), "exit.json"),
                    json.dumps({"pid": child.pid, "pid_start": child.start, "status": status}).encode("ascii"),
                )
            except OSError:
                pass
            tree.kill(child.pid, child.start, grace=tree.LEFTOVER_GRACE)

    def _end_orphans(self) -> None:
        """What daemons of dead children are left belong to nobody any more."""
        tree.end_children()


def _nothing(_number: int, _frame: Any) -> None:
    """A handler is needed for the signal to wake the loop."""


def _attempt(spec_path: str, report: Optional[preload.Report]) -> int:
    spec = read_spec(spec_path)
    if preload.shadowed(spec):
        # Something in front of the path has the name of a module that is loaded already: only a fresh one will do.
        os.execv(sys.executable, [sys.executable, preload.DOOR, spec_path])  # noqa: S606 - there is no shell to want
    forget_secrets(spec_path, spec)
    surroundings.reseed()
    preload.set_threads(spec)
    status = run_attempt(spec)
    if report is not None:
        report.send()
    return status


def serve(descriptor: int, allowed: Sequence[str]) -> None:
    """The template's process."""
    Template(descriptor, allowed).serve()


def wait_for_one(descriptor: int, modules: Sequence[str]) -> None:
    """The spare's process: be ready, get one attempt, become it. Does not return."""
    channel = Channel(descriptor)
    preload.essentials()
    channel.send({"event": "ready", "pid": os.getpid()})
    waiting: list[dict[str, Any]] = []
    while not waiting and not channel.closed:
        select.select([channel], [], [])
        waiting = channel.receive()
    message = waiting[0] if waiting else {"op": "close"}
    if message["op"] != "run":
        os._exit(0)
    me = os.getpid()
    channel.send({"event": "started", "id": message["id"], "pid": me, "pid_start": pid_start(me)})
    channel.close()
    _and_leave(lambda: _attempt(message["spec"], None))


def _and_leave(attempt: Callable[[], int]) -> None:
    """Run an attempt as the last thing this process does. Does not return."""
    status = EXIT_NO_START
    try:
        status = attempt()
    except BaseException as problem:  # noqa: BLE001 - the last line of a process that must never go on as a template
        sys.stderr.write("mlplatform: the attempt could not be started: %r\n" % (problem,))
    finally:
        os._exit(status)
