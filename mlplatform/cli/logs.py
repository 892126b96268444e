"""``mlplatform runs logs``: what tasks printed, from the files of their attempts, also while they run."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from mlplatform.cli.options import common, print_json, run_argument, write
from mlplatform.cli.style import Style, clean, style_of_output
from mlplatform.core.errors import NotFound
from mlplatform.core.model import AttemptRecord, TaskKey, TaskRecord
from mlplatform.engine.home import Home
from mlplatform.sdk.clients import client_of, refreshed
from mlplatform.sdk.records import log_file, matching_tasks, open_records, read_run

#: Seconds between two looks at the files of a run that goes on, and between two looks for new attempts.
_LOOK, _LOOK_FOR_NEW = 0.1, 0.4


@click.command()
@run_argument()
@click.argument("task", metavar="[TASK]", required=False)
@click.option("-f", "--follow", is_flag=True, help="Go on as the run goes on.")
@click.option("--attempt", type=click.IntRange(1), default=None, metavar="N", help="Only the Nth attempt.")
@click.option("-n", "--tail", type=click.IntRange(0), default=None, metavar="N", help="Only the last N lines of each.")
@common
def logs(
    run: str, task: str | None, follow: bool, attempt: int | None, tail: int | None, home: str | None, output: str
) -> None:
    """Show what a run's tasks printed; TASK is a path or its last part, with [indexes] in loops.

    With --output json and --follow, every line is an object of its own.
    """
    place = refreshed(home)
    record, tasks, attempts = read_run(place, run)
    keys = {found.key for found in matching_tasks(tasks, task)} if task else None
    wanted = [a for a in attempts if (keys is None or a.key in keys) and attempt in (None, a.attempt)]
    if follow and not record.state.finished:
        _follow(place, record.run_id, task, attempt, output)
        return
    client = client_of(place)
    for found in wanted:
        client.bring_log(record, found)
    if output == "json":
        print_json({"run_id": record.run_id, "logs": [_entry(found, _text(log_file(found), tail)) for found in wanted]})
        return
    if not wanted:
        write(_nothing(task, tasks, keys), error=True)
    style = style_of_output()
    alone = len(wanted) == 1
    for found in wanted:
        text = _text(log_file(found), tail)
        if not alone:
            again = f"  attempt {found.attempt}" if found.attempt > 1 else ""
            write(style.paint(f"== {clean(str(found.key))}{again}", "bold"))
        if text:
            write(text.rstrip("\n"))


def _nothing(task: str | None, tasks: list[TaskRecord], keys: set[TaskKey] | None) -> str:
    if not task:
        return "no task of it has run yet"
    states = sorted({str(found.state).lower() for found in tasks if keys and found.key in keys})
    return f"{clean(task)} did not run here (it is {', '.join(states)}): there is no log"


def _entry(attempt: AttemptRecord, text: str) -> dict[str, Any]:
    return {
        "task": attempt.key.name,
        "iteration": list(attempt.key.iteration),
        "attempt": attempt.attempt,
        "path": str(log_file(attempt)),
        "text": text,
    }


def _text(path: Path, tail: int | None) -> str:
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    if tail is None:
        return text
    return "\n".join(text.splitlines()[-tail:]) if tail else ""


class _Tail:
    """One log file and how far it was read. Lines are told whole."""

    def __init__(self, attempt: AttemptRecord) -> None:
        self.attempt = attempt
        self._path = log_file(attempt)
        self._offset = 0
        self._rest = b""

    def lines(self, *, last: bool = False) -> Iterator[str]:
        """New whole lines; with ``last``, also one that has no end."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                data = file.read()
        except OSError:
            data = b""
        self._offset += len(data)
        *whole, self._rest = (self._rest + data).split(b"\n")
        if last and self._rest:
            whole.append(self._rest)
            self._rest = b""
        for line in whole:
            yield line.decode("utf-8", "replace")


def _follow(home: Home, run_id: str, task: str | None, attempt: int | None, output: str) -> None:
    """Tell lines of all tasks as they come, each behind its task's name, until the run is finished."""
    client = client_of(home)
    client.ensure()  # a run whose service was killed would otherwise never end
    tails: dict[tuple[TaskKey, int], _Tail] = {}
    style = Style.of(sys.stdout)
    next_look, finished = 0.0, False
    with open_records(home) as store:
        while True:
            now = time.monotonic()
            if now >= next_look:
                next_look = now + _LOOK_FOR_NEW
                finished = store.get_run(run_id).state.finished
                tasks = store.tasks(run_id) if task else []
                try:
                    keys = {found.key for found in matching_tasks(tasks, task)} if task else None
                except NotFound:  # not begun yet
                    keys = set[TaskKey]()
                for found in store.attempts(run_id):
                    if (keys is None or found.key in keys) and attempt in (None, found.attempt):
                        client.bring_log(store.get_run(run_id), found, wait=finished)
                        tails.setdefault((found.key, found.attempt), _Tail(found))
                if not finished:
                    client.ensure()
            for tail in tails.values():
                for line in tail.lines(last=finished):
                    _tell(tail.attempt, line, output, style)
            if finished:
                return
            time.sleep(_LOOK)


def _tell(attempt: AttemptRecord, line: str, output: str, style: Style) -> None:
    if output == "json":
        import json

        data = {"task": attempt.key.name, "iteration": list(attempt.key.iteration), "attempt": attempt.attempt}
        write(json.dumps({**data, "line": line}, ensure_ascii=False))
    else:
        write(f"{style.paint(clean(str(attempt.key)), 'cyan')} | {line}")
