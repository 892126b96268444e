"""What a run or a task gives to whoever shows it."""

from __future__ import annotations

import time
from html import escape
from typing import TYPE_CHECKING

from mlplatform.core.errors import InvalidInput, NotFound
from mlplatform.sdk import display_html, display_text
from mlplatform.sdk import display_words as words
from mlplatform.sdk.snapshot import Snapshot, take_snapshot

if TYPE_CHECKING:
    from mlplatform.sdk.run import Run
    from mlplatform.sdk.run_task import Task


def bundle(snapshot: Snapshot) -> dict[str, str]:
    """A snapshot in every form: HTML for notebooks, text for everything else."""
    return {"text/html": display_html.html(snapshot), "text/plain": display_text.text(snapshot)}


def line_bundle(snapshot: Snapshot) -> dict[str, str]:
    """A snapshot in one line."""
    return {"text/html": display_html.line(snapshot), "text/plain": display_text.line(snapshot)}


def run_bundle(run: Run) -> dict[str, str]:
    """How a run looks now."""
    try:
        return bundle(take_snapshot(run.client.home, run.run_id, time.time()))
    except NotFound:
        return {"text/plain": repr(run)}


def task_bundle(task: Task) -> dict[str, str]:
    """How a task looks now."""
    plain = repr(task)
    try:
        state, why = str(task.state), task.why()
    except InvalidInput as error:
        return {"text/plain": plain, "text/html": f"<div>{escape(str(error))}</div>"}
    name, reason = escape(words.clean(task.name)), escape(words.clean(why))
    head = f"<div>{display_html.sign(state)} <b>{name}</b> {state.lower()}: {reason}</div>"
    lines = task.tail(12)
    tail = f"<pre>{escape(chr(10).join(words.clean(line) for line in lines.splitlines()))}</pre>" if lines else ""
    return {"text/plain": plain, "text/html": head + tail}
