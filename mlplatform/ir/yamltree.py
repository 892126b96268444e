"""YAML text as plain dicts and lists, built from parser events.

Built here instead of by ``yaml.load`` because it must be fast (KFP documents of a thousand tasks have 50,000 lines),
never recurse, refuse what JSON cannot say (tags, keys that are not text, duplicate keys, NaN) with a line number
each, and bound what aliases can blow up to.
"""

from __future__ import annotations

import importlib
import math
from dataclasses import dataclass, field
from typing import Any, Final, cast

import yaml
from yaml.events import (
    AliasEvent,
    DocumentEndEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)

from mlplatform.core.errors import Finding
from mlplatform.ir import paths, scalars
from mlplatform.ir.limits import MAX_DEPTH, MAX_NODES

_MAX_FINDINGS: Final = 100
_NO_KEY: Final = object()
_TAGS: Final = {
    "tag:yaml.org,2002:str": "str",
    "tag:yaml.org,2002:int": "int",
    "tag:yaml.org,2002:float": "float",
    "tag:yaml.org,2002:bool": "bool",
    "tag:yaml.org,2002:null": "null",
    "tag:yaml.org,2002:map": "map",
    "tag:yaml.org,2002:seq": "seq",
    "!": "str",
}


class TooMuch(Exception):
    """The document is beyond a limit, or broken where reading cannot go on; ends the reading at once."""


@dataclass(slots=True)
class _Frame:
    """A mapping or list that is being filled."""

    container: Any
    is_map: bool
    anchor: str | None
    first_node: int
    key: Any = _NO_KEY
    height: int = 0
    merges: list[Any] = field(default_factory=list[Any])


@dataclass(frozen=True, slots=True)
class _Anchored:
    value: Any
    nodes: int
    height: int


class _Builder:
    def __init__(self) -> None:
        self.findings: list[Finding] = []
        self.documents: list[Any] = []
        self.frames: list[_Frame] = []
        self.anchors: dict[str, _Anchored] = {}
        self.nodes = 0
        self.memo: dict[str, Any] = {}

    def complain(self, message: str, event: Any, code: str, hint: str = "", key: str | None = None) -> None:
        path = self.path()
        if key is not None:
            path = paths.child(path, key)
        line = event.start_mark.line + 1
        self.findings.append(Finding(path, f"{message} (line {line})", code, hint))
        if len(self.findings) >= _MAX_FINDINGS:
            raise TooMuch(f"more than {_MAX_FINDINGS} mistakes; the rest was not read")

    def path(self) -> str:
        path = ""
        for frame in self.frames:
            if not frame.is_map:
                path = paths.element(path, len(frame.container))
            elif isinstance(frame.key, str):
                path = paths.child(path, frame.key)
        return path

    def put(self, value: Any, event: Any) -> None:
        """Place a finished value into the mapping or list it stands in."""
        if not self.frames:
            self.documents.append(value)
            return
        frame = self.frames[-1]
        if not frame.is_map:
            frame.container.append(value)
        elif frame.key is _NO_KEY:
            frame.key = self.check_key(value, event)
        else:
            key, frame.key = frame.key, _NO_KEY
            if key is None:
                return
            if key == "<<" and isinstance(value, (dict, list)):
                frame.merges.append(value)
            else:
                frame.container[key] = value

    def check_key(self, key: Any, event: Any) -> str | None:
        """The key, or None where its value is to be dropped."""
        if not isinstance(key, str):
            shown = "a list or mapping" if isinstance(key, (dict, list)) else paths.shorten(str(key))
            hint = "put the key in quotes" if not isinstance(key, (dict, list)) else ""
            self.complain(f"keys must be text, not {shown}", event, "bad-key", hint)
            return None
        if key in self.frames[-1].container:
            self.complain("the key appears twice in one mapping", event, "duplicate-key", "keep one of them", key)
            return None
        return key

    def scalar(self, event: ScalarEvent) -> None:
        self.count(event)
        text, tag = event.value, event.tag
        value: Any = text
        if tag is not None and tag != "!":
            value = self.tagged(event, cast(str, tag), text)
        elif not event.style and tag is None:
            if text in self.memo:
                value = self.memo[text]
            else:
                value = self.plain(event, text)
                if len(text) < 64:
                    self.memo[text] = value
        if event.anchor is not None:
            self.anchors[event.anchor] = _Anchored(value, 1, 0)
        self.put(value, event)

    def plain(self, event: Any, text: str) -> Any:
        try:
            value = scalars.plain(text)
        except ValueError as error:
            self.complain(str(error), event, "bad-number", "put it in quotes if it is text")
            return None
        if isinstance(value, float) and not math.isfinite(value):
            self.complain(f"{paths.shorten(text)} is not a number that JSON can say", event, "bad-number")
            return None
        return value

    def tagged(self, event: Any, tag: str, text: str) -> Any:
        kind = _TAGS.get(tag)
        if kind == "str":
            return text
        value = self.plain(event, text) if kind in ("int", "float", "bool", "null") else None
        wanted = {"int": int, "float": (int, float), "bool": bool, "null": type(None)}.get(kind or "")
        if wanted is None:
            self.complain(f"the tag {paths.shorten(tag)} is not allowed", event, "bad-tag", "remove the tag")
        elif not isinstance(value, wanted) or (kind != "bool" and isinstance(value, bool)):
            self.complain(f"{paths.shorten(text)!r} is not of the type its tag says", event, "bad-tag")
        elif kind == "float":
            return float(value)  # pyright: ignore[reportArgumentType]
        return value

    def open(self, event: Any, is_map: bool) -> None:
        self.count(event)
        if len(self.frames) >= MAX_DEPTH:
            raise TooMuch(f"nested deeper than {MAX_DEPTH} levels (line {event.start_mark.line + 1})")
        if event.tag is not None and _TAGS.get(event.tag) != ("map" if is_map else "seq"):
            self.complain(f"the tag {paths.shorten(event.tag)} is not allowed", event, "bad-tag", "remove the tag")
        container: Any = {} if is_map else []
        if event.anchor is not None:
            self.anchors.pop(event.anchor, None)
        self.frames.append(_Frame(container, is_map, event.anchor, self.nodes))

    def close(self, event: Any) -> None:
        frame = self.frames.pop()
        for merge in frame.merges:
            self.merge(frame.container, merge, event)
        if frame.anchor is not None:
            self.anchors[frame.anchor] = _Anchored(frame.container, self.nodes - frame.first_node + 1, frame.height + 1)
        if self.frames:
            self.frames[-1].height = max(self.frames[-1].height, frame.height + 1)
        self.put(frame.container, event)

    def merge(self, target: dict[str, Any], source: Any, event: Any) -> None:
        for mapping in source if isinstance(source, list) else [source]:  # pyright: ignore[reportUnknownVariableType]
            if not isinstance(mapping, dict):
                self.complain("'<<' takes a mapping or a list of mappings", event, "bad-key")
                return
            for key, value in cast("dict[str, Any]", mapping).items():
                target.setdefault(key, value)

    def alias(self, event: AliasEvent) -> None:
        anchored = self.anchors.get(event.anchor)
        if anchored is None:
            self.complain(f"the alias *{paths.shorten(event.anchor)} stands inside what it names, or names nothing",
                          event, "bad-alias")  # fmt: skip
            self.put(None, event)
            return
        self.count(event, anchored.nodes)
        if len(self.frames) + anchored.height > MAX_DEPTH:
            raise TooMuch(f"nested deeper than {MAX_DEPTH} levels (line {event.start_mark.line + 1})")
        if self.frames:
            self.frames[-1].height = max(self.frames[-1].height, anchored.height)
        self.put(anchored.value, event)

    def count(self, event: Any, nodes: int = 1) -> None:
        self.nodes += nodes
        if self.nodes > MAX_NODES:
            line = event.start_mark.line + 1
            raise TooMuch(f"more than {MAX_NODES:,} values, aliases counted as often as they are used (line {line})")


def _parser(data: bytes) -> Any:
    """libyaml's parser where PyYAML was built with it, else the one in Python (20 times slower, same events)."""
    if yaml.__with_libyaml__:
        return cast("Any", importlib.import_module("yaml.cyaml")).CParser(data)
    return yaml.SafeLoader(data.decode("utf-8"))


def read(data: bytes) -> tuple[list[Any], list[Finding]]:
    """All documents of a YAML stream, and what is wrong with it.

    Args:
        data: UTF-8 text.

    Returns:
        Documents made of dict (text keys), list, str, int, finite float, bool and None; and findings. With findings
        the documents are what could be read so far.
    """
    builder = _Builder()
    try:
        parser = _parser(data)
        next_event: Any = parser.get_event
        while True:
            event: Any = next_event()
            kind = event.__class__
            if kind is ScalarEvent:
                builder.scalar(event)
            elif kind is MappingStartEvent:
                builder.open(event, True)
            elif kind is SequenceStartEvent:
                builder.open(event, False)
            elif kind is MappingEndEvent or kind is SequenceEndEvent:
                builder.close(event)
            elif kind is AliasEvent:
                builder.alias(event)
            elif kind is DocumentStartEvent or kind is DocumentEndEvent:
                builder.anchors.clear()
            elif kind is StreamEndEvent:
                break
    except yaml.YAMLError as error:
        builder.findings.append(_syntax_finding(error))
    except TooMuch as error:
        builder.findings.append(Finding("", str(error), "too-large"))
    return builder.documents, builder.findings


def _syntax_finding(error: yaml.YAMLError) -> Finding:
    mark: Any = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    problem = str(getattr(error, "problem", None) or getattr(error, "reason", None) or error)
    where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark is not None else ""
    return Finding("", f"{where}not valid YAML: {problem}", "bad-syntax")
