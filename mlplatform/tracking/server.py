"""The real MLflow server of a home: started when first needed, at low priority, on the loopback interface."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import subprocess
import threading
import time
from pathlib import Path

from mlplatform.core.errors import MlPlatformError
from mlplatform.tracking.environment import server_python
from mlplatform.tracking.settings import HOME, Settings, Target
from mlplatform.tracking.upstream import Connection, Unavailable

_log = logging.getLogger(__name__)
_SCRIPT = Path(__file__).with_name("standalone") / "realserver.py"
#: A server that does not answer after this long has failed to start (seconds; a first start migrates a database).
START_LIMIT = 180.0
#: After a failed start, how long before the next try.
_AGAIN = 30.0


class RealServer:
    """One MLflow server process that belongs to this process and ends with it. Thread-safe."""

    def __init__(self, settings: Settings, target: Target) -> None:
        self._settings = settings
        self._target = target
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._port = 0
        self._ready = False
        self._failed_at = 0.0
        self._started_at = 0.0
        self._tried_wanted = False
        self.trouble = ""
        #: somebody waits for it: it may be installed
        self.wanted = False
        #: somebody looks at the screen: start at ordinary priority, not behind the tasks
        self.eager = False

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def url(self) -> str:
        """Its address if it answers now, else empty. Never waits."""
        return f"http://127.0.0.1:{self._port}" if self._ready and self.running else ""

    def looked_at(self) -> float:
        """Seconds since a browser or a notebook last used it (infinite: never)."""
        try:
            return time.time() - (self._settings.folder / "server.used").stat().st_mtime
        except OSError:
            return float("inf")

    @property
    def hopeless(self) -> bool:
        """It was tried for somebody who waits, and failed: no use in waiting now."""
        return bool(self.trouble) and self._tried_wanted and not self.running

    def forgive(self) -> None:
        """Somebody asks anew, perhaps after putting right what was wrong: try again without delay."""
        self._failed_at, self._tried_wanted, self.trouble = 0.0, False, ""

    def start(self) -> None:
        """See that it is starting or runs; does not wait for it. Failures show in ``trouble``."""
        with self._lock:
            recently = self._failed_at and time.monotonic() - self._failed_at < _AGAIN
            if self.running or (recently and self.wanted == self._tried_wanted):
                return
            if self._process is not None:
                self.trouble = f"MLflow's server ended with {self._process.poll()}; see {self._log_path}"
                self._process = None
            self._ready = False
            self._failed_at = 0.0
            self._tried_wanted = self.wanted
            self._started_at = time.monotonic()
            self._process = self._spawn()
            threading.Thread(target=self._watch, daemon=True, name="mlflow-start").start()

    @property
    def _log_path(self) -> Path:
        return self._settings.folder / "server.log"

    def _spawn(self) -> subprocess.Popen[bytes] | None:
        options = self._settings.server_options()
        try:
            known = [options.get("server_python", ""), options.get("python", "")]
            python = server_python(known, options.get("maker", ""), install=self.wanted)
        except MlPlatformError as error:
            self.trouble = str(error)
            self._failed_at = time.monotonic()
            _log.error("%s", error)
            return None
        self._settings.keep_server_options(server_python=python)
        self._port = free_port()
        env = {key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW_", "_MLFLOW_"))}
        env.update(
            MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false",
            MLFLOW_DISABLE_TELEMETRY="true",
            DO_NOT_TRACK="true",
            PYTHONWARNINGS="ignore",
        )
        command = [python, str(_SCRIPT), "--backend", self._target.uri, "--artifacts", str(self._settings.artifacts)]
        command += ["--port", str(self._port), "--lock", str(self._settings.folder / "mlflow.db.lock")]
        command += ["--parent", str(os.getpid()), "--nice", "0" if self.eager else "10"]
        command += ["--used", str(self._settings.folder / "server.used")]
        if self._target.name == HOME:
            command += ["--journal", self._settings.journal]
        with open(self._log_path, "ab") as log:
            return subprocess.Popen(
                command, env=env, cwd=self._settings.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def _watch(self) -> None:
        """Until it answers, or is known to have failed."""
        process, address = self._process, f"http://127.0.0.1:{self._port}"
        while process is not None and process.poll() is None and time.monotonic() - self._started_at < START_LIMIT:
            with contextlib.closing(Connection(address, timeout=5.0)) as server:
                try:
                    if server.send("GET", "/health").status == 200:
                        self._ready = True
                        self.trouble = ""
                        return
                except Unavailable:
                    time.sleep(0.1)
        if process is not None:
            if process.poll() is None:
                process.kill()
            self.trouble = f"MLflow's server did not start; see {self._log_path}"
            _log.error("%s", self.trouble)
        self._failed_at = time.monotonic()

    def wait(self, timeout: float) -> str:
        """Start it and wait until it answers; its address, or empty after ``timeout`` seconds or a failed start."""
        end = time.monotonic() + timeout
        self.start()
        while time.monotonic() < end:
            if url := self.url:
                return url
            if not self.running:
                return ""
            time.sleep(0.05)
        return self.url

    def stop(self) -> None:
        with self._lock:
            process, self._process, self._ready = self._process, None, False
        if process is not None and process.poll() is None:
            process.terminate()
            try:
                process.wait(5.0)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def free_port() -> int:
    """A port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
