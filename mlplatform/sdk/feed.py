"""Following a run in the background: one thread a run, whoever waits for it or shows it.

A feed only says that something changed; what is true is read from the store. It goes on over restarts of the service
and ends with the run.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from mlplatform.core.errors import MlPlatformError
from mlplatform.sdk.client import LocalClient

#: Between two questions at least so many times as long as the first one took.
_REST = 3.0

_feeds: dict[tuple[str, str], Feed] = {}
_turn = threading.Lock()


class Feed:
    """News of one run. ``version`` grows with every change; ``ended``: nothing more will come."""

    def __init__(self, client: LocalClient, run_id: str) -> None:
        self._client = client
        self._run_id = run_id
        self._news = threading.Condition()
        self.version = 0
        self.ended = False
        self.error: MlPlatformError | None = None
        self.trouble = ""
        self._thread = threading.Thread(target=self._follow, name=f"run-{run_id}", daemon=True)
        self._thread.start()

    def _follow(self) -> None:
        try:
            for event in self._client.watch(self._run_id):
                with self._news:
                    self.trouble = event["body"]["message"] if event["kind"] == "trouble" else ""
                    self.version += 1
                    self._news.notify_all()
        except MlPlatformError as error:
            self.error = error
        except OSError as error:
            self.error = MlPlatformError(f"the service could not be heard: {error}")
        finally:
            with self._news:
                self.ended = True
                self.version += 1
                self._news.notify_all()

    def wait(self, version: int, timeout: float) -> int:
        """Wait until something changed since ``version``, at most ``timeout`` seconds; returns the version now."""
        with self._news:
            if self.version == version and not self.ended:
                self._news.wait(timeout)
            return self.version


def feed_of(client: LocalClient, run_id: str) -> Feed:
    """The feed of a run that has not ended; begun if nobody follows it yet (or its last feed ended before a resume)."""
    key = (str(client.home.root), run_id)
    with _turn:
        feed = _feeds.get(key)
        if feed is None or feed.ended:
            for old in [place for place, known in _feeds.items() if known.ended]:
                del _feeds[old]
            feed = _feeds[key] = Feed(client, run_id)
        return feed


def wait_until(
    client: LocalClient,
    run_id: str,
    done: Callable[[], bool],
    timeout: float | None,
    clock: Callable[[], float],
) -> bool:
    """Wait until ``done()``, asked again whenever something changed.

    Returns:
        False: the time was over, or the run ended and it still is not so.

    Raises:
        ServiceError: the service cannot be reached or started.
    """
    if done():
        return True
    end = None if timeout is None else clock() + timeout
    feed = feed_of(client, run_id)
    version = 0
    while not feed.ended:
        left = 1.0 if end is None else min(1.0, end - clock())
        if left <= 0:
            return False
        # A version seen before what was asked of the store: nothing that comes in between is missed.
        version = feed.wait(version, left)
        begun = clock()
        if done():
            return True
        time.sleep(min(1.0, _REST * (clock() - begun)))  # asking a large run costs something
    if feed.error is not None and not done():
        raise feed.error
    return done()
