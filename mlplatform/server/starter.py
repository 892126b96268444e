"""Having the home's MLflow started, without waiting for it."""

from __future__ import annotations

import threading
from typing import Any, Final

from mlplatform.core.errors import MlPlatformError
from mlplatform.engine.home import Home

#: Seconds: MLflow's first start makes an environment for it.
_START: Final = 600.0


class Starter:
    """Knows where the home's MLflow answers, and has it started. Thread-safe."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._url = ""
        self.trouble = ""

    def url(self, *, again: bool = False) -> str:
        """Its address, or empty while it is being started (by this call, if need be)."""
        with self._lock:
            if again:
                self._url = ""
            if self._url or (self._thread is not None and self._thread.is_alive()):
                return self._url
            self.trouble = ""
            self._thread = threading.Thread(target=self._start, daemon=True, name="mlflow")
            self._thread.start()
        self._thread.join(1.0)  # one that runs answers at once
        return self._url

    def _start(self) -> None:
        from mlplatform.tracking.door import ask

        try:
            told = ask(self._home.mlflow, "ui", _START)
        except (MlPlatformError, OSError) as error:
            self.trouble = str(error)
            return
        servers: dict[str, Any] = dict(told.get("servers") or {})
        self._url = str(told.get("url") or "")
        if not self._url:
            found = [str(about.get("trouble") or "") for about in servers.values()]
            self.trouble = "; ".join(filter(None, found)) or "MLflow did not start; see mlflow/server.log of the home"


class Elsewhere:
    """An MLflow that runs by itself: what :class:`Starter` is to one of ours."""

    def __init__(self, address: str) -> None:
        self._address = address
        self.trouble = ""

    def url(self, *, again: bool = False) -> str:
        return self._address
