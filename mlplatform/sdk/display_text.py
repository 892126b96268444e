"""A run's display as plain text: what a terminal, an e-mail or a diff of the notebook shows. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from mlplatform.sdk import display_words as words
from mlplatform.sdk.looks import counted
from mlplatform.sdk.snapshot import Snapshot

#: Failed tasks told in full, rows of the table; the others are counted.
_FAILURES: Final = 3
_ROWS: Final = 50
_METRICS: Final = 12


def text(snapshot: Snapshot) -> str:
    """Failed tasks first, then running ones, results, tasks."""
    report = snapshot.report
    lines = [line(snapshot)]
    failed = words.failures(snapshot)
    for failure in failed[:_FAILURES]:
        lines += ["", f"{words.glyph('FAILED')} {failure.task} {failure.head}"]
        lines += [f"    {line}" for line in failure.lines]
        lines += [f"    {failure.hint}"] if failure.hint else []
    if len(failed) > _FAILURES:
        lines += ["", f"and {len(failed) - _FAILURES} more failed"]
    if not failed and report["error"]:
        lines += ["", f"    {words.clean(report['error']['message'])}"]
    for task, how_long, tail in words.logs(snapshot):
        lines += ["", f"{words.glyph('RUNNING')} {task} {how_long}", *(f"    {line}" for line in tail)]
    steps = words.next_steps(snapshot)
    if steps:
        lines += ["", *columns([[f"  {code}", what] for code, what in steps])]
    lines += _results(snapshot)
    lines += _tasks(snapshot)
    lines += ["", *(f"{name}: {url}" for name, url in snapshot.links.items()), f"as of {words.moment(snapshot.now)}"]
    return "\n".join(lines)


def line(snapshot: Snapshot) -> str:
    """``● name  id  succeeded in 12s  3 tasks: 2 succeeded, 1 cached``."""
    report = snapshot.report
    name = words.clean(report["name"])
    verdict, tally = words.verdict(snapshot), words.tally(snapshot)
    return f"{words.glyph(report['state'])} {name}  {report['run_id']}  {verdict}  {tally}"


def _results(snapshot: Snapshot) -> list[str]:
    lines: list[str] = []
    outputs = words.values(snapshot.report["outputs"])
    if outputs:
        lines += ["", "outputs", *columns([[f"  {name}", value] for name, value in outputs])]
    metrics = [
        [f"  {words.clean(task)}", words.clean(name), words.value(number)]
        for task, numbers in snapshot.metrics.items()
        for name, number in numbers.items()
    ]
    if metrics:
        lines += ["", "metrics", *columns(metrics[:_METRICS])]
        lines += [f"  and {len(metrics) - _METRICS} more"] if len(metrics) > _METRICS else []
    return lines


def _tasks(snapshot: Snapshot) -> list[str]:
    rows = words.rows(snapshot)
    if not rows:
        return []
    shown = rows if len(rows) <= _ROWS else words.telling_first(rows)[:_ROWS]
    lines = ["", "tasks"]
    lines += columns(
        [[f"  {words.glyph(row.state)} {row.task}", row.state.lower(), row.time, row.why] for row in shown]
    )
    if len(rows) > len(shown):
        lines.append(f"  and {counted(len(rows) - len(shown), 'more task')}")
    return lines


def columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows with their cells one below the other."""
    if not rows:
        return []
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    return ["  ".join(cell.ljust(widths[at]) for at, cell in enumerate(row)).rstrip() for row in rows]
