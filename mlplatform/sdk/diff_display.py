"""How the difference of two runs reads: as text, and as HTML that every viewer of notebooks keeps. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import TYPE_CHECKING, Any, Final

from mlplatform.sdk import display_words as words
from mlplatform.sdk.display_text import columns
from mlplatform.sdk.looks import counted, duration

if TYPE_CHECKING:
    from mlplatform.sdk.diff import Pair, RunDiff

#: Lines of code differences that are shown; `to_dict` has all of them.
_CODE_LINES: Final = 300
_ROWS: Final = 40
_BOX: Final = "font-family:system-ui,-apple-system,'Segoe UI',Helvetica,Arial,sans-serif;font-size:13px;line-height:1.5"
_CELL: Final = "text-align:left;padding:1px 16px 1px 0;vertical-align:top"
_PRE: Final = (
    "margin:4px 0;padding:6px 10px;font-family:ui-monospace,Menlo,Consolas,monospace;font-size:12px;line-height:1.4;"
    "overflow-x:auto;white-space:pre;"
    "background-color:rgba(132,141,151,0.12);border-radius:4px"
)
_PLUS: Final = "#1f883d"
_MINUS: Final = "#cf222e"

Section = tuple[str, list[tuple[str, str, str, str]]]


def sections(diff: RunDiff) -> list[Section]:
    """(title, rows of name, value in a, value in b, what that means); of "code" the lines are told instead."""
    found: list[Section] = [
        ("parameters", _rows(diff.parameters)),
        ("code", []),
        ("packages", _rows(diff.packages)),
        ("data", [(name, _digest(a), _digest(b), "") for name, (a, b) in diff.data.items()]),
        ("metrics", _rows(diff.metrics, change=True)),
        ("outputs", _rows(diff.outputs, change=True)),
        ("states", [(name, _word(a), _word(b), "") for name, (a, b) in diff.states.items()]),
        ("durations", _durations(diff.durations)),
    ]
    return [(title, rows) for title, rows in found if rows or (title == "code" and diff.code)]


def _rows(found: Mapping[str, Pair], *, change: bool = False) -> list[tuple[str, str, str, str]]:
    return [(name, _value(a), _value(b), _change(a, b) if change else "") for name, (a, b) in found.items()]


def _value(value: Any) -> str:
    return "–" if value is None else words.value(value)


def _word(value: Any) -> str:
    return "–" if value is None else f"{words.glyph(value)} {str(value).lower()}"


def _digest(value: Any) -> str:
    text = str(value)
    return text[:19] + "…" if text.startswith("sha256:") and "," not in text else words.short(text, 60)


def _change(a: Any, b: Any) -> str:
    if not all(isinstance(number, (int, float)) and not isinstance(number, bool) for number in (a, b)):
        return "" if a == b else "differs"
    if a == b:
        return "same"
    share = f" ({(b - a) / abs(a):+.1%})" if a else ""
    return f"{b - a:+.4g}{share}"


def _durations(found: Mapping[str, Pair]) -> list[tuple[str, str, str, str]]:
    rows: list[tuple[str, str, str, str]] = []
    for name, (a, b) in found.items():
        told = [duration(seconds) if seconds is not None else "reused" for seconds in (a, b)]
        if not name:
            told = [duration(seconds) or "–" for seconds in (a, b)]
        rows.append((name or "whole run", *told, ""))  # pyright: ignore[reportArgumentType]
    return rows


def verdict(diff: RunDiff) -> str:
    """What differs of what went in, in one line."""
    parts = [
        counted(len(found), word, plural)
        for found, word, plural in (
            (diff.parameters, "parameter", ""),
            (diff.code, "task's code", "tasks' code"),
            (diff.packages, "package set", ""),
            (diff.data, "input's data", "inputs' data"),
        )
        if found
    ]
    return "differ in " + ", ".join(parts) if parts else "have the same parameters, code, packages and data"


def text(diff: RunDiff) -> str:
    """As a terminal shows it."""
    lines = [f"a  {diff.names[0]}  {diff.a}", f"b  {diff.names[1]}  {diff.b}", verdict(diff)]
    for title, rows in sections(diff):
        lines += ["", title]
        if title == "code":
            lines += [f"  {words.clean(line)}" for line in _code(diff)]
        lines += columns([[f"  {words.clean(name)}", a, b, what] for name, a, b, what in rows[:_ROWS]])
        lines += [f"  and {len(rows) - _ROWS} more"] if len(rows) > _ROWS else []
    return "\n".join(lines)


def _code(diff: RunDiff) -> list[str]:
    lines = [words.short(line, 240) for found in diff.code.values() for line in found.splitlines()]
    left = len(lines) - _CODE_LINES
    return [*lines[:_CODE_LINES], f"… and {counted(left, 'more line')}"] if left > 0 else lines


def html(diff: RunDiff) -> str:
    """As a notebook shows it, without script or stylesheet."""
    head = "".join(
        f'<div><b>{side}</b> {escape(words.clean(name))} <code style="opacity:0.7">{escape(run)}</code></div>'
        for side, name, run in (("a", diff.names[0], diff.a), ("b", diff.names[1], diff.b))
    )
    parts = [head, f'<div style="margin:4px 0">{escape(verdict(diff))}</div>']
    parts += [_block(diff) if title == "code" else _table(title, rows) for title, rows in sections(diff)]
    return f'<div style="{_BOX}">{"".join(parts)}</div>'


def _block(diff: RunDiff) -> str:
    lines = "\n".join(_painted(words.clean(line)) for line in _code(diff))
    return f'<div style="margin:6px 0"><b>code</b><pre style="{_PRE}">{lines}</pre></div>'


def _painted(line: str) -> str:
    color = {"+": _PLUS, "-": _MINUS}.get(line[:1], "")
    return f'<span style="color:{color}">{escape(line)}</span>' if color else escape(line)


def _table(title: str, rows: list[tuple[str, str, str, str]]) -> str:
    body = "".join(
        f'<tr><td style="{_CELL}">{escape(words.clean(name))}</td><td style="{_CELL}"><code>{escape(a)}</code></td>'
        f'<td style="{_CELL}"><code>{escape(b)}</code></td><td style="{_CELL};opacity:0.7">{escape(what)}</td></tr>'
        for name, a, b, what in rows[:_ROWS]
    )
    head = f'<tr><th></th><th style="{_CELL}">a</th><th style="{_CELL}">b</th><th></th></tr>'
    more = f"<div>and {len(rows) - _ROWS} more</div>" if len(rows) > _ROWS else ""
    table = f'<table style="font-size:13px;border-collapse:collapse;margin:2px 0">{head}{body}</table>'
    return f'<div style="margin:6px 0"><b>{escape(title)}</b>{table}{more}</div>'
