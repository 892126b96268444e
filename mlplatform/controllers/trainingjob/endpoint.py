"""The HTTP endpoint to which ranks report: ``POST /api/training/NAMESPACE/JOB/progress``.

Whoever reaches it is a stranger first: how many are served at once, how long one may take and what it may send are
bounded before anything is looked at.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from mlplatform.controllers.trainingjob.desk import LARGEST, Desk, Reply
from mlplatform.kube.objects import Key

#: Connections at once, and the seconds that one has.
WIDTH: Final = 64
SECONDS: Final = 10.0
#: Seconds between two looks at what is to be written.
_FLUSH: Final = 1.0
_BUSY: Final = b"HTTP/1.0 503 Service Unavailable\r\nRetry-After: 2\r\nContent-Length: 0\r\n\r\n"


class Endpoint:
    """Answers from :meth:`start` to :meth:`stop`; then what ranks said last is written."""

    def __init__(self, desk: Desk, host: str, port: int) -> None:
        self.desk = desk
        self._server = _Server((host, port), _handler(desk))
        self.port = int(self._server.server_address[1])
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._server.serve_forever, args=(0.5,), name="progress", daemon=True),
            threading.Thread(target=self._flush, name="progress writes", daemon=True),
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._server.shutdown()
        self._server.server_close()
        for thread in self._threads:
            thread.join(5)
        self.desk.flush(all_of_it=True)

    def _flush(self) -> None:
        while not self._stopping.wait(_FLUSH):
            self.desk.flush()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        super().__init__(address, handler)
        self._room = threading.BoundedSemaphore(WIDTH)
        self._open: dict[socket.socket, float] = {}
        self._lock = threading.Lock()

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._room.acquire(blocking=False):
            request.setblocking(False)
            try:
                request.send(_BUSY)
            except OSError:
                pass
            self.shutdown_request(request)
            return
        with self._lock:
            self._open[request] = time.monotonic() + SECONDS
        try:
            super().process_request(request, client_address)
        except RuntimeError:  # no thread to be had
            self._left(request)
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._left(request)

    def service_actions(self) -> None:
        """Ends connections whose time is over: a byte every few seconds would hold one for ever."""
        with self._lock:
            late = [request for request, until in self._open.items() if time.monotonic() > until]
        for request in late:
            try:
                request.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that breaks off is nothing to tell of."""

    def _left(self, request: socket.socket) -> None:
        with self._lock:
            if self._open.pop(request, None) is not None:
                self._room.release()


def _handler(desk: Desk) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = SECONDS
        server_version = "mlplatform"
        sys_version = ""

        def do_POST(self) -> None:
            place = _place(self.path)
            length = self.headers.get("Content-Length", "")
            if place is None:
                return self._answer(Reply(404, {"message": "there is /api/training/NAMESPACE/JOB/progress"}))
            if not length.isdecimal() or len(length) > 9:
                return self._answer(Reply(411, {"message": "a report says its length"}))
            if int(length) > LARGEST:
                return self._answer(Reply(413, {"message": f"a report has at most {LARGEST} bytes"}))
            body = self.rfile.read(int(length))
            scheme, _, token = self.headers.get("Authorization", "").partition(" ")
            token = token.strip() if scheme.lower() == "bearer" else ""
            return self._answer(desk.receive(place, token, str(self.client_address[0]), body))

        def _answer(self, reply: Reply) -> None:
            body = json.dumps(reply.body).encode()
            headers: Mapping[str, str] = {"Retry-After": str(reply.retry_after)} if reply.retry_after else {}
            self.send_response(reply.status)
            for name, value in {
                "Content-Type": "application/json",
                "Content-Length": str(len(body)),
                **headers,
            }.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Reports come all the time, and strangers write what they like."""

    return Handler


def _place(path: str) -> Key | None:
    parts = path.partition("?")[0].split("/")
    if len(parts) != 6 or parts[:3] != ["", "api", "training"] or parts[5] != "progress" or not (parts[3] and parts[4]):
        return None
    return Key(parts[3], parts[4])
