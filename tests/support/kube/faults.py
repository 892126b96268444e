"""Breaking things between a client and any API server: dying at a write, and knowing what was asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mlplatform.kube.metrics import describe
from mlplatform.kube.wire import Answer, Request, Stream, Transport


class Killed(BaseException):
    """The process died here. No ``except Exception`` of ours may survive it."""


@dataclass(frozen=True)
class Write:
    """One write of a process: the n-th, what it was, and whether the process died before or after it."""

    number: int
    verb: str
    resource: str
    path: str
    moment: str


class Mortal:
    """A transport whose process dies before or after the n-th write (counted from 1), and does nothing more.

    With ``die_at`` 0 it lives, and ``written`` tells how many writes there are to die at. ``counts`` leaves out writes
    that do not matter (events, say).
    """

    def __init__(
        self,
        transport: Transport,
        die_at: int = 0,
        moment: str = "before",
        counts: Callable[[Request], bool] = lambda r: "/events" not in r.path,
    ) -> None:
        self._transport = transport
        self._die_at = die_at
        self._moment = moment
        self._counts = counts
        self.written: list[Write] = []
        self.dead = False

    def send(self, request: Request) -> Answer:
        self._breathe()
        if not request.writes or not self._counts(request):
            return self._transport.send(request)
        verb, resource = describe(request)
        number = len(self.written) + 1
        self.written.append(Write(number, verb, resource, request.path, self._moment))
        if number == self._die_at and self._moment == "before":
            self._die()
        answer = self._transport.send(request)
        if number == self._die_at:
            self._die()
        return answer

    def stream(self, request: Request) -> Stream:
        self._breathe()
        return self._transport.stream(request)

    def close(self) -> None:
        """The server lives on."""

    def _breathe(self) -> None:
        if self.dead:
            raise Killed

    def _die(self) -> None:
        self.dead = True
        raise Killed


class Recording:
    """A transport that keeps which rights were used: (verb, resource or resource/subresource)."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self.used: set[tuple[str, str]] = set()

    def send(self, request: Request) -> Answer:
        self.used.add(describe(request))
        return self._transport.send(request)

    def stream(self, request: Request) -> Stream:
        self.used.add(describe(request))
        return self._transport.stream(request)

    def close(self) -> None:
        self._transport.close()
