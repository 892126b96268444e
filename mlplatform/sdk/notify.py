"""Telling somebody that a run has ended."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING
from urllib.request import Request, urlopen

from mlplatform.core.errors import InvalidInput, MlPlatformError, Unsupported
from mlplatform.sdk.looks import GLYPHS, duration

if TYPE_CHECKING:
    from mlplatform.sdk.run import Run

#: Seconds an address may take to answer.
_LIMIT = 30.0


def notify(run: Run, to: str | Callable[[Run], object] | None) -> None:
    """Wait for the run in the background, then tell ``to`` (see :meth:`Run.notify`).

    Raises:
        Unsupported: there is no desktop to notify. InvalidInput: ``to`` is neither a function nor a web address.
    """
    tell = _teller(to)

    def wait() -> None:
        try:
            run.client.ensure()
            for _ in run.client.watch(run.run_id):
                pass
            tell(run)
        except (MlPlatformError, OSError, subprocess.SubprocessError) as error:  # else the user's own: Python tells it
            _say(f"nobody could be told of the end of run {run.run_id}: {error}")

    threading.Thread(target=wait, name=f"notify-{run.run_id}", daemon=True).start()


def _teller(to: str | Callable[[Run], object] | None) -> Callable[[Run], object]:
    if callable(to):
        return to
    if isinstance(to, str):
        if not to.startswith(("http://", "https://")):
            raise InvalidInput(f"{to!r} is no address to notify", hint="Give a function, an http(s) URL, or nothing.")
        return lambda run: _post(to, run)
    command = desktop_command(sys.platform, shutil.which)
    return lambda run: subprocess.run(_filled(command, *message(run)), check=True, capture_output=True, timeout=_LIMIT)


def desktop_command(platform: str, which: Callable[[str], str | None]) -> list[str]:
    """The command that notifies on this desktop; ``TITLE`` and ``TEXT`` stand for what it is to say.

    Raises:
        Unsupported: there is none.
    """
    if platform == "darwin" and which("osascript"):
        script = "on run {title, body}\ndisplay notification body with title title\nend run"
        return ["osascript", "-e", script, "TITLE", "TEXT"]
    if which("notify-send"):
        return ["notify-send", "--app-name=mlplatform", "TITLE", "TEXT"]
    raise Unsupported(
        "This machine has no way to show a notification.",
        hint="Install notify-send (libnotify), or give run.notify() a function or an http(s) URL.",
    )


def _filled(command: list[str], title: str, text: str) -> list[str]:
    return [{"TITLE": title, "TEXT": text}.get(word, word) for word in command]


def message(run: Run) -> tuple[str, str]:
    """(title, text) of a run that has ended."""
    record = run.record
    text = f"{record.state.lower()} after {duration(run.duration)}"
    if record.error is not None:
        text += f": {record.error.message}"
    return f"{GLYPHS[str(record.state)]} {record.name}", text


def _post(url: str, run: Run) -> None:
    title, text = message(run)
    told = f"{title} {text}"  # "text" is what chat services read
    body = {"run_id": run.run_id, "name": run.name, "state": str(run.state), "message": told, "text": told}
    request = Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"}, method="POST")  # noqa: S310
    with urlopen(request, timeout=_LIMIT):  # noqa: S310 - the scheme was checked
        return


def _say(text: str) -> None:
    sys.stderr.write(f"mlplatform: {text}\n")
