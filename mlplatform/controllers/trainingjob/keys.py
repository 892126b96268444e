"""Keys by which the ranks of a job know each other: an SSH key pair (mpi) and a token (ray).

The public key is computed here (RFC 8032) rather than by a library: it is the one thing of cryptography that the
operator needs, made once a job, and OpenSSL would be a fifth of its image.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from typing import Final

from mlplatform.controllers.trainingjob.observed import Keys

_P: Final = 2**255 - 19
_D: Final = -121665 * pow(121666, _P - 2, _P) % _P
_BASE: Final = (
    15112221349535400772501151409588531511454012693041857206046113283949847762202,
    46316835694926478169428394003475163141307993866256225615783033603165251855960,
)

_Point = tuple[int, int, int, int]


def new_keys() -> Keys:
    """A fresh set."""
    private, public = ssh_pair(secrets.token_bytes(32), secrets.token_bytes(4))
    return Keys(private, public, secrets.token_hex(32))


def ssh_pair(seed: bytes, check: bytes) -> tuple[str, str]:
    """An Ed25519 pair as OpenSSH keeps it: (private key file, public key line). ``check``: any four bytes."""
    public = public_key(seed)
    blob = _texts(b"ssh-ed25519", public)
    secret = check + check + _texts(b"ssh-ed25519", public, seed + public, b"mlplatform")
    secret += bytes(range(1, 1 + -len(secret) % 8))
    body = b"openssh-key-v1\0" + _texts(b"none", b"none", b"") + (1).to_bytes(4, "big") + _texts(blob, secret)
    text = base64.b64encode(body).decode()
    lines = "\n".join(text[at : at + 70] for at in range(0, len(text), 70))
    private = f"-----BEGIN OPENSSH PRIVATE KEY-----\n{lines}\n-----END OPENSSH PRIVATE KEY-----\n"
    return private, f"ssh-ed25519 {base64.b64encode(blob).decode()} mlplatform\n"


def _texts(*parts: bytes) -> bytes:
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def public_key(seed: bytes) -> bytes:
    """The Ed25519 public key of a 32-byte seed."""
    scalar = int.from_bytes(hashlib.sha512(seed).digest()[:32], "little")
    scalar = (scalar & ~7 & ~(1 << 255)) | (1 << 254)
    x, y, z, _ = _times(scalar)
    inverse = pow(z, _P - 2, _P)
    x, y = x * inverse % _P, y * inverse % _P
    return (y | (x & 1) << 255).to_bytes(32, "little")


def _times(scalar: int) -> _Point:
    result: _Point = (0, 1, 1, 0)
    point: _Point = (_BASE[0], _BASE[1], 1, _BASE[0] * _BASE[1] % _P)
    while scalar:
        if scalar & 1:
            result = _add(result, point)
        point = _add(point, point)
        scalar >>= 1
    return result


def _add(one: _Point, other: _Point) -> _Point:
    a = (one[1] - one[0]) * (other[1] - other[0]) % _P
    b = (one[1] + one[0]) * (other[1] + other[0]) % _P
    c = 2 * one[3] * other[3] * _D % _P
    d = 2 * one[2] * other[2] % _P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % _P, g * h % _P, f * g % _P, e * h % _P
