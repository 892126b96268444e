"""``/healthz``, ``/readyz`` and ``/metrics`` of an operator, on a port of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from mlplatform.kube.metrics import CONTENT_TYPE

#: Says what is wrong; empty: nothing.
Check = Callable[[], str]


class HealthServer:
    """Answers until :meth:`stop`. ``alive`` decides over a restart, ``ready`` over being counted on."""

    def __init__(self, host: str, port: int, *, alive: Check, ready: Check, metrics: Callable[[], bytes]) -> None:
        def answer(path: str) -> tuple[int, str, bytes]:
            match path:
                case "/healthz" | "/readyz":
                    trouble = (alive if path == "/healthz" else ready)()
                    return (503 if trouble else 200), "text/plain; charset=utf-8", (trouble or "ok").encode() + b"\n"
                case "/metrics":
                    return 200, CONTENT_TYPE, metrics()
                case _:
                    return 404, "text/plain; charset=utf-8", b"there is /healthz, /readyz and /metrics\n"

        class Handler(BaseHTTPRequestHandler):
            timeout = 10

            def do_GET(self) -> None:
                status, kind, body = answer(self.path.partition("?")[0])
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                """Probes come every few seconds: nothing is logged."""

        self._server = ThreadingHTTPServer((host, port), Handler)
        self._server.daemon_threads = True
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, name="health", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)
