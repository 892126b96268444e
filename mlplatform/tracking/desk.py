"""What all parts of the gateway's REST interface share: the task's own run, and the ways to the real server."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable

from mlplatform.tracking import mirror
from mlplatform.tracking.ids import Caller
from mlplatform.tracking.queue import Place, Queue, add
from mlplatform.tracking.station import Station
from mlplatform.tracking.upstream import Refused, Unavailable
from mlplatform.tracking.wire import Answer, Request, now, passed_on, refuse

#: How long a task that must read from the server waits for our own server to start and to catch up (seconds).
READ_PATIENCE = 90.0


class Desk:
    """Answers some requests of tasks. ``station`` gives the server a caller's records go to; ``incarnation`` differs in
    every gateway process: a request seen by an earlier one is a repetition. Thread-safe."""

    def __init__(self, queue: Queue, station: Callable[[str], Station], incarnation: str) -> None:
        self.queue = queue
        self.station = station
        self.incarnation = incarnation

    def declare(self, db: sqlite3.Connection, caller: Caller, adopt: bool) -> None:
        """See that the task's own run is known; ``adopt``: it has something to show now."""
        mirror.declare_run(
            db,
            caller.run,
            upstream=caller.upstream,
            experiment=caller.experiment,
            name=caller.name,
            parent=caller.parent,
            start_time=now(),
            tags=caller.tags,
        )
        if adopt:
            db.execute("UPDATE runs SET adopted = 1 WHERE id = ?", (caller.run,))

    def place(self, caller: Caller) -> Place:
        """Where what a task sends is queued."""
        return Place(caller.upstream, caller.run, caller.run)

    def wake(self, caller: Caller) -> None:
        self.station(caller.upstream).wake()

    def read(self, request: Request) -> Answer:
        """Ask the server, once it knows all that was written before."""
        station = self.station(request.caller.upstream)
        patience = 2.0 if station.server is None and station.trouble else READ_PATIENCE
        end = time.monotonic() + patience
        if not station.ready(patience) or not station.drain(max(0.1, end - time.monotonic())):
            # Not a 5xx: MLflow's client would repeat those for minutes, and a task must not wait.
            reason = station.trouble or (station.server.trouble if station.server else "") or "it does not answer"
            return refuse(f"MLflow cannot be asked now: {reason}", "TEMPORARILY_UNAVAILABLE", 409)
        return self._ask(station, request)

    def _ask(self, station: Station, request: Request) -> Answer:
        try:
            answer = station.forward(request.method, request.target, passed_on(request.headers), request.body)
        except Refused as error:
            return refuse(error.message, error.reason or "BAD_REQUEST", error.status)
        except Unavailable as error:
            return refuse(error.message, "TEMPORARILY_UNAVAILABLE", 409)
        return Answer(answer.status, answer.body, answer.headers.get("content-type", "application/json"))

    def write_through(self, request: Request, patience: float = 0.0) -> Answer:
        """A write whose answer matters: to the server if that is there, else queued and answered with nothing."""
        station = self.station(request.caller.upstream)
        there = station.ready(patience) if patience else station.healthy
        if there and station.drain(5.0):
            try:
                answer = station.forward(
                    request.method, request.target, passed_on(request.headers), self._body(request)
                )
                self.queue.drop_blob(str(request.blob or ""))
                return Answer(answer.status, answer.body, answer.headers.get("content-type", "application/json"))
            except Refused as error:
                return refuse(error.message, error.reason or "BAD_REQUEST", error.status)
            except Unavailable:
                pass
        with self.queue.transaction() as db:
            self.declare(db, request.caller, adopt=True)
            self.queue_raw(db, request)
        self.wake(request.caller)
        return Answer(200, request.body if "/traces" in request.path and b"{" in request.body[:1] else b"{}")

    def _body(self, request: Request) -> bytes:
        return request.blob.read_bytes() if request.blob is not None else request.body

    def queue_raw(self, db: sqlite3.Connection, request: Request) -> None:
        blob = request.blob
        if blob is None and request.body:
            blob = self.queue.new_blob()
            blob.write_bytes(request.body)
        body = {"method": request.method, "target": request.target, "headers": passed_on(request.headers)}
        add(db, self.place(request.caller), "raw", body, str(blob) if blob is not None else "")
