"""A run's display in a notebook that changes while the run goes on, also after its cell has ended.

The output is sent once under an id and replaced when something changes, at most twice a second, until the run has
ended. What is saved with the notebook is the last one: it stands alone and needs no kernel.
"""

from __future__ import annotations

import contextvars
import threading
import time
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from mlplatform.core.errors import MlPlatformError, NotFound
from mlplatform.sdk.display import bundle, line_bundle
from mlplatform.sdk.display_text import text
from mlplatform.sdk.feed import feed_of
from mlplatform.sdk.snapshot import Snapshot, take_snapshot

if TYPE_CHECKING:
    from mlplatform.sdk.run import Run

#: Seconds between two updates at least; and at most, while tasks run (their clocks and logs move).
_LEAST = 0.5
_MOST = 2.0
#: After each update the thread rests so many times as long as the update took.
_REST = 8.0

_views: dict[tuple[str, str], _View] = {}
_turn = threading.Lock()


def shell() -> Any:
    """The IPython shell of this process, or None."""
    import sys

    if "IPython" not in sys.modules:
        return None
    from IPython.core.getipython import get_ipython

    return get_ipython()


def in_notebook() -> bool:
    """Whether this is the kernel of a notebook (or of anything else that shows rich output)."""
    return getattr(shell(), "kernel", None) is not None


def show(run: Run) -> None:
    """Display a run; in a notebook it is kept up to date until the run has ended."""
    if not in_notebook():
        from mlplatform.sdk.display import run_bundle

        print(run_bundle(run)["text/plain"])  # noqa: T201 - a terminal: what IPython would print
        return
    view = _view_of(run)
    view.add()


def show_once(run: Run) -> None:
    """Display a run in one line, unless it is on show already."""
    view = _view_of(run)
    if not view.shown:
        view.add(compact=True)


def settle(run: Run) -> None:
    """Bring what is on show up to date now, in the cell that waited for it: it may be the last one to run."""
    view = _views.get(_key(run))
    if view is not None:
        view.refresh()


def go_on(run: Run) -> None:
    """A run was resumed: what is on show keeps telling how it failed, the next output follows how it goes on."""
    with _turn:
        _views.pop(_key(run), None)


def _key(run: Run) -> tuple[str, str]:
    return str(run.client.home.root), run.run_id


def _view_of(run: Run) -> _View:
    with _turn:
        view = _views.get(_key(run))
        if view is None:
            view = _views[_key(run)] = _View(run)
        return view


class _View:
    """Every output of one run in this kernel."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._ids: dict[str, bool] = {}  # in one line?
        self._busy = threading.RLock()
        self._thread: threading.Thread | None = None
        self._last = ""

    @property
    def shown(self) -> bool:
        return bool(self._ids)

    def add(self, *, compact: bool = False) -> None:
        """One more output, in the cell that runs now."""
        with self._busy:
            found = self._take()
            name = uuid4().hex
            self._ids[name] = compact
            self._last = text(found) if found is not None else ""
            shown = (line_bundle(found) if compact else bundle(found)) if found else {"text/plain": repr(self._run)}
            _send(shown, name)
        if found is not None and found.report["finished_at"] is None:
            self.follow()

    def follow(self) -> None:
        """Keep the outputs up to date from now on."""
        if self._thread is None or not self._thread.is_alive():
            # A context of its own: a kernel then counts what the thread says to the cell that runs at that time.
            context = contextvars.Context()
            self._thread = threading.Thread(target=context.run, args=(self._keep,), name="run-display", daemon=True)
            self._thread.start()

    def refresh(self) -> None:
        """Send what is true now, if it is not what was sent last."""
        with self._busy:
            found = self._take()
            if found is None:
                return
            now = text(found)
            if _timeless(now) == _timeless(self._last):
                return
            self._last = now
            whole = bundle(found) if not all(self._ids.values()) else {}
            for name, compact in self._ids.items():
                _send(line_bundle(found) if compact else whole, name, update=True)

    def _keep(self) -> None:
        feed = feed_of(self._run.client, self._run.run_id)
        version = 0
        while not feed.ended:
            version = feed.wait(version, _MOST)
            begun = time.monotonic()
            self.refresh()
            # A large run takes longer to draw; the kernel has other work to do.
            time.sleep(max(_LEAST, _REST * (time.monotonic() - begun)))
        self.refresh()

    def _take(self) -> Snapshot | None:
        try:
            return take_snapshot(self._run.client.home, self._run.run_id, time.time())
        except NotFound:  # deleted meanwhile: the last picture stays
            return None
        except MlPlatformError:
            return None


def _send(found: dict[str, str], name: str, *, update: bool = False) -> None:
    shell().display_pub.publish(data=found, metadata={}, transient={"display_id": name}, update=update)


def _timeless(found: str) -> str:
    """A display without the time it was taken at."""
    return found.rpartition("as of ")[0]
