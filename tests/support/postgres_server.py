"""A real PostgreSQL server for tests, in a temporary folder. PostgreSQL refuses to run as root: then it runs as
``postgres`` or ``nobody``. Without its programs (apt: postgresql) the tests that want it are skipped, and fail with
CI=true.
"""

from __future__ import annotations

import glob
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

PASSWORD = "pass:word/§?"


@dataclass
class PostgresServer:
    """A running server. ``stop`` and ``start`` play a crash or an upgrade."""

    programs: Path
    folder: Path
    port: int
    account: dict[str, Any]
    process: subprocess.Popen[bytes] | None = None
    schemas: int = field(default=0)

    def url(self, schema: str = "", *, password: str = PASSWORD, database: str = "postgres") -> str:
        """A URL; with ``schema``, tables go there (and nowhere else)."""
        options = f"?options={quote(f'-csearch_path={schema}')}" if schema else ""
        return f"postgresql://mlp:{quote(password, safe='')}@127.0.0.1:{self.port}/{database}{options}"

    def new_schema(self) -> str:
        """An empty schema's name."""
        self.schemas += 1
        name = f"t{self.schemas}"
        self.execute(f"CREATE SCHEMA {name}")
        return name

    def execute(self, *statements: str) -> None:
        import psycopg

        with psycopg.connect(self.url(), autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement)  # type: ignore[call-overload]

    def start(self) -> None:
        options = ["-c", "listen_addresses=127.0.0.1", "-p", str(self.port), "-k", str(self.folder)]
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen(
                [str(self.programs / "postgres"), "-D", str(self.folder / "data"), *options],
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                **self.account,
            )
        self._wait()

    def stop(self) -> None:
        """Fast: open connections are cut."""
        if self.process is not None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(30)
            self.process = None

    def _wait(self) -> None:
        import psycopg

        give_up = time.monotonic() + 180
        while True:
            try:
                psycopg.connect(self.url(), connect_timeout=2).close()
                return
            except psycopg.OperationalError as error:
                if time.monotonic() > give_up or self.process is None or self.process.poll() is not None:
                    log = (self.folder / "log").read_text(errors="replace")
                    pytest.fail(f"PostgreSQL did not start: {error}\n{log[-2000:]}")
                time.sleep(0.05)


def find_programs() -> Path:
    """The folder of initdb and postgres (they are often not on PATH). Skips the test if there is none."""
    for name in ("initdb", *sorted(glob.glob("/usr/lib/postgresql/*/bin/initdb"), reverse=True)):
        if found := shutil.which(name):
            return Path(found).resolve().parent
    pytest.skip("needs a PostgreSQL server's programs (initdb, postgres; Debian: apt install postgresql)")


def _account() -> dict[str, Any]:
    if os.getuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
    pytest.skip("PostgreSQL does not run as root, and there is no user `postgres` or `nobody`")


@contextmanager
def postgres_server() -> Generator[PostgresServer]:
    """A server with a user ``mlp`` and a database ``postgres``, until the block ends."""
    programs, account = find_programs(), _account()
    folder = Path(tempfile.mkdtemp(prefix="mlp-pg-"))
    try:
        (folder / "password").write_text(PASSWORD, encoding="utf-8")
        if account:
            for path in (folder, folder / "password"):
                os.chown(path, account["user"], account["group"])
        options = ["--encoding=UTF8", "--locale=C", "--auth=scram-sha-256", "--no-sync", "-U", "mlp"]
        command = [str(programs / "initdb"), "-D", str(folder / "data"), *options, f"--pwfile={folder / 'password'}"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=folder, **account)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        server = PostgresServer(programs, folder, port, account)
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
