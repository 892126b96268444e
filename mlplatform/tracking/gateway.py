"""The gateway: the process tasks talk to instead of MLflow (``python -m mlplatform.tracking.gateway --folder F``).

It speaks MLflow's REST on the loopback interface, queues what tasks write, and delivers the queue to the real server.
One runs for each home, when needed: the service listens on its port from the beginning and hands the listening socket
over once somebody connects (see ``door``). It outlives the service, and leaves when it has been idle.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import fcntl
import hmac
import html
import json
import logging
import os
import secrets
import shutil
import signal
import socket
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import IO, Any

from mlplatform.tracking import faults
from mlplatform.tracking.door import bind, read_port, write_port
from mlplatform.tracking.ids import Caller, admin_token, load_secret, reserved_experiment_id, unseal
from mlplatform.tracking.queue import Queue
from mlplatform.tracking.routes import TaskApi
from mlplatform.tracking.settings import HOME, Settings
from mlplatform.tracking.station import Station
from mlplatform.tracking.upload import upload_with_mlflow
from mlplatform.tracking.wire import Answer, Request, refuse, reply

_log = logging.getLogger(__name__)
#: Idle seconds after which the gateway (and MLflow's server with it) leaves: after people looked, after tasks logged,
#: and after it was started only to deliver.
IDLE_LOOKED_AT = 600.0
IDLE_LOGGED = 60.0
IDLE_DELIVERED = 20.0
#: Bodies above this many bytes go to disk as they arrive.
_IN_MEMORY = 1 << 20
_FRONT = b"""<!doctype html><script>
const run = location.hash.match(/runs\\/([0-9a-f]{32})/);
location.replace("/open/" + (run ? run[1] : ""));
</script>MLflow is starting ..."""


class Gateway:
    """Everything of one gateway process but the HTTP."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.settings = Settings(folder)
        self.queue = Queue(folder, journal=self.settings.journal)
        self.secret = load_secret(folder)
        self.admin = admin_token(self.secret)
        self._stations: dict[str, Station] = {}
        self._lock = threading.Lock()
        self.used_at = time.monotonic()
        self.idle_limit = IDLE_DELIVERED
        self.api = TaskApi(self.queue, self.station, secrets.token_hex(8))
        self.queue.sweep_blobs()
        self.look()

    def station(self, name: str) -> Station:
        """The server called ``name``. Raises KeyError if how to reach it has been forgotten."""
        with self._lock:
            if name not in self._stations:
                target = self.settings.target(name)
                if target is None:
                    raise KeyError(f"the MLflow server {name} is not known any more")
                self._stations[name] = Station(
                    self.queue, self.settings, target, upload_with_mlflow(self.settings, target)
                )
            return self._stations[name]

    def look(self) -> None:
        """Wake a deliverer for every server with something waiting."""
        for name in self.queue.upstreams():
            with contextlib.suppress(KeyError):
                self.station(name).wake()

    def used(self, idle_limit: float) -> None:
        """Somebody needs us now, and perhaps again within this many seconds."""
        self.used_at = time.monotonic()
        self.idle_limit = max(self.idle_limit, idle_limit)

    def flush(self, timeout: float) -> bool:
        """Deliver everything queued by now; False if it is not done in time."""
        end = time.monotonic() + timeout
        last = self.queue.last_seq()
        done = True
        for name in self.queue.upstreams():
            with contextlib.suppress(KeyError):
                done = self.station(name).drain(max(0.1, end - time.monotonic()), last) and done
        return done and not self.queue.pending(up_to=last)

    def ui(self, timeout: float) -> str:
        """The address of the home's MLflow server, started and up to date (as far as that goes in time)."""
        station = self.station(HOME)
        if station.server is not None:
            station.server.eager = True
            if not station.server.running:
                station.server.forgive()
        end = time.monotonic() + timeout
        url = station.ready(timeout)
        if url:
            station.drain(max(0.1, end - time.monotonic()))
        return url

    def page(self, run: str) -> str:
        """Where a run (by reserved id) is shown, once the server has it; the server's front page for any other text."""
        row = self.queue.row("SELECT upstream, experiment FROM runs WHERE id = ?", run)
        station = self.station(row["upstream"] if row else HOME)
        if not station.ready(90.0):
            return ""
        station.drain(15.0)
        found = self.queue.row(
            "SELECT runs.real, ids.real FROM runs JOIN ids ON ids.upstream = runs.upstream AND ids.reserved = ?"
            " WHERE runs.id = ? AND runs.real != ''",
            reserved_experiment_id(row["experiment"] if row else ""),
            run,
        )
        return station.url.rstrip("/") + (f"/#/experiments/{found[1]}/runs/{found[0]}" if found else "/")

    def status(self) -> dict[str, Any]:
        return {
            "pid": os.getpid(),
            "pending": self.queue.pending(),
            "rejected": len(self.queue.rejections()),
            "servers": {
                name: {
                    "url": station.url if station.server is not None else "remote",
                    "trouble": station.trouble or (station.server.trouble if station.server is not None else ""),
                }
                for name, station in self._stations.items()
            },
        }

    def idle(self) -> bool:
        """Whether nobody needs this process any more. Something that cannot be delivered keeps it for the long time."""
        stations = list(self._stations.values())
        now = time.monotonic()
        quiet = now - max([self.used_at, *(station.last_used for station in stations)])
        looked = min([station.server.looked_at() for station in stations if station.server is not None], default=quiet)
        limit = IDLE_LOOKED_AT if self.queue.pending() or looked < IDLE_LOOKED_AT else self.idle_limit
        return min(quiet, looked) > float(os.environ.get("MLPLATFORM_TRACKING_IDLE_SECONDS") or limit)

    def close(self) -> None:
        for station in self._stations.values():
            station.close()
        if not self.gone:
            self._forget_finished()
        self.queue.close()

    @property
    def gone(self) -> bool:
        """Whether somebody removed the home."""
        return not (self.folder / "queue.db").exists()

    def _forget_finished(self) -> None:
        """Drop the credentials of servers that have everything of runs that have all ended."""
        needed = set(self.queue.upstreams())
        needed |= {row[0] for row in self.queue.rows("SELECT DISTINCT upstream FROM runs WHERE status = 'RUNNING'")}
        for name in self._stations.keys() - needed:
            self.settings.forget_target(name)

    # ------------------------------------------------------------------ the engine's and the CLI's requests
    def command(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        timeout = float(body.get("timeout") or 60.0)
        match path:
            case "/mlplatform/status":
                return self.status()
            case "/mlplatform/deliver":
                self.look()
                return {}
            case "/mlplatform/flush":
                return {"done": self.flush(timeout), **self.status()}
            case "/mlplatform/ui":
                self.used(IDLE_LOOKED_AT)
                url = self.ui(timeout)
                return {"url": url, **self.status()}
            case _:
                raise KeyError(path)


class Handler(BaseHTTPRequestHandler):
    """One connection of a task, the engine, the CLI or a browser."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True
    timeout = 120.0
    gateway: Gateway

    def handle_any(self) -> None:
        try:
            answer = self._answer()
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            _log.info("%s %s: %r", self.command, self.path.split("?")[0], error)
            answer = refuse(f"the request is not one of MLflow's: {error!r}", "BAD_REQUEST", 400)
        except Exception as error:  # noqa: BLE001 - a bug of ours must not fail or stall the user's task
            _log.exception("%s %s", self.command, self.path.split("?")[0])
            answer = refuse(f"mlplatform's gateway failed: {error!r}", "INTERNAL_ERROR", 409)
        faults.point("before-answer")
        self._send(answer)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any

    def _answer(self) -> Answer:
        body, blob = self._read_body()
        gateway = self.gateway
        if self.path == "/health":
            return Answer(200, b"OK", "text/plain")
        if self.path == "/":  # MLflow prints links that end in #/experiments/.../runs/...
            return Answer(200, _FRONT, "text/html; charset=utf-8")
        if self.path.startswith("/open/"):
            return self._open(self.path.removeprefix("/open/").split("?")[0])
        token = self._token()
        if self.path.startswith("/mlplatform/"):
            if not hmac.compare_digest(token.encode(), gateway.admin.encode()):
                return refuse("not for you", "UNAUTHENTICATED", 401)
            return reply(gateway.command(self.path, json.loads(body or b"{}")))
        caller = self._caller(token)
        if caller is None:
            return refuse("this address is for the tasks of one mlplatform home", "UNAUTHENTICATED", 401)
        gateway.used(IDLE_LOGGED)
        return gateway.api.handle(Request(caller, self.command, self.path, dict(self.headers), body, blob))

    def _open(self, run: str) -> Answer:
        """A link for people: starts MLflow's server and leads to the page of a run there."""
        gateway = self.gateway
        gateway.used(IDLE_LOOKED_AT)
        page = gateway.page(run)
        if not page:
            return Answer(503, b"MLflow did not start. Try again, or look into server.log.", "text/plain")
        link = html.escape(page)
        text = f'<meta http-equiv="refresh" content="0; url={link}"><a href="{link}">{link}</a>'
        return Answer(200, text.encode(), "text/html; charset=utf-8")

    def _caller(self, token: str) -> Caller | None:
        return unseal(self.gateway.secret, token)

    def _token(self) -> str:
        scheme, _, value = (self.headers.get("Authorization") or "").partition(" ")
        if scheme == "Basic":
            return base64.b64decode(value).decode("utf-8", "replace").partition(":")[2]
        return value

    def _read_body(self) -> tuple[bytes, Path | None]:
        """The body: in memory if it is small, else (and for uploads) in a file of the queue."""
        if "chunked" in (self.headers.get("Transfer-Encoding") or "").lower():
            blob = self.gateway.queue.new_blob()
            with blob.open("wb") as file:
                self._copy_chunks(file)
            return self._small(blob)
        length = int(self.headers.get("Content-Length") or 0)
        if self.command != "PUT" and length <= _IN_MEMORY:
            return self.rfile.read(length), None
        blob = self.gateway.queue.new_blob()
        with blob.open("wb") as file:
            while length > 0:
                data = self.rfile.read(min(length, _IN_MEMORY))
                if not data:
                    blob.unlink()
                    raise ValueError("the body ended early")
                file.write(data)
                length -= len(data)
        return self._small(blob)

    def _small(self, blob: Path) -> tuple[bytes, Path | None]:
        if self.command == "PUT":
            return b"", blob
        body = blob.read_bytes()
        blob.unlink()
        return body, None

    def _copy_chunks(self, file: IO[bytes]) -> None:
        while size := int(self.rfile.readline().split(b";")[0], 16):
            file.write(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass

    def _send(self, answer: Answer) -> None:
        try:
            size = answer.file.stat().st_size if answer.file is not None else len(answer.body)
            self.send_response_only(answer.status)
            self.send_header("Content-Type", answer.content_type)
            self.send_header("Content-Length", str(size))
            self.end_headers()
            if answer.file is not None:
                with answer.file.open("rb") as file:
                    shutil.copyfileobj(file, self.wfile)
            else:
                self.wfile.write(answer.body)
            self.wfile.flush()
        except OSError:  # the task is gone
            self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: paths hold ids, and the log is for trouble."""


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def __init__(self, listener: socket.socket, gateway: Gateway) -> None:
        handler = type("BoundHandler", (Handler,), {"gateway": gateway})
        super().__init__(listener.getsockname()[:2], handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener

    def server_bind(self) -> None:
        """Already bound."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        _log.info("a connection ended: %r", sys.exc_info()[1])


def take_lock(folder: Path) -> IO[str] | None:
    """The lock that only the gateway of this home holds, or None if there is one already."""
    file = open(folder / "gateway.lock", "a+", encoding="utf-8")  # noqa: SIM115 - held as long as the process lives
    for _ in range(20):  # somebody who only looks whether a gateway runs holds it for a moment
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.02)
            continue
        return file
    file.close()
    return None


def serve(folder: Path, listener: socket.socket) -> None:
    """Until idle or told to stop."""
    gateway = Gateway(folder)
    server = Server(listener, gateway)
    stop = threading.Event()

    def leave(number: int, frame: object) -> None:
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, leave)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True).start()
    ticks = 0
    while not stop.wait(0.5):
        ticks += 1
        if gateway.gone:
            break
        if ticks % 2 == 0:
            gateway.look()
            if gateway.idle():
                break
    server.shutdown()
    gateway.close()


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="mlplatform-mlflow-gateway")
    parser.add_argument("--folder", required=True, type=Path)
    parser.add_argument("--listener", type=int, default=-1, help="descriptor of the listening socket to take over")
    options = parser.parse_args(argv)
    folder: Path = options.folder
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    logging.basicConfig(
        filename=folder / "gateway.log", level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    lock = take_lock(folder)
    if lock is None:
        return 3
    with lock:
        if options.listener >= 0:
            listener = socket.socket(fileno=options.listener)
            os.set_inheritable(options.listener, False)
        else:
            try:
                listener = bind(read_port(folder))
            except OSError as error:
                # the service's door listens there, and starts a gateway for whoever connects
                _log.info("port %s: %s", read_port(folder), error)
                return 4
            write_port(folder, listener.getsockname()[1])
        serve(folder, listener)
    return 0


if __name__ == "__main__":
    sys.exit(main())
