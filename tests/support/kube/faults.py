"""Breaking things between a client and any API server: dying at a write, and knowing what was asked for."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import msgspec

from mlplatform.kube.errors import Unavailable
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


class Shaky:
    """A transport that fails now and then, as networks and busy servers do: no answer before or after a request took
    effect, refusals, conflicts, watches that are cut or too old. ``failed`` counts what it did."""

    def __init__(self, transport: Transport, seed: int, rate: float = 0.05) -> None:
        self._transport = transport
        self._dice = random.Random(seed)
        self._rate = rate
        self.failed: Counter[str] = Counter()

    def send(self, request: Request) -> Answer:
        if self._falls("no answer, no effect"):
            raise Unavailable("the connection was refused", status=0)
        if self._falls("the server is ill"):
            return Answer(500, _status(500, "InternalError"))
        if request.method == "PATCH" and self._falls("conflict"):
            return Answer(409, _status(409, "Conflict"))
        if "continue" in request.query and self._falls("the rest of a list is too old"):
            return Answer(410, _status(410, "Expired"))
        answer = self._transport.send(request)
        if request.writes and self._falls("no answer, but an effect"):
            raise Unavailable("the connection broke", status=0)
        return answer

    def stream(self, request: Request) -> Stream:
        if self._falls("the version is too old", 4):
            return _TooOld()
        return _Cut(self._transport.stream(request), self)

    def close(self) -> None:
        self._transport.close()

    def cuts(self) -> bool:
        """Whether a watch ends here."""
        return self._falls("a watch is cut", 2)

    def _falls(self, what: str, times: float = 1) -> bool:
        fallen = self._dice.random() < self._rate * times
        self.failed[what] += fallen
        return fallen


def _status(code: int, reason: str) -> bytes:
    return msgspec.json.encode({"kind": "Status", "code": code, "reason": reason, "message": f"{reason}, by chance"})


class _TooOld:
    status = 410

    def chunks(self) -> Iterator[bytes]:
        return iter(())

    def read(self) -> bytes:
        return _status(410, "Expired")

    def close(self) -> None: ...


class _Cut:
    """A watch that may break after any piece."""

    def __init__(self, stream: Stream, shaky: Shaky) -> None:
        self._stream = stream
        self._shaky = shaky

    @property
    def status(self) -> int:
        return self._stream.status

    def chunks(self) -> Iterator[bytes]:
        for chunk in self._stream.chunks():
            yield chunk
            if self._shaky.cuts():
                self.close()
                raise Unavailable("the connection broke", status=0)

    def read(self) -> bytes:
        return self._stream.read()

    def close(self) -> None:
        self._stream.close()


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
