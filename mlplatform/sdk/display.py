"""What a run or a task gives to whoever shows it."""

from __future__ import annotations

import time
from html import escape
from typing import TYPE_CHECKING

from mlplatform.core.errors import InvalidInput, NotFound
from mlplatform.sdk import display_words as words
from mlplatform.sdk.display_html import html, sign
from mlplatform.sdk.display_text import text
from mlplatform.sdk.snapshot import Snapshot, take_snapshot

if TYPE_CHECKING:
    from mlplatform.sdk.run import Run
    from mlplatform.sdk.run_task import Task


def bundle(snapshot: Snapshot) -> dict[str, str]:
    """A snapshot in every form: HTML for notebooks, text for everything else."""
    return {"text/html": html(snapshot), "text/plain": text(snapshot)}


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
    head = (
        f"<div>{sign(state)} <b>{escape(words.clean(task.name))}</b> {state.lower()}: {escape(words.clean(why))}</div>"
    )
    lines = task.tail(12)
    tail = f"<pre>{escape(chr(10).join(words.clean(line) for line in lines.splitlines()))}</pre>" if lines else ""
    return {"text/plain": plain, "text/html": head + tail}
