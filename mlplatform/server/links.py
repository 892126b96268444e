"""Links that people open: with a ticket that lets their browser in, where a person reads them. Imports little."""

from __future__ import annotations

import os
import sys
import time

from mlplatform.engine.home import Home
from mlplatform.sdk.links import ui_url
from mlplatform.server.settings import load_token
from mlplatform.server.signing import sign

#: Seconds that the ticket in a link may be used.
TICKET_SECONDS = 24 * 3600.0


def entry_url(home: Home, run_id: str = "", *, ticket: bool = True) -> str:
    """A link to the pages (or to a run) that also lets a browser in; empty if this home has no port.

    Without ``ticket``, what is printed may be kept: it opens the pages for a browser that was let in before.
    """
    plain = ui_url(home, run_id)
    if not plain or not ticket:
        return plain
    try:
        word = sign(load_token(home), "ticket", "", time.time() + TICKET_SECONDS)
    except OSError:
        return plain
    base, hash_, rest = plain.partition("#")
    return f"{base}?ticket={word}{hash_}{rest}"


def has_display() -> bool:
    """Whether a browser opened here would be seen by the person at this terminal."""
    if os.environ.get("SSH_CONNECTION") or os.environ.get("CI"):
        return False
    if sys.platform == "darwin":
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def open_browser(url: str) -> bool:
    """Open a page where somebody would see it; whether that was tried."""
    if not url or not has_display():
        return False
    import webbrowser

    return webbrowser.open(url)
