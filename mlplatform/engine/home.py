"""Where a home folder keeps its things.

::

    HOME/                       0700; ~/.mlplatform, MLPLATFORM_HOME or --home
      store.db                  the run store (SQLite)
      service.lock              held by the one service of this home
      service.json              its pid, boot id, version and socket (rewritten at start)
      logs/service.log          what the service says
      runs/<run_id>/<attempt>/  spec, result, log and trace of each attempt
      artifacts/<run_id>/...    artifact bytes (default pipeline root)
      artifacts/values/...      Python objects that runs were given, by content
      secrets.json              0600, optional: secrets of ``ml.secret`` by name, where the environment has none
      notebooks/                what notebooks' tasks did and left (engine/notebooks/library.py)
      private/<run_id>.json     0600, environment of a run's submitter while the run lives
      mlflow/                   tracking: database, queue, artifacts
      training/<job>/           training jobs: what was asked for, their status, their ranks (engine/training/places.py)
      claims/<name>/            what their ranks keep: checkpoints
      server/                   the web server: its token (0600), the port it is reached at, its lock
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

#: Longest path a Unix socket address holds on Linux (108 bytes with its end) and macOS (104).
_SOCKET_PATH_MAX = 100


@dataclass(frozen=True, slots=True)
class Home:
    """Paths below one home folder. Nothing is created by looking at them."""

    root: Path

    @property
    def database(self) -> Path:
        return self.root / "store.db"

    @property
    def lock(self) -> Path:
        return self.root / "service.lock"

    @property
    def service_file(self) -> Path:
        return self.root / "service.json"

    @property
    def service_log(self) -> Path:
        return self.root / "logs" / "service.log"

    @property
    def artifacts(self) -> Path:
        return self.root / "artifacts"

    @property
    def secrets(self) -> Path:
        return self.root / "secrets.json"

    @property
    def mlflow(self) -> Path:
        return self.root / "mlflow"

    @property
    def training(self) -> Path:
        return self.root / "training"

    @property
    def claims(self) -> Path:
        return self.root / "claims"

    @property
    def server(self) -> Path:
        return self.root / "server"

    def web_port(self) -> int:
        """The port this home's pages are at (see ``engine.webdoor``); 0 if it never had one."""
        try:
            return int((self.server / "port").read_text(encoding="ascii"))
        except (OSError, ValueError):
            return 0

    def run(self, run_id: str) -> Path:
        return self.root / "runs" / run_id

    def private(self, run_id: str) -> Path:
        return self.root / "private" / f"{run_id}.json"

    @property
    def socket(self) -> Path:
        """Inside the home where the path is short enough, else in a private folder of the temporary directory."""
        inside = self.root / "service.sock"
        if len(os.fsencode(inside)) <= _SOCKET_PATH_MAX:
            return inside
        name = hashlib.sha256(os.fsencode(self.root)).hexdigest()[:16]
        base = os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()
        return Path(base) / f"mlplatform-{os.getuid()}" / f"{name}.sock"

    def prepare(self) -> None:
        """Create the folders, private to the user. Raises OSError."""
        self.root.mkdir(parents=True, exist_ok=True)
        self.root.chmod(0o700)
        for folder in ("logs", "runs", "artifacts", "private"):
            (self.root / folder).mkdir(exist_ok=True, mode=0o700)
        parent = self.socket.parent
        if parent != self.root:
            parent.mkdir(mode=0o700, exist_ok=True)
            status = parent.lstat()
            if status.st_uid != os.getuid() or status.st_mode & 0o077:
                raise PermissionError(f"{parent} must belong to you alone (mode 0700)")


def default_home() -> Path:
    """``MLPLATFORM_HOME`` or ``~/.mlplatform``."""
    return Path(os.environ.get("MLPLATFORM_HOME") or Path.home() / ".mlplatform").expanduser()


def open_home(path: str | os.PathLike[str] | None = None) -> Home:
    """The home at ``path`` (or the default one), absolute and with symbolic links resolved."""
    return Home(Path(path or default_home()).expanduser().resolve())


def cache_folder() -> Path:
    """Downloads and environments shared by all homes: ``MLPLATFORM_CACHE``, ``XDG_CACHE_HOME/mlplatform`` or
    ``~/.cache/mlplatform``."""
    if explicit := os.environ.get("MLPLATFORM_CACHE"):
        return Path(explicit).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "mlplatform"
