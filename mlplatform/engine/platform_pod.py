"""The pod that a task would be in, as far as a task can ask about it (Kubernetes' downward API)."""

from __future__ import annotations

import hashlib
import platform
import re
import socket
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from mlplatform.core.errors import Unsupported
from mlplatform.core.ids import slug
from mlplatform.core.model import TaskKey

_KEYED: Final = re.compile(r"metadata\.(labels|annotations)\['(.+)'\]")
#: Fields that differ from run to run: no part of a cache key.
VOLATILE: Final = frozenset(
    {
        "metadata.name",
        "metadata.uid",
        "spec.nodeName",
        "status.hostIP",
        "status.hostIPs",
        "status.podIP",
        "status.podIPs",
    }
)


@dataclass(frozen=True, slots=True)
class Pod:
    """Metadata of the pod that stands for one attempt."""

    name: str
    uid: str
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    annotations: Mapping[str, str] = field(default_factory=dict[str, str])

    @staticmethod
    def of(run_id: str, key: TaskKey, attempt: int, labels: Mapping[str, str], annotations: Mapping[str, str]) -> Pod:
        digest = hashlib.sha256(f"{run_id} {key} {attempt}".encode()).digest()
        name = f"{slug(run_id, 20)}-{slug(key.path[-1], 30)}-{digest.hex()[:8]}"
        return Pod(name, str(uuid.UUID(bytes=digest[:16], version=4)), labels, annotations)

    def field(self, path: str) -> str:
        """The value of a field path. A label or annotation that is not set reads as the empty text.

        Raises:
            Unsupported: the downward API has no such field for environment variables.
        """
        keyed = _KEYED.fullmatch(path)
        if keyed:
            table = self.labels if keyed[1] == "labels" else self.annotations
            return table.get(keyed[2], "")
        match path:
            case "metadata.name":
                return self.name
            case "metadata.uid":
                return self.uid
            case "metadata.namespace":
                return "default"
            case "spec.nodeName":
                return platform.node()
            case "spec.serviceAccountName":
                return "default"
            case "status.hostIP" | "status.hostIPs" | "status.podIP" | "status.podIPs":
                return own_address()
            case _:
                raise Unsupported(
                    f"a task cannot be told the field {path!r} of its pod",
                    hint="Known: metadata.name, .namespace, .uid, .labels['...'], .annotations['...'], spec.nodeName, "
                    "spec.serviceAccountName, status.hostIP, status.podIP.",
                )


@lru_cache(maxsize=1)
def own_address() -> str:
    """This machine's address towards others; the loopback address without a network. Nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # an address reserved for documentation: only the route is looked up
            return str(probe.getsockname()[0])
        except OSError:
            return "127.0.0.1"
