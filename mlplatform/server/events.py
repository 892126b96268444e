"""Events of runs for any number of tabs: read from the store once, told to all.

The hub looks for new rows while somebody listens: a look is one walk of a primary key. It sees what any process wrote,
goes on over restarts of the service, and needs nothing of it. A listener gets what happened within a window as one
message, the last word on each task only; the message's id is the number of its newest event, so a browser that comes
back with it misses nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from mlplatform.core.errors import MlPlatformError
from mlplatform.core.records import Event
from mlplatform.server.plain import encode

if TYPE_CHECKING:
    from mlplatform.store.runstore import SqlRunStore

_log = logging.getLogger(__name__)
#: Seconds: how often the store is looked at, how long a listener's news are gathered, how often silence is filled.
LOOK: Final = 0.1
WINDOW: Final = 0.2
HEARTBEAT: Final = 15.0
_PAGE: Final = 2000
#: A listener that is this many events behind begins anew from the records.
_BACKLOG: Final = 50_000


class Listener:
    """One open stream. ``run_id``: of one run only; without it, what happens to runs as a whole."""

    def __init__(self, run_id: str, after: int) -> None:
        self.run_id = run_id
        self.after = after
        self.waiting: list[Event] = []
        self.lost = False
        self.news = asyncio.Event()

    def wants(self, event: Event) -> bool:
        return event.run_id == self.run_id if self.run_id else event.kind == "run"

    def give(self, event: Event) -> None:
        if len(self.waiting) >= _BACKLOG:
            self.lost = True
            self.waiting.clear()
        self.waiting.append(event)
        self.news.set()


class Hub:
    """One for each app; lives on its event loop."""

    def __init__(self) -> None:
        self._listeners: set[Listener] = set()
        self._task: asyncio.Task[None] | None = None
        self._seen = 0

    @property
    def listening(self) -> int:
        return len(self._listeners)

    async def stream(
        self, store: Callable[[], SqlRunStore], run_id: str, after: int | None, clock: Callable[[], float]
    ) -> AsyncIterator[bytes]:
        """Server-sent events: ``hello`` first, then ``events`` as they happen, comments in between."""
        here = await asyncio.to_thread(lambda: store().last_event())
        start = here if after is None else min(after, here)
        listener = Listener(run_id, start)
        self._listeners.add(listener)
        if self._task is None or self._task.done():
            self._seen = here
            self._task = asyncio.ensure_future(self._watch(store))
        try:
            yield message("hello", start, {"seq": start, "now": clock()})
            async for missed in self._missed(store, listener, max(here, self._seen)):
                yield missed
            while True:
                try:
                    await asyncio.wait_for(listener.news.wait(), HEARTBEAT)
                except TimeoutError:
                    yield b": still here\n\n"
                    continue
                await asyncio.sleep(WINDOW)
                listener.news.clear()
                gathered, listener.waiting = listener.waiting, []
                if listener.lost:
                    listener.lost = False
                    yield message("reset", gathered[-1].seq, {"seq": gathered[-1].seq})
                elif fresh := [event for event in gathered if event.seq > listener.after]:
                    listener.after = fresh[-1].seq
                    yield message("events", listener.after, _told(fresh))
        finally:
            self._listeners.discard(listener)

    async def _missed(self, store: Callable[[], SqlRunStore], listener: Listener, until: int) -> AsyncIterator[bytes]:
        """What happened between the listener's last word and now, from the store."""
        while listener.after < until:
            found = await asyncio.to_thread(
                lambda: store().events(after=listener.after, run_id=listener.run_id, limit=_PAGE)
            )
            if not found:
                return
            listener.after = found[-1].seq
            if wanted := [event for event in found if listener.wants(event)]:
                yield message("events", listener.after, _told(wanted))

    async def _watch(self, store: Callable[[], SqlRunStore]) -> None:
        """Look into the store while somebody listens."""
        while self._listeners:
            try:
                found = await asyncio.to_thread(lambda: store().events(after=self._seen, limit=_PAGE))
            except MlPlatformError as error:
                _log.warning("events cannot be read: %s", error)
                await asyncio.sleep(1.0)
                continue
            for event in found:
                for listener in self._listeners:
                    if listener.wants(event):
                        listener.give(event)
            if found:
                self._seen = found[-1].seq
            if len(found) < _PAGE:
                await asyncio.sleep(LOOK)

    def close(self) -> None:
        if self._task is not None:
            self._task.cancel()


def _told(events: Sequence[Event]) -> dict[str, Any]:
    """One message of several events: of each task and of each run only the last word, in order."""
    last: dict[Any, Event] = {}
    for event in events:
        about = _about(event)
        last.pop(about, None)
        last[about] = event
    return {
        "seq": events[-1].seq,
        "events": [
            {"seq": event.seq, "run_id": event.run_id, "at": event.at, "kind": event.kind, **_body(event)}
            for event in last.values()
        ],
    }


def _about(event: Event) -> Any:
    match event.kind:
        case "run":
            return event.run_id
        case "task":
            return (event.run_id, event.body.get("name"), tuple(event.body.get("iteration") or ()))
        case _:
            return event.seq


def _body(event: Event) -> dict[str, Any]:
    """A task's traceback is fetched with its details; a message stays small."""
    body = dict(event.body)
    error: Any = body.get("error")
    if isinstance(error, dict):
        body["error"] = {"code": error.get("code", ""), "message": error.get("message", "")}  # pyright: ignore[reportUnknownMemberType]
    return {"body": body}


def message(kind: str, seq: int, data: dict[str, Any]) -> bytes:
    """One server-sent event."""
    return b"event: %s\nid: %d\ndata: %s\n\n" % (kind.encode(), seq, encode(data))
