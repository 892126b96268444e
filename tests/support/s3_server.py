"""A real S3 server for tests: versitygw over a folder, built once from source with Go.

The program is kept in ``MLPLATFORM_TEST_CACHE`` (or ``~/.cache/mlplatform-test``) under its version; building takes a
minute or two, once a machine. Without Go the tests that want it are skipped (and fail with CI=true).
"""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.golang import cache_folder, find_go

VERSION = "v1.8.0"
_PACKAGE = f"github.com/versity/versitygw/cmd/versitygw@{VERSION}"


@dataclass(frozen=True)
class S3Server:
    """Where it listens and who may come in."""

    endpoint: str
    folder: Path
    access_key: str = "tester"
    secret_key: str = "tester-secret"
    region: str = "us-east-1"

    def environment(self) -> dict[str, str]:
        """What clients read."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_DEFAULT_REGION": self.region,
        }


def build() -> Path:
    """The server's program, built if it is not there yet. Skips the test without Go."""
    folder = cache_folder() / f"versitygw-{VERSION}"
    program = folder / "versitygw"
    if program.exists():
        return program
    go = find_go()
    if go is None:
        pytest.skip("needs Go to build a real S3 server (https://go.dev/dl)")
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two test processes build once
        if not program.exists():
            print(f"building {_PACKAGE} (once)", file=sys.stderr)
            with tempfile.TemporaryDirectory(dir=folder) as bin_folder:
                env = {**os.environ, "GOBIN": bin_folder, "GOFLAGS": "-p=1", "CGO_ENABLED": "0"}
                nice = ["nice", "-n", "15"] if shutil.which("nice") else []
                subprocess.run([*nice, go, "install", "-ldflags=-s -w", _PACKAGE], env=env, check=True, timeout=900)
                os.replace(Path(bin_folder) / "versitygw", program)
    return program


def _free_port(host: str) -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        return probe.getsockname()[1]


@contextmanager
def s3_server(folder: Path, host: str = "127.0.0.1") -> Generator[S3Server]:
    """Serve ``folder`` (each folder in it is a bucket) until the block ends; for pods at the cluster's ``host``."""
    program = build()
    buckets = folder / "buckets"
    buckets.mkdir(parents=True)
    server = S3Server(f"http://{host}:{_free_port(host)}", buckets)
    command = [str(program), "--port", server.endpoint.removeprefix("http://"), "--region", server.region]
    command += ["--access", server.access_key, "--secret", server.secret_key]
    (folder / "sidecar").mkdir()
    command += ["posix", "--sidecar", str(folder / "sidecar"), str(buckets)]
    with open(folder / "log", "wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
    try:
        _wait(process, server, folder / "log")
        yield server
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(process: subprocess.Popen[bytes], server: S3Server, log: Path) -> None:
    host, port = server.endpoint.removeprefix("http://").split(":")
    give_up = time.monotonic() + 120
    while time.monotonic() < give_up and process.poll() is None:
        try:
            socket.create_connection((host, int(port)), 1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    pytest.fail(f"the S3 server did not start:\n{log.read_text(errors='replace')[-2000:]}")
