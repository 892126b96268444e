"""Kubernetes quantities: ``500m``, ``1Gi``, ``1.5G``, ``2``, ``1e3``.

The grammar is that of ``k8s.io/apimachinery/pkg/api/resource.Quantity`` (public API reference): a decimal number, then
a binary suffix (Ki ... Ei), a decimal one (n, u, m, k, M, G, T, P, E) or an exponent (e3, E3).
"""

from __future__ import annotations

import math
import re
from decimal import Decimal
from typing import Final

_QUANTITY: Final = re.compile(r"([+-]?(?:\d+(?:\.\d*)?|\.\d+))((?:[eE][+-]?\d{1,3})|[KMGTPE]i|[numkMGTPE])?", re.ASCII)
_SUFFIXES: Final = {
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    "k": Decimal(10**3),
    "M": Decimal(10**6),
    "G": Decimal(10**9),
    "T": Decimal(10**12),
    "P": Decimal(10**15),
    "E": Decimal(10**18),
    "Ki": Decimal(2**10),
    "Mi": Decimal(2**20),
    "Gi": Decimal(2**30),
    "Ti": Decimal(2**40),
    "Pi": Decimal(2**50),
    "Ei": Decimal(2**60),
}

#: Kubernetes keeps quantities in 63 bits; what is larger is a slip of the keyboard.
_LARGEST: Final = Decimal(2**63)


def parse_quantity(text: str) -> Decimal:
    """The exact number a quantity stands for.

    Raises:
        ValueError: the text is no quantity; it says what one looks like.
    """
    match = _QUANTITY.fullmatch(text.strip()) if len(text) < 100 else None
    if match is None:
        raise ValueError(f"{text[:100]!r} is not a Kubernetes quantity such as 500m, 2, 1.5G or 1Gi")
    number, suffix = match[1], match[2] or ""
    exponent = suffix[:1] in ("e", "E") and len(suffix) > 1 and suffix != "Ei"
    value = Decimal(number + suffix) if exponent else Decimal(number) * _SUFFIXES.get(suffix, Decimal(1))
    if abs(value) > _LARGEST:
        raise ValueError(f"{text!r} is too large for a Kubernetes quantity")
    return value


def cores(text: str) -> float:
    """CPU cores of a quantity such as ``500m``.

    Raises:
        ValueError: no quantity, or negative.
    """
    return float(_not_negative(text))


def count_bytes(text: str) -> int:
    """Bytes of a quantity such as ``1Gi``, rounded up.

    Raises:
        ValueError: no quantity, or negative.
    """
    return math.ceil(_not_negative(text))


def _not_negative(text: str) -> Decimal:
    value = parse_quantity(text)
    if value < 0:
        raise ValueError(f"{text!r} is negative")
    return value
