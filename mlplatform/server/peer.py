"""Whether a request comes from a program of the user who runs this server.

Such a program may read the token's file anyway, so asking it for the token protects nothing; not asking lets a stock
``kfp.Client(host=...)`` work. The kernel tells whose the other end of a loopback connection is (Linux). Browsers run as
the user as well, but do other people's bidding: whatever looks like one must bring a session. So must whatever was
passed on by a proxy.
"""

from __future__ import annotations

import ipaddress
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from starlette.types import Scope

#: Headers that only browsers or proxies send.
_NOT_A_PROGRAM: Final = (
    "origin", "referer", "cookie", "forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto",
    "x-real-ip", "via", "upgrade-insecure-requests",
)  # fmt: skip
_LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "[::1]"})


def is_own_program(scope: Scope, headers: Mapping[str, str]) -> bool:
    """See the module. False wherever it cannot be known."""
    if any(name in headers for name in _NOT_A_PROGRAM) or any(name.startswith("sec-") for name in headers):
        return False
    if "mozilla" in headers.get("user-agent", "").lower():
        return False
    client, server = scope.get("client"), scope.get("server")
    if not client or not server or not sys.platform.startswith("linux"):
        return False
    name, _, port = headers.get("host", "").rpartition(":")
    if name.lower() not in _LOOPBACK or port != str(server[1]):
        return False
    return owner(client, server) == os.getuid()


def owner(client: tuple[str, int], server: tuple[str, int]) -> int | None:
    """The user id of the process at the other end of a loopback TCP connection; None if it cannot be found out."""
    try:
        address = ipaddress.ip_address(client[0])
        if not address.is_loopback:
            return None
        local, remote = _spelled(client), _spelled(server)
        table = Path("/proc/net/tcp6" if address.version == 6 else "/proc/net/tcp").read_text(encoding="ascii")
    except (OSError, ValueError):
        return None
    for line in table.splitlines()[1:]:
        fields = line.split()
        if len(fields) > 7 and fields[1] == local and fields[2] == remote:
            return int(fields[7])
    return None


def _spelled(end: tuple[str, int]) -> str:
    """An address as the kernel's table has it: words of four bytes in the machine's order."""
    packed = ipaddress.ip_address(end[0]).packed
    words = [packed[at : at + 4] for at in range(0, len(packed), 4)]
    if sys.byteorder == "little":
        words = [word[::-1] for word in words]
    return b"".join(words).hex().upper() + f":{end[1]:04X}"
