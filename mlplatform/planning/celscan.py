"""A scanner for CEL that makes equality strict.

CEL calls values of different types unequal (``'1' == 1`` is false). In a pipeline condition that is almost always a
mistake, and one that silently takes the wrong branch, so conditions treat it as an error. The CEL implementation
offers neither its syntax tree nor an overload for ``==``. This module therefore reads the expression by CEL's own
grammar (public ``langdef.md``) and writes it again with ``a == b`` as ``mlplatform_equal(a, b)``, ``a != b`` as its
negation, and ``a in b`` as ``mlplatform_in(a, b)``; everything else stays as it was written. The CEL implementation
still compiles and evaluates the whole.
"""

from __future__ import annotations

import re
from typing import Final

EQUAL: Final = "mlplatform_equal"
IN: Final = "mlplatform_in"

#: Longer or deeper expressions are refused: the evaluator recurses natively and would end the process.
MAX_TOKENS: Final = 2_000
MAX_DEPTH: Final = 64

_TOKEN: Final = re.compile(
    r"""
    (?P<space>\s+|//[^\n]*)
  | (?P<text>(?:[rR][bB]?|[bB][rR])(?:'''.*?'''|\"\"\".*?\"\"\"|'[^'\n]*'|"[^"\n]*")
      | [bB]?(?:'''(?:\\.|[^\\])*?'''|\"\"\"(?:\\.|[^\\])*?\"\"\"|'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*"))
  | (?P<number>0[xX][0-9a-fA-F]+[uU]?|(?:\d+\.\d+|\.\d+|\d+)(?:[eE][+-]?\d+)?[uU]?)
  | (?P<name>[A-Za-z_][A-Za-z0-9_]*|`[^`\n]+`)
  | (?P<operator>==|!=|<=|>=|&&|\|\||\.\?|[-+*/%!?:.,()\[\]{}<>])
    """,
    re.VERBOSE | re.DOTALL,
)
_COMPARISONS: Final = frozenset({"==", "!=", "<", "<=", ">", ">=", "in"})
_ARITHMETIC: Final = frozenset({"+", "-", "*", "/", "%"})


class ScanError(ValueError):
    """The text is not an expression this scanner can read; ``str`` says why."""


def strict_equality(expression: str) -> str:
    """``expression`` with checked comparisons.

    Raises:
        ScanError: the text is no CEL expression, or is too long or too deeply nested.
    """
    return _Scanner(_tokens(expression)).whole()


def _tokens(expression: str) -> list[str]:
    tokens: list[str] = []
    at = 0
    while at < len(expression):
        match = _TOKEN.match(expression, at)
        if match is None:
            raise ScanError(f"unexpected {expression[at : at + 20]!r} at character {at + 1}")
        if match.lastgroup != "space":
            tokens.append(match[0])
            if len(tokens) > MAX_TOKENS:
                raise ScanError(f"longer than {MAX_TOKENS} tokens")
        at = match.end()
    return tokens


class _Scanner:
    """Recursive descent over CEL's grammar. Every method returns the rewritten text of what it read."""

    def __init__(self, tokens: list[str]) -> None:
        self._tokens = tokens
        self._at = 0
        self._depth = 0

    def whole(self) -> str:
        text = self._expression()
        if self._at < len(self._tokens):
            raise ScanError(f"unexpected {self._peek()!r}")
        return text

    # ------------------------------------------------------------------ tokens
    def _peek(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def _next(self) -> str:
        word = self._peek()
        if not word:
            raise ScanError("the expression ends too early")
        self._at += 1
        return word

    def _expect(self, wanted: str) -> str:
        word = self._next()
        if word != wanted:
            raise ScanError(f"expected {wanted!r}, found {word!r}")
        return word

    # ------------------------------------------------------------------ grammar
    def _expression(self) -> str:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise ScanError(f"nested deeper than {MAX_DEPTH} levels")
        text = self._either()
        if self._peek() == "?":
            self._next()
            chosen = self._either()
            self._expect(":")
            text = f"{text} ? {chosen} : {self._expression()}"
        self._depth -= 1
        return text

    def _either(self) -> str:
        parts = [self._both()]
        while self._peek() == "||":
            self._next()
            parts.append(self._both())
        return " || ".join(parts)

    def _both(self) -> str:
        parts = [self._relation()]
        while self._peek() == "&&":
            self._next()
            parts.append(self._relation())
        return " && ".join(parts)

    def _relation(self) -> str:
        left = self._sum()
        while self._peek() in _COMPARISONS:
            operator = self._next()
            right = self._sum()
            if operator == "==":
                left = f"{EQUAL}({left}, {right})"
            elif operator == "!=":
                left = f"!{EQUAL}({left}, {right})"
            elif operator == "in":
                left = f"{IN}({left}, {right})"
            else:
                left = f"{left} {operator} {right}"
        return left

    def _sum(self) -> str:
        parts = [self._unary()]
        while self._peek() in _ARITHMETIC:
            parts.append(self._next())
            parts.append(self._unary())
        return " ".join(parts)

    def _unary(self) -> str:
        prefix = ""
        while self._peek() in ("!", "-"):
            prefix += self._next()
            if len(prefix) > MAX_DEPTH:
                raise ScanError(f"more than {MAX_DEPTH} signs in a row")
        return prefix + self._member()

    def _member(self) -> str:
        text = self._primary()
        links = 0
        while True:
            word = self._peek()
            links += 1
            if links > MAX_DEPTH:
                raise ScanError(f"more than {MAX_DEPTH} members in a row")
            if word in (".", ".?"):
                text += self._next() + self._name()
            elif word == "(":
                text += self._list("(", ")")
            elif word == "[":
                self._next()
                optional = self._next() if self._peek() == "?" else ""
                text += f"[{optional}{self._expression()}{self._expect(']')}"
            else:
                return text

    def _primary(self) -> str:
        word = self._peek()
        if word == "(":
            self._next()
            return f"({self._expression()}{self._expect(')')}"
        if word == "[":
            return self._list("[", "]")
        if word == "{":
            return self._map()
        if word == ".":
            return self._next() + self._name()
        word = self._next()
        if word[0].isalnum() or word[0] in "_'\"`" or (word[0] == "." and len(word) > 1 and word[1].isdigit()):
            if word == "in":
                raise ScanError("unexpected 'in'")
            return word
        raise ScanError(f"unexpected {word!r}")

    def _name(self) -> str:
        word = self._next()
        if not (word[0].isalpha() or word[0] in "_`"):
            raise ScanError(f"expected a name, found {word!r}")
        return word

    def _list(self, opening: str, closing: str) -> str:
        self._expect(opening)
        items: list[str] = []
        while self._peek() != closing:
            optional = self._next() if opening == "[" and self._peek() == "?" else ""
            items.append(optional + self._expression())
            if self._peek() != closing:
                self._expect(",")
        self._next()
        return opening + ", ".join(items) + closing

    def _map(self) -> str:
        self._expect("{")
        items: list[str] = []
        while self._peek() != "}":
            optional = self._next() if self._peek() == "?" else ""
            key = self._expression()
            self._expect(":")
            items.append(f"{optional}{key}: {self._expression()}")
            if self._peek() != "}":
                self._expect(",")
        self._next()
        return "{" + ", ".join(items) + "}"
