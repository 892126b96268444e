"""What one server process is told, and the secret it shares with its home."""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass
from urllib.parse import urlsplit

from mlplatform.engine.home import Home

#: A request's body may be this long: a pipeline document of 32 MiB with room for its JSON spelling.
BODY_LIMIT = 64 * 2**20
#: Seconds without a request or an open stream after which a server that was started by its port leaves.
IDLE_SECONDS = 10 * 60.0


@dataclass(frozen=True, slots=True)
class Settings:
    """One server. ``hosts``: names besides the loopback ones that requests may be addressed to. ``idle``: seconds, 0
    for a server that stays. ``trust_user``: programs of the same user on this machine need no token (see
    ``access.peer``). ``cluster``: the namespace whose PipelineRuns it serves, instead of the home's own runs; empty:
    none. ``kubeconfig`` and ``context`` say how to reach it, as kubectl takes them. ``mlflow``: of a cluster's server,
    the tracking server that its runs are tracked in; empty: they are not. ``address``: where pods reach this server."""

    home: Home
    store: str
    token: str
    hosts: frozenset[str] = frozenset()
    idle: float = 0.0
    body_limit: int = BODY_LIMIT
    trust_user: bool = True
    cluster: str = ""
    kubeconfig: str = ""
    context: str = ""
    mlflow: str = ""
    address: str = ""

    @property
    def shown_store(self) -> str:
        """The store without password and options."""
        parts = urlsplit(self.store)
        if not parts.netloc:
            return self.store
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def load_token(home: Home) -> str:
    """The home's random token, made at the first call. Whoever has it may do everything this home can do.

    Raises:
        OSError: the home cannot be written.
    """
    path = home.server / "token"
    for _ in range(2):
        try:
            if token := path.read_text(encoding="ascii").strip():
                return token
        except FileNotFoundError:
            pass
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        temporary = path.with_name(f".token-{os.getpid()}-{secrets.token_hex(4)}")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(secrets.token_urlsafe(32))
        try:
            os.link(temporary, path)  # whoever is first decides; nobody ever sees half a token
        except FileExistsError:
            pass
        finally:
            temporary.unlink()
    return path.read_text(encoding="ascii").strip()
