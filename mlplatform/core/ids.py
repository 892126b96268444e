"""Names and ids. Randomness and time are passed in."""

from __future__ import annotations

import re
from typing import Final

_ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford base 32: no i, l, o, u
_NOT_SLUG: Final = re.compile(r"[^a-z0-9]+")


def _base32(number: int, width: int) -> str:
    text = ""
    for _ in range(width):
        number, digit = divmod(number, 32)
        text = _ALPHABET[digit] + text
    return text


def new_run_id(now: float, entropy: bytes) -> str:
    """A run id that sorts by time: 9 characters of milliseconds, 9 of randomness, all lower case.

    Args:
        now: seconds since the epoch.
        entropy: at least 6 random bytes.
    """
    if len(entropy) < 6:
        raise ValueError("new_run_id needs at least 6 random bytes")
    return _base32(int(now * 1000), 9) + _base32(int.from_bytes(entropy[:6], "big"), 9)


def slug(text: str, limit: int = 63) -> str:
    """``text`` as a DNS-1123 label: lower case letters, digits and dashes, at most ``limit`` characters."""
    return _NOT_SLUG.sub("-", text.lower()).strip("-")[:limit].strip("-") or "x"
