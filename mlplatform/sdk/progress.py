"""What somebody who waits for a run sees meanwhile."""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

from mlplatform.core.errors import MlPlatformError
from mlplatform.sdk.run_reading import Records, read_records

if TYPE_CHECKING:
    from mlplatform.sdk.run import Run

#: Seconds between two looks of the line in a terminal.
_EVERY = 0.5
#: A wait that is over sooner shows nothing in a terminal.
_PATIENCE = 0.7


@contextmanager
def progress_of(run: Run) -> Generator[None]:
    """Show how the run gets on while the body waits: the live display in a notebook (once for each run), one line on
    a terminal, nothing where nobody looks."""
    from mlplatform.sdk import display_live

    if display_live.in_notebook():
        display_live.show_once(run)
        try:
            yield
        finally:
            display_live.settle(run)
        return
    stream = sys.stderr
    if not stream.isatty():
        yield
        return
    stop = threading.Event()
    thread = threading.Thread(target=_line, args=(run, stream, stop), name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(2.0)


def _line(run: Run, stream: TextIO, stop: threading.Event) -> None:
    """Rewrites one line until it is told to stop, and leaves none."""
    width = 0
    pause = _PATIENCE
    while not stop.wait(pause):
        pause = _EVERY
        try:
            text = one_line(read_records(run.client.home, run.run_id), time.time())
        except MlPlatformError:
            continue
        stream.write("\r" + text.ljust(width))
        stream.flush()
        width = len(text)
    if width:
        stream.write("\r" + " " * width + "\r")
        stream.flush()


def one_line(records: Records, now: float) -> str:
    """``◐ wine  running for 12s  3 of 7 tasks ended: train, test``."""
    from mlplatform.sdk.looks import GLYPHS, duration

    run = records.run
    leaves = [task for task in records.tasks if not task.is_group]
    counts = Counter(task.state.finished for task in leaves)
    busy = [str(task.key) for task in leaves if task.state == "RUNNING"]
    names = ": " + ", ".join(busy[:3]) + (", ..." if len(busy) > 3 else "") if busy else ""
    begun = run.started_at or run.created_at
    time_ = duration(now - begun)
    glyph = GLYPHS[str(run.state)]
    return f"{glyph} {run.name}  {run.state.lower()} for {time_}  {counts[True]} of {len(leaves)} tasks ended{names}"
