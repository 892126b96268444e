"""Words that prove they are ours, until they expire: tickets in links, sessions in cookies, URLs of artifact bytes.

Pure: the time comes in as an argument. A word is ``EXPIRY.SIGNATURE``: seconds since the epoch in base 36, and an
HMAC-SHA256 over purpose, expiry and what it is about.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import Final

_DIGITS: Final = "0123456789abcdefghijklmnopqrstuvwxyz"


def sign(token: str, purpose: str, about: str, expires: float) -> str:
    """A word for ``about`` that :func:`verify` takes until ``expires``."""
    when = _base36(int(expires))
    return f"{when}.{_signature(token, purpose, about, when)}"


def verify(token: str, purpose: str, about: str, word: str, now: float) -> bool:
    """Whether ``word`` was made by :func:`sign` with the same token, purpose and ``about``, and has not expired."""
    when, dot, signature = word.partition(".")
    if not dot or not when or len(when) > 12 or not set(when) <= set(_DIGITS):
        return False
    good = hmac.compare_digest(_signature(token, purpose, about, when).encode(), signature.encode("utf-8", "replace"))
    return good and now < int(when, 36)


def _signature(token: str, purpose: str, about: str, when: str) -> str:
    message = "\0".join((purpose, when, about)).encode("utf-8", "surrogatepass")
    digest = hmac.new(token.encode(), message, hashlib.sha256).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def _base36(number: int) -> str:
    text = ""
    while number:
        number, digit = divmod(number, 36)
        text = _DIGITS[digit] + text
    return text or "0"
