"""Which API server, and how it knows us."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from mlplatform.core.errors import KubernetesError

#: Where a pod finds what its service account may use.
SERVICE_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")

#: A token file that may rotate is read again after this long (seconds); the kubelet rotates at 80 % of an hour.
TOKEN_AGE: Final = 60.0


@dataclass(frozen=True, slots=True)
class Target:
    """One API server and one user's credentials. ``authorization`` is asked before each request and may read files."""

    server: str
    namespace: str = "default"
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    verify: bool = True
    server_name: str | None = None
    proxy: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    authorization: Callable[[], str | None] = field(default=lambda: None)


def in_cluster(clock: Callable[[], float], folder: Path = SERVICE_ACCOUNT) -> Target:
    """What a pod is told by the kubelet. Raises KubernetesError outside of one.

    The rules are those of the official package, said here because importing it costs the operator 84 MiB.
    """
    host, port = os.environ.get("KUBERNETES_SERVICE_HOST", ""), os.environ.get("KUBERNETES_SERVICE_PORT", "")
    token = folder / "token"
    if not host or not port or not token.is_file():
        raise KubernetesError(
            "There is no cluster to talk to: no kubeconfig was found, and this is no pod with a service account token.",
            hint="Name one with --kubeconfig or KUBECONFIG, or write ~/.kube/config.",
        )
    namespace = folder / "namespace"
    return Target(
        server=f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}",
        namespace=namespace.read_text(encoding="utf-8").strip() if namespace.is_file() else "default",
        ca_file=str(folder / "ca.crt"),
        authorization=TokenFile(token, clock),
    )


class TokenFile:
    """The bearer token in a file that somebody replaces from time to time."""

    def __init__(self, file: Path, clock: Callable[[], float]) -> None:
        self._file = file
        self._clock = clock
        self._text = ""
        self._read_at = float("-inf")

    def __call__(self) -> str:
        """Raises KubernetesError where the file has never been readable."""
        now = self._clock()
        if now - self._read_at >= TOKEN_AGE or not self._text:
            try:
                text = self._file.read_text(encoding="utf-8").strip()
            except OSError as error:
                if not self._text:
                    raise KubernetesError(f"The token file {self._file} cannot be read: {error.strerror}.") from error
                text = ""  # being replaced right now: the old one is good for a while
            if text:
                self._text, self._read_at = text, now
        return f"Bearer {self._text}"
