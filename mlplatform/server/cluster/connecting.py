"""``ml.connect()`` and ``mlplatform up --backend kubernetes``: a cluster's server, at an address of this machine."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

from mlplatform.core.errors import ServiceError
from mlplatform.engine.home import Home
from mlplatform.engine.webdoor import default_port
from mlplatform.sdk.kubernetes.home import cluster_home, missing_packages, read_place
from mlplatform.server.links import entry_url

if TYPE_CHECKING:
    import uvicorn

#: Where the platform lives, unless ``MLPLATFORM_PLATFORM_NAMESPACE`` or a caller says otherwise.
PLATFORM: Final = "mlplatform-system"
_PATIENCE: Final = 30.0


class Connection:
    """A way to the server, open until :meth:`close`.

    Attributes:
        url: its address (``http://127.0.0.1:PORT``), for ``kfp.Client(host=...)`` and others of this machine. On Linux
            your own programs need nothing more.
        token: what programs show as a bearer where that is not known (``kfp.Client(existing_token=...)``).
        account: the service account whose rights it has.
    """

    def __init__(self, home: Home, listener: socket.socket, server: uvicorn.Server, token: str, account: str) -> None:
        self._home = home
        self._server = server
        self._thread = threading.Thread(
            target=lambda: asyncio.run(server.serve(sockets=[listener])), daemon=True, name="way to the cluster"
        )
        self._port = int(listener.getsockname()[1])
        self.url = f"http://127.0.0.1:{self._port}"
        self.token = token
        self.account = account

    def start(self) -> None:
        """Raises ServiceError: it does not come up."""
        self._thread.start()
        end = time.monotonic() + _PATIENCE
        while not self._server.started:
            if time.monotonic() > end or not self._thread.is_alive():
                raise ServiceError("the way to the server in the cluster did not open")
            time.sleep(0.01)
        _write_port(self._home, self._port)

    def link(self, run_id: str = "") -> str:
        """What a person opens: with a ticket, good for a day, that lets their browser in."""
        return entry_url(self._home, run_id)

    def close(self) -> None:
        """Shut it. Links that were shown open again when it is opened again."""
        self._server.should_exit = True
        self._thread.join(10.0)
        if self._home.web_port() == self._port:
            (self._home.server / "port").unlink(missing_ok=True)

    def wait(self) -> None:
        """Until somebody closes it."""
        while self._thread.is_alive():
            self._thread.join(0.5)

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<server in the cluster, at {self.url} as {self.account}>"


def connect(
    *,
    context: str = "",
    namespace: str = "",
    platform_namespace: str = "",
    account: str = "",
    port: int = 0,
    home: str | os.PathLike[str] | None = None,
) -> Connection:
    """Open a way to the platform's server in a cluster: pages, API, MLflow, and KFP's API for ``kfp.Client``.

    >>> with connect(namespace="team") as server:  # doctest: +SKIP
    ...     kfp.Client(host=server.url).list_runs()

    Nothing is to be set up: requests go by the API server, with the credentials of your kubeconfig.

    Args:
        context: the kubeconfig's context; empty: its current one.
        namespace: whose runs; empty: the context's.
        platform_namespace: where the platform is installed (``mlplatform-system``).
        account: the namespace's service account whose rights count; empty: ``mlplatform-editor``, else
            ``mlplatform-viewer``, whichever you may use.
        port: of this machine; 0: the same as last time if it is free.
        home: where what is known of that namespace is kept (see :func:`~mlplatform.sdk.kubernetes.home.cluster_home`).

    Raises:
        KubernetesError: there is no cluster or no server, or you have not the right; it says which.
        ServiceError: the port is taken.
    """
    try:
        from mlplatform.kube.client import Client
        from mlplatform.kube.http import HttpTransport
        from mlplatform.kube.transport import loader
    except ModuleNotFoundError as error:
        raise (missing_packages(error) or error) from None
    from mlplatform.server.access import Activity, Guard
    from mlplatform.server.cluster.gateway import Gateway, Tokens
    from mlplatform.server.settings import Settings, load_token

    place_home = cluster_home(context, namespace, home)
    place = read_place(place_home)
    assert place is not None
    transport = HttpTransport(loader(place.kubeconfig or None, place.context or None))
    tokens = Tokens(Client(transport), place.namespace, account, time.monotonic)
    where = platform_namespace or os.environ.get("MLPLATFORM_PLATFORM_NAMESPACE") or PLATFORM
    app = Gateway(transport.stream, tokens, where)
    app.reach()
    place_home.prepare()
    settings = Settings(place_home, "", load_token(place_home))
    listener = _listener(place_home, port)
    connection = Connection(
        place_home, listener, _server(Guard(app, settings, Activity())), settings.token, tokens.account
    )
    connection.start()
    return connection


def _server(app: Any) -> uvicorn.Server:
    import uvicorn

    return uvicorn.Server(
        uvicorn.Config(app, log_config=None, access_log=False, server_header=False, proxy_headers=False, ws="none",
                       lifespan="off", timeout_graceful_shutdown=1)
    )  # fmt: skip


def _listener(home: Home, port: int) -> socket.socket:
    """Raises ServiceError: a port that was asked for is taken."""
    for wanted in (port,) if port else (default_port(home), 0):
        listener = socket.socket(socket.AF_INET)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", wanted))
            listener.listen(128)
            return listener
        except OSError:
            listener.close()
    raise ServiceError(f"port {port} of this machine is taken", hint="Name another one with --port.")


def _write_port(home: Home, port: int) -> None:
    home.server.mkdir(mode=0o700, exist_ok=True)
    file: Path = home.server / f".port-{os.getpid()}"
    with contextlib.suppress(OSError):  # links are a convenience
        file.write_text(str(port), encoding="ascii")
        file.replace(home.server / "port")
