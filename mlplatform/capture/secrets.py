"""Literals and values that look like secrets. They are refused: source text is kept, shown and shared."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, Final, cast

ADVICE: Final = 'keep it as a secret and read it in the task: ml.secret("NAME")'

#: Beginnings of tokens that services hand out, with enough behind them to be one.
_TOKENS: Final = re.compile(
    r"\b(?:gh[pousr]_[A-Za-z0-9]{30,}|github_pat_[A-Za-z0-9_]{30,}|glpat-[A-Za-z0-9_\-]{18,}"
    r"|sk-(?:proj-|ant-)?[A-Za-z0-9_\-]{20,}|hf_[A-Za-z0-9]{30,}|(?:AKIA|ASIA)[A-Z0-9]{16}\b"
    r"|AIza[A-Za-z0-9_\-]{35}|xox[abprs]-[A-Za-z0-9\-]{10,}|ya29\.[A-Za-z0-9_\-]{20,}|npm_[A-Za-z0-9]{36}"
    r"|pypi-[A-Za-z0-9_\-]{40,}|(?:sk|rk)_live_[A-Za-z0-9]{20,}|dop_v1_[a-f0-9]{60,}|SG\.[A-Za-z0-9_\-]{20,}\.[A-Za-z0-9_\-]{20,}"
    r"|eyJ[A-Za-z0-9_\-]{10,}\.eyJ[A-Za-z0-9_\-]{10,}\.[A-Za-z0-9_\-]{10,})"
    r"|-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----"
)
_IN_URL: Final = re.compile(r"\b[a-z][a-z0-9+.\-]*://[^\s:/@]+:(?P<word>[^\s:/@{}<>$]{3,})@")
_LAST: Final = frozenset(("password", "passwd", "pwd", "passphrase", "secret", "apikey"))
_PAIRS: Final = ("api_key", "secret_key", "access_key", "private_key", "auth_key", "account_key")
_PLACEHOLDER: Final = re.compile(
    r"^[<\[{$*%].*|^(?:x+|\.+|-+|changeme|none|null|todo|your[-_ ].*|example.*|dummy|test)$", re.I
)


def in_text(text: str) -> Iterator[str]:
    """Sentences about literals in source text."""
    yield from (told for _line, told in _in_tree(text))


@lru_cache(maxsize=1024)
def in_module(text: str) -> tuple[tuple[int, str], ...]:
    """The same with lines, for a whole module; nothing where it does not parse."""
    try:
        return tuple(_in_tree(text))
    except (SyntaxError, ValueError, RecursionError):
        return ()


def _in_tree(text: str) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            if told := _looks(node.value):
                yield node.lineno, f"a text in it looks like {told}"
            continue
        for name, value in _named(node):
            if isinstance(value, ast.Constant) and isinstance(value.value, str) and _is_secret(name, value.value):
                yield value.lineno, f"{name!r} is set to a text that looks like a secret"


def _named(node: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    match node:
        case ast.Assign(targets=targets, value=value):
            yield from ((name, value) for target in targets if (name := _target(target)))
        case ast.AnnAssign(target=target, value=ast.expr() as value):
            yield _target(target), value
        case ast.NamedExpr(target=ast.Name(id=name), value=value):
            yield name, value
        case ast.keyword(arg=str() as name, value=value):
            yield name, value
        case ast.Dict(keys=keys, values=values):
            for key, value in zip(keys, values, strict=True):
                if isinstance(key, ast.Constant) and isinstance(key.value, str):
                    yield key.value, value
        case ast.arguments():
            yield from _argument_defaults(node)
        case _:
            pass


def _argument_defaults(node: ast.arguments) -> Iterator[tuple[str, ast.expr]]:
    positional = [*node.posonlyargs, *node.args]
    for argument, value in zip(reversed(positional), reversed(node.defaults), strict=False):
        yield argument.arg, value
    for argument, value in zip(node.kwonlyargs, node.kw_defaults, strict=True):
        if value is not None:
            yield argument.arg, value


def _target(target: ast.expr) -> str:
    match target:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case ast.Subscript(slice=ast.Constant(value=str() as name)):
            return name
        case _:
            return ""


def in_value(name: str, value: Any, depth: int = 6) -> Iterator[str]:
    """Sentences about texts in a captured value."""
    attributes: Any = getattr(value, "__dict__", None)
    if isinstance(value, str):
        last = re.sub(r"^.*[.\[]['\"]?|['\"]?\]$", "", name)
        if told := _looks(value):
            yield f"{name!r} looks like {told}"
        elif _is_secret(last, value):
            yield f"{name!r} is a text that looks like a secret"
    elif isinstance(value, Mapping) and depth:
        for key, item in list(cast("Mapping[Any, Any]", value).items())[:10_000]:
            yield from in_value(f"{name}[{key!r}]", item, depth - 1)
    elif isinstance(value, (list, tuple)) and depth:
        for number, item in enumerate(cast("list[Any]", value)[:10_000]):
            yield from in_value(f"{name}[{number}]", item, depth - 1)
    elif depth and isinstance(attributes, dict) and not isinstance(value, type):
        for key, item in list(cast("dict[str, Any]", attributes).items())[:1000]:
            if isinstance(item, (str, dict)):
                yield from in_value(f"{name}.{key}", item, depth - 1)


def _looks(text: str) -> str:
    if len(text) < 12:
        return ""
    if _TOKENS.search(text):
        return "a private key" if "PRIVATE KEY" in text else "an access token"
    match = _IN_URL.search(text)
    return "an address with a password in it" if match and not _PLACEHOLDER.match(match["word"]) else ""


def _is_secret(name: str, text: str) -> bool:
    if not text.strip() or _PLACEHOLDER.match(text):
        return False
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower().strip("_").split("_")
    flat = "_".join(words)
    if words[-1] in _LAST or flat.endswith(_PAIRS) or (words[0] == "password" and words[-1].isdigit()):
        return not re.search(r"\s", text) or words[-1] == "passphrase"
    if "token" in words:
        return len(text) >= 6 and bool(re.fullmatch(r"[A-Za-z0-9_\-.=+/:]+", text)) and bool(re.search(r"\d", text))
    return False
