"""How plain YAML scalars become values.

The set of texts that are *not* strings is a subset of PyYAML's, which writes KFP's documents: a string that PyYAML
wrote without quotes must come back as that string. Dates and base-60 numbers stay text; JSON has neither.
"""

from __future__ import annotations

import re
from typing import Final


class TooLarge(ValueError):
    """A number with more digits than any parameter type holds."""


Scalar = None | bool | int | float | str

_WORDS: Final[dict[str, bool | None]] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **{form: True for word in ("yes", "true", "on") for form in (word, word.title(), word.upper())},
    **{form: False for word in ("no", "false", "off") for form in (word, word.title(), word.upper())},
}
_NUMBER_START: Final = frozenset("+-.0123456789")
_INTEGER: Final = re.compile(r"[-+]?(?:0b[01_]+|0[0-7_]+|0|[1-9][0-9_]*|0x[0-9a-fA-F_]+)")
_FLOAT: Final = re.compile(
    r"(?:[-+]?[0-9][0-9_]*\.[0-9_]*(?:[eE][-+][0-9]+)?"
    r"|\.[0-9][0-9_]*(?:[eE][-+][0-9]+)?"
    r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))"
)
#: Longer numbers are refused: no parameter type holds them, and converting them takes quadratic time.
MAX_DIGITS: Final = 400


def plain(text: str) -> Scalar:
    """The value of an unquoted scalar.

    Raises:
        TooLarge: a number with too many digits.
    """
    if text in _WORDS:
        return _WORDS[text]
    if text[0] in _NUMBER_START:
        try:
            if _INTEGER.fullmatch(text):
                return integer(text)
            if _FLOAT.fullmatch(text):
                return number(text)
        except TooLarge:
            raise
        except ValueError:  # such as "0b_" and "._": text to everybody but PyYAML's pattern
            return text
    return text


def integer(text: str) -> int:
    """A YAML 1.1 integer: decimal, ``0x``, ``0b`` or octal by a leading zero.

    Raises:
        ValueError: not one, or too many digits.
    """
    if len(text) > MAX_DIGITS:
        raise TooLarge(f"a number of {len(text)} digits is too large")
    digits = text.replace("_", "")
    bare = digits.lstrip("+-")
    if len(bare) > 1 and bare[0] == "0" and bare[1].isdigit():
        return int(digits, 8)
    return int(digits, 0)


def number(text: str) -> float:
    """A YAML 1.1 float; ``.inf`` and ``.nan`` are returned as such, for the caller to refuse.

    Raises:
        ValueError: not one.
    """
    if len(text) > MAX_DIGITS:
        raise TooLarge(f"a number of {len(text)} digits is too large")
    return float(text.replace("_", "").lower().replace(".inf", "inf").replace(".nan", "nan"))
