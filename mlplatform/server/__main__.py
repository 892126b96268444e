"""``python -m mlplatform.server``: one server process, on a socket it is handed or on an address of its own."""

from __future__ import annotations

import argparse
import asyncio
import errno
import fcntl
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import IO, Any

from mlplatform.core.errors import MlPlatformError, ServiceError
from mlplatform.engine.home import Home, open_home
from mlplatform.sdk.local import store_target
from mlplatform.server.links import TICKET_SECONDS
from mlplatform.server.settings import IDLE_SECONDS, Settings, load_token
from mlplatform.server.signing import sign


def options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="mlplatform server")
    parser.add_argument("--home", required=True, type=Path)
    parser.add_argument("--store", default="", help="a store instead of the home's own")
    parser.add_argument("--listener", type=int, default=-1, help="descriptor of a listening socket to take over")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--allow-host", action="append", default=[], help="another name this server is reached by")
    parser.add_argument("--stay", action="store_true", help="do not leave when nobody uses it")
    return parser.parse_args(argv)


def take_lock(home: Home) -> IO[bytes] | None:
    """The lock that the server on a home's port holds; None if there is one already."""
    path = home.server / "server.lock"
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    file = path.open("ab")
    for _ in range(20):  # somebody who only looks whether a server runs holds it for a moment
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.02)
            continue
        file.truncate(0)
        file.write(str(os.getpid()).encode())
        file.flush()
        return file
    file.close()
    return None


def settings_of(args: argparse.Namespace, home: Home) -> Settings:
    if args.store:
        os.environ["MLPLATFORM_STORE"] = args.store  # what the service is started with, too
    idle = float(os.environ.get("MLPLATFORM_IDLE_SECONDS") or IDLE_SECONDS)
    return Settings(
        home=home,
        store=store_target(home),
        token=load_token(home),
        hosts=frozenset(name.lower() for name in args.allow_host),
        idle=0.0 if args.stay else idle,
        trust_user=_trusts_user(),
    )


def serve(settings: Settings, listener: socket.socket) -> None:
    """Until told to stop, or nobody uses it."""
    import uvicorn

    from mlplatform.server.app import create_app

    app = create_app(settings)
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ws="none",
        lifespan="on",
        timeout_graceful_shutdown=3,
        timeout_keep_alive=75,
    )
    server = uvicorn.Server(config)
    asyncio.run(_serve(server, app, settings, listener))


async def _serve(server: Any, app: Any, settings: Settings, listener: socket.socket) -> None:
    watcher = asyncio.ensure_future(_leave_when_idle(server, app, settings))
    try:
        await server.serve(sockets=[listener])
    finally:
        watcher.cancel()


async def _leave_when_idle(server: Any, app: Any, settings: Settings) -> None:
    while True:
        await asyncio.sleep(1.0)
        if not settings.home.root.exists():  # somebody removed the home
            server.should_exit = True
        if settings.idle and app.state.activity.idle() > settings.idle:
            server.should_exit = True


def main(argv: Sequence[str] | None = None) -> int:
    args = options(argv)
    home = open_home(args.home)
    try:
        home.prepare()
        settings = settings_of(args, home)
    except (OSError, MlPlatformError) as error:
        print(error, file=sys.stderr)  # noqa: T201 - a process of its own
        return 2
    log_to(home)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    if args.listener < 0:
        return run_here(home, args.host, args.port, args.allow_host, print)
    lock = take_lock(home)
    if lock is None:
        return 3
    with lock:
        listener = socket.socket(fileno=args.listener)
        os.set_inheritable(args.listener, False)
        serve(settings, listener)
    return 0


@dataclass(frozen=True, slots=True)
class Site:
    """A namespace of a cluster, and what its server has there (see ``settings.Settings``)."""

    cluster: str
    context: str = ""
    mlflow: str = ""
    address: str = ""


def run_here(
    home: Home,
    host: str,
    port: int,
    names: Sequence[str],
    tell: Callable[[str], object],
    site: Site | None = None,
) -> int:
    """Serve on an address of one's own until told to stop; ``tell`` gets the link that lets a browser in.

    ``site``: serve a cluster's runs instead of the home's.

    Raises:
        ServiceError: the address cannot be used.
        KubernetesError: there is no cluster to talk to.
    """
    home.prepare()
    token = load_token(home)
    try:
        listener = bound(host, port)
    except OSError as error:
        hint = "Another program has it: choose one with --port." if error.errno == errno.EADDRINUSE else ""
        raise ServiceError(f"{host}:{port} cannot be used: {error.strerror or error}", hint=hint) from None
    everywhere = host in ("0.0.0.0", "::", "")  # noqa: S104 - only asked for
    spelled = f"[{host}]" if ":" in host else host
    allowed = {name.lower() for name in (*names, *(() if everywhere else (spelled,)))}
    log_to(home)
    settings = Settings(
        home,
        store_target(home),
        token,
        frozenset(allowed),
        trust_user=_trusts_user() and site is None,
        **(asdict(site) if site is not None else {}),
    )
    if site is not None:  # whoever runs it in a pod reads its log there
        logging.getLogger().addHandler(_stream())
    word = sign(token, "ticket", "", time.time() + TICKET_SECONDS)
    tell(f"http://{'127.0.0.1' if everywhere else spelled}:{listener.getsockname()[1]}/?ticket={word}")
    sys.stdout.flush()
    serve(settings, listener)
    return 0


def _stream() -> logging.Handler:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    return handler


def log_to(home: Home) -> None:
    handler = RotatingFileHandler(home.root / "logs" / "server.log", maxBytes=5 << 20, backupCount=1)
    logging.basicConfig(
        handlers=[handler], level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", force=True
    )


def _trusts_user() -> bool:
    return os.environ.get("MLPLATFORM_TRUST_USER", "1") != "0"


def bound(host: str, port: int) -> socket.socket:
    """A listening socket. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(256)
    except OSError:
        listener.close()
        raise
    return listener


if __name__ == "__main__":
    sys.exit(main())
