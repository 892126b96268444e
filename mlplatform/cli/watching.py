"""Being in front of a run: progress, Ctrl-C, and the summary at the end."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType
from typing import Any, TextIO

from mlplatform.cli.board import Board
from mlplatform.cli.options import command_for
from mlplatform.cli.progress import View, view_of
from mlplatform.cli.style import clean
from mlplatform.core.errors import MlPlatformError
from mlplatform.sdk.client import LocalClient
from mlplatform.sdk.records import read_report

#: Seconds that the request to cancel may take when the person leaves meanwhile.
_ASK_LIMIT = 5.0


class Detached(Exception):
    """The person left; the run did not."""


def follow(client: LocalClient, run_id: str, name: str, stream: TextIO, after: int = 0) -> dict[str, Any]:
    """Show a run on ``stream`` until it is finished; returns its report.

    The first Ctrl-C cancels the run and goes on showing how it ends, the second leaves.

    Raises:
        Detached: the person left before the end.
    """
    board = Board(run_id, name)
    view = view_of(board, stream, title=f"{clean(name)}  {run_id}")
    with view, _interrupts(client, run_id, view):
        for event in client.watch(run_id, after):
            if event["kind"] == "trouble":
                view.say(f"waiting: {event['body']['message']}")
            elif event["kind"] == "note":
                view.say(f"note: {event['body']['message']}")
            else:
                view.take(event)
    return read_report(client.home, run_id)


@contextmanager
def _interrupts(client: LocalClient, run_id: str, view: View) -> Generator[None]:
    """Ctrl-C as :func:`follow` has it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    pressed = 0

    def cancel() -> None:
        try:
            client.cancel(run_id)
        except MlPlatformError as error:
            view.say(error.message)

    def on_interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal pressed
        pressed += 1
        if not asking:  # first of all: the second Ctrl-C may come at any instruction of this
            # Not here: a request takes time, and the second Ctrl-C must be heard meanwhile.
            asking.append(threading.Thread(target=cancel, daemon=True, name="cancel"))
            asking[-1].start()
        if pressed > 1:
            raise Detached
        again = command_for(client.home, f"runs show {run_id}")
        view.say(f"cancelling {run_id}; Ctrl-C again leaves it to end alone ({again})")

    asking: list[threading.Thread] = []
    before = signal.signal(signal.SIGINT, on_interrupt)
    try:
        yield
    finally:
        for thread in asking:  # who leaves at once has asked nevertheless
            thread.join(_ASK_LIMIT)
        signal.signal(signal.SIGINT, before)


def progress_stream(output: str) -> TextIO:
    """Where progress goes: standard output belongs to the result when that is JSON."""
    return sys.stderr if output == "json" else sys.stdout
