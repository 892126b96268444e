"""A run's display as HTML that every viewer of notebooks keeps: no script, no inline SVG, no stylesheet.

JupyterLab shows the outputs of a notebook it does not trust through a sanitiser, GitHub through a stricter one that
also drops ``style``. So it reads well with nothing but tags, inline styles make it pleasant, and the graph is a picture
in a data URI with a table beneath that says the same. Text has the page's own colour, light or dark. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Final

from mlplatform.sdk import display_words as words
from mlplatform.sdk import picture
from mlplatform.sdk.looks import counted
from mlplatform.sdk.snapshot import Snapshot

#: Bytes the whole display may take; what is least telling gives way.
LIMIT: Final = 46_000
#: From so many tasks on, the table is folded away.
FOLDED: Final = 50
_FAILURES: Final = 3
_ROWS: Final = 200
_METRICS: Final = 24
_PICTURE_HEIGHT: Final = 420

_BOX: Final = "font-family:system-ui,-apple-system,'Segoe UI',Helvetica,Arial,sans-serif;font-size:13px;line-height:1.5"
_DIM: Final = "opacity:0.7"
_PRE: Final = (
    "margin:4px 0;padding:6px 10px;font-family:ui-monospace,Menlo,Consolas,monospace;font-size:12px;line-height:1.4;"
    "overflow-x:auto;white-space:pre;"
    "background-color:rgba(132,141,151,0.12);border-radius:4px"
)
_CELL: Final = "text-align:left;padding:1px 16px 1px 0;white-space:nowrap"
_WHY: Final = "text-align:left;padding:1px 0;opacity:0.7"
_TIME: Final = "text-align:right;padding:1px 16px 1px 0;white-space:nowrap"
_TABLE: Final = "font-size:13px;border-collapse:collapse;margin:2px 0"
_SMALL: Final = "font-size:12px;opacity:0.7"


def html(snapshot: Snapshot) -> str:
    """The display, at most :data:`LIMIT` bytes."""
    rows = _ROWS
    while True:
        found = _whole(snapshot, rows, with_picture=True)
        if len(found.encode()) <= LIMIT:
            return found
        if rows <= 25:
            return _whole(snapshot, rows, with_picture=False)
        rows //= 2


def line(snapshot: Snapshot) -> str:
    """The run in one line: how it is, and where to see more."""
    links = "".join(f' · <a href="{escape(url)}" target="_blank">{name}</a>' for name, url in snapshot.links.items())
    return f'<div style="{_BOX}">{_head(snapshot, links)}</div>'


def _whole(snapshot: Snapshot, rows: int, *, with_picture: bool) -> str:
    parts = [_head(snapshot), *_failures(snapshot), *_logs(snapshot), _steps(snapshot)]
    if with_picture:
        parts.append(_picture(snapshot))
    parts += [_results(snapshot), _tasks(snapshot, rows), _parameters(snapshot), _foot(snapshot)]
    return f'<div style="{_BOX}">{"".join(parts)}</div>'


def sign(state: str) -> str:
    """A state's sign in its colour."""
    return f'<span style="color:{picture.color_of(state)};font-weight:700">{words.glyph(state)}</span>'


def _head(snapshot: Snapshot, more: str = "") -> str:
    report = snapshot.report
    name, run_id = escape(words.clean(report["name"])), escape(report["run_id"])
    return (
        f'<div>{sign(report["state"])} <b style="font-size:14px">{name}</b> <b>{escape(words.verdict(snapshot))}</b> '
        f'<span style="{_DIM}">· {escape(words.tally(snapshot))} · <code>{run_id}</code>{more}</span></div>'
    )


def _failures(snapshot: Snapshot) -> Iterable[str]:
    found = words.failures(snapshot)
    color = picture.color_of("FAILED")
    for failure in found[:_FAILURES]:
        hint = f"<div>{escape(failure.hint)}</div>" if failure.hint else ""
        yield (
            f'<div style="border-left:3px solid {color};padding:2px 0 2px 10px;margin:8px 0">'
            f"<div>{sign('FAILED')} <b>{escape(failure.task)}</b> {escape(failure.head)}</div>"
            f'<pre style="{_PRE}">{escape(chr(10).join(failure.lines))}</pre>{hint}</div>'
        )
    if len(found) > _FAILURES:
        yield f"<div>and {len(found) - _FAILURES} more failed</div>"
    error = snapshot.report["error"]
    if error and not found:
        yield f'<pre style="{_PRE}">{escape(words.short(words.clean(error["message"]), 600))}</pre>'


def _logs(snapshot: Snapshot) -> Iterable[str]:
    color = picture.color_of("RUNNING")
    for task, how_long, lines in words.logs(snapshot):
        tail = f'<pre style="{_PRE}">{escape(chr(10).join(lines))}</pre>' if lines else ""
        yield (
            f'<div style="border-left:3px solid {color};padding:2px 0 2px 10px;margin:8px 0">'
            f"<div>{sign('RUNNING')} <b>{escape(task)}</b> {escape(how_long)}</div>{tail}</div>"
        )


def _steps(snapshot: Snapshot) -> str:
    steps = words.next_steps(snapshot)
    lines = [
        f'<div><code>{escape(code)}</code> <span style="{_DIM}">{escape(what)}</span></div>' for code, what in steps
    ]
    return f'<div style="margin:6px 0">{"".join(lines)}</div>' if lines else ""


def _picture(snapshot: Snapshot) -> str:
    drawn, width, height = picture.draw(snapshot.graph)
    if not drawn:
        return ""
    told = escape(f"Graph of {counted(len(snapshot.graph.nodes), 'task')}; the table below says the same.")
    size = f"max-width:100%;max-height:{_PICTURE_HEIGHT}px" if height > _PICTURE_HEIGHT else "max-width:100%"
    return (
        f'<div style="margin:8px 0;overflow-x:auto"><img alt="{told}" width="{width}" '
        f'style="{size};height:auto;width:auto" src="{picture.data_uri(drawn)}"></div>'
    )


def _results(snapshot: Snapshot) -> str:
    parts = [_pairs("outputs", words.values(snapshot.report["outputs"]))]
    metrics = [
        (f"{task} {name}", words.value(number))
        for task, numbers in snapshot.metrics.items()
        for name, number in numbers.items()
    ]
    parts.append(_pairs("metrics", metrics[:_METRICS], len(metrics)))
    return "".join(parts)


def _pairs(title: str, found: Sequence[tuple[str, str]], total: int = 0) -> str:
    if not found:
        return ""
    body = "".join(
        f'<tr><td style="{_CELL}">{escape(words.clean(name))}</td>'
        f'<td style="{_CELL};white-space:normal;font-variant:tabular-nums"><code>{escape(value)}</code></td></tr>'
        for name, value in found
    )
    more = f'<div style="{_SMALL}">and {total - len(found)} more</div>' if total > len(found) else ""
    return f'<div style="margin:6px 0"><b>{escape(title)}</b><table style="{_TABLE}">{body}</table>{more}</div>'


def _tasks(snapshot: Snapshot, limit: int) -> str:
    rows = words.rows(snapshot)
    if not rows:
        return ""
    shown = rows if len(rows) <= limit else words.telling_first(rows)[:limit]
    body = "".join(
        f'<tr><td style="{_CELL}">{sign(row.state)} {row.state.lower()}</td>'
        f'<td style="{_CELL}"><b>{escape(row.task)}</b></td>'
        f'<td style="{_TIME}">{row.time}</td><td style="{_WHY}">{escape(row.why)}</td></tr>'
        for row in shown
    )
    left = len(rows) - len(shown)
    more = f'<div style="{_SMALL}">and {counted(left, "more task")}</div>' if left else ""
    table = f'<table style="{_TABLE}">{body}</table>{more}'
    if len(words.leaves(snapshot.report)) > FOLDED:
        return f"<details><summary>{escape(words.tally(snapshot))}</summary>{table}</details>"
    return f'<div style="margin:6px 0"><b>tasks</b>{table}</div>'


def _parameters(snapshot: Snapshot) -> str:
    found = words.values(snapshot.report["parameters"])
    if not found:
        return ""
    return f"<details><summary>{counted(len(found), 'parameter')}</summary>{_pairs('', found)}</details>"


def _foot(snapshot: Snapshot) -> str:
    links = "".join(
        f'<a href="{escape(url)}" target="_blank">{escape(name)}</a> · ' for name, url in snapshot.links.items()
    )
    experiment = escape(words.clean(snapshot.report["experiment"]))
    return f'<div style="{_SMALL}">{links}experiment {experiment} · as of {words.moment(snapshot.now)}</div>'
