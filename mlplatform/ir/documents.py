"""Pipeline text as plain documents: YAML (any number of documents) or JSON, told apart by the text itself."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from typing import Any, Final, NoReturn, cast

from mlplatform.core.errors import Finding, InvalidPipeline
from mlplatform.ir import paths, scalars
from mlplatform.ir.limits import MAX_BYTES, MAX_DEPTH, MAX_NODES

_SURROGATE: Final = re.compile(rb"\\[uU](?:0000)?[dD][89a-fA-F]")
_BOMS: Final = ((b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"), (b"\xef\xbb\xbf", "utf-8-sig"))


def refuse(origin: str, findings: Iterable[Finding]) -> NoReturn:
    """Raise :class:`InvalidPipeline` for a document called ``origin``."""
    name = origin or "the pipeline document"
    raise InvalidPipeline(f"{name} is not a pipeline that can be run.", findings=findings)


def read_documents(text: str | bytes, origin: str = "") -> list[Any]:
    """Every document in ``text``, as dict, list, str, int, finite float, bool and None.

    Args:
        text: YAML or JSON, at most :data:`MAX_BYTES`; bytes are UTF-8, or UTF-16 with a byte order mark.
        origin: what to call it in messages, such as a file name.

    Raises:
        InvalidPipeline: with every finding; reading goes on after those that allow it.
    """
    data = _utf8(text, origin)
    if data.lstrip()[:1] == b"{":
        documents = _read_json(data, origin)
        if documents is not None:
            return documents
    from mlplatform.ir import yamltree  # PyYAML is slow to import, and JSON does without

    documents, findings = yamltree.read(data)
    if not findings and _SURROGATE.search(data):
        findings = _check_values(documents, {}, check_text=True)
    if findings:
        refuse(origin, findings)
    return documents


def _utf8(text: str | bytes, origin: str) -> bytes:
    size = len(text)
    if size > MAX_BYTES:
        message = f"{size / 2**20:.0f} MiB of text; at most {MAX_BYTES // 2**20} MiB can be read"
        refuse(origin, [Finding("", message, "too-large", "pass large values as artifacts, not as constants")])
    try:
        if isinstance(text, str):
            return text.removeprefix("\ufeff").encode("utf-8")
        for mark, encoding in _BOMS:
            if text.startswith(mark):
                return text.decode(encoding).encode("utf-8")
        text.decode("utf-8")
    except UnicodeError as error:
        position = getattr(error, "start", 0)
        message = f"not text: byte {position} is not UTF-8"
        refuse(origin, [Finding("", message, "bad-encoding", "give the YAML or JSON that the KFP compiler wrote")])
    return text


class _Duplicates:
    """Remembers keys that one JSON object has twice; ``json`` itself would keep the last silently."""

    def __init__(self) -> None:
        self.found: dict[int, tuple[dict[str, Any], list[str]]] = {}

    def build(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) != len(pairs):
            seen: set[str] = set()
            twice = [key for key, _ in pairs if key in seen or seen.add(key)]
            self.found[id(made)] = (made, twice)
        return made


def _read_json(data: bytes, origin: str) -> list[Any] | None:
    """The JSON document, or None if it is not JSON (YAML's flow style begins the same way)."""
    duplicates = _Duplicates()
    try:
        document = json.loads(data, object_pairs_hook=duplicates.build, parse_int=_json_integer)
    except scalars.TooLarge as error:
        refuse(origin, [Finding("", str(error), "bad-number", "put it in quotes if it is text")])
    except RecursionError:
        message = f"nested deeper than {MAX_DEPTH} levels"
        refuse(origin, [Finding("", message, "too-large")])
    except ValueError:
        return None
    check_text = bool(_SURROGATE.search(data))
    findings = _check_values([document], {key: twice for key, (_, twice) in duplicates.found.items()}, check_text)
    if findings:
        refuse(origin, findings)
    return [document]


def _json_integer(text: str) -> int:
    if len(text) > scalars.MAX_DIGITS:
        raise scalars.TooLarge(f"a number of {len(text)} digits is too large")
    return int(text)


def _check_values(documents: list[Any], duplicates: dict[int, list[str]], check_text: bool) -> list[Finding]:
    """Find what plain parsing lets through: NaN, lone surrogates, duplicate keys, depth and number of values."""
    findings: list[Finding] = []
    nodes = 0
    stack: list[tuple[Any, Any, int]] = [(document, None, 0) for document in reversed(documents)]
    while stack and len(findings) < 100:
        value, place, depth = stack.pop()
        nodes += 1
        if nodes > MAX_NODES:
            return [*findings, Finding("", f"more than {MAX_NODES:,} values", "too-large")]
        kind = value.__class__
        if kind is dict or kind is list:
            if depth >= MAX_DEPTH:
                return [*findings, Finding("", f"nested deeper than {MAX_DEPTH} levels", "too-large")]
            here = (place, value)
            for key in duplicates.get(id(value), ()):
                path = paths.child(_path(place), key)
                findings.append(
                    Finding(path, "the key appears twice in one mapping", "duplicate-key", "keep one of them")
                )
            pairs = cast("Iterable[tuple[Any, Any]]", value.items() if kind is dict else enumerate(value))
            for key, item in pairs:
                if check_text and kind is dict and not _encodable(key):
                    findings.append(Finding(_path(place), "a key is not valid Unicode text", "bad-encoding"))
                stack.append((item, (*here, key), depth + 1))
        elif kind is float:
            if not math.isfinite(value):
                findings.append(Finding(_path(place), "not a number that JSON can say", "bad-number"))
        elif kind is str and check_text and not _encodable(value):
            findings.append(Finding(_path(place), "not valid Unicode text (a lone surrogate)", "bad-encoding"))
    return findings


def _encodable(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _path(place: Any) -> str:
    """The path of a linked list of (place of the parent, parent, key)."""
    steps: list[Any] = []
    while place is not None:
        place, _, key = place
        steps.append(key)
    path = ""
    for key in reversed(steps):
        path = paths.element(path, key) if isinstance(key, int) else paths.child(path, key)
    return path
